"""What a file of labels says, held compactly: a million boxes are some numbers in arrays, not a million objects."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

if TYPE_CHECKING:  # web processes load this module, and do without numpy
    import numpy as np

MAX_IMAGES = 1_000_000
MAX_LABELS = 20_000_000
SLACK = 0.05  # how far beyond 1 a rounded share may go
CLEARLY_PIXELS = 2.0

Box = tuple[float, float, float, float]


class BadFile(Exception):
    """The file can't be read as labels; why, in words."""


def checked_name(text: str) -> str:
    """Return a path or a class's name. Raises BadFile for one that no file or class can have."""
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise BadFile(
            _("A path or a class has characters that no name can have: %(name)s.") % {"name": ascii(text)[:100]}
        )
    return text


class Document:
    """Images by their paths, in the order of the file, and the labels on them in any order."""

    def __init__(self, format: str) -> None:
        self.format = format
        self.classes: list[str] = []  # those of labels, by their numbers
        self.listed_classes: list[str] = []  # all that the file names, in its order
        self.paths: list[str] = []
        self.other_paths: dict[int, str] = {}  # where the file names another place of the same image
        self.said_empty: set[int] = set()  # images that the file says show no objects
        self.said_unlabeled: set[int] = set()
        self.n_left_out = 0  # labels of a kind that can't be taken: crowds
        self._numbers: dict[str, int] = {}
        self._sizes = array("l")
        self._image = array("l")
        self._class = array("l")
        self._boxes = array("d")
        self._scores = array("d")
        self._starts: np.ndarray | None = None
        self._order: np.ndarray | None = None

    def class_number(self, name: str) -> int:
        """Return the number of a class by its name, a new one for a new name."""
        number = self._numbers.setdefault(checked_name(name), len(self._numbers))
        if number == len(self.classes):
            self.classes.append(name)
            self.listed_classes.append(name)
        return number

    def add_image(self, path: str, width: int = 0, height: int = 0) -> int:
        """Add an image and return its number. Its size is 0 × 0 where the file does not tell."""
        if len(self.paths) >= MAX_IMAGES:
            raise BadFile(_("The file has more than %(n)d images.") % {"n": MAX_IMAGES})
        self.paths.append(checked_name(path))
        self._sizes.extend((width, height))
        return len(self.paths) - 1

    def set_image(self, number: int, path: str, width: int, height: int) -> None:
        """Say which image it is that was added before its name was known."""
        self.paths[number] = checked_name(path)
        self._sizes[2 * number], self._sizes[2 * number + 1] = width, height

    def size(self, image: int) -> tuple[int, int]:
        """Return an image's width and height as the file has them; 0 × 0 where it does not tell."""
        return self._sizes[2 * image], self._sizes[2 * image + 1]

    def add_label(self, image: int, label_class: int, box: Box | None, score: float | None = None) -> None:
        """Add a label to an image."""
        if len(self._image) >= MAX_LABELS:
            raise BadFile(_("The file has more than %(n)d labels.") % {"n": MAX_LABELS})
        self._image.append(image)
        self._class.append(label_class)
        self._boxes.extend(box or (math.nan,) * 4)
        self._scores.append(math.nan if score is None else score)

    @property
    def n_labels(self) -> int:
        """How many labels there are."""
        return len(self._image)

    def labels_of(self, image: int) -> Iterator[tuple[int, Box | None, float | None]]:
        """Yield an image's labels in the order of the file: class, box, score. Nothing may be added from then on."""
        if self._starts is None or self._order is None:
            import numpy as np

            images = np.frombuffer(self._image, dtype=np.int64) if self._image else np.zeros(0, np.int64)
            self._order = np.argsort(images, kind="stable")
            self._starts = np.searchsorted(images[self._order], np.arange(len(self.paths) + 1))
        for place in self._order[self._starts[image] : self._starts[image + 1]]:
            x, y, width, height = self._boxes[4 * place : 4 * place + 4]
            score = self._scores[place]
            box = None if math.isnan(x) else (x, y, width, height)
            yield self._class[place], box, None if math.isnan(score) else score

    def _edges(self) -> np.ndarray:
        """Return the right and lower edges of all boxes, (n, 2)."""
        import numpy as np

        boxes = np.frombuffer(self._boxes, dtype=np.float64).reshape(-1, 4) if self._boxes else np.zeros((0, 4))
        boxes = boxes[~np.isnan(boxes[:, 0])]
        return boxes[:, :2] + boxes[:, 2:]

    @property
    def has_boxes(self) -> bool:
        """Whether any label has a box."""
        return bool(len(self._edges()))

    def coordinates(self) -> str:
        """Return how the file's boxes are measured: "pixel", or "normalized" when all lie within a square of 1.

        No pixel box of use is that small, let alone all of a file. Raises BadFile in the few cases between.
        """
        edges = self._edges()
        if not len(edges) or edges.max() >= CLEARLY_PIXELS:
            return "pixel"
        if edges.max() <= 1 + SLACK:
            return "normalized"
        words = _(
            "It can't be told whether boxes are in pixels or shares of the image (largest edge: %(edge)s). Say it."
        )
        raise BadFile(words % {"edge": f"{edges.max():.3g}"})
