"""Take indexes off while very many rows change: seconds instead of minutes on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, models
from django.db.models import Max

from labeling.models import Annotation, LabelTask

MANY = 20_000
SHARE = 5  # building an index anew pays where more than a fifth of its rows change
OF_STATUS = (LabelTask, ("task_queue", "task_waiting", "task_status", "task_labeler", "task_confidence", "task_page"))
OF_CURRENT = (Annotation, ("one_current_annotation_set_per_task", "annotation_class"))
OF_ENDED = (Annotation, ("annotation_ended",))


@contextmanager
def unindexed(count: int, *indexes: tuple[type[models.Model], tuple[str, ...]]) -> Iterator[None]:
    """Take indexes off on SQLite while ``count`` rows change, and build them again: nothing inside may look by them.

    Kept up row by row, an index is searched twice for each row; built again, its rows are sorted once, which takes a
    third of the time. It belongs to the caller's transaction: others read on with the old indexes until its end,
    and could not write meanwhile anyway. PostgreSQL would make readers wait, so there nothing is taken off.
    """
    taken: list[str] = []
    if connection.vendor == "sqlite" and count >= MANY:
        for model, names in indexes:
            if count * SHARE > (model._default_manager.aggregate(last=Max("pk"))["last"] or 0):
                taken += _take_off(names)
    yield
    # After an error the transaction is rolled back, and the indexes are as they were.
    with connection.cursor() as cursor:
        for statement in taken:
            cursor.execute(statement)


def _take_off(names: tuple[str, ...]) -> list[str]:
    """Drop indexes; return the statements that made them."""
    with connection.cursor() as cursor:
        marks = ", ".join(["%s"] * len(names))
        cursor.execute(f"SELECT name, sql FROM sqlite_master WHERE type = 'index' AND name IN ({marks})", names)  # noqa: S608
        found = cursor.fetchall()
        for name, _statement in found:
            cursor.execute(f"DROP INDEX {connection.ops.quote_name(name)}")
    return [statement for _name, statement in found]
