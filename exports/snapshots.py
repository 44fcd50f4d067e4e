"""Read a project's labels as they stood at an event, in chunks by key: flat in memory, the same each time (SPEC E5)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Max

from labeling.answers import Label
from labeling.models import Annotation, LabelEvent, LabelTask
from projects.models import Image, LabelClass, Project

CHUNK = 5000
ANSWERS = (LabelEvent.Action.SUBMITTED, LabelEvent.Action.CORRECTED, LabelEvent.Action.IMPORTED)
ENDINGS = (LabelEvent.Action.SKIPPED, LabelEvent.Action.REJECTED)


@dataclass(frozen=True, slots=True)
class LabeledImage:
    """An image and its labels; none of them says "no objects". Width and height are pixels as displayed."""

    path: str
    width: int
    height: int
    labels: tuple[Label, ...]


class Snapshot:
    """The labels of a project right after one event."""

    def __init__(self, project: Project, event_id: int) -> None:
        self.project = project
        self.event_id = event_id
        self.classes = list(LabelClass.objects.filter(project=project).order_by("retired_at", "position", "pk"))
        event = LabelEvent.objects.filter(pk=event_id).first()
        self.at = event.at if event else project.created_at

    def images(self) -> Iterator[LabeledImage]:
        """Yield every labeled image, in the order in which the images joined."""
        last = 0
        while rows := self._chunk(last):
            last = rows[-1][0]
            yield from self._labeled(rows)

    def count(self) -> int:
        """Return how many images the project has, labeled or not: the measure of progress."""
        return Image.objects.filter(project=self.project).count()

    def _chunk(self, last: int) -> list[tuple[int, int, str, int | None, int | None]]:
        tasks = LabelTask.objects.filter(project=self.project, pk__gt=last).order_by("pk")
        return list(tasks.values_list("pk", "image_id", "image__path", "image__width", "image__height")[:CHUNK])

    def _labeled(self, rows: list[tuple[int, int, str, int | None, int | None]]) -> Iterator[LabeledImage]:
        first, last = rows[0][0], rows[-1][0]
        within = {"task__gte": first, "task__lte": last, "task__project": self.project}
        standing = Annotation.objects.at_event(self.event_id).filter(**within).order_by("task_id", "place")
        labels: dict[int, list[Label]] = defaultdict(list)
        shown: dict[int, tuple[int, int]] = {}
        for pk, label_class, x, y, width, height, shown_width, shown_height in standing.values_list(
            "task_id", "label_class_id", "x", "y", "width", "height", "image_width", "image_height"
        ):
            if x is None or y is None or width is None or height is None:
                labels[pk].append(Label(label_class))
                continue
            labels[pk].append(Label(label_class, (x, y, width, height)))
            if shown_width and shown_height:
                shown[pk] = (shown_width, shown_height)
        empty = self._no_objects(within) if self.project.is_detection else set()
        for pk, _image, path, width, height in rows:
            if pk in labels or pk in empty:
                size = shown.get(pk, (width or 0, height or 0))
                yield LabeledImage(path, *size, tuple(labels.get(pk, ())))

    def _no_objects(self, within: dict[str, object]) -> set[int]:
        """Return the tasks whose last word by then was an answer: without labels it says "no objects"."""
        said = LabelEvent.objects.filter(pk__lte=self.event_id, **within)
        answers = dict(said.filter(action__in=ANSWERS).values_list("task").annotate(last=Max("pk")).order_by())
        endings = dict(said.filter(action__in=ENDINGS).values_list("task").annotate(last=Max("pk")).order_by())
        resets = LabelEvent.objects.filter(
            project=self.project, action=LabelEvent.Action.RESET, pk__lte=self.event_id
        ).aggregate(last=Max("pk"))["last"]
        return {pk for pk, event in answers.items() if event > max(endings.get(pk, 0), resets or 0)}


def last_event(project: Project) -> int:
    """Return the id of the project's last event; the caller holds the project's lock."""
    return LabelEvent.objects.filter(project=project).aggregate(last=Max("pk"))["last"] or 0
