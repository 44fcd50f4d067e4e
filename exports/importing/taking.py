"""Take the labels of a file into a project: in chunks, each one transaction under the project's lock (SPEC N6)."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext as _

from exports.importing import coco, table
from exports.importing.document import BadFile, Box, Document
from exports.importing.matching import Matches, match
from exports.importing.report import Report
from labeling import history, suggestions
from labeling.answers import Answer, InvalidAnswer, Label, fit_box
from labeling.models import ANSWERED, UNCLAIMED, LabelEvent, LabelTask, Status
from projects import measuring
from projects.access import lock
from projects.models import Image, LabelClass, Project
from projects.previews import ImageFacts

CHUNK = 500
MAX_BYTES = 4 * 1024**3
SAME_SHAPE = 0.02  # how far two ratios of width and height may lie apart
READERS: dict[str, Callable[..., Document]] = {"coco": coco.read, "csv": table.read}


@dataclass(frozen=True, slots=True)
class Choices:
    """How a file is taken in; empty fields are found out from the file."""

    format: str = ""
    coordinates: str = ""
    empty: bool = False  # an image without a label shows no objects (detection)


class _Refused(Exception):
    """An image of the file that can't be taken, with the reason's name (report.py)."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def read(path: Path, format: str = "") -> Document:
    """Read a file of labels. Raises BadFile."""
    if path.stat().st_size > MAX_BYTES:
        raise BadFile(_("The file is larger than %(n)d GB.") % {"n": MAX_BYTES // 1024**3})
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            start = file.read(1024).lstrip()
        except UnicodeDecodeError:
            raise BadFile(_("The file is not a text in UTF-8.")) from None
        if not start:
            raise BadFile(_("The file is empty."))
        file.seek(0)
        return READERS[format or ("coco" if start.startswith(("{", "[")) else "csv")](file)


def take(
    project: Project,
    path: Path,
    choices: Choices,
    report: Report,
    *,
    is_final: bool,
    by: User | None,
    report_progress: Callable[[float], None],
    keep: Callable[[Report], None],
) -> None:
    """Take the labels of a file in, as final ones or as suggestions; the report says what became of each image.

    Raises BadFile when nothing of the file can be used. Images that have an answer, or are on a labeler's page, are
    left as they are, so the same file may be taken again. ``keep`` is called in the transaction of each chunk: given
    the report that it kept, an attempt goes on where the one before was cut off.
    """
    document = read(path, choices.format)
    _check_kind(project, document)
    if document.has_boxes:
        report.coordinates = choices.coordinates or document.coordinates()
    report_progress(0.05)
    matches = match(project, document)
    if not report.last_image:
        _begin(report, document, matches)
    taker = _Taker(project, document, choices, report, report.coordinates == "normalized", is_final, by, keep)
    found = sorted(matches.found, key=matches.found.__getitem__)
    for numbers in _chunks(number for number in found if matches.found[number] > report.last_image):
        taker.take({number: matches.found[number] for number in numbers})
        report_progress(0.1 + 0.9 * (bisect(found, report.last_image, key=matches.found.__getitem__)) / len(found))


def _begin(report: Report, document: Document, matches: Matches) -> None:
    """Write down what the file holds, and what of it fits no image."""
    report.format, report.images = document.format, len(document.paths)
    report.labels, report.crowds = document.n_labels, document.n_left_out
    report.by_end = matches.n_by_end
    for reason in ("absent", "ambiguous", "twice"):
        for number in getattr(matches, reason):
            report.leave_out(reason, document.paths[number])


def _chunks(numbers: Iterable[int]) -> Iterator[list[int]]:
    numbers = iter(numbers)
    while chunk := list(islice(numbers, CHUNK)):
        yield chunk


def _check_kind(project: Project, document: Document) -> None:
    if not document.paths:
        raise BadFile(_("The file has no images."))
    if document.has_boxes and not project.is_detection:
        raise BadFile(_("The file holds boxes, and this project wants classes for whole images."))
    if project.is_detection and document.n_labels and not document.has_boxes:
        raise BadFile(_("The file holds classes for whole images, and this project wants boxes."))


class _Taker:
    """Takes images of one file, chunk by chunk."""

    def __init__(
        self,
        project: Project,
        document: Document,
        choices: Choices,
        report: Report,
        is_normalized: bool,
        is_final: bool,
        by: User | None,
        keep: Callable[[Report], None],
    ) -> None:
        self.project = project
        self.document = document
        self.choices = choices
        self.report = report
        self.is_normalized = is_normalized
        self.is_final = is_final
        self.by = by
        self.keep = keep
        self.classes = self._class_ids()
        self.measured: dict[int, ImageFacts] = {}

    def _class_ids(self) -> list[int | None]:
        """Return the id of each of the file's classes: of the same name, capitals apart."""
        current = LabelClass.objects.filter(project=self.project).current()
        ids = {name.casefold(): pk for pk, name in current.values_list("pk", "name")}
        return [ids.get(name.casefold()) for name in self.document.classes]

    def take(self, images: dict[int, int]) -> None:
        """Take some images, given as the file's number and the image's id."""
        numbers = {image: number for number, image in images.items()}
        tasks = list(LabelTask.objects.filter(project=self.project, image__in=numbers).select_related("image"))
        self._measure([task for task in tasks if task.status in UNCLAIMED and task.image.width is None])
        answers: dict[int, tuple[Answer, tuple[float | None, ...]]] = {}
        for task in tasks:
            number = numbers[task.image_id]
            try:
                _check_free(task)
                answers[task.pk] = self._answer(task, number)
            except _Refused as refusal:
                self._leave_out(refusal, number)
        with transaction.atomic():
            project = lock(self.project)
            self._write(project, {task.pk: task for task in tasks}, answers, numbers)
            self.report.last_image = max(numbers)
            self.keep(self.report)

    def _measure(self, tasks: list[LabelTask]) -> None:
        self.measured = measuring.measure(self.project, [(task.image_id, task.image.path) for task in tasks])
        for task in tasks:
            if facts := self.measured.get(task.image_id):
                task.image.width, task.image.height = facts.width, facts.height
                task.image.orientation = facts.orientation

    def _answer(self, task: LabelTask, number: int) -> tuple[Answer, tuple[float | None, ...]]:
        """Return the answer that the file gives, with the scores of its labels. Raises _Refused."""
        found = list(self.document.labels_of(number))
        if not found:
            self._check_empty(number)
        unknown = {self.document.classes[c] for c, _box, _score in found if self.classes[c] is None}
        for name in unknown:
            self.report.unknown_classes[name] = self.report.unknown_classes.get(name, 0) + 1
        if unknown:
            raise _Refused("class", ", ".join(sorted(unknown)))
        if task.image.width is None:
            raise _Refused("unopened")
        if self.project.is_detection:
            self._check_shape(task.image, number)
            labels = [Label(self.classes[c] or 0, self._box(task, box)) for c, box, _score in found]
            return Answer(task.pk, tuple(labels)), tuple(score for _c, _box, score in found)
        scores = {self.classes[c]: score for c, _box, score in found}
        if len(scores) > 1 and self.project.task_type == Project.TaskType.MULTICLASS:
            raise _Refused("one_class", ", ".join(self.document.classes[c] for c, _box, _score in found))
        return Answer(task.pk, tuple(Label(pk or 0) for pk in scores)), tuple(scores.values())

    def _check_empty(self, number: int) -> None:
        if number in self.document.said_unlabeled:
            raise _Refused("unlabeled")
        is_empty = self.project.is_detection and (self.choices.empty or number in self.document.said_empty)
        if not is_empty or not self.is_final:
            raise _Refused("empty")

    def _check_shape(self, image: Image, number: int) -> None:
        """Refuse an image that is another one than the file speaks of; shares of a smaller copy fit as well."""
        width, height = self.document.size(number)
        if not width or not height or (width, height) == (image.width, image.height):
            return
        shown = (image.width or 0, image.height or 0)
        sizes = _("the file says %(w)d × %(h)d pixels, the image has %(w2)d × %(h2)d")
        detail = sizes % {"w": width, "h": height, "w2": shown[0], "h2": shown[1]}
        if image.orientation >= 5 and (height, width) == shown:
            raise _Refused("turned", detail)
        is_alike = abs(width / height / (shown[0] / shown[1]) - 1) < SAME_SHAPE
        if not (self.is_normalized and is_alike):
            raise _Refused("size", detail)

    def _box(self, task: LabelTask, box: Box | None) -> Box:
        if box is None:
            raise _Refused("box", _("a label has no box"))
        x, y, width, height = box
        if self.is_normalized:
            image_width, image_height = task.image.width or 0, task.image.height or 0
            x, y, width, height = x * image_width, y * image_height, width * image_width, height * image_height
        try:
            return fit_box(task, (x, y, width, height))
        except InvalidAnswer as error:
            raise _Refused("box", str(error)) from None

    def _write(
        self,
        project: Project,
        tasks: dict[int, LabelTask],
        answers: dict[int, tuple[Answer, tuple[float | None, ...]]],
        numbers: dict[int, int],
    ) -> None:
        free = LabelTask.objects.filter(pk__in=list(answers), status__in=UNCLAIMED).order_by("pk")
        free_ids = list(free.select_for_update(of=("self",)).values_list("pk", flat=True))
        for pk in answers.keys() - set(free_ids):  # claimed since
            self._leave_out(_Refused("claimed"), numbers[tasks[pk].image_id])
        if self.is_final:
            chosen = [tasks[pk] for pk in free_ids]
            measured = [task.image for task in chosen if task.image_id in self.measured]
            Image.objects.bulk_update(measured, ["width", "height", "orientation"], batch_size=CHUNK)
            given = [answers[pk][0] for pk in free_ids]
            history.record(project, chosen, given, action=LabelEvent.Action.IMPORTED, by=self.by)
        else:
            suggestions.suggest(project, suggestions.pack(_suggestion(*answers[pk]) for pk in free_ids))
        self.report.imported += len(free_ids)
        self.report.imported_labels += sum(len(answers[pk][0].labels) for pk in free_ids)

    def _leave_out(self, refusal: _Refused, number: int) -> None:
        path = self.document.paths[number]
        self.report.leave_out(refusal.reason, f"{path}: {refusal.detail}" if refusal.detail else path)


def _check_free(task: LabelTask) -> None:
    if task.status in UNCLAIMED:
        return
    if task.status == Status.CLAIMED:
        raise _Refused("claimed")
    raise _Refused("answered" if task.status in (*ANSWERED, Status.SKIPPED) else "out")


def _suggestion(answer: Answer, scores: tuple[float | None, ...]) -> suggestions.Suggestion:
    known = [score for score in scores if score is not None]
    lowest = min(known) if known and len(known) == len(scores) else None
    return suggestions.Suggestion(answer.task, answer.labels, scores, lowest)
