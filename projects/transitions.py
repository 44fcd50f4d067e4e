"""Status changes: compare and set in one UPDATE."""

from django.db import InterfaceError, OperationalError, connection, models

# The database is away, was started again, or chose this transaction as the one to give way. Nothing is wrong with the
# work: its row stays as it is, and is taken up again as after the loss of its worker.
DATABASE_AWAY = (OperationalError, InterfaceError)


class WrongState(Exception):
    """The row has left the state that a change starts from."""


def move(row: models.Model, field: str, source: str | list[str], target: str, **changes: object) -> None:
    """Change ``field`` from ``source`` to ``target`` in one UPDATE, so that of two racing requests one loses.

    Raises WrongState if the row has left ``source`` meanwhile.
    """
    sources = [source] if isinstance(source, str) else source
    rows = type(row)._default_manager.filter(pk=row.pk, **{f"{field}__in": sources})
    if not rows.update(**{field: target}, **changes):
        raise WrongState(f"{row} is not {' or '.join(str(s) for s in sources)}")
    row.refresh_from_db()


def reconnect() -> None:
    """Let go of a connection that has failed, outside any transaction: the next question opens another."""
    if not connection.in_atomic_block:
        connection.close()
