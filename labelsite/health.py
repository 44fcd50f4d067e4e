"""Is the site alive, and can it work: /healthz and /readyz, for whoever watches over its processes.

They answer before anything else does: for any host name, without HTTPS, a session, or (for /healthz) a database.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.utils import timezone

PULSE = "let leases lapse"  # the schedule whose turn a live worker never misses
WORKER_LATE = timedelta(minutes=3)
RETRY_SECONDS = "10"


def check_database() -> str:
    """Return what is wrong with the database, in words; nothing when it answers."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except Exception:
        return "The database can't be reached."
    return ""


def check_cache() -> str:
    """Return what is wrong with the cache."""
    try:
        cache.set("readyz", 1, timeout=10)
        cache.get("readyz")
    except Exception:
        return "The cache can't be reached."
    return ""


def check_disk() -> str:
    """Return what is wrong with the place of previews, uploads and exports."""
    try:
        free = shutil.disk_usage(settings.DATA_DIR).free
        with tempfile.TemporaryFile(dir=settings.DATA_DIR) as file:
            file.write(b"readyz")
    except OSError:
        return "DATA_DIR can't be written to."
    limit = settings.MIN_FREE_MB * 1024**2
    return "" if free >= limit else f"DATA_DIR has less than {settings.MIN_FREE_MB} MB left."


def check_worker() -> str:
    """Return what is wrong with the workers: one that lives takes the schedules when their time has come."""
    from django_q.models import Schedule

    try:
        due = Schedule.objects.filter(name=PULSE).values_list("next_run", flat=True).first()
    except Exception:
        return "Not known: the database can't be reached."
    if due is None or timezone.now() - due > WORKER_LATE:
        return "No worker has taken its schedules for some minutes."
    return ""


NEEDED: dict[str, Callable[[], str]] = {"database": check_database, "cache": check_cache, "disk": check_disk}


def healthz() -> HttpResponse:
    """The process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


def readyz() -> HttpResponse:
    """Whether people can work here: 503 when they can't. Without a worker they can, so that only shows."""
    checks = {name: check() for name, check in {**NEEDED, "worker": check_worker}.items()}
    is_ready = not any(checks[name] for name in NEEDED)
    status = "ready" if not any(checks.values()) else "degraded" if is_ready else "unavailable"
    body = {"status": status, "checks": {name: words or "ok" for name, words in checks.items()}}
    response = JsonResponse(body, status=200 if is_ready else 503)
    if not is_ready:
        response["Retry-After"] = RETRY_SECONDS
    return response


PROBES = {"/healthz": healthz, "/readyz": readyz}


class Probes:
    """The first middleware: answers the probes, lets everything else through."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a probe, with or without a slash at its end."""
        probe = PROBES.get(request.path_info.rstrip("/"))
        if probe is None or request.method not in ("GET", "HEAD"):
            return self.get_response(request)
        response = probe()
        response["Cache-Control"] = "no-store"
        return response
