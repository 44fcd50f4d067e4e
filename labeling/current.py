"""Read the labels that stand: as answers, and as what a page shows filled in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from labeling.answers import Answer, Label
from labeling.models import Annotation, LabelEvent, LabelTask, Status


def current_labels(task_ids: Iterable[int]) -> dict[int, list[Label]]:
    """Return the labels that stand on each task, in their order; a task without one is absent."""
    labels: dict[int, list[Label]] = defaultdict(list)
    for annotation in Annotation.objects.current().of_tasks(task_ids):
        labels[annotation.task_id].append(Label(annotation.label_class_id, annotation.box))
    return labels


def current_answers(tasks: Iterable[LabelTask]) -> dict[int, Answer]:
    """Return the answer that stands on each answered or skipped task."""
    tasks = list(tasks)
    labels = current_labels(task.pk for task in tasks)
    skips = _skip_details(task.pk for task in tasks if task.status == Status.SKIPPED)
    return {task.pk: Answer(task.pk, tuple(labels.get(task.pk, ())), *skips.get(task.pk, ("", ""))) for task in tasks}


def _skip_details(task_ids: Iterable[int]) -> dict[int, tuple[str, str]]:
    events = LabelEvent.objects.filter(task__in=list(task_ids), action=LabelEvent.Action.SKIPPED).order_by("pk")
    return {event.task_id: (event.detail["reason"], event.detail["note"]) for event in events}  # type: ignore[misc]


def set_aside_labels(task_ids: Iterable[int]) -> dict[int, list[Label]]:
    """Return the labels that a restart set aside and that come back prefilled (SPEC C4 b)."""
    aside = Annotation.objects.filter(
        ended_by_event__action=LabelEvent.Action.RESET,
        ended_by_event__detail__prefill=True,
        label_class__retired_at__isnull=True,
    )
    labels: dict[int, list[Label]] = defaultdict(list)
    last: dict[int, int] = {}
    for annotation in aside.of_tasks(task_ids).order_by("task_id", "-ended_by_event_id", "place"):
        if last.setdefault(annotation.task_id, annotation.ended_by_event_id or 0) == annotation.ended_by_event_id:
            labels[annotation.task_id].append(Label(annotation.label_class_id, annotation.box))
    return labels
