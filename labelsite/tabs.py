"""Which view shows each tab of a project in the console."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from projects.access import get_project_to_export, get_project_to_manage, get_project_to_review
from projects.frame import frame


def dashboard(request: HttpRequest, pk: int) -> HttpResponse:
    """How far the project is."""
    project = get_project_to_review(request.user, pk)
    return render(request, "admin/project/_frame.html", frame(request, project, "dashboard"))


def data(request: HttpRequest, pk: int) -> HttpResponse:
    """The project's images."""
    project = get_project_to_review(request.user, pk)
    return render(request, "admin/project/_frame.html", frame(request, project, "data"))


def details(request: HttpRequest, pk: int) -> HttpResponse:
    """The project's settings."""
    project = get_project_to_manage(request.user, pk)
    return render(request, "admin/project/_frame.html", frame(request, project, "details"))


def exports(request: HttpRequest, pk: int) -> HttpResponse:
    """The project's exports."""
    project = get_project_to_export(request.user, pk)
    return render(request, "admin/project/_frame.html", frame(request, project, "exports"))
