"""Doors of the console that concern one project: its state, another try, and its end."""

from __future__ import annotations

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from projects import refresh
from projects.access import get_project_to_manage, get_project_to_review, lock
from projects.deletion import delete_project
from projects.frame import TYPE_WORDS, frame, state
from projects.models import Project
from projects.transitions import WrongState


@require_GET
def change(request: HttpRequest, pk: int) -> HttpResponse:
    """A project's own page is its dashboard."""
    return redirect("admin:projects_project_dashboard", get_project_to_review(request.user, pk).pk)


@require_http_methods(["GET", "POST"])
def project_state(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the state as it is now (GET), or switch labeling on or off (POST, SPEC S1)."""
    refusal = ""
    if request.method == "POST":
        project = get_project_to_manage(request.user, pk)
        try:
            with transaction.atomic():
                lock(project)
                project.resume() if request.POST.get("labeling") == "on" else project.pause()
        except WrongState:
            refusal = _("The project changed its state meanwhile; this is how it stands now.")
        project = get_project_to_manage(request.user, pk)
        seen = ""
    else:
        project = get_project_to_review(request.user, pk)
        seen = request.GET.get("seen", "")
    context = {
        **state(request, project),
        "type_words": TYPE_WORDS[Project.TaskType(project.task_type)],
        "refusal": refusal,
        "swap": True,
    }
    response = render(request, "admin/project/_state_change.html", context)
    if project.state != seen:
        response["HX-Trigger"] = "project-state-changed"
    return response


@require_POST
def retry(request: HttpRequest, pk: int) -> HttpResponse:
    """Register a failed project's images again."""
    project = get_project_to_manage(request.user, pk)
    try:
        refresh.retry(project)
    except WrongState:
        messages.info(request, _("The project has not failed, so there is nothing to try again."))
    if request.headers.get("HX-Request"):
        return HttpResponse(status=204, headers={"HX-Trigger": "project-state-changed"})
    return redirect("admin:projects_project_dashboard", project.pk)


@require_http_methods(["GET", "POST"])
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete a project, once its name has been typed (SPEC P4)."""
    project = get_project_to_manage(request.user, pk)
    error = ""
    if request.method == "POST":
        if request.POST.get("name", "").strip() == project.name:
            name = project.name
            delete_project(project)
            messages.success(request, _("Deleted “%(name)s” and its labels. Its exports stay.") % {"name": name})
            return redirect("admin:projects_project_changelist")
        error = _("This is not the project's name. Nothing was deleted.")
    context = frame(request, project, "details", error=error, typed=request.POST.get("name", ""))
    return render(request, "admin/project/delete.html", context, status=422 if error else 200)
