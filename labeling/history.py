"""Write answers: events, the labels they give, and the labels they end. The caller holds the project's lock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import OuterRef, Subquery
from django.utils import timezone

from labeling.answers import Answer, Label
from labeling.models import Annotation, LabelEvent, LabelPage, LabelTask, Status
from projects.models import Project


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
) -> list[LabelEvent]:
    """Write one event for each answer, end the labels that stood, and put the new ones and the status in place.

    ``seconds`` is for all the tasks together and is shared out evenly. Skips become events and tasks of their own kind.
    """
    now = timezone.now()
    share = seconds / len(tasks) if seconds is not None and tasks else None
    events = LabelEvent.objects.bulk_create(
        LabelEvent(
            project=project,
            task=task,
            action=LabelEvent.Action.SKIPPED if answer.skip else action,
            by=by,
            at=now,
            kind=task.kind,
            page=page,
            seconds=share,
            detail=_detail(task, answer),
        )
        for task, answer in zip(tasks, answers, strict=True)
    )
    if events:
        end_labels([task.pk for task in tasks if task.labeled_at], after=events[0].pk - 1)
    Annotation.objects.bulk_create(
        (
            annotation
            for task, answer, event in zip(tasks, answers, events, strict=True)
            for annotation in _annotations(task, answer.labels, event)
        ),
        batch_size=2000,
    )
    for is_skip, new_status in ((False, status), (True, Status.SKIPPED)):
        ids = [task.pk for task, answer in zip(tasks, answers, strict=True) if bool(answer.skip) == is_skip]
        if ids:
            # Who imports labels has not labeled: the labelers' figures are about people at work.
            labeler = None if action == LabelEvent.Action.IMPORTED else by
            LabelTask.objects.filter(pk__in=ids).update(status=new_status, labeler=labeler, labeled_at=now)
    return events


def _detail(task: LabelTask, answer: Answer) -> dict[str, Any]:
    """Return why an image was skipped, or, for "no objects", the size of what was on the screen."""
    if answer.skip:
        return {"reason": answer.skip, "note": answer.note}
    return {} if answer.labels or not task.image.width else {"size": [task.image.width, task.image.height]}


def _annotations(task: LabelTask, labels: Iterable[Label], event: LabelEvent) -> Iterable[Annotation]:
    for place, label in enumerate(labels):
        x, y, width, height = label.box or (None,) * 4
        yield Annotation(
            task=task,
            label_class_id=label.label_class,
            place=place,
            x=x,
            y=y,
            width=width,
            height=height,
            image_width=task.image.width,
            image_height=task.image.height,
            created_by_event=event,
        )


def end_labels(task_ids: Sequence[int], after: int) -> None:
    """End the labels that stand on the tasks; each task has one event with an id above ``after``, just written."""
    if not task_ids:
        return
    ending = LabelEvent.objects.filter(task=OuterRef("task"), pk__gt=after)
    Annotation.objects.current().filter(task__in=task_ids).update(ended_by_event=Subquery(ending.values("pk")[:1]))


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
