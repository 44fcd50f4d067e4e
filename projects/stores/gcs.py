"""A bucket of Google Cloud Storage."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, cast

import requests
from django.utils.translation import gettext as _
from google.api_core.exceptions import GoogleAPICallError, NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import MalformedError, RefreshError
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud.storage import Client
from google.cloud.storage.retry import DEFAULT_RETRY
from google.oauth2.service_account import Credentials
from storages.backends.gcloud import GoogleCloudStorage

from projects.stores import endpoints
from projects.stores.base import CHUNK, Datastore, StoreError
from projects.stores.cloud import CONNECT_SECONDS, READ_SECONDS, CloudStore, Item, Stream, option

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
RETRY = DEFAULT_RETRY.with_timeout(20)
PATIENCE = {"timeout": (CONNECT_SECONDS, READ_SECONDS), "retry": RETRY}
FIELDS = "items(name,size,etag,generation),prefixes,nextPageToken"


class _Storage(GoogleCloudStorage):
    """The library's storage by a session that connects to permitted addresses only."""

    endpoint = ""
    _client: Client | None

    @property
    def client(self) -> Client:
        """The client, made on first use."""
        if self._client is None:
            # Tokens are asked for at the address that the key file names, so that session is guarded as well.
            session = AuthorizedSession(self.credentials, auth_request=Request(_guarded(requests.Session())))
            self._client = Client(
                project=self.project_id,
                credentials=self.credentials,
                _http=_guarded(session),
                client_options={"api_endpoint": self.endpoint} if self.endpoint else None,
            )
        return self._client


def _guarded(session: requests.Session) -> Any:
    for scheme in ("http://", "https://"):
        session.mount(scheme, endpoints.GuardedAdapter())
    return session


class GoogleStore(CloudStore):
    """A bucket, by a service account's key file; without a secret as anybody may."""

    def __init__(self, datastore: Datastore) -> None:
        super().__init__(datastore)
        endpoint = option(datastore, "endpoint")
        self._credentials = _credentials(datastore.secret)
        storage = _Storage(
            bucket_name=self.container,
            project_id=getattr(self._credentials, "project_id", None) or "none",
            credentials=self._credentials,
        )
        storage.endpoint = endpoints.check_url(endpoint) if endpoint else ""
        self._endpoint = storage.endpoint
        self._bucket = storage.bucket

    def _list(self, start: str, after: str, page_size: int) -> Iterator[tuple[list[Item], str]]:
        first = self.base + after if after else None
        found = self._bucket.list_blobs(
            prefix=start or None, start_offset=first, page_size=min(page_size, 1000), fields=FIELDS, **PATIENCE
        )
        bookmark = after
        for page in found.pages:
            # The offset itself is listed once more.
            items = [_item(blob) for blob in page if blob.name != first]
            bookmark = items[-1][0][len(self.base) :] if items else bookmark
            yield items, bookmark

    def _level(self, start: str, limit: int) -> tuple[list[str], list[Item], bool]:
        found = self._bucket.list_blobs(
            prefix=start or None, delimiter="/", page_size=limit + 1, fields=FIELDS, **PATIENCE
        )
        page = next(iter(found.pages), ())
        items = [_item(blob) for blob in islice(page, limit + 1)]
        folders = sorted(found.prefixes)
        return folders, items, len(items) + len(folders) > limit or found.next_page_token is not None

    def _open(self, name: str) -> tuple[int, Callable[[int], Stream]]:
        blob = self._bucket.blob(name)
        blob.reload(**PATIENCE)

        def fetch(place: int) -> Stream:
            same = self._bucket.blob(name, generation=blob.generation, chunk_size=4 * CHUNK)
            stream = same.open("rb", chunk_size=4 * CHUNK, **PATIENCE)
            stream.seek(place)
            return cast(Stream, stream)

        return int(blob.size), fetch

    def _write(self, name: str, content: BinaryIO, overwrite: bool) -> None:
        condition = {} if overwrite else {"if_generation_match": 0}
        with SpooledTemporaryFile(64 * CHUNK) as file:  # the library asks how long it is, which not every source knows
            while chunk := content.read(CHUNK):
                file.write(chunk)
            size = file.tell()
            file.seek(0)
            try:
                self._bucket.blob(name).upload_from_file(cast(BinaryIO, file), size=size, **condition, **PATIENCE)
            except PreconditionFailed:
                raise FileExistsError(name) from None

    def _exists(self, name: str) -> bool:
        return self._bucket.blob(name).exists(**PATIENCE)

    def _delete(self, name: str) -> None:
        try:
            self._bucket.blob(name).delete(**PATIENCE)
        except NotFound:
            self._bucket.reload(**PATIENCE)  # says so if it is the bucket that is not there

    def _url(self, name: str, seconds: int) -> str | None:
        if not isinstance(self._credentials, Credentials):
            return None
        return self._bucket.blob(name).generate_signed_url(
            expiration=timedelta(seconds=seconds),
            version="v4",
            credentials=self._credentials,
            api_access_endpoint=self._endpoint or None,
            response_disposition="attachment",
            response_type="application/octet-stream",
        )

    def _status(self, error: Exception) -> tuple[int, str] | None:
        if isinstance(error, RefreshError):
            return 401, ""
        if isinstance(error, GoogleAPICallError):
            return int(error.code or 0), ""
        return None


def _credentials(secret: str) -> Credentials | AnonymousCredentials:
    """Return what a service account's key file allows.

    No other kind of file is read: some would run programs or use the credentials of this machine.
    """
    if not secret.strip():
        return AnonymousCredentials()
    try:
        facts = json.loads(secret)
        if facts["type"] != "service_account":
            raise ValueError
        return Credentials.from_service_account_info(facts, scopes=[SCOPE])
    except (ValueError, KeyError, TypeError, MalformedError):
        raise StoreError(
            _("The secret is not the key file of a service account. Paste the whole JSON file that Google made.")
        ) from None


def _item(blob: Any) -> Item:
    return blob.name, int(blob.size or 0), str(blob.generation or blob.etag)
