"""Path patterns of datasets, and which files are images (SPEC D2, D4)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from django.utils.translation import gettext as _

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".gif", ".webp")
WILDCARDS = re.compile(r"[*?]")
TWO_WILDCARDS = re.compile(r"\*\s*\*")


class PatternError(ValueError):
    """A malformed pattern, with a hint that shows the right form."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed pattern: ``head`` is the literal folder to list from, without a slash at its end."""

    text: str
    head: str
    _expression: re.Pattern[str] = field(repr=False)

    def matches(self, key: str) -> bool:
        """Whether the file's key, relative to the datastore, is meant by the pattern."""
        return self._expression.fullmatch(key) is not None


def is_image_name(key: str) -> bool:
    """Whether a file of this name may be an image; its content is looked at later."""
    return key.lower().endswith(IMAGE_SUFFIXES)


def parse(text: str) -> Pattern:
    """Return the pattern that a manager wrote.

    A folder means the files directly in it, ``/**`` at the end adds all its subfolders, ``**/*.*`` is everything,
    ``*.ext`` filters. ``**`` stands for any number of folders, ``*`` and ``?`` stay within one name.
    Raises PatternError.
    """
    cleaned = text.strip().removeprefix("./").strip("/")
    segments = cleaned.split("/") if cleaned else []
    for segment in segments:
        _check_segment(text, segment)
    if "\\" in text or "\0" in text:
        raise PatternError(
            _("“%(text)s” has a backslash. Write folders with “/”, as in “photos/2026/**”.") % {"text": text}
        )
    literal = _literal_head(segments)
    rest = segments[len(literal) :]
    if not rest:
        rest = ["*"]  # a folder: the files directly in it
    elif rest[-1] == "**":
        rest = [*rest, "*"]
    parts = [re.escape(segment) + "/" for segment in literal]
    for segment in rest[:-1]:
        parts.append("(?:[^/]+/)*" if segment == "**" else _segment(segment) + "/")
    parts.append(_segment(rest[-1]))
    return Pattern(text, "/".join(literal), re.compile("".join(parts), re.IGNORECASE | re.DOTALL))


def _check_segment(text: str, segment: str) -> None:
    if segment in ("", ".", ".."):
        raise PatternError(
            _("“%(text)s” has an empty part, “.” or “..”. Write a path from the datastore's root, as “photos/2026/**”.")
            % {"text": text}
        )
    if segment != segment.strip() or (TWO_WILDCARDS.search(segment) and segment != "**"):
        raise PatternError(
            _(
                "“%(text)s” is not a path pattern. Write “folder” for the files directly in it, “folder/**” for its"
                " subfolders too, “**/*.*” for everything, or “folder/**/*.jpg” for one kind of file."
            )
            % {"text": text}
        )


def _literal_head(segments: list[str]) -> list[str]:
    """Return the folders before the first wildcard. A last part that looks like a file is no folder."""
    literal: list[str] = []
    for index, segment in enumerate(segments):
        is_last = index == len(segments) - 1
        if WILDCARDS.search(segment) or (is_last and is_image_name(segment)):
            break
        literal.append(segment)
    return literal


def _segment(segment: str) -> str:
    """Translate one part: ``*`` and ``?`` do not cross a slash; ``*.*`` means every name, as people expect."""
    if segment in ("*.*", "**"):
        return "[^/]+"
    return "".join({"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char)) for char in segment)
