"""Read COCO documents of any size record by record, whatever the order of their parts (cocodataset.org, "Data format").

Azure's exports are COCO with boxes as shares of the image, and its place as ``AmlDatastore://…`` in ``coco_url``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, TextIO
from urllib.parse import unquote, urlsplit

from django.utils.translation import gettext as _

from exports.importing.document import BadFile, Box, Document, checked_name

PARTS = ("images", "annotations", "categories")
READ_CHARS = 1024 * 1024
MAX_VALUE_CHARS = 64 * 1024 * 1024
SPACE_OR_COMMA = " \t\r\n,"


def read(file: TextIO) -> Document:
    """Read a whole document. Raises BadFile."""
    reader = _Reader()
    seen = set()
    for part, record in _records(file):
        seen.add(part)
        if not isinstance(record, dict):
            raise BadFile(_("“%(part)s” holds something that is not an object.") % {"part": part})
        getattr(reader, f"take_{part}")(record)
    if "images" not in seen:
        raise BadFile(_("This is not a COCO file: it lists no images."))
    return reader.finished()


class _Reader:
    """Puts a document together; annotations may come before the images and categories that they name."""

    def __init__(self) -> None:
        self.document = Document("coco")
        self.images: dict[object, int] = {}
        self.categories: dict[object, str] = {}
        self.is_listed: set[int] = set()
        self.category_numbers: dict[object, int] = {}

    def _image(self, image_id: object) -> int:
        if isinstance(image_id, list | dict | None):
            raise BadFile(_("An image or annotation has no id of its image."))
        number = self.images.get(image_id)
        if number is None:
            number = self.images[image_id] = self.document.add_image("")
        return number

    def take_images(self, record: dict[str, Any]) -> None:
        """Take an image: its file name, size, and what else says where it lies."""
        number = self._image(record.get("id"))
        if number in self.is_listed:
            raise BadFile(_("Two images have the id %(id)s.") % {"id": record["id"]})
        self.is_listed.add(number)
        path = record.get("file_name")
        if not isinstance(path, str) or not path:
            raise BadFile(_("Image %(id)s has no “file_name”.") % {"id": record["id"]})
        self.document.set_image(number, path, _pixels(record.get("width")), _pixels(record.get("height")))
        other = next((record[key] for key in ("coco_url", "absolute_url") if isinstance(record.get(key), str)), "")
        if place := unquote(urlsplit(other).path).lstrip("/") if "://" in other else "":
            self.document.other_paths[number] = checked_name(place)
        if record.get("labeled") is False:
            self.document.said_unlabeled.add(number)

    def take_categories(self, record: dict[str, Any]) -> None:
        """Take a class."""
        name = record.get("name")
        if not isinstance(name, str) or not name.strip() or isinstance(record.get("id"), list | dict):
            raise BadFile(_("A category has no name."))
        self.categories[record.get("id")] = checked_name(name.strip())

    def take_annotations(self, record: dict[str, Any]) -> None:
        """Take a label, with its box where it has one."""
        if record.get("iscrowd"):
            self.document.n_left_out += 1
            return
        category = record.get("category_id")
        if isinstance(category, list | dict):
            raise BadFile(_("Annotation %(id)s has no “category_id”.") % {"id": record.get("id")})
        number = self.category_numbers.setdefault(category, len(self.category_numbers))
        self.document.add_label(self._image(record.get("image_id")), number, _box(record), _finite(record.get("score")))

    def finished(self) -> Document:
        """Put names to the classes, now that all are known."""
        for category in self.category_numbers:
            if category not in self.categories:
                raise BadFile(
                    _("Annotations name the category %(id)s, which the file does not list.") % {"id": category}
                )
        unlisted = len(self.document.paths) - len(self.is_listed)
        if unlisted:
            raise BadFile(_("Annotations name %(n)d images that the file does not list.") % {"n": unlisted})
        self.document.classes = [self.categories[category] for category in self.category_numbers]
        self.document.listed_classes = list(dict.fromkeys(self.categories.values()))
        return self.document


def _pixels(value: object) -> int:
    """Return a width or height; 0 for what is none (Azure writes 512.0)."""
    number = _finite(value)
    return int(number) if number is not None and 0 < number < 2**31 else 0


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return number if math.isfinite(number) else None


def _box(record: dict[str, Any]) -> Box | None:
    box = record.get("bbox")
    if box is None or box == []:
        return None
    numbers = [_finite(value) for value in box] if isinstance(box, list) else []
    x, y, width, height = numbers if len(numbers) == 4 else [None] * 4
    if x is None or y is None or width is None or height is None:
        raise BadFile(_("Annotation %(id)s has a “bbox” that is not four numbers.") % {"id": record.get("id")})
    return (x, y, width, height)


def _records(file: TextIO) -> Iterator[tuple[str, Any]]:
    """Yield the records of the parts that matter, as (part, record), with one of them in memory at a time."""
    text = _Text(file)
    if text.next_char() != "{":
        raise BadFile(_("This is not a COCO file: it does not begin with “{”."))
    text.skip()
    while (char := text.next_char()) != "}":
        if char != '"':
            raise text.damaged()
        name = text.value()
        if text.next_char() != ":":
            raise text.damaged()
        text.skip()
        if name not in PARTS:
            text.next_char()
            text.value()
            continue
        if text.next_char() != "[":
            raise BadFile(_("“%(part)s” is not a list.") % {"part": name})
        text.skip()
        while text.next_char() != "]":
            yield name, text.value()
        text.skip()


class _Text:
    """A JSON text that is read value by value."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._buffer = ""
        self._at = 0
        self._is_over = False
        self._decode = json.JSONDecoder().raw_decode

    def _more(self) -> None:
        try:
            chunk = self._file.read(max(READ_CHARS, len(self._buffer) - self._at))
        except UnicodeDecodeError:
            raise BadFile(_("The file is not a text in UTF-8.")) from None
        self._is_over = not chunk
        self._buffer = self._buffer[self._at :] + chunk
        self._at = 0

    def next_char(self) -> str:
        """Return the next character that is neither space nor comma, and stay there."""
        while True:
            while self._at < len(self._buffer):
                if self._buffer[self._at] not in SPACE_OR_COMMA:
                    return self._buffer[self._at]
                self._at += 1
            if self._is_over:
                raise BadFile(_("The file ends in the middle; it was not copied whole."))
            self._more()

    def skip(self) -> None:
        """Go past one character."""
        self._at += 1

    def value(self) -> Any:
        """Return the value that begins here, and go past it."""
        while True:
            try:
                value, end = self._decode(self._buffer, self._at)
            except RecursionError:
                raise self.damaged() from None
            except ValueError:
                end = len(self._buffer)
            else:
                if end < len(self._buffer) or self._is_over:  # else a number may go on
                    self._at = end
                    return value
            if self._is_over or end - self._at > MAX_VALUE_CHARS:
                raise self.damaged()
            self._more()

    def damaged(self) -> BadFile:
        """Return what to say of a text that is not JSON."""
        start = self._buffer[self._at : self._at + 40]
        return BadFile(_("The file is not right JSON near “%(start)s”.") % {"start": start})
