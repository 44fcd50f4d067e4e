"""People's labels as arrays, and the ledger of what was promised by them (docs/assist.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db.models import Exists, Max, OuterRef, Q

from assist.blind import COUNTED, blind_tasks, close_ledger, labeled_tasks, suggested_tasks
from assist.models import AssistRun, Departure, Ledger
from labeling.models import PENDING, Annotation, Kind, LabelEvent, LabelTask, Status
from labeling.resets import Restarts
from projects.models import Image, LabelClass, Project


def class_ids(project: Project) -> list[int]:
    """Return the classes that can be chosen now, in their order."""
    return list(LabelClass.objects.filter(project=project).current().values_list("pk", flat=True))


@dataclass(frozen=True)
class Labeled:
    """Labeled tasks as arrays of one length; ``y`` is (n, number of classes) of 0 and 1."""

    tasks: np.ndarray
    images: np.ndarray
    y: np.ndarray
    is_blind: np.ndarray

    def __len__(self) -> int:
        return len(self.tasks)

    def take(self, rows: np.ndarray) -> Labeled:
        """Return some of the rows."""
        return Labeled(self.tasks[rows], self.images[rows], self.y[rows], self.is_blind[rows])


def rows_of(tasks: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return where each wanted task stands among the tasks; all of them must be there."""
    order = np.argsort(tasks)
    return order[np.searchsorted(tasks, wanted, sorter=order)]


def read_labels(project: Project, classes: list[int]) -> Labeled:
    """Return the labels as they are now; images with a label of another class (retired, say) are left out."""
    position = {pk: number for number, pk in enumerate(classes)}
    tasks = dict(labeled_tasks(project).values_list("pk", "image_id"))
    rows: dict[int, list[int]] = {}
    foreign: set[int] = set()
    labels = Annotation.objects.current(project).filter(task__project=project, task__status__in=COUNTED)
    for task, label_class in labels.values_list("task_id", "label_class_id"):
        if label_class not in position:
            foreign.add(task)
            continue
        rows.setdefault(task, []).append(position[label_class])
    known = np.array(sorted(rows.keys() & tasks.keys() - foreign), np.int64)
    y = np.zeros((len(known), len(classes)), np.uint8)
    for row, task in enumerate(known.tolist()):
        y[row, rows[task]] = 1
    blind = set(blind_tasks(project).values_list("pk", flat=True)) - _imported(project) - _prefilled(project)
    return Labeled(
        known,
        np.array([tasks[task] for task in known.tolist()], np.int64),
        y,
        np.array([task in blind for task in known.tolist()], bool),
    )


def _imported(project: Project) -> set[int]:
    """Return the tasks whose labels came from a file: those that nobody has labeled since.

    Events tell it, not the label's own one: merging and restoring write labels again.
    """
    events = LabelEvent.objects.filter(project=project)
    labeled_since = events.filter(task=OuterRef("task"), pk__gt=OuterRef("pk"), action=LabelEvent.Action.SUBMITTED)
    imported = events.filter(~Exists(labeled_since), action=LabelEvent.Action.IMPORTED, task__isnull=False)
    return set(imported.values_list("task_id", flat=True))


def _prefilled(project: Project) -> set[int]:
    """Return the tasks on whose page labels stood that a restart had set aside (SPEC C4 b)."""
    restarts = Restarts(project)
    tasks: set[int] = set()
    for event in LabelEvent.objects.filter(project=project, action=LabelEvent.Action.RESET):
        if event.detail.get("prefill"):
            stood = Annotation.objects.at_event(event.pk - 1, restarts.aside_up_to(event.pk - 1))
            tasks.update(stood.filter(task__project=project).values_list("task_id", flat=True))
    return tasks


@dataclass(frozen=True)
class Unlabeled:
    """Blank tasks without an answer, in the fixed random order; ``is_free`` where nobody has it on the screen."""

    tasks: np.ndarray
    images: np.ndarray
    ranks: np.ndarray
    is_free: np.ndarray


def read_unlabeled(project: Project, with_replaceable: bool = False) -> Unlabeled:
    """Return what is still to be labeled and has no suggestion, or one that may be replaced."""
    tasks = LabelTask.objects.in_project(project).filter(status__in=PENDING)
    blank = Q(kind__in=[Kind.MANUAL, Kind.CLUSTERED])
    if with_replaceable:
        ours = suggested_tasks(project).exclude(status=Status.CLAIMED)
        blank |= Q(pk__in=ours.values("pk"))
    tasks = tasks.filter(blank)
    rows = list(tasks.order_by("rank", "pk").values_list("pk", "image_id", "rank", "status"))
    columns: list[tuple[Any, ...]] = list(zip(*rows, strict=True)) or [(), (), (), ()]
    return Unlabeled(
        np.array(columns[0], np.int64),
        np.array(columns[1], np.int64),
        np.array(columns[2], np.int64),
        np.array([status != Status.CLAIMED for status in columns[3]], bool),
    )


# --- The ledger -----------------------------------------------------------------------------------------


def population(project: Project) -> dict[str, Any]:
    """Return what tells one population of images from another: classes, and which files there are."""
    images = Image.objects.filter(project=project).aggregate(newest=Max("pk"), changed=Max("changed_at"))
    return {
        "classes": sorted(class_ids(project)),
        "newest": images["newest"] or 0,
        "changed": images["changed"].isoformat() if images["changed"] else "",
    }


def last_event(project: Project) -> int:
    """Return the id of the project's newest event."""
    return LabelEvent.objects.filter(project=project).aggregate(last=Max("pk"))["last"] or 0


def open_ledger(project: Project) -> Ledger:
    """Return the ledger of the present population; the caller holds the project's lock.

    The first one counts all labels there are; a later one only those given from now on, as the images that are still
    unlabeled are others than those of which the earlier labels are a sample.
    """
    now = population(project)
    ledger = Ledger.objects.filter(project=project, closed_at__isnull=True).first()
    if ledger is not None and ledger.population == now:
        return ledger
    if ledger is not None:
        close_ledger(project)
    is_first = not Ledger.objects.filter(project=project).exists()
    after = 0 if is_first else last_event(project)
    return Ledger.objects.create(project=project, population=now, after_event=after)


@dataclass(frozen=True)
class Facts:
    """What the ledger holds: blind labels that left (``n``), how many of them the models got wrong (``k``), and the
    suggestions that were published (``m``); ``departed`` are all their tasks."""

    n: int
    k: int
    m: int
    departed: set[int]


def read_ledger(ledger: Ledger, labeled: Labeled, classes: list[int]) -> Facts:
    """Count the ledger by the labels as they are now; a task without one is not counted until it has."""
    row_of = {task: row for row, task in enumerate(labeled.tasks.tolist())}
    position = {pk: number for number, pk in enumerate(classes)}
    n = k = m = 0
    departed: set[int] = set()
    published = Departure.objects.filter(ledger=ledger, run__state=AssistRun.State.DONE)
    found = published.values_list("task_id", "classes", "is_suggested")
    for task, predicted, is_suggested in found:
        departed.add(task)
        if is_suggested:
            m += 1
            continue
        row = row_of.get(task)
        if row is None:
            continue
        said = np.zeros(len(classes), np.uint8)
        said[[position[pk] for pk in predicted if pk in position]] = 1
        n += 1
        k += int((said != labeled.y[row]).any())
    return Facts(n, k, m, departed)


def judges(ledger: Ledger, labeled: Labeled) -> np.ndarray:
    """Return which rows may judge a model for this ledger: blind, and given since it was opened."""
    if not ledger.after_event:
        return labeled.is_blind
    since = LabelEvent.objects.filter(project=ledger.project, pk__gt=ledger.after_event)
    submitted = since.filter(action=LabelEvent.Action.SUBMITTED).values_list("task_id", flat=True)
    return labeled.is_blind & np.isin(labeled.tasks, np.fromiter(submitted, np.int64))
