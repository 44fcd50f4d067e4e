"""Storage access: list in pages, browse, open, write. Keys are data, never paths of this machine.

Every kind of datastore is one class here. `LocalStore` reads a folder; listing is in code point order and resumable.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from django.utils.translation import gettext as _

CHUNK = 1024 * 1024


class StoreError(Exception):
    """What is wrong with a store, in words for a person; never a secret or what a server answered."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a store; ``etag`` changes with its content."""

    key: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Folder:
    """One level of a store; ``is_cut`` when there is more than was asked for."""

    folders: list[str]
    files: list[Entry]
    is_cut: bool


class Datastore(Protocol):
    """What a store needs to know of the datastore that it opens."""

    kind: str
    container: str
    prefix: str
    options: dict[str, object]

    @property
    def secret(self) -> str:
        """The decrypted secret."""


class Store(Protocol):
    """A place that holds files, addressed by keys with "/" between their parts."""

    def pages(self, prefix: str = "", after: str = "", page_size: int = 5000) -> Iterator[list[Entry]]:
        """Yield every file below the folder ``prefix``, in code point order of the key, those after ``after`` only."""

    def browse(self, folder: str, limit: int = 500) -> Folder:
        """Return one level: the names of its folders, and its files."""

    def open(self, key: str) -> BinaryIO:
        """Open a file for reading."""

    def write(self, key: str, content: BinaryIO, overwrite: bool = False) -> str:
        """Write a file and return its key. Raises FileExistsError unless ``overwrite``."""

    def exists(self, key: str) -> bool:
        """Whether there is such a file."""

    def delete(self, key: str) -> None:
        """Remove a file; one that is not there is no error."""

    def url(self, key: str, seconds: int) -> str | None:
        """Return an address that works for some seconds without a password; None when the store has no such thing."""

    def path(self, key: str) -> Path | None:
        """Return where the file lies on this machine; None when it lies elsewhere."""

    def check(self) -> None:
        """Raise StoreError if the store can't be reached or read."""


class LocalStore:
    """A folder of this machine.

    Hidden files, and links that lead out of the folder, are not part of it; names that are not UTF-8 neither.
    """

    def __init__(self, root: str | Path, prefix: str = "") -> None:
        self.container = Path(root)
        self.root = self.container / prefix.strip("/") if prefix.strip("/") else self.container
        self._real_root = os.path.realpath(self.root)

    def check(self) -> None:
        """Raise StoreError if the folder isn't there or can't be read."""
        if not self.root.is_absolute():
            raise StoreError(_("Give the folder's full path, from “/” on."))
        try:
            with os.scandir(self.root):
                pass
        except OSError as error:
            raise self._words(error, str(self.root)) from error

    def pages(self, prefix: str = "", after: str = "", page_size: int = 5000) -> Iterator[list[Entry]]:
        """Yield the files below ``prefix``; a folder that can't be read raises StoreError."""
        self.check()
        page: list[Entry] = []
        folder = self._folder(prefix)
        start = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        for entry in self._walk(folder, start, after):
            page.append(entry)
            if len(page) == page_size:
                yield page
                page = []
        if page:
            yield page

    def _walk(self, folder: str, start: str, after: str) -> Iterator[Entry]:
        """Walk depth first; a folder sorts as its name with "/", so that keys come in code point order."""
        names = sorted(
            (f"{entry.name}/" if is_folder else entry.name, entry) for entry, is_folder in self._entries(folder)
        )
        for name, entry in names:
            key = start + name
            if name.endswith("/"):
                if key > after or after.startswith(key):
                    yield from self._walk(entry.path, key, after)
            elif key > after:
                with suppress(FileNotFoundError):  # gone since it was listed
                    yield self._entry(key, entry.stat())

    def _entries(self, folder: str) -> Iterator[tuple[os.DirEntry[str], bool]]:
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or not _is_text(entry.name) or self._leads_out(entry):
                        continue
                    yield entry, entry.is_dir()
        except FileNotFoundError as error:
            if folder == str(self.root) or not self._is_inside(folder):
                raise self._words(error, folder) from error
        except OSError as error:
            raise self._words(error, folder) from error

    def _leads_out(self, entry: os.DirEntry[str]) -> bool:
        if not entry.is_symlink():
            return False
        # A link to a folder could lead round in circles, so only links to files inside the root count.
        return entry.is_dir() or not self._is_inside(entry.path)

    def _is_inside(self, path: str | Path) -> bool:
        real = os.path.realpath(path)
        return real == self._real_root or real.startswith(self._real_root.rstrip("/") + "/")

    def _entry(self, key: str, facts: os.stat_result) -> Entry:
        return Entry(key, facts.st_size, f"{facts.st_mtime_ns:x}-{facts.st_size:x}")

    def browse(self, folder: str, limit: int = 500) -> Folder:
        """Return the folders and files directly in a folder."""
        path = self._folder(folder)
        start = f"{folder.strip('/')}/" if folder.strip("/") else ""
        found = sorted(((entry.name, entry, is_folder) for entry, is_folder in self._entries(path)), key=lambda e: e[0])
        folders = [name for name, _entry, is_folder in found if is_folder]
        files = [self._entry(start + name, entry.stat()) for name, entry, is_folder in found[:limit] if not is_folder]
        return Folder(folders[:limit], files, len(found) > limit)

    def _folder(self, folder: str) -> str:
        return str(self._locate(folder.strip("/"))) if folder.strip("/") else str(self.root)

    def _locate(self, key: str) -> Path:
        """Return the file's place. Raises StoreError for a key that would lead out of the folder."""
        parts = key.split("/")
        if "\0" in key or any(part in ("", ".", "..") for part in parts) or not _is_text(key):
            raise StoreError(_("“%(key)s” is not a name inside this datastore.") % {"key": key})
        path = self.root.joinpath(*parts)
        if not self._is_inside(path):
            raise StoreError(_("“%(key)s” leads out of this datastore.") % {"key": key})
        return path

    def path(self, key: str) -> Path | None:
        """Return where the file lies."""
        return self._locate(key)

    def open(self, key: str) -> BinaryIO:
        """Open a file; only plain files can be opened."""
        try:
            file = self._locate(key).open("rb")
        except OSError as error:
            raise self._words(error, key) from error
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise StoreError(_("“%(key)s” is not a file.") % {"key": key})
        return file

    def exists(self, key: str) -> bool:
        """Whether there is such a file."""
        return self._locate(key).is_file()

    def delete(self, key: str) -> None:
        """Remove a file."""
        self._locate(key).unlink(missing_ok=True)

    def write(self, key: str, content: BinaryIO, overwrite: bool = False) -> str:
        """Write beside the name, then put in place, so that nobody ever reads half a file."""
        path = self._locate(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not self._is_inside(path.parent):
                raise StoreError(_("“%(key)s” leads out of this datastore.") % {"key": key})
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".writing-", delete=False) as file:
                try:
                    while chunk := content.read(CHUNK):
                        file.write(chunk)
                    file.flush()
                    os.fchmod(file.fileno(), 0o644)
                    self._put(Path(file.name), path, overwrite)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except FileExistsError:
            raise
        except OSError as error:
            raise self._words(error, key) from error
        return key

    def _put(self, written: Path, path: Path, overwrite: bool) -> None:
        if overwrite:
            written.replace(path)
            return
        os.link(written, path)  # fails if the name is taken, where a rename would replace
        written.unlink()

    def url(self, key: str, seconds: int) -> str | None:
        """A folder has no addresses."""
        return None

    def _words(self, error: OSError, name: str) -> StoreError:
        texts = {
            FileNotFoundError: _("“%(name)s” is not there. Check the path."),
            NotADirectoryError: _("“%(name)s” is a file, not a folder."),
            PermissionError: _("“%(name)s” can't be read: labelsite has no permission. Change its owner or rights."),
        }
        text = next((words for kind, words in texts.items() if isinstance(error, kind)), None)
        if text is None:
            text = _("“%(name)s” can't be used: %(reason)s.")
        return StoreError(text % {"name": name, "reason": error.strerror or type(error).__name__})


def _is_text(name: str) -> bool:
    """Whether a name is UTF-8; Python shows other bytes as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _open_local(datastore: Datastore) -> Store:
    return LocalStore(datastore.container, datastore.prefix)


# Another kind of datastore is one more line here.
OPENERS = {"local": _open_local}


def store_for(datastore: Datastore) -> Store:
    """Return the store of a datastore. Raises StoreError for a kind that this version can't open."""
    if datastore.kind not in OPENERS:
        raise StoreError(_("This version of labelsite opens local folders only; other kinds will follow."))
    return OPENERS[datastore.kind](datastore)
