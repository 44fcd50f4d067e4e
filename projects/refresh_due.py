"""When to look for new images: more often the less is left to label (SPEC F1)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from projects import refresh, signals
from projects.models import Image, Project, Refresh

SOONEST = timedelta(minutes=1)
LATEST = timedelta(hours=6)


def interval(n_left: int, n_per_hour: float) -> timedelta:
    """Return the time to the next look: a quarter of what the work left will last, at once when there is none."""
    if n_left == 0:
        return SOONEST
    if n_per_hour <= 0:
        return LATEST
    return max(SOONEST, min(LATEST, timedelta(hours=n_left / n_per_hour / 4)))


def look_at_once(project: Project) -> None:
    """Look for new images now that nothing is left to label, unless that was done a moment ago or can't help."""
    last = Refresh.objects.filter(project=project).values_list("created_at", flat=True).first()
    is_recent = last is not None and last > timezone.now() - SOONEST
    if project.incremental_refresh and not is_recent and not _is_full(project):
        refresh.enqueue(project)


def _is_full(project: Project) -> bool:
    return Image.objects.filter(project=project).count() >= settings.MAX_IMAGES_PER_PROJECT


def enqueue_due() -> int:
    """Start the refreshes that are due, and set when the next ones are; return how many were started."""
    now = timezone.now()
    active = Project.objects.filter(incremental_refresh=True, state__in=[Project.State.RUNNING, Project.State.PAUSED])
    n_started = 0
    for project in active.filter(Q(next_refresh_at__isnull=True) | Q(next_refresh_at__lte=now)):
        if _is_full(project):
            next_at = now + LATEST
        else:
            answers: list[tuple[Any, Any]] = signals.asking_for_pace.send(sender=Project, project=project)
            n_left, n_per_hour = answers[0][1] if answers else (0, 0.0)
            next_at = now + interval(n_left, n_per_hour)
            refresh.enqueue(project)
            n_started += 1
        Project.objects.filter(pk=project.pk).update(next_refresh_at=next_at)
    return n_started
