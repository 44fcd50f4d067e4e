"""Predicted boxes against true ones: how good they are, and which are worth showing.

Boxes are float (k, 4) as x, y, width, height in pixels of the image as displayed, like everywhere in labelsite.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

MATCH = 0.5  # IoU from which a box stands for an object
TIGHT = 0.7  # IoU from which nobody would adjust it
FALSE, MISSING, LOOSE = 1.0, 3.0, 2.0  # actions: delete; draw and choose a class; two edges
CONFIRM = 1.0
SHARED_SPOT = 0.6  # IoU from which two boxes of classes that exclude each other cannot both stand


@dataclass
class Boxes:
    """Boxes of one image with their classes, and scores if a model found them (else 1)."""

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        self.boxes = np.asarray(self.boxes, np.float64).reshape(-1, 4)
        self.classes = np.asarray(self.classes, np.int64).reshape(-1)
        self.scores = np.asarray(self.scores, np.float64).reshape(-1)
        if not len(self.scores):
            self.scores = np.ones(len(self.classes))
        if not len(self.boxes) == len(self.classes) == len(self.scores):
            raise ValueError(f"{len(self.boxes)} boxes, {len(self.classes)} classes, {len(self.scores)} scores")

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, chosen: np.ndarray) -> Boxes:
        """Return some of them."""
        return Boxes(self.boxes[chosen], self.classes[chosen], self.scores[chosen])

    def above(self, thresholds: np.ndarray) -> Boxes:
        """Return those that their class's threshold lets pass."""
        return self.take(np.flatnonzero(self.scores >= thresholds[self.classes]))

    def without_shared_spots(self, iou: float = SHARED_SPOT) -> Boxes:
        """Return the best box of each spot, whatever its class: for classes that exclude each other."""
        order = np.argsort(-self.scores, kind="stable")
        overlap = ious(self.boxes, self.boxes)
        kept: list[int] = []
        for number in order:
            if not kept or overlap[number, kept].max() < iou:
                kept.append(int(number))
        return self.take(np.array(kept, int))


def ious(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection over union of all pairs."""
    left = np.maximum(first[:, None, :2], second[None, :, :2])
    right = np.minimum(first[:, None, :2] + first[:, None, 2:], second[None, :, :2] + second[None, :, 2:])
    shared = np.prod(np.maximum(right - left, 0), axis=2)
    union = np.prod(first[:, 2:], axis=1)[:, None] + np.prod(second[:, 2:], axis=1)[None, :] - shared
    return np.asarray(shared / np.maximum(union, 1e-9))


def match(found: Boxes, truth: Boxes) -> np.ndarray:
    """Return for each found box its IoU with the true box of its class that it stands for, 0 for a false one.

    The best scores choose first; each true box is taken once.
    """
    matched = np.zeros(len(found))
    if not len(found) or not len(truth):
        return matched
    overlap = ious(found.boxes, truth.boxes)
    overlap[found.classes[:, None] != truth.classes[None, :]] = 0
    for number in np.argsort(-found.scores, kind="stable"):
        best = int(overlap[number].argmax())
        if overlap[number, best] >= MATCH:
            matched[number] = overlap[number, best]
            overlap[:, best] = 0
    return matched


def actions(found: Boxes, truth: Boxes, tight: float = TIGHT) -> float:
    """Return how many actions it takes to make the truth of shown boxes."""
    matched = match(found, truth)
    hits = matched >= MATCH
    loose = hits & (matched < tight)
    missing = len(truth) - int(hits.sum())
    return CONFIRM + FALSE * int((~hits).sum()) + LOOSE * int(loose.sum()) + MISSING * missing


@dataclass(frozen=True)
class Thresholds:
    """From which score boxes of each class are shown, and what that is expected to cost an image."""

    by_class: list[float]  # above 1: never
    exclusive: bool  # one box a spot, whatever its class
    actions: float  # expected actions an image with the boxes shown
    by_hand: float  # the same when all is drawn by hand

    @property
    def worthwhile(self) -> bool:
        """Tell whether showing boxes is less work than drawing them."""
        return self.actions < self.by_hand

    def shown(self, found: Boxes) -> Boxes:
        """Return the boxes that are shown."""
        kept = found.above(np.asarray(self.by_class))
        return kept.without_shared_spots() if self.exclusive else kept

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


NEVER = 1.01
BORROWED = 5  # boxes of all classes that count beside those of one class


def thresholds_by_actions(
    found: Sequence[Boxes], truth: Sequence[Boxes], n_classes: int, exclusive: bool | None = None
) -> Thresholds:
    """Return the threshold of each class that minimises expected actions, on images that the model was not trained on.

    `exclusive`: whether classes exclude each other on one spot; None tries both.
    """
    choices = []
    for alone in (False, True) if exclusive is None else (exclusive,):
        seen = [boxes.without_shared_spots() if alone else boxes for boxes in found]
        by_class = _thresholds(seen, truth, n_classes)
        draft = Thresholds(by_class, alone, 0.0, 0.0)
        cost = float(np.mean([actions(draft.shown(b), t) for b, t in zip(found, truth, strict=True)])) if truth else 0.0
        by_hand = CONFIRM + MISSING * float(np.mean([len(t) for t in truth])) if truth else 0.0
        choices.append(Thresholds(by_class, alone, cost, by_hand))
    return min(choices, key=lambda choice: choice.actions)


class _Cuts:
    """What it gains in actions, against showing none, to cut through the scores of boxes: all cuts in one pass."""

    def __init__(self, scores: np.ndarray, gains: np.ndarray) -> None:
        order = np.argsort(-scores, kind="stable")
        ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # equal scores pass together
        self.scores = scores[order][ends]
        self.totals = np.cumsum(gains[order])[ends]

    def gain(self, scores: np.ndarray) -> np.ndarray:
        """Return what it gains to show all boxes of these scores or better."""
        return np.append(0.0, self.totals)[np.searchsorted(-self.scores, -scores, side="right")]


def _thresholds(found: Sequence[Boxes], truth: Sequence[Boxes], n_classes: int) -> list[float]:
    """Return the best threshold of each class. A class that has few true boxes to judge by borrows from all of them."""
    if not truth:
        return [NEVER] * n_classes
    rows = [(boxes.scores, boxes.classes, _gains(boxes, true)) for boxes, true in zip(found, truth, strict=True)]
    scores, classes, gains = (np.concatenate(column) for column in zip(*rows, strict=True))
    counts = np.bincount(np.concatenate([true.classes for true in truth]), minlength=n_classes)
    everything, n_true = _Cuts(scores, gains), max(1, int(counts.sum()))
    chosen = []
    for number in range(n_classes):
        mine = _Cuts(scores[classes == number], gains[classes == number])
        at = np.union1d(mine.scores, everything.scores)[::-1]
        borrowed = BORROWED / n_true if counts[number] < n_true else 0.0
        total = mine.gain(at) + borrowed * everything.gain(at)
        best = int(total.argmax()) if len(total) else 0
        chosen.append(float(at[best]) if len(total) and total[best] > 0 else NEVER)
    return chosen


def _gains(found: Boxes, truth: Boxes) -> np.ndarray:
    """Return how many actions each box saves when it is shown."""
    matched = match(found, truth)
    return np.where(matched >= TIGHT, MISSING, np.where(matched >= MATCH, MISSING - LOOSE, -FALSE))


@dataclass(frozen=True)
class Measured:
    """A measure and what it is at worst, with 95 % confidence."""

    value: float
    bound: float


def bounds(
    shown: Sequence[Boxes], truth: Sequence[Boxes], rng: np.random.Generator, rounds: int = 1_000, doubt: float = 0.05
) -> dict[str, Measured]:
    """Return precision, missed share and mean IoU of shown boxes, each with a one-sided bound.

    Images are resampled, not boxes: the boxes of one image are not independent.
    """
    rows = np.zeros((len(truth), 4))  # shown, right, true, sum of IoU
    for number, (boxes, true) in enumerate(zip(shown, truth, strict=True)):
        matched = match(boxes, true)
        rows[number] = len(boxes), (matched >= MATCH).sum(), len(true), matched.sum()
    if not len(rows):
        return {name: Measured(0.0, bad) for name, bad in (("precision", 0.0), ("missed", 1.0), ("iou", 0.0))}
    drawn = np.array([rows[rng.integers(len(rows), size=len(rows))].sum(0) for _round in range(rounds)])
    now, many = _measures(rows.sum(0, keepdims=True)), _measures(drawn)
    return {
        "precision": Measured(float(now[0, 0]), float(np.quantile(many[:, 0], doubt))),
        "missed": Measured(float(now[0, 1]), float(np.quantile(many[:, 1], 1 - doubt))),
        "iou": Measured(float(now[0, 2]), float(np.quantile(many[:, 2], doubt))),
    }


def _measures(sums: np.ndarray) -> np.ndarray:
    shown, right, true, iou = sums.T
    precision = np.where(shown > 0, right / np.maximum(shown, 1), 0)
    return np.column_stack([precision, 1 - right / np.maximum(true, 1), iou / np.maximum(right, 1)])


def evaluate(found: Sequence[Boxes], truth: Sequence[Boxes], n_classes: int) -> dict[str, Any]:
    """Return pycocotools' figures: mAP, AP50, both by class, and precision at 101 recalls for the picture.

    A class without a true box has None.
    """
    empty: dict[str, Any] = {
        "map": None,
        "ap50": None,
        "by_class": [None] * n_classes,
        "ap50_by_class": [None] * n_classes,
    }
    empty["precision_at_recall"] = [None] * n_classes
    if not any(len(true) for true in truth):
        return empty
    images = [{"id": number} for number in range(1, len(truth) + 1)]
    categories = [{"id": number} for number in range(1, n_classes + 1)]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        known = COCO()
        known.dataset = {"images": images, "categories": categories, "annotations": _records(truth)}
        known.createIndex()
        guessed = COCO()
        guessed.dataset = {"images": images, "categories": categories, "annotations": _records(found)}
        guessed.createIndex()
        run = COCOeval(known, guessed, "bbox")
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][:, :, :, 0, 2]  # IoU x recall x class, all sizes, 100 boxes
    return {
        "map": _mean(precision),
        "ap50": _mean(precision[0]),
        "by_class": [_mean(precision[:, :, number]) for number in range(n_classes)],
        "ap50_by_class": [_mean(precision[0, :, number]) for number in range(n_classes)],
        "precision_at_recall": [
            None if (row := precision[0, :, number]).max() < 0 else row.round(4).tolist() for number in range(n_classes)
        ],
    }


def _records(images: Sequence[Boxes]) -> list[dict[str, Any]]:
    """Return COCO's records; ids begin at 1, for 0 counts as none."""
    rows = [
        (number, box, int(kind), float(score))
        for number, found in enumerate(images, start=1)
        for box, kind, score in zip(found.boxes.tolist(), found.classes, found.scores, strict=True)
    ]
    return [
        {"id": place, "image_id": number, "category_id": kind + 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        | {"score": score}
        for place, (number, box, kind, score) in enumerate(rows, start=1)
    ]


def _mean(precision: np.ndarray) -> float | None:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None
