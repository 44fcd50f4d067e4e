"""The managers' list of projects in the console."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpResponse, QueryDict
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET
from django.views.decorators.vary import vary_on_headers

from labeling.project_list import SORTS, TYPE_NAMES, project_list
from labeling.views import LabelerRequest

FILTERS = ("q", "state", "type", "sort", "page")


@require_GET
@vary_on_headers("HX-Request")
def projects(request: LabelerRequest) -> HttpResponse:
    """The managers' home (SPEC P1); htmx asks for the table alone, and gets 204 when nothing has changed."""
    asked = {name: request.GET.get(name, "")[:100].strip() for name in FILTERS}
    found = project_list(request.user, asked["q"], asked["state"], asked["type"], asked["sort"], asked["page"])
    if request.htmx and request.GET.get("seen") == found.digest:
        return HttpResponse(status=204)
    context = {
        "list": found,
        "asked": asked,
        "query": _query(asked),
        "links": {name: _query(asked, sort=_turned(asked["sort"], name), page="") for name in SORTS},
        "without_state": _query(asked, state="", page=""),
        "types": TYPE_NAMES.items(),
        "may_add": request.user.has_perm("projects.add_project"),
    }
    if request.htmx:
        return render(request, "admin/project/_list.html", context)
    return render(
        request, "admin/project/list.html", {**admin.site.each_context(request), **context, "title": _("Projects")}
    )


def _query(asked: dict[str, str], **changes: str) -> str:
    query = QueryDict(mutable=True)
    query.update({name: value for name, value in (asked | changes).items() if value})
    return query.urlencode()


def _turned(sort: str, name: str) -> str:
    """Return the order that a press on a column's head asks for: up, then down."""
    return f"-{name}" if sort == name else name
