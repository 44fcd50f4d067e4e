"""The frame around every tab of a project in the console: its head, its state and its tabs."""

from __future__ import annotations

import hashlib
from typing import Any

from django.contrib import admin
from django.core.cache import cache
from django.db.models import Sum
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from projects.access import rights_in
from projects.models import Project, Refresh

TYPE_WORDS = {
    Project.TaskType.MULTICLASS: _("One class per image"),
    Project.TaskType.MULTILABEL: _("Several classes per image"),
    Project.TaskType.DETECTION: _("Boxes"),
}
STATE_LOOKS = {
    Project.State.INITIALIZING: ("group", "clock"),
    Project.State.CREATED: ("group", "clock"),
    Project.State.RUNNING: ("good", "play"),
    Project.State.PAUSED: ("warn", "pause"),
    Project.State.FAILED: ("bad", "close"),
}
TABS = (
    ("dashboard", _("Dashboard")),
    ("data", _("Data")),
    ("details", _("Details")),
    ("exports", _("Exports")),
)
KEPT_SECONDS = 24 * 3600


def frame(request: HttpRequest, project: Project, tab: str, **more: Any) -> dict[str, Any]:
    """Return the context of templates/admin/project/_frame.html; ``tab`` is one of TABS.

    The caller has got ``project`` through projects.access.
    """
    return {
        **admin.site.each_context(request),
        **state(request, project),
        "title": project.name,
        "tab": tab,
        "tabs": [
            (name, words, f"admin:projects_project_{name}") for name, words in TABS if may_open(request, project, name)
        ],
        "type_words": TYPE_WORDS[Project.TaskType(project.task_type)],
        **more,
    }


def may_open(request: HttpRequest, project: Project, tab: str) -> bool:
    """Whether a tab is for this person: reviewers see the dashboard and the data only."""
    right = {"details": "manage_project", "exports": "export_project"}.get(tab, "review_project")
    return right in _rights(request, project)


def _rights(request: HttpRequest, project: Project) -> set[str]:
    """Return what the person may do in the project: asked once for a request, as the frame has many questions."""
    known: dict[int, set[str]] = request.__dict__.setdefault("_project_rights", {})
    if project.pk not in known:
        known[project.pk] = rights_in(project, request.user)
    return known[project.pk]


def state(request: HttpRequest, project: Project) -> dict[str, Any]:
    """Return what the pill, the switch and the notice of a project's state need."""
    registered = project.refreshes.aggregate(n=Sum("added"))["n"] or 0
    first: Refresh | None = None
    share: float | None = None
    if project.state in (Project.State.INITIALIZING, Project.State.CREATED):
        first = project.refreshes.first()
        share = expected_share(project, registered)
    look, sign = STATE_LOOKS[Project.State(project.state)]
    return {
        "project": project,
        "state_look": look,
        "state_sign": sign,
        "can_manage": "manage_project" in _rights(request, project),
        "can_label": "label_project" in _rights(request, project),
        "can_export": "export_project" in _rights(request, project),
        "registered": registered,
        "first_refresh": first,
        "registered_share": share,
        "is_switchable": project.state in (Project.State.RUNNING, Project.State.PAUSED),
        "is_getting_ready": project.state in (Project.State.INITIALIZING, Project.State.CREATED),
    }


def remember_found(datastore_id: int, pattern: str, count: int) -> None:
    """Keep how many images a pattern found, so that a new project can say how far it is."""
    cache.set(_found_key(datastore_id, pattern), count, KEPT_SECONDS)


def expected_share(project: Project, registered: int) -> float | None:
    """Return how far the registration is, as 0 to 1; None while nobody knows how many images there are."""
    expected = cache.get(_found_key(project.dataset.datastore_id, project.dataset.pattern))
    return min(registered / expected, 1.0) if expected else None


def _found_key(datastore_id: int, pattern: str) -> str:
    return f"found-{datastore_id}-{hash_of(pattern)}"


def hash_of(text: str) -> str:
    """Return a short name for a text, fit for a cache key."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]
