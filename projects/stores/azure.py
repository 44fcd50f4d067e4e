"""A container of Azure Blob storage."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, BinaryIO
from urllib.parse import parse_qs, quote

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import BlobPrefix, BlobSasPermissions, BlobServiceClient, ContainerClient, generate_blob_sas
from django.utils.translation import gettext as _
from storages.backends.azure_storage import AzureStorage

from projects.stores import endpoints
from projects.stores.base import CHUNK, Datastore, StoreError, shown
from projects.stores.cloud import CONNECT_SECONDS, READ_SECONDS, CloudStore, Item, Stream, option

ACCOUNT = re.compile(r"[a-z0-9]{3,24}")


class _Transport(RequestsTransport):
    """Connects to permitted addresses only."""

    def _init_session(self, session: Any) -> None:
        super()._init_session(session)
        for scheme in self._protocols:
            session.mount(scheme, endpoints.GuardedAdapter())


class _Storage(AzureStorage):
    """The library's storage at an endpoint that need not be Azure's."""

    endpoint = ""

    def _get_service_client(self) -> BlobServiceClient:
        credential = {"account_name": self.account_name, "account_key": self.account_key} if self.account_key else None
        return BlobServiceClient(
            self.endpoint,
            credential=credential or self.sas_token,
            transport=_Transport(),
            connection_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retry_total=3,
            retry_connect=2,
            initial_backoff=1,
            increment_base=2,
            max_single_get_size=4 * CHUNK,
            max_chunk_get_size=4 * CHUNK,
        )


class AzureStore(CloudStore):
    """A container, by the account's key or a shared access signature; without a secret as anybody may.

    The listing's bookmark is the service's own marker: accounts with folders list in another order than others.
    """

    def __init__(self, datastore: Datastore) -> None:
        super().__init__(datastore)
        self._account, secret = option(datastore, "account"), datastore.secret.strip()
        if not ACCOUNT.fullmatch(self._account):
            raise StoreError(
                _("“%(name)s” is not a storage account. Its name has 3 to 24 small letters and digits.")
                % {"name": shown(self._account)}
            )
        is_signature = "sig=" in secret
        self._key = "" if is_signature else secret
        self._expiry = _expiry(secret) if is_signature else None
        storage = _Storage(account_name=self._account, account_key=self._key or None, azure_container=self.container)
        storage.sas_token = secret.removeprefix("?") if is_signature else None
        endpoint = option(datastore, "endpoint")
        storage.endpoint = (
            endpoints.check_url(endpoint) if endpoint else f"https://{self._account}.blob.core.windows.net"
        )
        try:
            self._client: ContainerClient = storage.client
        except ValueError:  # a key that is not base64 shows at once
            raise StoreError(_("The secret is neither an account key nor a shared access signature.")) from None

    def _name(self, key: str) -> str:
        name = super()._name(key)
        # On the way to the server these would become the names of other blobs, or of other containers.
        if "\\" in name or any(part in (".", "..") for part in name.split("/")):
            raise StoreError(
                _("“%(key)s” has a backslash or a part of dots, so Azure can't be asked for it.") % {"key": shown(key)}
            )
        return name

    def _list(self, start: str, after: str, page_size: int) -> Iterator[tuple[list[Item], str]]:
        found = self._client.list_blobs(name_starts_with=start or None, results_per_page=min(page_size, 5000))
        pages: Any = found.by_page(continuation_token=after or None)
        for page in pages:
            items = [_item(blob) for blob in page]
            yield items, str(pages.continuation_token or "")

    def _level(self, start: str, limit: int) -> tuple[list[str], list[Item], bool]:
        walk = self._client.walk_blobs(name_starts_with=start or None, delimiter="/", results_per_page=limit + 1)
        found = list(islice(walk, limit + 1))
        folders = [entry.name for entry in found if isinstance(entry, BlobPrefix)]
        items = [_item(entry) for entry in found if not isinstance(entry, BlobPrefix)]
        return folders, items, len(found) > limit

    def _open(self, name: str) -> tuple[int, Callable[[int], Stream]]:
        blob = self._client.get_blob_client(name)
        facts = blob.get_blob_properties()

        def fetch(place: int) -> Stream:
            unchanged = MatchConditions.IfNotModified
            return blob.download_blob(place, facts.size - place, etag=facts.etag, match_condition=unchanged)

        return facts.size, fetch

    def _write(self, name: str, content: BinaryIO, overwrite: bool) -> None:
        try:
            self._client.upload_blob(name, content, overwrite=overwrite)
        except ResourceExistsError:
            raise FileExistsError(name) from None

    def _exists(self, name: str) -> bool:
        return self._client.get_blob_client(name).exists()

    def _delete(self, name: str) -> None:
        try:
            self._client.delete_blob(name)
        except ResourceNotFoundError as error:
            if self._status(error) != (404, "BlobNotFound"):
                raise

    def _url(self, name: str, seconds: int) -> str | None:
        if not self._key:  # a shared access signature opens more than one file
            return None
        signature = generate_blob_sas(
            self._account,
            self.container,
            name,
            account_key=self._key,
            permission=BlobSasPermissions(read=True),
            expiry=datetime.now(UTC) + timedelta(seconds=seconds),
            content_disposition="attachment",
            content_type="application/octet-stream",
        )
        return f"{self._client.url}/{quote(name, safe='/~')}?{signature}"

    def _status(self, error: Exception) -> tuple[int, str] | None:
        if not isinstance(error, HttpResponseError):
            return None
        if self._expiry and self._expiry < datetime.now(UTC) and error.status_code == 403:
            return 403, "ExpiredToken"
        code = getattr(error, "error_code", None)
        return error.status_code or 0, str(getattr(code, "value", code) or "")


def _item(blob: Any) -> Item:
    return blob.name, blob.size, blob.etag.strip('"')


def _expiry(signature: str) -> datetime | None:
    """Return when a shared access signature ends; the service says only that it does not accept it."""
    try:
        moment = datetime.fromisoformat(parse_qs(signature.removeprefix("?"))["se"][0])
    except (KeyError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
