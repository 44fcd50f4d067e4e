"""What is answered when something goes wrong outside of a view's care: a page for people, a problem for programs.

When the database can't be reached, or a disk is full, nothing is lost by waiting: that is a 503 with Retry-After, on
which the labeling page tries again by itself.
"""

from __future__ import annotations

import errno
import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views import defaults

from labelsite.problems import API, problem_response

RETRY_SECONDS = 10
FULL = (errno.ENOSPC, errno.EDQUOT)
DISK_FULL = "53100"  # PostgreSQL's code, whatever its language


def outage(error: BaseException | None) -> str:
    """Return in words what the site can't do without and hasn't; nothing for any other error."""
    if isinstance(error, OSError) and error.errno in FULL:
        return _("A disk of the site is full. Nothing that was stored is lost; try again when it has been cleared.")
    if isinstance(error, OperationalError) and _is_disk_full(error):
        return _("The database's disk is full. Nothing that was stored is lost; try again when it has been cleared.")
    if isinstance(error, OperationalError | InterfaceError):
        return _("The database can't be reached just now. Nothing that was stored is lost; try again in a moment.")
    return ""


def _is_disk_full(error: OperationalError) -> bool:
    return getattr(error.__cause__, "sqlstate", None) == DISK_FULL or "disk is full" in str(error)  # SQLite's words


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer for an exception that nobody has caught."""
    words = outage(sys.exc_info()[1])
    status = 503 if words else 500
    if request.path_info.startswith(API):
        told = words or _("Something broke on our side. Nothing that was stored is lost; try again in a moment.")
        response: HttpResponse = problem_response(status, told)
    elif words:
        response = render(request, "503.html", {"words": words, "seconds": RETRY_SECONDS}, status=503)
    else:
        return defaults.server_error(request)
    if words:
        response["Retry-After"] = str(RETRY_SECONDS)
    return response


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer for a request that can't be read."""
    if request.path_info.startswith(API):
        return problem_response(400, _("The request can't be read."))
    return defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer for what is refused."""
    if request.path_info.startswith(API):
        return problem_response(403, _("This was refused."))
    return defaults.permission_denied(request, exception)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer for what is not there."""
    if request.path_info.startswith(API):
        return problem_response(404, _("There is nothing here."))
    return defaults.page_not_found(request, exception)
