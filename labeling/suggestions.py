"""Suggestions: labels filled in on a page until its labeler confirms or changes them (SPEC L6, A6, A8).

They lie on the task itself (``kind``, ``prelabels``, ``confidence``), wherever they come from: a model or an import. A
claim, a page and the API read them there; nothing else has to be asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import connection

from labeling.answers import Label
from labeling.models import PRIORITY, UNCLAIMED, Kind, LabelTask, LabelTaskQuerySet, Status
from projects import bulk
from projects.models import Project


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What is suggested for one task; no label says "no objects", in detection only.

    ``confidences`` go with the labels where the source knows them; ``confidence`` is that of the whole answer.
    """

    task: int
    labels: tuple[Label, ...]
    confidences: tuple[float | None, ...] = ()
    confidence: float | None = None
    group: int = 0  # those of one group share pages, the lowest group comes first

    def as_json(self) -> list[dict[str, Any]]:
        """Return the labels in the shape of the API's ``prelabels``."""
        confidences = self.confidences or (None,) * len(self.labels)
        return [
            {
                "label_class": label.label_class,
                "confidence": confidence,
                **({"box": list(label.box)} if label.box else {}),
            }
            for label, confidence in zip(self.labels, confidences, strict=True)
        ]


def open_tasks(project: Project) -> LabelTaskQuerySet:
    """Return the tasks that may get a suggestion: neither answered nor on anybody's screen."""
    return LabelTask.objects.in_project(project).filter(status__in=UNCLAIMED)


def pack(suggestions: Iterable[Suggestion]) -> list[str]:
    """Make suggestions ready to be filled in, so that nothing is left to compute under the project's lock."""
    rows = ((one.task, one.group, one.as_json(), one.confidence) for one in suggestions)
    return [packed for _count, packed in bulk.packs(rows)]


def suggest(project: Project, packed: Iterable[str]) -> set[int]:
    """Fill suggestions in that were packed, and hand these tasks out first; return which. The caller holds the lock.

    A task that was claimed or answered meanwhile is left alone.
    """
    new = bulk.table({"id": "int", "page": "int", "prelabels": "json", "confidence": "float"})
    return _update(
        'kind = %s, priority = %s, "group" = new.page, prelabels = new.prelabels, confidence = new.confidence',
        [Kind.PRELABELED, PRIORITY[Kind.PRELABELED]],
        new,
        packed,
        project,
        tuple(Kind.values),
    )


def _update(
    changes: str, values: list[Any], new: str, packed: Iterable[str], project: Project, kinds: tuple[str, ...]
) -> set[int]:
    """Change open tasks of the kinds by rows that were packed, some thousand in a statement; return which."""
    changed: set[int] = set()
    places = ", ".join(["%s"] * len(kinds))
    with connection.cursor() as cursor:
        for rows in packed:
            cursor.execute(
                f"UPDATE labeling_labeltask SET {changes} FROM {new} AS new"  # noqa: S608
                " WHERE labeling_labeltask.id = new.id AND +project_id = %s"  # by id, not by the project
                f" AND status IN (%s, %s) AND kind IN ({places}) RETURNING labeling_labeltask.id",
                [*values, rows, project.pk, *UNCLAIMED, *kinds],
            )
            changed.update(pk for (pk,) in cursor.fetchall())
    return changed


def group_pages(project: Project, pages: Iterable[Iterable[int]]) -> int:
    """Put alike images on one page each, in the given order of pages; return how many. The caller holds the lock.

    ``pages`` are task ids; those that were claimed, answered or got a suggestion meanwhile are left alone.
    """
    rows = ((task, number) for number, page in enumerate(pages, 1) for task in page)
    grouped = _update(
        'kind = %s, priority = %s, "group" = new.page',
        [Kind.CLUSTERED, PRIORITY[Kind.CLUSTERED]],
        bulk.table({"id": "int", "page": "int"}),
        [packed for _count, packed in bulk.packs(rows)],
        project,
        (Kind.MANUAL, Kind.CLUSTERED),
    )
    return len(grouped)


def ungroup(project: Project) -> int:
    """Hand clustered images out one by one again, but for those on somebody's screen."""
    return (
        open_tasks(project)
        .filter(kind=Kind.CLUSTERED)
        .update(kind=Kind.MANUAL, priority=PRIORITY[Kind.MANUAL], group=0)
    )


def mix_in(tasks: LabelTaskQuerySet) -> int:
    """Hand blank tasks out among the suggestions, in the random order, and not after them; return how many."""
    blank = tasks.filter(status__in=UNCLAIMED, kind=Kind.MANUAL)
    return blank.update(priority=PRIORITY[Kind.PRELABELED])


def queue_anew(project: Project) -> None:
    """Let the feeder fill the queue from the start, as other images come first now; nobody loses an open page."""
    LabelTask.objects.in_project(project).filter(status=Status.QUEUED).update(status=Status.WAITING)


def withdraw(tasks: LabelTaskQuerySet) -> int:
    """Take suggestions off those of the tasks that nobody has on the screen; return off how many."""
    return tasks.filter(status__in=UNCLAIMED, kind=Kind.PRELABELED).update(
        kind=Kind.MANUAL, priority=PRIORITY[Kind.MANUAL], group=0, prelabels=None, confidence=None
    )
