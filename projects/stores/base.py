"""What every kind of store is: its interface, what it lists, and how its troubles are told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

CHUNK = 1024 * 1024
MAX_KEY_BYTES = 1024  # what S3 and Google take, and what a column of the database holds


class StoreError(Exception):
    """What is wrong with a store, in words for a person; never a secret or what a server answered."""


class StoreDown(StoreError):
    """The whole store can't be used now; that says nothing about any one of its files."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a store; ``etag`` changes with its content."""

    key: str
    size: int
    etag: str


class Page(list[Entry]):
    """Some files of a listing; the listing can go on after the ``bookmark``, also another day and elsewhere."""

    def __init__(self, entries: Iterable[Entry], bookmark: str) -> None:
        super().__init__(entries)
        self.bookmark = bookmark


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

    def pages(self, prefix: str = "", after: str = "", page_size: int = 5000) -> Iterator[Page]:
        """Yield every file below the folder ``prefix``, in the order in which the store lists them.

        ``after`` is the bookmark of a page: the listing goes on where that page ended.
        """

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


def shown(name: str) -> str:
    """Return a name so that any page can show it: no broken characters, no kilobytes."""
    text = name.encode("utf-8", "replace").decode().replace("\0", "?")
    return text if len(text) <= 200 else f"{text[:200]}…"


def can_be_key(name: str) -> bool:
    if len(name) <= MAX_KEY_BYTES // 4 and name.isascii():
        return True
    return is_text(name) and len(name.encode()) <= MAX_KEY_BYTES


def is_text(name: str) -> bool:
    """Whether a name is UTF-8; Python shows other bytes as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
