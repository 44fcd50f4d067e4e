"""A folder of this machine as a store; listing is in code point order."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.utils.translation import gettext as _

from projects.stores.base import CHUNK, Datastore, Entry, Folder, Page, Store, StoreError, can_be_key, is_text, shown

WRITING = ".writing-"  # what the names of half-written files begin with; hidden, so no listing has them
NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class LocalStore:
    """A folder of this machine.

    Hidden files, links to folders and links that lead out are not part of it. Names that can't be keys (not UTF-8, or
    longer than any provider takes) are passed over; ``n_skipped`` counts them during the last listing.
    """

    def __init__(self, root: str | Path, prefix: str = "") -> None:
        self.container = Path(root)
        if "\0" in str(root):
            raise StoreError(_("“%(folder)s” is not the name of a folder.") % {"folder": shown(str(root))})
        parts = _parts(prefix.strip("/")) if prefix.strip("/") else []
        self.root = self.container.joinpath(*parts)
        self.n_skipped = 0
        self._base = f"{str(self.root).rstrip('/')}/"
        self._real_root = os.path.realpath(self.root)
        if not _is_below(self._real_root, os.path.realpath(self.container)):
            raise StoreError(_("The prefix “%(prefix)s” leads out of the folder.") % {"prefix": shown(prefix)})

    def lies_below(self, folder: str | Path) -> bool:
        """Whether the store's root is this folder or below it, links followed."""
        return _is_below(self._real_root, os.path.realpath(folder))

    def check(self) -> None:
        """Raise StoreError if the folder isn't there or can't be read."""
        if not self.root.is_absolute():
            raise StoreError(_("Give the folder's full path, from “/” on."))
        try:
            with os.scandir(self.root):
                pass
        except (OSError, ValueError) as error:
            raise _words(error, str(self.root)) from error

    def pages(self, prefix: str = "", after: str = "", page_size: int = 5000) -> Iterator[Page]:
        """Yield the files below ``prefix``; a folder that can't be read raises StoreError.

        Memory holds one page, and the names of the folders on the way to where the walk is.
        """
        self.check()
        self.n_skipped = 0
        start = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        if start:
            self._locate(start[:-1])
        walk = self._walk(start, after)
        while page := list(islice(walk, page_size)):
            yield Page(page, page[-1].key)

    def _walk(self, start: str, after: str) -> Iterator[Entry]:
        """Walk depth first; a folder sorts as its name with "/", so that keys come in code point order."""
        way = [(start, iter(self._names(start)))]
        while way:
            folder, names = way[-1]
            for name in names:
                key = folder + name
                if name.endswith("/"):
                    if key > after or after.startswith(key):
                        way.append((key, iter(self._names(key))))
                        break
                elif key > after and (entry := self._entry(key)):
                    yield entry
            else:
                way.pop()

    def _names(self, folder: str) -> list[str]:
        """Return the sorted names in a folder (a key that ends in "/", or ""); those of folders end in "/"."""
        names = []
        try:
            with os.scandir(self._base + folder) as entries:
                for entry in entries:
                    name = entry.name
                    if name.startswith("."):
                        continue
                    if not can_be_key(folder + name):
                        self.n_skipped += 1
                    elif entry.is_dir(follow_symlinks=False):
                        names.append(name + "/")
                    # A link to a folder could lead round in circles, so only links to files inside the root count.
                    elif not entry.is_symlink() or (not entry.is_dir() and self._is_inside(entry.path)):
                        names.append(name)
        except FileNotFoundError:
            if not folder:
                raise _words(FileNotFoundError(), str(self.root)) from None
            return []  # gone since it was listed; as in a bucket, a folder without files is no folder
        except OSError as error:
            raise _words(error, folder or str(self.root)) from error
        names.sort()
        return names

    def _entry(self, key: str) -> Entry | None:
        """Return the facts of a plain file; None for a device, pipe or what has gone since it was listed."""
        try:
            facts = os.stat(self._base + key)  # noqa: PTH116 (a Path for each of 500,000 files takes as long again)
        except OSError:
            return None
        if not stat.S_ISREG(facts.st_mode):
            return None
        return Entry(key, facts.st_size, f"{facts.st_mtime_ns:x}-{facts.st_size:x}")

    def browse(self, folder: str, limit: int = 500) -> Folder:
        """Return the folders and files directly in a folder. Raises StoreError if there is no such folder."""
        self.check()
        start = f"{folder.strip('/')}/" if folder.strip("/") else ""
        if start and not self._locate(start[:-1]).is_dir():
            raise _words(FileNotFoundError(), start[:-1])
        names = self._names(start)
        folders = [name[:-1] for name in names if name.endswith("/")]
        files = [name for name in names if not name.endswith("/")]
        entries = [entry for name in files[:limit] if (entry := self._entry(start + name))]
        return Folder(folders[:limit], entries, max(len(folders), len(files)) > limit)

    def _is_inside(self, path: str | Path) -> bool:
        return _is_below(os.path.realpath(path), self._real_root)

    def _locate(self, key: str) -> Path:
        """Return the file's place. Raises StoreError for a key that would lead out of the folder."""
        path = self.root.joinpath(*_parts(key))
        if not self._is_inside(path):
            raise StoreError(_("“%(key)s” leads out of this datastore.") % {"key": shown(key)})
        return path

    def path(self, key: str) -> Path | None:
        """Return where the file lies."""
        return self._locate(key)

    def open(self, key: str) -> BinaryIO:
        """Open a file; only plain files can be opened."""
        try:
            # Without O_NONBLOCK, opening a named pipe would wait for its writer for ever.
            handle = os.open(self._locate(key), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _words(error, key) from error
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise StoreError(_("“%(key)s” is not a file.") % {"key": shown(key)})
        return os.fdopen(handle, "rb")

    def exists(self, key: str) -> bool:
        """Whether there is such a file."""
        return os.path.isfile(self._locate(key))  # noqa: PTH113 (Path.is_file raises for a name that is too long)

    def delete(self, key: str) -> None:
        """Remove a file."""
        try:
            self._locate(key).unlink(missing_ok=True)
        except OSError as error:
            raise _words(error, key) from error

    def write(self, key: str, content: BinaryIO, overwrite: bool = False) -> str:
        """Write beside the name, then put in place, so that nobody ever reads half a file."""
        path = self._locate(key)
        try:
            if not overwrite and path.exists():
                raise FileExistsError(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=WRITING, delete=False) as file:
                try:
                    while chunk := content.read(CHUNK):
                        file.write(chunk)
                    file.flush()
                    os.fchmod(file.fileno(), 0o644)
                    _put(Path(file.name), self._locate(key), overwrite)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except FileExistsError:
            if path.parent.is_dir():
                raise
            raise _words(NotADirectoryError(), key.rpartition("/")[0]) from None
        except OSError as error:
            raise _words(error, key) from error
        return key

    def url(self, key: str, seconds: int) -> str | None:
        """A folder has no addresses."""
        return None


def _put(written: Path, path: Path, overwrite: bool) -> None:
    """Give a written file its name; unless ``overwrite``, FileExistsError if the name was taken meanwhile."""
    if not overwrite:
        try:
            os.link(written, path)  # fails if the name is taken, where a rename would replace
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            path.touch(exist_ok=False)  # takes the name, which the rename then fills
        else:
            written.unlink()
            return
    written.replace(path)


def _parts(key: str) -> list[str]:
    """Return the parts of a key. Raises StoreError for one that is not the name of anything below a root."""
    parts = key.split("/")
    if "\0" in key or any(part in ("", ".", "..") for part in parts) or not is_text(key):
        raise StoreError(_("“%(key)s” is not a name inside this datastore.") % {"key": shown(key)})
    return parts


def _is_below(real_path: str, real_root: str) -> bool:
    return real_path == real_root or real_path.startswith(real_root.rstrip("/") + "/")


def _words(error: OSError | ValueError, name: str) -> StoreError:
    """Return what the operating system says of a file or folder, in words."""
    texts = {
        FileNotFoundError: _("“%(name)s” is not there. Check the path."),
        NotADirectoryError: _("“%(name)s” is a file, not a folder."),
        PermissionError: _("“%(name)s” can't be used: labelsite has no permission. Change its owner or rights."),
    }
    text = next((words for kind, words in texts.items() if isinstance(error, kind)), None)
    if text is None:
        text = _("“%(name)s” can't be used: %(reason)s.")
    return StoreError(text % {"name": shown(name), "reason": getattr(error, "strerror", None) or _("bad name")})


def open_store(datastore: Datastore) -> Store:
    store = LocalStore(datastore.container, datastore.prefix)
    allowed = [*settings.LOCAL_ROOTS, settings.DATA_DIR / "datastore"]
    if settings.LOCAL_ROOTS and not any(store.lies_below(root) for root in allowed):
        raise StoreError(
            _("“%(folder)s” is not a folder that this site may use. Ask its operator to add it to LOCAL_ROOTS.")
            % {"folder": shown(datastore.container)}
        )
    return store
