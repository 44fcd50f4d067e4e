"""Answers as they arrive from a page or the API, checked before anything is written.

One item of JSON an image: ``{"id", "labels": [class id, ..]}``, ``{"id", "boxes": [{"label_class", "box"}, ..]}`` or
``{"id", "skip": reason, "note"?}`` (API.md).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from django.utils.translation import gettext as _

from labeling.models import LabelTask, SkipReason
from projects.models import Project

MAX_BOXES = 5000
OUTSIDE_PIXELS = 1.0  # a box may reach this far over the edge, and is cut; farther out is a mistake


class InvalidAnswer(Exception):
    """An answer that can't be taken, in words, with the id of the item that it is about."""

    def __init__(self, message: str, item: int | None = None) -> None:
        super().__init__(message)
        self.item = item


@dataclass(frozen=True, slots=True)
class Label:
    """A class and, in detection, a box (x, y, width, height) in pixels of the image as displayed."""

    label_class: int
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person says about one image: its labels (none is "no objects"), or why it was skipped."""

    task: int
    labels: tuple[Label, ...] = ()
    skip: str = ""
    note: str = ""


def digest(items: object) -> str:
    """Return a fingerprint of submitted items, so that the same submit again is known.

    Raises InvalidAnswer for what no database could hold: half characters, numbers without end.
    """
    try:
        return hashlib.sha256(orjson.dumps(items, option=orjson.OPT_SORT_KEYS)).hexdigest()
    except TypeError:
        raise InvalidAnswer(_("The answers hold a text or a number that can't be stored.")) from None


def check_answers(project: Project, tasks: Iterable[LabelTask], items: object) -> list[Answer]:
    """Return an answer for each of the tasks, in their order.

    Raises InvalidAnswer for the first item that is not right; one answer for each task, and no other, is expected.
    """
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise InvalidAnswer(_("Send the answers as a list, one item for each image."))
    classes = {label_class.pk for label_class in project.choosable_classes}
    expected = {task.pk: task for task in tasks}
    answers: dict[int, Answer] = {}
    for item in items:
        pk = item.get("id")
        if not isinstance(pk, int) or pk not in expected:
            raise InvalidAnswer(_("Image %(id)s is not on this page.") % {"id": pk})
        if pk in answers:
            raise InvalidAnswer(_("Image %(id)s was answered twice.") % {"id": pk}, pk)
        answers[pk] = _check(project, expected[pk], classes, item)
    for pk in expected:
        if pk not in answers:
            raise InvalidAnswer(_("An image has no answer yet. Label it, or skip it with a reason."), pk)
    return [answers[pk] for pk in expected]


def _check(project: Project, task: LabelTask, classes: set[int], item: Mapping[str, Any]) -> Answer:
    given = [key for key in ("labels", "boxes", "skip") if item.get(key) is not None]
    if len(given) != 1:
        raise InvalidAnswer(_("Give an image either labels, or boxes, or a reason to skip it."), task.pk)
    if given == ["skip"]:
        return _skip(task, item)
    if project.is_detection != (given == ["boxes"]):
        wanted = "boxes" if project.is_detection else "labels"
        raise InvalidAnswer(_("This project wants “%(wanted)s”.") % {"wanted": wanted}, task.pk)
    if given == ["boxes"]:
        return Answer(task.pk, tuple(_boxes(task, classes, item["boxes"])))
    return Answer(task.pk, tuple(_labels(project, task, classes, item["labels"])))


def _skip(task: LabelTask, item: Mapping[str, Any]) -> Answer:
    reason, note = item["skip"], item.get("note") or ""
    if reason not in SkipReason.values:
        choices = ", ".join(SkipReason.values)
        raise InvalidAnswer(_("Skip an image for one of these reasons: %(choices)s.") % {"choices": choices}, task.pk)
    if not isinstance(note, str) or len(note) > 500 or "\0" in note:
        raise InvalidAnswer(_("A note is a text of at most 500 characters."), task.pk)
    return Answer(task.pk, skip=reason, note=note)


def _labels(project: Project, task: LabelTask, classes: set[int], labels: object) -> Iterable[Label]:
    if not isinstance(labels, list):
        raise InvalidAnswer(_("Labels are a list of class ids."), task.pk)
    if project.task_type == Project.TaskType.MULTICLASS and len(labels) != 1:
        raise InvalidAnswer(_("An image of this project has exactly one class."), task.pk)
    if not labels:
        raise InvalidAnswer(_("An image of this project has at least one class."), task.pk)
    for label in labels:
        _check_class(task, classes, label)
    if len(set(labels)) != len(labels):
        raise InvalidAnswer(_("A class was given twice."), task.pk)
    return [Label(label) for label in labels]


def _boxes(task: LabelTask, classes: set[int], boxes: object) -> Iterable[Label]:
    if not isinstance(boxes, list) or not all(isinstance(box, Mapping) for box in boxes):
        raise InvalidAnswer(_("Boxes are a list of objects with “label_class” and “box”."), task.pk)
    if len(boxes) > MAX_BOXES:
        raise InvalidAnswer(_("An image can have at most %(n)d boxes.") % {"n": MAX_BOXES}, task.pk)
    for item in boxes:
        _check_class(task, classes, item.get("label_class"))
    return [Label(item["label_class"], fit_box(task, item.get("box"))) for item in boxes]


def _check_class(task: LabelTask, classes: set[int], label: object) -> None:
    if not isinstance(label, int) or isinstance(label, bool) or label not in classes:
        raise InvalidAnswer(_("%(label)s is not a class of this project.") % {"label": label}, task.pk)


def fit_box(task: LabelTask, box: object) -> tuple[float, float, float, float]:
    """Return the box as floats, cut at the image's edge. Raises InvalidAnswer if it is no box of this image."""
    if not isinstance(box, list | tuple) or len(box) != 4:
        raise InvalidAnswer(_("A box is [x, y, width, height]."), task.pk)
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in box):
        raise InvalidAnswer(_("A box is made of four finite numbers."), task.pk)
    x, y, width, height = map(float, box)
    if width <= 0 or height <= 0:
        raise InvalidAnswer(_("A box has a width and a height above zero."), task.pk)
    image_width, image_height = task.image.width, task.image.height
    if image_width is None or image_height is None:
        raise InvalidAnswer(_("This image has not been opened yet, so its size isn't known."), task.pk)
    slack = OUTSIDE_PIXELS
    inside = x >= -slack and y >= -slack and x + width <= image_width + slack and y + height <= image_height + slack
    if not inside:
        size = {"width": image_width, "height": image_height}
        raise InvalidAnswer(_("A box lies outside the image, which is %(width)d × %(height)d pixels.") % size, task.pk)
    x, width = _cut(x, width, image_width)
    y, height = _cut(y, height, image_height)
    if width <= 0 or height <= 0:
        raise InvalidAnswer(_("A box lies on the image's edge, and nothing of it inside."), task.pk)
    return (x, y, width, height)


def _cut(start: float, length: float, size: int) -> tuple[float, float]:
    """Return the interval's part inside [0, size]; ``start <= size - length`` holds to the last bit."""
    end = min(start + length, float(size))
    start = max(start, 0.0)
    length = end - start
    while length > 0 and start > size - length:  # rounding; the database compares in this form
        length = math.nextafter(length, 0.0)
    return start, length
