"""The console's side bar: what a person may open, and nothing else."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _


def sections(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the side bar's sections for unfold, with the sign of each line (templates/includes/icons.html)."""
    found = [
        (
            _("Labeling"),
            [(_("Projects"), "tag", "projects_project"), (_("Labeled datasets"), "cube", "exports_labeleddataset")],
        ),
        (_("Data"), [(_("Datasets"), "folder", "projects_dataset"), (_("Datastores"), "disks", "projects_datastore")]),
        (
            _("Site"),
            [
                (_("People"), "people", "auth_user"),
                (_("Jobs"), "clock", "django_q_success"),
                (_("API tokens"), "lock", "projects_apitoken"),
            ],
        ),
    ]
    shown = [
        {"title": title, "items": [item for line in lines if (item := _item(request, *line))]} for title, lines in found
    ]
    return [section for section in shown if section["items"]]


def _item(request: HttpRequest, title: str, icon: str, name: str) -> dict[str, Any] | None:
    """Return a line, or None when its page isn't there or is not for this person."""
    registered = {f"{m._meta.app_label}_{m._meta.model_name}": a for m, a in admin.site._registry.items()}
    model_admin = registered.get(name)
    if model_admin is None or not model_admin.has_view_or_change_permission(request):
        return None
    try:
        link = reverse(f"admin:{name}_changelist")
    except NoReverseMatch:
        return None
    return {"title": title, "icon": icon, "link": link, "active": request.path.startswith(link)}
