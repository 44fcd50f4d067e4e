"""What the console shows: each app's views, in the admin's frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import URLPattern, path
from unfold.admin import ModelAdmin

from assist import console as assist_console
from exports import console as exports_console
from labeling import classes_section, data_tab
from labeling.console import projects
from labeling.dashboard import dashboard
from labeling.withdrawing import withdraw
from projects import console, details, wizard
from projects.models import Project, ProjectQuerySet


@admin.register(Project)
class ProjectAdmin(ModelAdmin):
    """Labeling projects: pages of our own in place of the admin's forms (SPEC P1)."""

    def get_queryset(self, request: HttpRequest) -> ProjectQuerySet:
        """Only what the person may see: nobody else's project is there, whichever door asks (ATTACKS 2)."""
        return Project.objects.reviewable_by(request.user)

    def get_urls(self) -> list[URLPattern]:
        """Our own pages only; the admin's forms would pass by the functions that keep the rules."""

        def door(route: str, view: Callable[..., Any], name: str) -> URLPattern:
            return path(route, self.admin_site.admin_view(view), name=f"projects_project_{name}")

        return [
            door("", projects, "changelist"),
            door("add/", wizard.wizard, "add"),
            door("add/preview/", wizard.preview_markdown, "preview"),
            door("add/<slug:step>/", wizard.wizard, "step"),
            door("<int:pk>/", console.change, "change"),
            door("<int:pk>/state/", console.project_state, "state"),
            door("<int:pk>/retry/", console.retry, "retry"),
            door("<int:pk>/delete/", console.delete, "delete"),
            door("<int:pk>/dashboard/", dashboard, "dashboard"),
            door("<int:pk>/data/", data_tab.data, "data"),
            door("<int:pk>/data/act/", data_tab.act, "act"),
            door("<int:pk>/data/undo/", data_tab.undo, "undo"),
            door("<int:pk>/data/count/", data_tab.how_many, "count"),
            door("<int:pk>/data/job/", data_tab.job, "job"),
            door("<int:pk>/data/jobs/<int:job>/cancel/", data_tab.cancel_job, "cancel_job"),
            door("<int:pk>/data/correct/", data_tab.correct, "correct"),
            door("<int:pk>/data/<int:image>/", data_tab.panel, "image"),
            door("<int:pk>/withdraw/", withdraw, "withdraw"),
            door("<int:pk>/details/", details.details, "details"),
            door("<int:pk>/classes/add/", classes_section.add, "add_classes"),
            door("<int:pk>/classes/<int:label_class>/", classes_section.one_class, "class"),
            door("<int:pk>/classes/undo/<int:event>/", classes_section.undo, "undo_classes"),
            door("<int:pk>/train/", assist_console.train, "train"),
            door("<int:pk>/runs/", assist_console.run_list, "runs"),
            door("<int:pk>/runs/<int:run>/", assist_console.run_page, "run"),
            door("<int:pk>/runs/<int:run>/log/", assist_console.run_log, "run_log"),
            door("<int:pk>/runs/<int:run>/cancel/", assist_console.cancel, "run_cancel"),
            door("<int:pk>/runs/<int:run>/retry/", assist_console.retry, "run_retry"),
            door("<int:pk>/exports/", exports_console.exports, "exports"),
            door("<int:pk>/exports/<int:export>/", exports_console.download, "download"),
            door("<int:pk>/exports/<int:export>/cancel/", exports_console.cancel, "export_cancel"),
            door("<int:pk>/exports/<int:export>/again/", exports_console.again, "export_again"),
            door("<int:pk>/labels/", exports_console.labels_in, "labels"),
            door("<int:pk>/labels/<int:labels>/cancel/", exports_console.cancel_import, "labels_cancel"),
        ]
