"""What formats write to, and what they share: files in a folder, names and tables with the same bytes each time."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from django.utils.functional import Promise

from exports.snapshots import LabeledImage, Snapshot
from labeling.answers import Label

FORMULA_SIGNS = tuple("=+-@\t\r\n＝＋－＠")


class CannotWrite(Exception):
    """The labels can't be said in this format, in words."""


class Output:
    """The files of one export, below a folder of this machine; their names begin with ``stem``."""

    def __init__(self, folder: Path, stem: str) -> None:
        self.folder = folder
        self.stem = stem
        self.names: list[str] = []

    @contextmanager
    def file(self, suffix: str) -> Iterator[BinaryIO]:
        """Open a new file; the first one is what a download gives."""
        self.names.append(self.stem + suffix)
        with (self.folder / self.names[-1]).open("xb") as file:
            yield cast(BinaryIO, file)


@dataclass(frozen=True, slots=True)
class Format:
    """A format of exports: a module of exports/formats/ holds one as ``FORMAT``.

    ``write`` writes the snapshot and returns the number of images. ``options`` are those that it heeds.
    """

    name: str
    title: str | Promise
    help: str | Promise
    write: Callable[[Snapshot, Output], int]
    task_types: frozenset[str]
    options: frozenset[str]
    position: int = 100


def file_name_of(path: str) -> str:
    """Return an image's path as a name inside an archive: no way out of its folder, on any system (ATTACKS 20)."""
    clean = "".join("_" if char in '\\:*?"<>|' or not char.isprintable() else char for char in path)
    return "/".join("_" if part in (".", "..") else part for part in clean.split("/") if part)


def without_extension(name: str) -> str:
    """Return a file name without its last extension."""
    return name.rpartition(".")[0] if "." in name.rpartition("/")[2].lstrip(".") else name


class CsvOutput:
    """A CSV file in UTF-8 that a spreadsheet can open: no cell is taken for a formula (ATTACKS 20)."""

    def __init__(self, out: BinaryIO, columns: list[str]) -> None:
        self._text = io.TextIOWrapper(out, "utf-8", newline="", write_through=True)
        self._writer = csv.writer(self._text, lineterminator="\n")
        self._writer.writerow(columns)

    def add(self, cells: Iterable[Any]) -> None:
        """Write a row; None is an empty cell."""
        self._writer.writerow([neutral(cell) if isinstance(cell, str) else cell for cell in cells])

    def close(self) -> None:
        """Leave the file to whoever opened it."""
        self._text.flush()
        self._text.detach()


def neutral(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula; an apostrophe before it says "this is text"."""
    return f"'{text}" if text.lstrip("'").startswith(FORMULA_SIGNS) else text


def as_written(cell: str) -> str:
    """Return what ``neutral`` was given."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(FORMULA_SIGNS) else cell


def box_of(label: Label, image: LabeledImage, is_normalized: bool) -> tuple[float, float, float, float] | None:
    """Return a label's box in pixels, or as shares of the image's width and height."""
    if label.box is None or not is_normalized:
        return label.box
    if not image.width or not image.height:
        raise CannotWrite(f"The size of “{image.path}” isn't known, so its boxes can't be normalized.")
    x, y, width, height = label.box
    return (x / image.width, y / image.height, width / image.width, height / image.height)
