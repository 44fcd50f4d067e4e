"""Previews: small JPEGs of images, made ahead of the queue by child processes and kept below DATA_DIR.

The children (projects/render.py) open the untrusted bytes, so that a damaged, huge or hostile file can cost a
child, never a web process or worker.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

from django.conf import settings
from django.utils.translation import gettext as _

from projects.stores import CHUNK, Store, StoreDown, StoreError

SIZES = (512, 2048)
SECONDS_PER_IMAGE = 30.0
IDLE_SECONDS = 30.0
MAX_BYTES = 500 * 1024**2  # of one file, as in uploads
Size = int | Literal["full"]
Item = TypeVar("Item")
Result = TypeVar("Result")


class Unreadable(Exception):
    """An image that can't be opened, with the reason in words."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of an image once it was opened; width and height are pixels as displayed."""

    width: int
    height: int
    orientation: int
    format: str


def preview_path(datastore_id: int, key: str, etag: str, size: Size) -> Path:
    """Return where a preview lies: its name is a hash, so no key ever becomes a path."""
    name = hashlib.sha256(f"{datastore_id}\0{etag}\0{key}".encode("utf-8", "surrogatepass")).hexdigest()
    return Path(settings.DATA_DIR) / "previews" / name[:2] / f"{name[2:]}-{size}.jpg"


def prepare(
    store: Store,
    datastore_id: int,
    entries: Iterable[tuple[int, str, str]],
    sizes: Iterable[Size] = SIZES,
    processes: int | None = None,
) -> Iterator[tuple[int, ImageFacts | Unreadable]]:
    """Measure images and draw their previews, several at once; yield each entry's id with what came of it.

    Raises StoreDown when the store can't be used, which says nothing about the images that are left.

    ``entries`` are (id, key, etag). A child that hangs or dies costs its own image only.
    """
    sizes = tuple(sizes)

    def one(entry: tuple[int, str, str]) -> tuple[int, ImageFacts | Unreadable]:
        image_id, key, etag = entry
        targets = {size: preview_path(datastore_id, key, etag, size) for size in sizes}
        try:
            return image_id, _render(store, key, targets)
        except Unreadable as error:
            return image_id, error

    yield from _several_at_once(one, entries, processes)


def _several_at_once(
    one: Callable[[Item], Result], entries: Iterable[Item], processes: int | None = None
) -> Iterator[Result]:
    queue = iter(entries)
    first = list(islice(queue, 2))
    if len(first) < 2:
        yield from map(one, first)
        return
    with ThreadPoolExecutor(processes or os.cpu_count() or 1) as pool:
        yield from pool.map(one, [*first, *queue])


def ensure(store: Store, datastore_id: int, key: str, etag: str, size: Size) -> Path:
    """Return the preview's path, drawing it now if it isn't there. Raises Unreadable and StoreDown."""
    path = preview_path(datastore_id, key, etag, size)
    if not path.exists():
        _render(store, key, {size: path})
    return path


def measure_all(store: Store, entries: Iterable[tuple[int, str]]) -> Iterator[tuple[int, ImageFacts | Unreadable]]:
    """Read the heads of images (id, key), several at once; whether the rest is sound is not looked at."""

    def one(entry: tuple[int, str]) -> tuple[int, ImageFacts | Unreadable]:
        image_id, key = entry
        try:
            return image_id, _render(store, key, {}, head_only=True)
        except Unreadable as error:
            return image_id, error

    yield from _several_at_once(one, entries)


def _render(store: Store, key: str, targets: dict[Size, Path], head_only: bool = False) -> ImageFacts:
    job_targets = [[0 if size == "full" else size, str(path)] for size, path in targets.items()]
    try:
        with _source(store, key) as source:
            reply = _children.ask({"source": source, "targets": job_targets, "head_only": head_only})
    except StoreDown:
        raise
    except StoreError as error:
        raise Unreadable(str(error)) from _down(store, error)
    if "error" in reply:
        raise Unreadable(str(reply["error"]))
    return ImageFacts(**reply)  # type: ignore[arg-type]


def _down(store: Store, error: StoreError) -> StoreError:
    """Return the error of one file. Raises StoreDown if the store as a whole can't be used."""
    try:
        store.check()
    except StoreError as down:
        raise StoreDown(str(down)) from error
    return error


@contextmanager
def _source(store: Store, key: str) -> Iterator[str]:
    """Give the child a file to open: the one in the folder, or a copy of what lies elsewhere."""
    path = store.path(key)
    if path is not None:
        with store.open(key):  # says in words what is wrong with it
            yield str(path)
        return
    with store.open(key) as remote, tempfile.NamedTemporaryFile(prefix="labelsite-image-") as copy:
        while chunk := remote.read(CHUNK):
            copy.write(chunk)
            if copy.tell() > MAX_BYTES:
                raise Unreadable(_("The file is larger than %(n)d MB.") % {"n": MAX_BYTES // 1024**2})
        copy.flush()
        yield copy.name


class _Ended(Unreadable):
    """The child ended without an answer."""


class _Child:
    """One running renderer."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "projects.render"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=settings.BASE_DIR,
            text=True,
        )
        self.idle_since = time.monotonic()

    def ask(self, job: dict[str, object]) -> dict[str, object]:
        """Return the child's reply. Raises Unreadable, and the child has ended, if there is none in time."""
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
            ready, _w, _x = select.select([self.process.stdout], [], [], SECONDS_PER_IMAGE)
            line = self.process.stdout.readline() if ready else ""
        except (BrokenPipeError, OSError):
            ready, line = [self.process.stdout], ""
        if line:
            reply: dict[str, object] = json.loads(line)
            return reply
        self.end()
        if not ready:
            raise Unreadable(_("The image took more than %(n)d seconds to open.") % {"n": SECONDS_PER_IMAGE})
        raise _Ended(_("The image made the program that opens images fail; it may need too much memory."))

    def end(self) -> None:
        """End the process and close its pipes."""
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with suppress(OSError):
                    pipe.close()
        self.process.wait()


class _Children:
    """Renderers that wait for work; each asker takes one, or starts one, and puts it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._pid = os.getpid()
        self._timer: threading.Timer | None = None
        self._starter: ThreadPoolExecutor | None = None

    def ask(self, job: dict[str, object]) -> dict[str, object]:
        child, is_new = self._take()
        try:
            reply = child.ask(job)
        except _Ended:
            if is_new:
                raise
            child = self._start()  # it may have died of an earlier image, or while it waited
            reply = child.ask(job)
        with self._lock:
            child.idle_since = time.monotonic()
            self._idle.append(child)
            if self._timer is None:
                self._start_timer()
        return reply

    def _take(self) -> tuple[_Child, bool]:
        with self._lock:
            if self._pid != os.getpid():  # forked: the parent's children are the parent's
                self._idle, self._pid, self._timer, self._starter = [], os.getpid(), None, None
            while self._idle:
                child = self._idle.pop()
                if child.process.poll() is None:
                    return child, False
                child.end()
        return self._start(), True

    def _start(self) -> _Child:
        """Start a child from a thread that stays: it would end with the one that started it (PR_SET_PDEATHSIG)."""
        with self._lock:
            if self._starter is None:
                self._starter = ThreadPoolExecutor(1, "renderers")
            starter = self._starter
        return starter.submit(_Child).result()

    def _start_timer(self) -> None:
        self._timer = threading.Timer(IDLE_SECONDS, self._end_idle)
        self._timer.daemon = True
        self._timer.start()

    def _end_idle(self) -> None:
        """End those that nobody has needed for a while: an idle site keeps no renderers."""
        limit = time.monotonic() - IDLE_SECONDS
        with self._lock:
            gone = [child for child in self._idle if child.idle_since <= limit]
            self._idle = [child for child in self._idle if child.idle_since > limit]
            self._timer = None
            if self._idle:
                self._start_timer()
        for child in gone:
            child.end()

    def end_all(self) -> None:
        with self._lock:
            mine, self._idle = (self._idle if self._pid == os.getpid() else []), []
        for child in mine:
            child.end()


_children = _Children()
atexit.register(_children.end_all)
