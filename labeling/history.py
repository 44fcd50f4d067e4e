"""Write answers: events, the labels they give, and the labels they end. The caller holds the project's lock."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import DateTimeField, OuterRef, Subquery
from django.utils import timezone

from labeling.answers import Answer
from labeling.models import Annotation, LabelEvent, LabelPage, LabelTask, Status
from projects.bulk import insert
from projects.models import Project
from projects.prepared import PreparedUpdate, Slot, numbered, slots

BOX = ("x", "y", "width", "height")
NO_BOX = (None,) * 4


def record(
    project: Project,
    tasks: Sequence[LabelTask],
    answers: Sequence[Answer],
    *,
    action: str,
    by: User | None,
    status: str = Status.LABELED,
    page: LabelPage | None = None,
    seconds: float | None = None,
) -> None:
    """Write one event for each answer, end the labels that stood, and put the new ones and the status in place.

    ``seconds`` is for all the tasks together and is shared out evenly. Skips become events and tasks of their own kind.
    """
    if not tasks:
        return
    now = timezone.now()
    share = seconds / len(tasks) if seconds is not None else None
    given = list(zip(tasks, answers, strict=True))
    same = (project.pk, by.pk if by else None, now, page.pk if page else None, share)
    events = insert(
        LabelEvent,
        ("project", "by", "at", "page", "seconds", "task", "kind", "action", "detail"),
        (
            (*same, task.pk, task.kind, LabelEvent.Action.SKIPPED if answer.skip else action, _detail(task, answer))
            for task, answer in given
        ),
    )
    # What a restart set aside ends now, too: it doesn't come back where somebody has said something since.
    has_labels = [task.pk for task in tasks if task.labeled_at or project.aside_up_to]
    end_labels(has_labels, after=min(events) - 1)
    insert(
        Annotation,
        (
            "created_by_event",
            "task",
            "image_width",
            "image_height",
            "place",
            "label_class",
            "x",
            "y",
            "width",
            "height",
        ),
        (
            (event, task.pk, task.image.width, task.image.height, place, label.label_class, *(label.box or NO_BOX))
            for event, (task, answer) in zip(events, given, strict=True)
            for place, label in enumerate(answer.labels)
        ),
    )
    for is_skip, new_status in ((False, status), (True, Status.SKIPPED)):
        ids = [task.pk for task, answer in given if bool(answer.skip) == is_skip]
        if ids:
            # Who imports labels has not labeled: the labelers' figures are about people at work.
            labeler = None if action == LabelEvent.Action.IMPORTED else by
            who = labeler.pk if labeler else None
            _answered(len(ids))(status=str(new_status), labeler=who, at=now, **numbered(ids))


@lru_cache(maxsize=100)
def _answered(n_tasks: int) -> PreparedUpdate[LabelTask]:
    return PreparedUpdate(
        lambda: LabelTask.objects.filter(pk__in=slots(n_tasks)),
        status=Slot("status"),
        labeler=Slot("labeler"),
        labeled_at=Slot("at", DateTimeField()),
        aside_by=None,
    )


def flag(project: Project, task_ids: Sequence[int]) -> None:
    """Ask for a review of labeled images whose file is not the one that was labeled any more (SPEC D7).

    Where a restart has set the labels aside, it is asked for when they come back.
    """
    detail = {"reason": "changed"}
    insert(
        LabelEvent,
        ("project", "at", "action", "kind", "detail", "task"),
        ((project.pk, timezone.now(), LabelEvent.Action.FLAGGED, "", detail, pk) for pk in task_ids),
    )
    tasks = LabelTask.objects.filter(pk__in=task_ids)
    tasks.answered().update(status=Status.NEEDS_REVIEW)
    tasks.filter(aside_by__isnull=False).update(aside_status=Status.NEEDS_REVIEW)


def _detail(task: LabelTask, answer: Answer) -> dict[str, Any]:
    """Return why an image was skipped, or, for "no objects", the size of what was on the screen."""
    if answer.skip:
        return {"reason": answer.skip, "note": answer.note}
    return {} if answer.labels or not task.image.width else {"size": [task.image.width, task.image.height]}


def end_labels(task_ids: Sequence[int], after: int) -> None:
    """End the tasks' labels; each task has one event with an id above ``after``, just written."""
    if not task_ids:
        return
    ending = LabelEvent.objects.filter(task=OuterRef("task"), pk__gt=after)
    Annotation.objects.unended().filter(task__in=task_ids).update(ended_by_event=Subquery(ending.values("pk")[:1]))


def restore_labels(event_ids: Sequence[int], after: int) -> None:
    """Write again the labels that the events ended; each task has one event with an id above ``after``, just written.

    A copy, not an update: what stood between can still be read.
    """
    if not event_ids:
        return
    marks = ",".join(["%s"] * len(event_ids))
    names = "task_id, label_class_id, place, x, y, width, height, image_width, image_height"
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO labeling_annotation ({names}, created_by_event_id)"  # noqa: S608
            f" SELECT {', '.join(f'a.{name}' for name in names.split(', '))}, n.id FROM labeling_annotation a"
            " JOIN labeling_labelevent n ON n.task_id = a.task_id AND n.id > %s"
            f" WHERE a.ended_by_event_id IN ({marks})",
            [after, *event_ids],
        )
