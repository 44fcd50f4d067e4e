"""Path patterns of datasets, and which files are images (SPEC D2, D4)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from django.utils.translation import gettext as _

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".gif", ".webp")
WILDCARDS = re.compile(r"[*?]")
TWO_WILDCARDS = re.compile(r"\*\s*\*")
ANY_FOLDERS = "(?:[^/]+/)*"
ANY_NAME = "[^/]+"


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
    ``*.ext`` filters (in capitals or not). ``**`` stands for any number of folders, ``*`` and ``?`` stay within one
    name. Raises PatternError.
    """
    segments = _segments(text)
    literal = _literal_head(segments)
    rest = segments[len(literal) :]
    if not rest or (not WILDCARDS.search(rest[-1]) and not is_image_name(rest[-1])):
        rest = [*rest, "*"]  # a folder: the files directly in it
    elif rest[-1] == "**":
        rest = [*rest, "*"]
    head = "".join(re.escape(segment) + "/" for segment in literal)
    return Pattern(text, "/".join(literal), re.compile(head + _expression(rest), re.DOTALL))


def _segments(text: str) -> list[str]:
    """Split a pattern into its parts, and refuse what can't be one."""
    if "\\" in text:
        raise PatternError(
            _("“%(text)s” has a backslash. Write folders with “/”, as in “photos/2026/**”.") % {"text": text}
        )
    if any(ord(char) < 32 for char in text):
        raise PatternError(_("The path holds a character that can't be seen. Type it again, as in “photos/2026/**”."))
    cleaned = text.strip().removeprefix("./").removeprefix("/").removesuffix("/")
    segments = cleaned.split("/") if cleaned else []
    for segment in segments:
        if segment in ("", ".", ".."):
            raise PatternError(
                _(
                    "“%(text)s” has an empty part, “.” or “..”. Write a path from the datastore's root,"
                    " as “photos/2026/**”."
                )
                % {"text": text}
            )
        if segment != segment.strip() or (TWO_WILDCARDS.search(segment) and segment != "**"):
            raise PatternError(
                _(
                    "“%(text)s” is not a path pattern. Write “folder” for the files directly in it, “folder/**” for"
                    " its subfolders too, “**/*.*” for everything, or “folder/**/*.jpg” for one kind of file."
                )
                % {"text": text}
            )
    return segments


def _literal_head(segments: list[str]) -> list[str]:
    """Return the folders before the first wildcard. A last part that looks like a file is no folder."""
    literal: list[str] = []
    for index, segment in enumerate(segments):
        is_last = index == len(segments) - 1
        if WILDCARDS.search(segment) or (is_last and is_image_name(segment)):
            break
        literal.append(segment)
    return literal


def _expression(segments: list[str]) -> str:
    """Translate the parts after the head.

    What lies between two ``**`` is matched at the first place where it fits, which is never worse than a later one;
    an atomic group says so, and keeps the time for a hostile key from exploding.
    """
    *folders, name = segments
    blocks = [""]
    for folder in folders:
        if folder == "**":
            blocks.append("")
        else:
            blocks[-1] += _segment(folder) + "/"
    if len(blocks) == 1:
        return blocks[0] + _name(name)
    first, *between, last = blocks
    middle = "".join(f"(?>(?:[^/]+/)*?{block})" for block in between if block)
    return f"{first}{middle}{ANY_FOLDERS}{last}{_name(name)}"


def _name(segment: str) -> str:
    """Translate the part that names files: the suffix counts in capitals or not; ``*.*`` is every name."""
    if segment in ("*", "*.*"):
        return ANY_NAME
    stem, dot, suffix = segment.rpartition(".")
    return f"{_segment(stem)}(?i:\\.{_segment(suffix)})" if dot else _segment(segment)


def _segment(segment: str) -> str:
    """Translate one part; ``*`` and ``?`` do not cross a slash. Atomic groups, as in `_expression`."""
    if segment == "*":
        return ANY_NAME
    first, *rest = [
        "".join("[^/]" if char == "?" else re.escape(char) for char in piece) for piece in segment.split("*")
    ]
    if not rest:
        return first
    *between, last = rest
    return first + "".join(f"(?>[^/]*?{piece})" for piece in between) + f"[^/]*{last}"
