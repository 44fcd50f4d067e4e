"""Labeled datasets in the console: what there is, what is in it, and the Python that reads it (SPEC E3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.translation import gettext as _

from exports import jobs
from exports.downloads import download
from exports.models import Export, LabeledDataset
from exports.samples import pandas_sample, torchvision_sample
from projects.admin import ConsoleAdmin
from projects.frame import TYPE_WORDS
from projects.models import Project
from projects.stores import StoreError

N_ROWS = 10
HEAD_BYTES = 256 * 1024
SHOWN = 500


@admin.register(LabeledDataset)
class LabeledDatasetAdmin(ConsoleAdmin):
    """Snapshots of the projects that a person may export."""

    def has_view_permission(self, request: HttpRequest, obj: LabeledDataset | None = None) -> bool:
        """Whoever may export something, and managers, who will."""
        user = request.user
        return user.has_perm("projects.add_project") or Project.objects.exportable_by(user).exists()

    def has_module_permission(self, request: HttpRequest) -> bool:
        """The same people: no right of Django's own stands for it."""
        return self.has_view_permission(request)

    def doors(self) -> list[tuple[str, Callable[..., Any], str]]:
        """The pages."""
        return [
            ("", self.shelf, "changelist"),
            ("<int:pk>/", self.show, "change"),
            ("<int:pk>/<str:file>/", self.file, "file"),
        ]

    def shelf(self, request: HttpRequest) -> HttpResponse:
        """All of them, newest first."""
        self.demand(self.has_view_permission(request))
        rows = LabeledDataset.objects.visible_to(request.user)[:SHOWN]
        return self.page(request, "admin/data/labeled_datasets.html", title=_("Labeled datasets"), rows=rows)

    def show(self, request: HttpRequest, pk: int) -> HttpResponse:
        """One of them: its facts, first rows, files and samples."""
        dataset = self.find(LabeledDataset.objects.visible_to(request.user), pk)
        rows, problem = first_rows(dataset.export)
        return self.page(
            request,
            "admin/data/labeled_dataset.html",
            title=str(dataset),
            dataset=dataset,
            type_words=TYPE_WORDS[Project.TaskType(dataset.task_type)],
            rows=rows,
            problem=problem,
            samples=[("pandas", pandas_sample(dataset)), ("torchvision", torchvision_sample(dataset))],
        )

    def file(self, request: HttpRequest, pk: int, file: str) -> HttpResponseBase:
        """One of its files."""
        dataset = self.find(LabeledDataset.objects.visible_to(request.user), pk)
        return download(request, dataset.export, file)


def first_rows(export: Export) -> tuple[list[dict[str, Any]], str]:
    """Return the first rows with their labels in words, or what is wrong with the file."""
    try:
        with jobs.open_file(export) as file:
            lines = file.read(HEAD_BYTES).split(b"\n")[:-1]
    except StoreError as error:
        return [], str(error)
    return [{**row, "words": _words(row["label"])} for row in map(orjson.loads, lines[:N_ROWS])], ""


def _words(label: Any) -> str:
    if label is None:
        return _("not labeled")
    if isinstance(label, str):
        return label
    names = [item if isinstance(item, str) else _box_words(item) for item in label]
    return ", ".join(names[:6]) + (" …" if len(names) > 6 else "") or _("no objects")


def _box_words(box: dict[str, Any]) -> str:
    x, y, width, height = (f"{box[name]:.4g}" for name in ("x", "y", "width", "height"))
    return f"{box['label']} [{x}, {y}, {width}, {height}]"
