"""An S3 bucket, at Amazon or at any other endpoint that speaks its protocol."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import botocore
from botocore.config import Config
from botocore.exceptions import ClientError
from django.utils.translation import gettext as _
from storages.backends.s3 import S3Storage

from projects.stores import endpoints
from projects.stores.base import CHUNK, Datastore, StoreError
from projects.stores.cloud import CONNECT_SECONDS, READ_SECONDS, CloudStore, Item, Stream, option

PART = 64 * CHUNK
REGION = re.compile(r"[a-z0-9-]{1,40}")


class S3Store(CloudStore):
    """A bucket. Without a secret it is asked as anybody may; credentials of this machine are never used."""

    def __init__(self, datastore: Datastore) -> None:
        super().__init__(datastore)
        endpoint, region = option(datastore, "endpoint"), option(datastore, "region") or "us-east-1"
        access_key, secret = option(datastore, "access_key"), datastore.secret
        if not REGION.fullmatch(region):
            raise StoreError(_("“%(region)s” is not a region. Write it as “eu-west-1”.") % {"region": region[:50]})
        if bool(access_key) != bool(secret):
            raise StoreError(_("Enter both the access key and the secret, or neither for a public bucket."))
        secret_key, _newline, session_token = secret.partition("\n")  # temporary credentials have a second line
        storage = S3Storage(
            bucket_name=self.container,
            access_key=access_key or "anybody",
            secret_key=secret_key or "anybody",
            security_token=session_token.strip() or None,
            region_name=region,
            endpoint_url=endpoints.check_url(endpoint) if endpoint else None,
            client_config=Config(
                signature_version="s3v4" if secret else botocore.UNSIGNED,
                s3={"addressing_style": "path" if endpoint else "auto"},
                proxies=None if endpoints.is_unguarded() else {},
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"mode": "standard", "total_max_attempts": 4},
                # Checksums of newer clients are unknown to many servers that speak S3.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        self._client = storage.connection.meta.client
        self._is_signed = bool(secret)
        if not endpoints.is_unguarded():
            session = self._client._endpoint.http_session
            session._manager.pool_classes_by_scheme = endpoints.guard_pools(session._pool_classes_by_scheme)

    def _list(self, start: str, after: str, page_size: int) -> Iterator[tuple[list[Item], str]]:
        asked: dict[str, Any] = {"Bucket": self.container, "Prefix": start, "MaxKeys": min(page_size, 1000)}
        if after:
            asked["StartAfter"] = self.base + after
        bookmark = after
        while True:
            answer = self._client.list_objects_v2(**asked)
            items = [_item(entry) for entry in answer.get("Contents", ())]
            bookmark = next((i[0][len(self.base) :] for i in reversed(items) if "\0" not in i[0]), bookmark)
            yield items, bookmark
            if not answer.get("IsTruncated"):
                return
            asked.pop("StartAfter", None)
            asked["ContinuationToken"] = answer["NextContinuationToken"]

    def _level(self, start: str, limit: int) -> tuple[list[str], list[Item], bool]:
        answer = self._client.list_objects_v2(Bucket=self.container, Prefix=start, Delimiter="/", MaxKeys=limit)
        folders = [entry["Prefix"] for entry in answer.get("CommonPrefixes", ())]
        return folders, [_item(entry) for entry in answer.get("Contents", ())], answer.get("IsTruncated", False)

    def _open(self, name: str) -> tuple[int, Callable[[int], Stream]]:
        facts = self._client.head_object(Bucket=self.container, Key=name)

        def fetch(place: int) -> Stream:
            where = {"Range": f"bytes={place}-"} if place else {}
            answer = self._client.get_object(Bucket=self.container, Key=name, IfMatch=facts["ETag"], **where)
            stream: Stream = answer["Body"]
            return stream

        return facts["ContentLength"], fetch

    def _write(self, name: str, content: BinaryIO, overwrite: bool) -> None:
        place: dict[str, Any] = {"Bucket": self.container, "Key": name}
        condition = {} if overwrite else {"IfNoneMatch": "*"}
        try:
            part = _read(content, PART)
            if len(part) < PART:
                self._client.put_object(Body=part, **place, **condition)
            else:
                self._write_parts(place, condition, part, content)
        except ClientError as error:
            if _answer(error)[0] == 412:
                raise FileExistsError(name) from None
            raise

    def _write_parts(self, place: dict[str, Any], condition: dict[str, Any], part: bytes, content: BinaryIO) -> None:
        upload = {**place, "UploadId": self._client.create_multipart_upload(**place)["UploadId"]}
        try:
            parts: list[dict[str, Any]] = []
            while part:
                number = len(parts) + 1
                answer = self._client.upload_part(Body=part, PartNumber=number, **upload)
                parts.append({"ETag": answer["ETag"], "PartNumber": number})
                part = _read(content, PART)
            self._client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **upload, **condition)
        except BaseException:
            self._client.abort_multipart_upload(**upload)
            raise

    def _exists(self, name: str) -> bool:
        try:
            self._client.head_object(Bucket=self.container, Key=name)
        except ClientError as error:
            if _answer(error)[0] == 404:
                return False
            raise
        return True

    def _delete(self, name: str) -> None:
        self._client.delete_object(Bucket=self.container, Key=name)

    def _url(self, name: str, seconds: int) -> str | None:
        if not self._is_signed:
            return None
        asked = {
            "Bucket": self.container,
            "Key": name,
            "ResponseContentDisposition": "attachment",
            "ResponseContentType": "application/octet-stream",
        }
        url: str = self._client.generate_presigned_url("get_object", Params=asked, ExpiresIn=seconds)
        return url

    def _status(self, error: Exception) -> tuple[int, str] | None:
        return _answer(error) if isinstance(error, ClientError) else None


def _item(entry: dict[str, Any]) -> Item:
    return entry["Key"], entry["Size"], entry["ETag"].strip('"')


def _answer(error: ClientError) -> tuple[int, str]:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status, str(error.response.get("Error", {}).get("Code", ""))


def _read(content: BinaryIO, count: int) -> bytes:
    """Read so many bytes, also from what gives fewer at a time."""
    pieces, left = [], count
    while left and (piece := content.read(min(left, CHUNK))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
