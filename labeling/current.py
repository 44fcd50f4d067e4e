"""Read the labels that stand: as answers, and as what a page shows filled in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from labeling.answers import Answer, Label
from labeling.models import Annotation, LabelEvent, LabelTask, Status
from labeling.resets import Restarts
from projects.models import LabelClass, Project


def current_labels(project: Project, task_ids: Iterable[int]) -> dict[int, list[Label]]:
    """Return the labels that stand on each of the project's tasks, in their order; one without any is absent."""
    labels: dict[int, list[Label]] = defaultdict(list)
    rows = Annotation.objects.current(project).of_tasks(task_ids)  # a page of the Data tab has hundreds
    for task, label_class, x, y, width, height in rows.values_list("task", "label_class", "x", "y", "width", "height"):
        box = None if x is None or y is None or width is None or height is None else (x, y, width, height)
        labels[task].append(Label(label_class, box))
    return labels


def current_answers(project: Project, tasks: Iterable[LabelTask]) -> dict[int, Answer]:
    """Return the answer that stands on each answered or skipped task."""
    tasks = list(tasks)
    labels = current_labels(project, (task.pk for task in tasks))
    skips = skip_details(task.pk for task in tasks if task.status == Status.SKIPPED)
    return {task.pk: Answer(task.pk, tuple(labels.get(task.pk, ())), *skips.get(task.pk, ("", ""))) for task in tasks}


def skip_details(task_ids: Iterable[int]) -> dict[int, tuple[str, str]]:
    """Return why labelers skipped the tasks: the reason and their note."""
    events = LabelEvent.objects.filter(task__in=list(task_ids), action=LabelEvent.Action.SKIPPED).order_by("pk")
    return {event.task_id: (event.detail["reason"], event.detail["note"]) for event in events}  # type: ignore[misc]


def set_aside_labels(project: Project, task_ids: Iterable[int]) -> dict[int, list[Label]]:
    """Return the labels that a restart set aside and that come back prefilled (SPEC C4 b), once for each image.

    A class that was merged since is its heir's; one that was retired is left out.
    """
    ids = list(task_ids)
    if not ids or not project.aside_up_to:  # asked for every page that is handed out
        return {}
    removed = [reset.pk for reset in Restarts(project).standing if not reset.detail.get("prefill")]
    proposed = Annotation.objects.unended().filter(
        created_by_event__gt=max(removed, default=0), created_by_event__lt=project.aside_up_to
    )
    heirs = heirs_of_classes(project)
    labels: dict[int, list[Label]] = defaultdict(list)
    for aside in proposed.of_tasks(ids):
        heir = heirs.get(aside.label_class_id)
        label = Label(heir, aside.box) if heir else None
        if label and (aside.box or label not in labels[aside.task_id]):
            labels[aside.task_id].append(label)
    return labels


def heirs_of_classes(project: Project) -> dict[int, int]:
    """Return for each class the one that can be chosen in its place: itself, or what it was merged into."""
    classes = LabelClass.objects.filter(project=project)
    current = set(classes.current().values_list("pk", flat=True))
    pairs = ((pk, merged or pk) for pk, merged in classes.values_list("pk", "merged_into"))
    return {pk: heir for pk, heir in pairs if heir in current}
