"""What the clouds' stores share: keys below a prefix, listings in pages, files read by ranges, troubles in words."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from django.utils.translation import gettext as _

from projects.stores.base import Datastore, Entry, Folder, Page, StoreDown, StoreError, can_be_key, shown

CONNECT_SECONDS = 5
READ_SECONDS = 30
BLOCK = 256 * 1024
CODE = re.compile(r"[A-Za-z0-9.]{1,60}")

EXPIRED = {"ExpiredToken", "RequestExpired", "TokenRefreshRequired"}
WRONG_SECRET = {
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthFailure", "InvalidToken", "InvalidSecurity"),
    *("AuthenticationFailed", "AuthorizationFailure", "InvalidAuthenticationInfo", "NoAuthenticationInformation"),
}
NO_CONTAINER = {"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted", "InvalidBucketName"}
ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
SLOWER = {"SlowDown", "ServerBusy", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests"}

Item = tuple[str, int, str]  # full name, size, etag


class Stream(Protocol):
    """What a provider hands out of one file."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""


class CloudStore:
    """A bucket or container, from a prefix on.

    A key is the rest of the object's name after the prefix, whatever it holds. Names that no column holds (NUL, more
    than 1,024 bytes) and those of folders are passed over; ``n_skipped`` counts them during the last listing.
    """

    def __init__(self, datastore: Datastore) -> None:
        self.container = datastore.container.strip()
        self.base = f"{datastore.prefix.strip('/')}/" if datastore.prefix.strip("/") else ""
        self.has_urls = bool(datastore.options.get("signed_urls", True))
        self.n_skipped = 0
        if not self.container or "/" in self.container or not self.container.isprintable():
            raise StoreError(_("“%(name)s” is not the name of a container.") % {"name": shown(self.container)})

    # --- What each provider does in its own way -----------------------------------------------------

    def _list(self, start: str, after: str, page_size: int) -> Iterator[tuple[list[Item], str]]:
        """Yield the objects whose names begin with ``start`` in pages, each with its bookmark."""
        raise NotImplementedError

    def _level(self, start: str, limit: int) -> tuple[list[str], list[Item], bool]:
        """Return the folders (names that end in "/") and objects directly below ``start``, and if there are more."""
        raise NotImplementedError

    def _open(self, name: str) -> tuple[int, Callable[[int], Stream]]:
        """Return an object's size, and what reads it from a place on, while it is the same."""
        raise NotImplementedError

    def _write(self, name: str, content: BinaryIO, overwrite: bool) -> None:
        """Write an object. Raises FileExistsError."""
        raise NotImplementedError

    def _exists(self, name: str) -> bool:
        raise NotImplementedError

    def _delete(self, name: str) -> None:
        raise NotImplementedError

    def _url(self, name: str, seconds: int) -> str | None:
        raise NotImplementedError

    def _status(self, error: Exception) -> tuple[int, str] | None:
        """Return the status and code that the provider answered with; None when there was no answer."""
        raise NotImplementedError

    # --- The interface of stores --------------------------------------------------------------------

    def pages(self, prefix: str = "", after: str = "", page_size: int = 5000) -> Iterator[Page]:
        """Yield the files below ``prefix`` by the provider's own pages."""
        self.n_skipped = 0
        start = self.base + (f"{prefix.strip('/')}/" if prefix.strip("/") else "")
        with self._telling():
            for items, bookmark in self._list(start, after, page_size):
                yield Page(self._entries(items), bookmark)

    def browse(self, folder: str, limit: int = 500) -> Folder:
        """Return the folders and files directly in a folder."""
        start = self.base + (f"{folder.strip('/')}/" if folder.strip("/") else "")
        with self._telling():
            folders, items, is_cut = self._level(start, limit)
        names = [name[len(start) : -1] for name in folders]
        return Folder([name for name in names if name][:limit], list(self._entries(items))[:limit], is_cut)

    def open(self, key: str) -> BinaryIO:
        """Open a file for reading; only what is read is fetched, and a lost connection is taken up again."""
        name = self._name(key)
        with self._telling(key):
            size, fetch = self._open(name)
        return io.BufferedReader(_Remote(size, fetch, lambda: self._telling(key)), BLOCK)

    def write(self, key: str, content: BinaryIO, overwrite: bool = False) -> str:
        """Write a file; it appears when it is whole."""
        name = self._name(key)
        with self._telling(key):
            self._write(name, content, overwrite)
        return key

    def exists(self, key: str) -> bool:
        """Whether there is such a file."""
        name = self._name(key)
        with self._telling(key):
            return self._exists(name)

    def delete(self, key: str) -> None:
        """Remove a file."""
        name = self._name(key)
        with self._telling(key):
            self._delete(name)

    def url(self, key: str, seconds: int) -> str | None:
        """Return an address that works for some seconds, and saves the file rather than showing it."""
        name = self._name(key)
        with self._telling(key):
            return self._url(name, seconds) if self.has_urls else None

    def path(self, key: str) -> Path | None:
        """It lies elsewhere."""
        return None

    def check(self) -> None:
        """List one file; that asks for everything that reading takes."""
        with self._telling():
            next(iter(self._list(self.base, "", 1)), None)

    # --- Names and words ----------------------------------------------------------------------------

    def _entries(self, items: Iterable[Item]) -> Iterator[Entry]:
        for name, size, etag in items:
            key = name[len(self.base) :]
            if not key or key.endswith("/") or "\0" in key or not can_be_key(key):
                self.n_skipped += 1
            else:
                yield Entry(key, size, etag)

    def _name(self, key: str) -> str:
        """Return the object's full name. Raises StoreError for what can be no name."""
        if not key or "\0" in key or not can_be_key(key):
            raise StoreError(_("“%(key)s” is not a name inside this datastore.") % {"key": shown(key)})
        return self.base + key

    @contextmanager
    def _telling(self, key: str = "") -> Iterator[None]:
        """Turn whatever goes wrong into words: no secret, and nothing of what the server answered but a code."""
        try:
            yield
        except (StoreError, FileExistsError):
            raise
        except Exception as error:
            refused = next((cause for cause in _causes(error) if isinstance(cause, StoreError)), None)
            raise refused or self._trouble(self._status(error), key) from None

    def _trouble(self, answer: tuple[int, str] | None, key: str) -> StoreError:
        status, code = answer or (0, "")
        is_down = answer is None or status in (401, 429) or status >= 500 or code in EXPIRED | WRONG_SECRET | SLOWER
        return (StoreDown if is_down else StoreError)(self._words(answer, key))

    def _words(self, answer: tuple[int, str] | None, key: str) -> str:
        names = {"container": shown(self.container), "key": shown(key)}
        if answer is None:
            return _("The store of “%(container)s” can't be reached, or did not answer. Check the endpoint.") % names
        status, code = answer
        if code in EXPIRED:
            return _("The credentials for “%(container)s” have expired. Enter new ones.") % names
        if code in WRONG_SECRET or status == 401:
            return _("The store does not accept these credentials. Check the account or key and the secret.")
        if code in NO_CONTAINER or (status == 404 and not key):
            return _("There is no “%(container)s” there. Check the name, and the endpoint or account.") % names
        if status == 404:
            return _("“%(key)s” is not there. Check the path.") % names
        if status == 412:
            return _("“%(key)s” has changed while it was read. Try again.") % names
        if code in ELSEWHERE or status == 301:
            return _("“%(container)s” is in another region. Enter its region.") % names
        if code in SLOWER or status in (429, 503):
            return _("The store of “%(container)s” asks to go slower. Try again in some minutes.") % names
        if code == "RequestTimeTooSkewed":
            return _("The clock of this machine is wrong, so the store does not accept what it signs.")
        if status == 403:
            return _("These credentials may not do this in “%(container)s”. Let them list, read and write.") % names
        answered = f"{status} {code}".strip() if CODE.fullmatch(code) else str(status)
        return _("The store of “%(container)s” answered with error %(code)s.") % {**names, "code": answered}


class _Remote(io.RawIOBase):
    """A file in a cloud, read from wherever somebody seeks to; a connection that breaks is made again once."""

    def __init__(self, size: int, fetch: Callable[[int], Stream], telling: Callable[[], Any]) -> None:
        self._size = size
        self._fetch = fetch
        self._telling = telling
        self._place = 0
        self._stream: Stream | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        place = max(start + offset, 0)
        if place != self._place:
            self._place, self._stream = place, None
        return place

    def readinto(self, buffer: Any) -> int:
        if self._place >= self._size:
            return 0
        with self._telling():
            chunk = b""
            with suppress(Exception):
                chunk = self._read(len(buffer))
            if not chunk:
                self._stream = None
                chunk = self._read(len(buffer))
            if not chunk:
                raise EOFError
        buffer[: len(chunk)] = chunk
        self._place += len(chunk)
        return len(chunk)

    def _read(self, count: int) -> bytes:
        if self._stream is None:
            self._stream = self._fetch(self._place)
        return self._stream.read(min(count, self._size - self._place))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it came from, in whatever way its library wrapped it."""
    waiting, seen = [error], {id(error)}
    while waiting:
        cause = waiting.pop()
        yield cause
        inner = [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
        inner += dict(getattr(cause, "kwargs", None) or {}).values()
        for one in inner:
            if isinstance(one, BaseException) and id(one) not in seen:
                seen.add(id(one))
                waiting.append(one)


def option(datastore: Datastore, name: str) -> str:
    """Return an option's text, or "". Raises StoreError if it is something else."""
    value = datastore.options.get(name) or ""
    if not isinstance(value, str):
        raise StoreError(_("The option “%(name)s” is a text.") % {"name": name})
    return value.strip()
