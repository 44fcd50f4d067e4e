"""The Exports tab: have an export written, follow it, take it away (SPEC E1)."""

from __future__ import annotations

from typing import cast

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from exports import jobs
from exports.downloads import download as send_file
from exports.models import Export
from projects.access import get_project_to_export
from projects.frame import frame

SHOWN = 50


@require_http_methods(["GET", "POST"])
def exports(request: HttpRequest, pk: int) -> HttpResponse:
    """The project's exports, and the form for another one."""
    project = get_project_to_export(request.user, pk)
    if request.method == "POST":
        options = {"coordinates": request.POST.get("coordinates", "pixel")} if project.is_detection else {}
        try:
            jobs.enqueue(project, cast(User, request.user), options)
        except (jobs.Busy, ValidationError) as error:
            messages.error(request, str(error) if isinstance(error, jobs.Busy) else " ".join(error.messages))
        else:
            messages.success(request, _("The export is being written. You can leave this page."))
        return redirect("admin:projects_project_exports", project.pk)
    found = list(Export.objects.filter(project=project)[:SHOWN])
    context = {"exports": found, "has_active": any(export.is_active for export in found)}
    if request.headers.get("HX-Request"):
        return render(request, "admin/project/_exports.html", {"project": project, **context})
    return render(request, "admin/project/exports.html", frame(request, project, "exports", **context))


@require_GET
def download(request: HttpRequest, pk: int, export: int) -> HttpResponseBase:
    """The file of a finished export."""
    project = get_project_to_export(request.user, pk)
    return send_file(request, get_object_or_404(Export, pk=export, project=project))
