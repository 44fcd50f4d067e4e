"""Read a project's labels as they stood at an event, in chunks by key: flat in memory, the same each time (SPEC E5)."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from django.contrib.auth.models import User
from django.db.models import Max
from django.utils import timezone

from exports.options import Options
from labeling.answers import Label
from labeling.models import Annotation, LabelEvent, LabelTask
from labeling.resets import Restarts
from projects import measuring
from projects.models import Datastore, LabelClass, Project

CHUNK = 2000
Action = LabelEvent.Action
GIVES = (Action.SUBMITTED, Action.CORRECTED, Action.IMPORTED)
TAKES = (Action.SKIPPED, Action.REJECTED)
UNDOABLE = (Action.APPROVED, Action.REJECTED, Action.RETURNED, Action.REMOVED)


@dataclass(frozen=True, slots=True)
class Frozen:
    """What an export speaks of, fixed when it is asked for: whatever could change before it is written again."""

    name: str  # of the project
    event: int
    last_task: int
    at: str
    classes: list[tuple[int, str]]
    base: str  # what comes before an image's path in its address
    labelers: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as kept on the export's row."""
        return asdict(self)


def freeze(project: Project, options: Options) -> Frozen:
    """Fix what an export of all that is labeled up to now speaks of; the caller holds the project's lock."""
    tasks = LabelTask.objects.filter(project=project)
    return Frozen(
        name=project.name,
        event=LabelEvent.objects.filter(project=project).aggregate(last=Max("pk"))["last"] or 0,
        last_task=tasks.aggregate(last=Max("pk"))["last"] or 0,
        at=timezone.now().isoformat(timespec="seconds"),
        classes=[(c.pk, c.name) for c in _classes(project)],
        base=address_of(project.dataset.datastore),
        labelers=_labelers(project) if options.labelers else {},
    )


def _classes(project: Project) -> list[LabelClass]:
    """Return the classes in their order, then those that were retired and still stand on images."""
    classes = LabelClass.objects.filter(project=project).order_by("retired_at", "position", "pk")
    current, retired = list(classes.current()), classes.filter(retired_at__isnull=False)
    return current + [c for c in retired if Annotation.objects.current(project).filter(label_class=c).exists()]


def _labelers(project: Project) -> dict[str, str]:
    """Return the names of who labeled, for an export: never an address to write to (ATTACKS 21)."""
    ids = LabelTask.objects.filter(project=project, labeler__isnull=False).order_by().values_list("labeler").distinct()
    return {str(user.pk): user.username.partition("@")[0] for user in User.objects.filter(pk__in=ids)}


def address_of(datastore: Datastore) -> str:
    """Return the beginning of the addresses of a datastore's files: ``file:///…/``, ``s3://bucket/…/``."""
    schemes = {Datastore.Kind.AZURE: "az", Datastore.Kind.S3: "s3", Datastore.Kind.GCS: "gs"}
    scheme = schemes.get(Datastore.Kind(datastore.kind))
    root = f"{scheme}://{datastore.container}" if scheme else Path(datastore.container).absolute().as_uri()
    prefix = datastore.prefix.strip("/")
    return f"{root.rstrip('/')}/{prefix}/" if prefix else f"{root.rstrip('/')}/"


@dataclass(frozen=True, slots=True)
class LabeledImage:
    """An image and its labels; a labeled one without any says "no objects". Width and height are pixels as displayed.

    ``how`` is manual, clustered, prelabeled or imported; ``by`` is empty unless labelers' names are asked for.
    """

    path: str
    width: int
    height: int
    labels: tuple[Label, ...] = ()
    is_labeled: bool = True
    by: str = ""
    at: datetime | None = None
    how: str = ""


class Row(NamedTuple):
    """A task and its image, as the database has them now."""

    task: int
    image: int
    path: str
    width: int | None
    height: int | None
    problem: str


@dataclass(slots=True)
class _State:
    """What the events of a task add up to."""

    answer: int = 0  # the event that gave the present answer
    is_answered: bool = False
    is_approved: bool = False
    is_out: bool = False
    by: int | None = None
    at: datetime | None = None
    how: str = ""


class Snapshot:
    """The labels of a project right after one event; ``report`` is told how many images have been looked at."""

    def __init__(
        self,
        project: Project,
        frozen: Frozen,
        options: Options,
        report: Callable[[int], None] = lambda n_images: None,
    ) -> None:
        self.project = project
        self.frozen = frozen
        self.options = options
        self._report = report
        self.class_names = dict(frozen.classes)
        self._aside_up_to = Restarts(project).aside_up_to(frozen.event)

    def images(self) -> Iterator[LabeledImage]:
        """Yield every image that is asked for, in the order in which the images joined."""
        tasks = LabelTask.objects.filter(project=self.project, pk__lte=self.frozen.last_task)
        ids = array("q", tasks.order_by("pk").values_list("pk", flat=True).iterator(chunk_size=CHUNK))
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            yield from self._read(self._rows(chunk[0], chunk[-1]))
            self._report(start + len(chunk))

    def address(self, image: LabeledImage) -> str:
        """Return where the image itself lies."""
        return self.frozen.base + image.path

    def _rows(self, first: int, last: int) -> list[Row]:
        """Return the project's tasks with their images; by ids alone, as a filter by project would sort them all."""
        tasks = LabelTask.objects.filter(pk__gte=first, pk__lte=last).order_by("pk")
        columns = ("project_id", "pk", "image_id", "image__path", "image__width", "image__height", "image__problem")
        return [Row(*row) for project, *row in tasks.values_list(*columns) if project == self.project.pk]

    def _read(self, rows: list[Row]) -> Iterator[LabeledImage]:
        # By range here too, as a list of ids takes long to bind; what other projects have in between is passed over.
        within = {"task__gte": rows[0].task, "task__lte": rows[-1].task}
        labels, sizes = self._labels(within)
        states = self._states(within)
        wanted: list[tuple[Row, _State, bool]] = []
        for row in rows:
            state = states.get(row.task) or _State()
            is_labeled = row.task in labels or (state.is_answered and state.answer > self._aside_up_to)
            if is_labeled and self._takes(state):
                wanted.append((row, state, True))
            elif not is_labeled and self.options.include_unlabeled and not row.problem and not state.is_out:
                wanted.append((row, state, False))
        sizes |= self._sizes_of_empty([state for row, state, is_given in wanted if is_given and row.task not in sizes])
        unknown = [row for row, _s, _l in wanted if row.task not in sizes and row.width is None and not row.problem]
        measured = measuring.measure(self.project, [(row.image, row.path) for row in unknown])
        for row, state, is_labeled in wanted:
            facts = measured.get(row.image)
            size = sizes.get(row.task) or ((facts.width, facts.height) if facts else (row.width or 0, row.height or 0))
            yield LabeledImage(
                row.path,
                *size,
                labels=tuple(labels.get(row.task, ())),
                is_labeled=is_labeled,
                by=self.frozen.labelers.get(str(state.by), ""),
                at=state.at if is_labeled else None,
                how=state.how if is_labeled else "",
            )

    def _takes(self, state: _State) -> bool:
        if self.options.approved_only and not state.is_approved:
            return False
        return state.at is None or self.options.takes(state.at)

    def _labels(self, within: dict[str, int]) -> tuple[dict[int, list[Label]], dict[int, tuple[int, int]]]:
        """Return the labels that stood on the tasks, and the sizes of their images as they were on the screen."""
        standing = Annotation.objects.at_event(self.frozen.event, self._aside_up_to).filter(**within)
        standing = standing.order_by("task_id", "place")
        labels: dict[int, list[Label]] = defaultdict(list)
        sizes: dict[int, tuple[int, int]] = {}
        for pk, label_class, x, y, width, height, image_width, image_height in standing.values_list(
            "task_id", "label_class_id", "x", "y", "width", "height", "image_width", "image_height"
        ):
            if x is None or y is None or width is None or height is None:
                labels[pk].append(Label(label_class))
            else:
                labels[pk].append(Label(label_class, (x, y, width, height)))
            if image_width and image_height:
                sizes[pk] = (image_width, image_height)
        return labels, sizes

    def _states(self, within: dict[str, int]) -> dict[int, _State]:
        """Return what the events of the tasks add up to at the snapshot's event."""
        events = LabelEvent.objects.filter(pk__lte=self.frozen.event, **within).order_by("task_id", "pk")
        states: dict[int, _State] = defaultdict(_State)
        before: dict[int, _State] = {}
        for task, pk, action, by, at, kind, page in events.values_list(
            "task_id", "pk", "action", "by_id", "at", "kind", "page_id"
        ):
            state = states[task]
            if action in UNDOABLE:
                before[task] = replace(state)
            if action == Action.RESTORED:  # what was done last was taken back
                states[task] = before.pop(task, state)
            elif action in GIVES:
                state.answer, state.by, state.at = pk, by, at
                state.how = "imported" if action == Action.IMPORTED else kind
                state.is_answered, state.is_out = True, False
                state.is_approved = action == Action.CORRECTED and page is None  # a reviewer's, not a labeler's own
            elif action in TAKES:
                state.is_answered = state.is_approved = False
            elif action in (Action.APPROVED, Action.FLAGGED):
                state.is_approved = action == Action.APPROVED
            elif action in (Action.REMOVED, Action.RETURNED):
                state.is_out = action == Action.REMOVED
        return states

    def _sizes_of_empty(self, states: list[_State]) -> dict[int, tuple[int, int]]:
        """Return the sizes that answers without labels recorded ("no objects")."""
        events = LabelEvent.objects.filter(pk__in=[state.answer for state in states]) if states else ()
        return {
            event.task_id: (event.detail["size"][0], event.detail["size"][1])
            for event in events
            if event.task_id and event.detail.get("size")
        }
