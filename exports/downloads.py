"""Send the files of finished exports, whole or in part (``Range``, RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from rest_framework.request import Request

from exports import jobs
from exports.models import Export
from projects.stores import CHUNK, StoreError

TYPES = {
    "json": "application/json",
    "jsonl": "application/jsonl",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "zip": "application/zip",
}
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def download(request: HttpRequest | Request, export: Export, name: str = "") -> HttpResponseBase:
    """Return a file of a finished export to be saved: the named one, or the first; 404 while there is none."""
    file = jobs.file_of(export, name)
    if file is None:
        raise Http404(_("This export is not done, or has no such file."))
    try:
        content = jobs.open_file(export, name)
        size = content.seek(0, 2)
        content.seek(0)
    except StoreError as error:
        raise Http404(str(error)) from error
    request.META.pop("HTTP_ACCEPT_ENCODING", None)  # compressed on the way, its bytes could not be counted
    tag = f'"{file["sha256"]}"'
    part = _part(request, tag, size)
    response: HttpResponseBase
    if part is None:
        response = FileResponse(content)
        response["Content-Length"] = str(size)
    elif not part:
        content.close()
        response = HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    else:
        response = StreamingHttpResponse(_slice(content, part), status=206)
        response["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
        response["Content-Length"] = str(len(part))
    response["Content-Type"] = TYPES.get(file["name"].rpartition(".")[2], "application/octet-stream")
    response["Content-Disposition"] = content_disposition_header(True, file["name"]) or "attachment"
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = tag
    return response


def _part(request: HttpRequest | Request, tag: str, size: int) -> range | None:
    """Return the bytes that are asked for; None for all of them, an empty range for what the file doesn't have."""
    asked = RANGE.fullmatch(request.headers.get("Range", "").replace(" ", ""))
    if asked is None or asked.group(0) == "bytes=-" or request.headers.get("If-Range", tag) != tag:
        return None
    first, last = asked.groups()
    if not first:
        return range(max(size - int(last), 0), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size) if last else size)


def _slice(content: BinaryIO, part: range) -> Iterator[bytes]:
    with content:
        content.seek(part.start)
        left = len(part)
        while left and (chunk := content.read(min(CHUNK, left))):
            left -= len(chunk)
            yield chunk
