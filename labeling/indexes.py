"""Change very many rows at once: seconds instead of minutes, or than never. The caller is in a transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, models
from django.db.models import Max

from labeling.models import Annotation, LabelTask

MANY = 20_000
SEVERAL = 1_000  # to go through them twice for each other is nothing
ROOM_KB = 64 * 1024
SHARE = 5  # building an index anew pays where more than a fifth of its rows change
AS_SETS = {"enable_nestloop": "off", "jit": "off", "work_mem": "128MB"}  # half a million labels are sorted within that
OF_STATUS = (LabelTask, ("task_queue", "task_waiting", "task_status", "task_confidence", "task_page"))
OF_CURRENT = (Annotation, ("annotation_class",))


@contextmanager
def unindexed(count: int, *indexes: tuple[type[models.Model], tuple[str, ...]]) -> Iterator[None]:
    """Take indexes off on SQLite while ``count`` rows change, and build them again: nothing inside may look by them.

    Kept up row by row, an index is searched twice for each row; built again, its rows are sorted once, which takes a
    third of the time. It belongs to the caller's transaction: others read on with the old indexes until its end,
    and could not write meanwhile anyway. PostgreSQL would make readers wait, so there nothing is taken off.
    """
    if connection.vendor != "sqlite" or count < MANY:
        yield
        return
    with _roomy():
        taken: list[str] = []
        for model, names in indexes:
            if count * SHARE > (model._default_manager.aggregate(last=Max("pk"))["last"] or 0):
                taken += _take_off(names)
        yield
        # After an error the transaction is rolled back, and the indexes are as they were.
        with connection.cursor() as cursor:
            for statement in taken:
                cursor.execute(statement)


@contextmanager
def _roomy() -> Iterator[None]:
    """Have SQLite keep much of the database in memory: a web process usually gives each of its connections little."""
    connection.ensure_connection()
    database = connection.connection  # not Django's cursor, which refuses all in a transaction that has failed
    ((usual,),) = database.execute("PRAGMA cache_size").fetchall()
    database.execute(f"PRAGMA cache_size={min(usual, -ROOM_KB)}")
    try:
        yield
    finally:
        database.execute(f"PRAGMA cache_size={usual}")


def _take_off(names: tuple[str, ...]) -> list[str]:
    """Drop indexes; return the statements that made them."""
    with connection.cursor() as cursor:
        marks = ", ".join(["%s"] * len(names))
        cursor.execute(f"SELECT name, sql FROM sqlite_master WHERE type = 'index' AND name IN ({marks})", names)  # noqa: S608
        found = cursor.fetchall()
        for name, _statement in found:
            cursor.execute(f"DROP INDEX {connection.ops.quote_name(name)}")
    return [statement for _name, statement in found]


@contextmanager
def joined_as_sets(count: int) -> Iterator[None]:
    """Have PostgreSQL join ``count`` labels with what else there is by hashing or sorting, in one go.

    How many labels an event has ended it can't know: the event is younger than its statistics. It takes them for one,
    and went through the other side anew for each of 200,000, which didn't end. Compiling statements that run once
    takes half a second each.
    """
    if connection.vendor != "postgresql" or count < SEVERAL:
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(f'current_setting({name!r})' for name in AS_SETS)}")  # noqa: S608
        usual = dict(zip(AS_SETS, cursor.fetchone(), strict=True))
    _set(AS_SETS)
    yield
    _set(usual)  # after an error the transaction is rolled back, and the settings are as they were


def _set(settings: dict[str, str]) -> None:
    """Set them until the transaction's end."""
    with connection.cursor() as cursor:
        for name, value in settings.items():
            cursor.execute("SELECT set_config(%s, %s, true)", [name, value])
