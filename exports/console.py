"""The Exports tab: have labels written or taken in, follow it, take the files away (SPEC E1, E4)."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from exports import jobs
from exports.downloads import download as send_file
from exports.formats import formats
from exports.importing import jobs as import_jobs
from exports.importing.report import Report
from exports.importing.taking import Choices
from exports.models import Export, LabelImport
from exports.options import NAMES, SWITCHES
from exports.writing import Format
from labeling.progress import progress
from projects.access import get_project_to_export, get_project_to_manage
from projects.frame import frame
from projects.models import Project
from projects.stores import StoreError
from projects.transitions import WrongState

SHOWN = 50
IMPORTS_SHOWN = 10


def formats_of(project: Project) -> list[Format]:
    """Return the formats that fit the project's task type."""
    return [format for format in formats().values() if project.task_type in format.task_types]


@require_http_methods(["GET", "POST"])
def exports(request: HttpRequest, pk: int) -> HttpResponse:
    """The project's exports, and the form for another one."""
    project = get_project_to_export(request.user, pk)
    if request.method == "POST":
        _ask(request, project)
        return redirect("admin:projects_project_exports", project.pk)
    if request.headers.get("HX-Request"):
        return render(request, "admin/project/_exports.html", {"project": project, **_list(project)})
    fitting = formats_of(project)
    more = {
        **_list(project),
        **_imports(project),
        "formats": [(format, " ".join(set(NAMES) - format.options)) for format in fitting],
        "can_import": request.user.has_perm("projects.manage_project", project),
        "counts": progress(project),
    }
    return render(request, "admin/project/exports.html", frame(request, project, "exports", **more))


def _list(project: Project) -> dict[str, Any]:
    found = list(Export.objects.filter(project=project).select_related("labeled_dataset")[:SHOWN])
    return {"exports": found, "has_active": any(export.is_active for export in found)}


def _imports(project: Project) -> dict[str, Any]:
    found = list(LabelImport.objects.filter(project=project)[:IMPORTS_SHOWN])
    reports = [(row, Report.load(row.report) if row.report else None) for row in found]
    return {"imports": reports, "has_active_import": any(row.is_active for row in found)}


def _ask(request: HttpRequest, project: Project) -> None:
    """Ask for what the form says; options that its format lacks are not shown, so not meant."""
    form = request.POST
    name = form.get("format", "coco")
    heeded = formats()[name].options if name in formats() else frozenset()
    options: dict[str, object] = {switch: form.get(switch) == "on" for switch in SWITCHES if switch in heeded}
    for field in ("coordinates", "since", "until"):
        if field in heeded and form.get(field):
            options[field] = form[field]
    _tell(request, lambda: jobs.enqueue(project, cast(User, request.user), options, name))


def _tell(request: HttpRequest, ask: Any) -> None:
    try:
        ask()
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    except (jobs.Busy, import_jobs.Busy, StoreError) as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("It is being done. You can leave this page."))


@require_GET
def download(request: HttpRequest, pk: int, export: int) -> HttpResponseBase:
    """A file of a finished export: the first, or the one that is named."""
    project = get_project_to_export(request.user, pk)
    row = get_object_or_404(Export, pk=export, project=project)
    return send_file(request, row, request.GET.get("file", ""))


@require_POST
def cancel(request: HttpRequest, pk: int, export: int) -> HttpResponse:
    """Stop an export."""
    project = get_project_to_export(request.user, pk)
    _stop(request, get_object_or_404(Export, pk=export, project=project))
    return redirect("admin:projects_project_exports", project.pk)


def _stop(request: HttpRequest, job: Export | LabelImport) -> None:
    try:
        job.cancel()
    except WrongState:
        messages.info(request, _("It had ended already."))


@require_POST
def again(request: HttpRequest, pk: int, export: int) -> HttpResponse:
    """Ask once more for an export that failed."""
    project = get_project_to_export(request.user, pk)
    row = get_object_or_404(Export, pk=export, project=project)
    _tell(request, lambda: jobs.again(row, cast(User, request.user)))
    return redirect("admin:projects_project_exports", project.pk)


@require_http_methods(["GET", "POST"])
def labels_in(request: HttpRequest, pk: int) -> HttpResponse:
    """How the imports stand (GET), or a file of labels to take in (POST)."""
    project = get_project_to_manage(request.user, pk)
    if request.method == "GET":
        return render(request, "admin/project/_imports.html", {"project": project, **_imports(project)})
    file = request.FILES.get("file")
    if file is None:
        messages.error(request, _("Choose a file of labels first: COCO (.json) or CSV."))
    else:
        choices = Choices(coordinates=request.POST.get("boxes", ""), empty=request.POST.get("empty") == "on")
        kind = request.POST.get("kind", LabelImport.Kind.FINAL)
        user = cast(User, request.user)
        name = file.name or "labels"
        _tell(request, lambda: import_jobs.enqueue(project, user, file, name, kind, choices))  # type: ignore[arg-type]
    if request.user.has_perm("projects.export_project", project):
        return redirect("admin:projects_project_exports", project.pk)
    return redirect("admin:projects_project_dashboard", project.pk)


@require_POST
def cancel_import(request: HttpRequest, pk: int, labels: int) -> HttpResponse:
    """Stop an import; what it has taken in stays."""
    project = get_project_to_manage(request.user, pk)
    _stop(request, get_object_or_404(LabelImport, pk=labels, project=project))
    return redirect("admin:projects_project_exports", project.pk)
