"""Take in images from a browser: files, folders and zips (SPEC D3)."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import PurePosixPath
from typing import BinaryIO, cast

from django.utils.translation import gettext as _

from projects.patterns import is_image_name
from projects.stores import Store, StoreError

MAX_ENTRIES = 500_000
MAX_TOTAL_BYTES = 200 * 1024**3
MAX_RATIO = 200  # photos don't shrink; what does by this much is a bomb
MAX_FILE_BYTES = 500 * 1024**2
SIGNATURE_BYTES = 16


class BadName(ValueError):
    """A file name that can't be used, in words."""


class TooLarge(ValueError):
    """A file that holds more than it said, in words."""


@dataclass(slots=True)
class UploadReport:
    """What became of each file: stored, kept as it was there already, or refused with the reason."""

    stored: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def receive(store: Store, folder: str, files: Iterable[tuple[str, BinaryIO]], overwrite: bool = False) -> UploadReport:
    """Store images below ``folder``; zips are unpacked. Names that are there stay, unless ``overwrite``."""
    report = UploadReport()
    for name, content in files:
        if name.lower().endswith(".zip"):
            _unpack(store, folder, name, content, overwrite, report)
        else:
            _take(store, folder, name, content, overwrite, report)
    return report


def clean_name(name: str) -> str:
    """Return a relative name with "/" between its parts. Raises BadName for one that would leave the folder."""
    if "\0" in name or any(ord(char) < 32 for char in name):
        raise BadName(_("The name holds characters that a file name can't have."))
    if name.startswith(("/", "\\")) or "\\" in name or ":" in name.split("/")[0]:
        raise BadName(_("The name is that of a place outside the upload. Use names inside one folder."))
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts:
        raise BadName(_("The name has “..”, which leads out of the folder."))
    if len(name.encode()) > 1024:
        raise BadName(_("The name is longer than 1,024 bytes."))
    return "/".join(parts)


def _take(store: Store, folder: str, name: str, content: BinaryIO, overwrite: bool, report: UploadReport) -> None:
    try:
        clean = clean_name(name)
        if not is_image_name(clean):
            raise BadName(_("This is no image: only JPEG, PNG, BMP, TIFF, GIF and WebP are taken."))
        start = content.read(SIGNATURE_BYTES)
        if not _looks_like_image(start):
            raise BadName(_("The name says that this is an image, but its content is something else."))
        key = f"{folder.strip('/')}/{clean}" if folder.strip("/") else clean
        if not overwrite and store.exists(key):
            report.kept.append(clean)
            return
        store.write(key, cast(BinaryIO, _Joined(start, content)), overwrite=overwrite)
    except FileExistsError:
        report.kept.append(name)
    except (BadName, TooLarge, StoreError) as error:
        report.refused.append((name, str(error)))
    else:
        report.stored.append(clean)


class _Joined:
    """The first bytes, which were read to look at them, and then the rest; at most MAX_FILE_BYTES."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start = BytesIO(start)
        self._rest = rest
        self._left = MAX_FILE_BYTES

    def read(self, size: int = -1) -> bytes:
        chunk = self._start.read(size) or self._rest.read(size)
        self._left -= len(chunk)
        if self._left < 0:
            raise TooLarge(_("The file is larger than %(n)d MB.") % {"n": MAX_FILE_BYTES // 1024**2})
        return chunk


def _looks_like_image(start: bytes) -> bool:
    """Compare the first bytes with the signatures of the formats that are taken."""
    return (
        start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*", b"GIF87a", b"GIF89a"))
        or (start.startswith(b"RIFF") and start[8:12] == b"WEBP")
        or start.startswith((b"II+\0", b"MM\0+"))  # BigTIFF
    )


def _unpack(store: Store, folder: str, name: str, content: BinaryIO, overwrite: bool, report: UploadReport) -> None:
    try:
        with zipfile.ZipFile(content) as archive:
            entries = [info for info in archive.infolist() if not info.is_dir()]
            _check_archive(entries)
            for info in _usable(entries, name, report):
                with archive.open(info) as member:
                    _take(store, folder, info.filename, cast(BinaryIO, member), overwrite, report)
    except BadName as error:
        report.refused.append((name, str(error)))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError):
        report.refused.append((name, _("The zip is damaged, or packed in a way that can't be read.")))


def _check_archive(entries: list[zipfile.ZipInfo]) -> None:
    """Refuse the whole archive if what it would unfold to is beyond any set of images."""
    if len(entries) > MAX_ENTRIES:
        raise BadName(_("The zip holds more than %(n)d files.") % {"n": MAX_ENTRIES})
    unpacked = sum(info.file_size for info in entries)
    packed = sum(info.compress_size for info in entries)
    if unpacked > MAX_TOTAL_BYTES:
        raise BadName(_("The zip unfolds to more than %(n)d GB.") % {"n": MAX_TOTAL_BYTES // 1024**3})
    if unpacked > MAX_FILE_BYTES and unpacked > MAX_RATIO * max(packed, 1):
        raise BadName(
            _("The zip unfolds to more than %(n)d times its size, as no set of images does.") % {"n": MAX_RATIO}
        )


def _usable(entries: list[zipfile.ZipInfo], name: str, report: UploadReport) -> Iterator[zipfile.ZipInfo]:
    seen: set[str] = set()
    for info in entries:
        shown = f"{name}: {info.filename}"
        is_hidden = PurePosixPath(info.filename).name.startswith(".") and "\\" not in info.filename
        if info.filename.startswith("__MACOSX/") or is_hidden:
            continue
        if stat.S_ISLNK(info.external_attr >> 16):
            report.refused.append((shown, _("Links in a zip are not followed.")))
        elif info.flag_bits & 0x1:
            report.refused.append((shown, _("The file is encrypted. Make a zip without a password.")))
        elif info.file_size > MAX_RATIO * max(info.compress_size, 1) and info.file_size > 10 * 1024**2:
            report.refused.append((shown, _("The file unfolds to far more than its size, as no image does.")))
        elif info.filename.casefold() in seen:
            report.refused.append((shown, _("The zip holds this name twice.")))
        else:
            seen.add(info.filename.casefold())
            yield info
