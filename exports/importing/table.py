"""Read labels from CSV: one row for each label, columns found by their names; this site's own CSV and most others."""

from __future__ import annotations

import csv
import math
from typing import TextIO

from django.utils.translation import gettext as _

from exports.importing.document import BadFile, Box, Document
from exports.writing import as_written

NAMES = {
    "path": ("path", "file_name", "filename", "file", "image", "image_path", "image_url", "img"),
    "label": ("label", "class", "class_name", "category", "label_name", "name"),
    "x": ("x", "left", "bbox_x"),
    "y": ("y", "top", "bbox_y"),
    "width": ("width", "w", "bbox_width"),
    "height": ("height", "h", "bbox_height"),
    "xmin": ("xmin", "x_min", "x1"),
    "ymin": ("ymin", "y_min", "y1"),
    "xmax": ("xmax", "x_max", "x2"),
    "ymax": ("ymax", "y_max", "y2"),
    "image_width": ("image_width",),
    "image_height": ("image_height",),
    "status": ("status",),
    "score": ("confidence", "score", "label_confidence"),
}
BOX = ("x", "y", "width", "height")
EDGES = ("xmin", "ymin", "xmax", "ymax")
MAX_CELL = 1_000_000


def read(file: TextIO) -> Document:
    """Read a whole table. Raises BadFile."""
    csv.field_size_limit(MAX_CELL)
    try:
        head = file.readline(MAX_CELL).lstrip("\ufeff")
        delimiter = max(",;\t", key=head.count)
        columns = _columns(next(csv.reader([head], delimiter=delimiter), []))
        document = Document("csv")
        images: dict[str, int] = {}
        for row in csv.reader(file, delimiter=delimiter):
            if row:
                _take(document, images, {name: row[i] for name, i in columns.items() if i < len(row)})
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadFile(_("The file is not a CSV in UTF-8: %(error)s.") % {"error": error}) from None
    return document


def _columns(head: list[str]) -> dict[str, int]:
    found = {}
    cells = [cell.strip().lower() for cell in head]
    for name, aliases in NAMES.items():
        place = next((cells.index(alias) for alias in aliases if alias in cells), None)
        if place is not None:
            found[name] = place
    if "path" not in found or "label" not in found:
        raise BadFile(_("The first line names the columns; “path” and “label” must be among them."))
    return found


def _take(document: Document, images: dict[str, int], row: dict[str, str]) -> None:
    path = as_written(row.get("path", "")).strip()
    if not path:
        raise BadFile(_("A row has no path."))
    if path not in images:
        size = [int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0 for value in _size(row)]
        images[path] = document.add_image(path, *size)
    image = images[path]
    label = as_written(row.get("label", "")).strip()
    if row.get("status") == "no_objects":
        document.said_empty.add(image)
    elif label:
        document.add_label(image, document.class_number(label), _box(row, path), _number(row.get("score", "")))
    elif row.get("status") == "unlabeled":
        document.said_unlabeled.add(image)


def _size(row: dict[str, str]) -> tuple[str, str]:
    return row.get("image_width", ""), row.get("image_height", "")


def _box(row: dict[str, str], path: str) -> Box | None:
    for names in (BOX, EDGES):
        cells = [row.get(name, "").strip() for name in names]
        if not any(cells):
            continue
        values = [_number(cell) for cell in cells]
        a, b, c, d = values
        if a is None or b is None or c is None or d is None:
            raise BadFile(_("A box of “%(path)s” is not four numbers.") % {"path": path})
        return (a, b, c, d) if names == BOX else (a, b, c - a, d - b)
    return None


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
