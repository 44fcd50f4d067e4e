"""The labeler's home: the projects that a person may label, with what is left (SPEC L1)."""

from __future__ import annotations

from statistics import median
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Max
from django.urls import reverse
from django.utils import timezone

from labeling.models import LabelEvent, LabelPage, LabelTask
from labeling.pages import initials, preview_url
from labeling.progress import progress
from projects.models import Project

RECENT = 200  # answers over which the median pace is taken


def home_data(user: User) -> dict[str, Any]:
    """Return the person's projects, last used first."""
    projects = list(Project.objects.labelable_by(user))
    mine = LabelPage.objects.filter(labeler=user, project__in=projects)
    used = dict(mine.values("project").annotate(last=Max("claimed_at")).values_list("project", "last"))
    projects.sort(key=lambda p: (p.pk not in used, -used.get(p.pk, p.created_at).timestamp()))
    return {
        "projects": [_card(project, user) for project in projects],
        "user": {"initials": initials(user), "name": user.get_full_name() or user.username},
    }


def _card(project: Project, user: User) -> dict[str, Any]:
    counts = progress(project)
    mine = LabelEvent.objects.filter(project=project, by=user, action=LabelEvent.Action.SUBMITTED)
    seconds = mine.filter(seconds__isnull=False).order_by("-pk").values_list("seconds", flat=True)[:RECENT]
    seconds_list = [value for value in seconds if value is not None]
    first = LabelTask.objects.in_project(project).queued().select_related("image")[:4]
    return {
        "id": project.pk,
        "name": project.name,
        "task_type": project.task_type,
        "state": project.state,
        "total": counts.total,
        "labeled": counts.labeled,
        "left": counts.left,
        "reason": _reason(project, counts.left),
        "has_open_page": LabelPage.objects.filter(
            project=project, labeler=user, status=LabelPage.Status.OPEN, expires_at__gt=timezone.now()
        ).exists(),
        "thumbnails": [preview_url(task.image, 512) for task in first],
        "label_url": reverse("labeling:label", args=[project.pk]),
        "instructions_url": reverse("labeling:instructions", args=[project.pk]),
        "mine_today": mine.filter(at__date=timezone.localdate()).count(),
        "my_median_seconds": median(seconds_list) if seconds_list else None,
    }


def _reason(project: Project, left: int) -> str:
    if project.state in (Project.State.INITIALIZING, Project.State.CREATED):
        return "initializing"
    if project.state == Project.State.FAILED:
        return "failed"
    if project.state == Project.State.PAUSED:
        return "paused"
    return "finished" if left == 0 else ""
