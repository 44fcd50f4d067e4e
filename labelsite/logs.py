"""Logs for machines (LOG_FORMAT=json): one JSON object a line, each with the id of the request that it belongs to.

Nothing that a request carries is logged but its method, its path and its id: no query, header, cookie or body.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime

import orjson
from django.http import HttpRequest, HttpResponseBase

from labelsite import metrics

request_id: ContextVar[str] = ContextVar("request_id", default="")
SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
access = logging.getLogger("labelsite.access")


class RequestIdFilter(logging.Filter):
    """Puts the id of the present request on each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through."""
        record.request_id = request_id.get()
        return True


class JsonFormatter(logging.Formatter):
    """One line of JSON for each record; a traceback is one of its texts, without the values of variables."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": getattr(record, "request_id", ""),
            "process": record.process,
        }
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps({k: v for k, v in line.items() if v not in ("", None)}, default=str).decode()


class Requests:
    """Gives each request an id (that of the proxy, if it sends one), tells it back, logs and measures the request."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Handle the request."""
        given = request.headers.get("X-Request-ID", "")
        name = given if SAFE_ID.fullmatch(given) else uuid.uuid4().hex
        token = request_id.set(name)
        started = time.perf_counter()
        try:
            response = self.get_response(request)
            seconds = time.perf_counter() - started
            metrics.observe(request, response.status_code, seconds)
            facts = {"method": request.method, "path": request.path, "status": response.status_code}
            access.info("request", extra={"facts": {**facts, "ms": round(seconds * 1000, 1)}})
        finally:
            request_id.reset(token)
        response["X-Request-ID"] = name
        return response
