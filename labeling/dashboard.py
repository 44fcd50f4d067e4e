"""What the dashboard shows: progress, queue, pace, distribution, labelers (SPEC B)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import median
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Count
from django.db.models.functions import TruncDate
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from labeling import signals
from labeling.models import LabelEvent, LabelTask
from labeling.pages import initials
from labeling.progress import Progress, progress
from projects.access import get_project_to_review
from projects.frame import frame
from projects.models import LabelClass, Project

DAYS = 9
PACE_DAYS = 7
RECENT = 500  # answers of a labeler over which the median is taken
CHART_HEIGHT = 70


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a whole: its count, its share in percent, and where it begins on a ring of 100."""

    name: Any
    look: str
    count: int
    percent: float
    start: float = 0.0


@dataclass(frozen=True, slots=True)
class Day:
    """A day's labels, and its bar in a chart of CHART_HEIGHT."""

    day: date
    count: int
    x: int
    y: float
    height: float


def dashboard(request: HttpRequest, pk: int) -> HttpResponse:
    """The dashboard; htmx asks again for its inner part."""
    project = get_project_to_review(request.user, pk)
    context = dashboard_data(project) | places(request, project)
    if request.headers.get("HX-Request"):
        return render(request, "admin/project/_dashboard.html", {"project": project, **context})
    return render(request, "admin/project/dashboard.html", frame(request, project, "dashboard", **context))


def places(request: HttpRequest, project: Project) -> dict[str, Any]:
    """Return what the apps above put on the dashboard; nothing of it while assistance is off."""
    asked = (
        ("training", signals.asking_for_training),
        ("worth", signals.asking_for_worth),
        ("cards", signals.asking_for_cards),
    )
    return {name: signals.ask_for_html(signal, request, project=project) for name, signal in asked}


def dashboard_data(project: Project) -> dict[str, Any]:
    """Return everything that the dashboard shows, by a constant number of queries and one for each labeler."""
    counts = progress(project)
    days = labels_per_day(project)
    return {
        "counts": counts,
        "done": _ring(counts, done_parts(counts)),
        "pending_parts": _ring(counts, pending_parts(counts)),
        "pending_percent": counts.share(counts.pending),
        "labeled_percent": counts.share(counts.labeled),
        "ring": _ring(counts, [*done_parts(counts), *pending_parts(counts)]),
        "queue": queue_parts(counts),
        "n_queued": sum(counts.queue.values()),
        "distribution": distribution(project, counts),
        "days": days,
        "today": days[-1].count,
        "finish": expected_finish(project, counts),
        "labelers": (people := labelers(project)),
        "knows_kept": any(row["kept"] is not None for row in people),
    }


def done_parts(counts: Progress) -> list[Part]:
    """Return what is no longer pending."""
    parts = [
        (_("Labeled"), "accent", counts.labeled),
        (_("Needs review"), "model", counts.needs_review),
        (_("Skipped"), "warn", counts.skipped),
    ]
    if counts.unreadable or counts.missing:
        parts.append((_("Unreadable or missing"), "bad", counts.unreadable + counts.missing))
    return [Part(name, look, n, counts.share(n)) for name, look, n in parts]


def pending_parts(counts: Progress) -> list[Part]:
    """Return the three parts of what is pending; they add up to it (SPEC B1)."""
    parts = [
        (_("not yet queued"), "p3", counts.unqueued),
        (_("in the queue"), "p2", counts.queued),
        (_("on a page"), "p1", counts.claimed),
    ]
    return [Part(name, look, n, counts.share(n)) for name, look, n in parts]


def _ring(counts: Progress, parts: list[Part]) -> list[Part]:
    start, placed = 0.0, []
    for part in parts:
        placed.append(Part(part.name, part.look, part.count, part.percent, -start))
        start += part.percent
    return placed


def queue_parts(counts: Progress) -> list[Part]:
    """Return what waits in the queue, by kind (SPEC B2)."""
    total = sum(counts.queue.values()) or 1
    names = (
        ("prelabeled", _("Prelabeled"), "model"),
        ("clustered", _("Clustered"), "group"),
        ("manual", _("Manual"), "p2"),
    )
    return [Part(name, look, counts.queue[kind], 100 * counts.queue[kind] / total) for kind, name, look in names]


def distribution(project: Project, counts: Progress) -> list[dict[str, Any]]:
    """Return the labels of each class, most first, with the share of all labels and of the most common class."""
    most = max(counts.labels.values(), default=0) or 1
    total = counts.n_labels or 1
    rows = [
        {
            "label_class": label_class,
            "count": counts.labels.get(label_class.pk, 0),
            "percent": 100 * counts.labels.get(label_class.pk, 0) / total,
            "bar": 100 * counts.labels.get(label_class.pk, 0) / most,
        }
        for label_class in LabelClass.objects.filter(project=project)
        if label_class.retired_at is None or counts.labels.get(label_class.pk)
    ]
    return sorted(rows, key=lambda row: -row["count"])


def labels_per_day(project: Project) -> list[Day]:
    """Return how many images were labeled on each of the last days, in the viewer's zone."""
    today = timezone.localdate()
    first = today - timedelta(days=DAYS - 1)
    events = LabelEvent.objects.filter(
        project=project,
        action=LabelEvent.Action.SUBMITTED,
        at__gte=timezone.make_aware(datetime.combine(first, datetime.min.time())),
    )
    by_day = dict(events.annotate(day=TruncDate("at")).values_list("day").annotate(n=Count("*")).order_by())
    most = max(by_day.values(), default=0) or 1
    days = []
    for number in range(DAYS):
        day = first + timedelta(days=number)
        count = by_day.get(day, 0)
        height = max(CHART_HEIGHT * count / most, 1.5)
        days.append(Day(day, count, 6 + 24 * number, 80 - height, height))
    return days


def expected_finish(project: Project, counts: Progress) -> dict[str, Any] | None:
    """Return the day on which the last image will be labeled at the pace of the last days; None without a pace."""
    since = timezone.now() - timedelta(days=PACE_DAYS)
    recent = LabelEvent.objects.filter(project=project, action=LabelEvent.Action.SUBMITTED, at__gte=since)
    by_day = list(recent.annotate(day=TruncDate("at")).values_list("day").annotate(n=Count("*")).order_by())
    if not by_day or not counts.pending:
        return None
    a_day = sum(n for _day, n in by_day) / len(by_day)
    days = min(int(counts.pending / a_day) + 1, 3650)
    return {
        "day": timezone.localdate() + timedelta(days=days),
        "a_day": round(a_day),
        "n_labelers": recent.values("by").distinct().count(),
    }


def labelers(project: Project) -> list[dict[str, Any]]:
    """Return who labeled how many images, and their median seconds for one (SPEC B6)."""
    rows = LabelTask.objects.in_project(project).answered().filter(labeler__isnull=False)
    counts = dict(rows.values_list("labeler").annotate(n=Count("*")).order_by("-n"))
    people = User.objects.in_bulk(list(counts))
    kept = signals.ask_for_kept(project)
    found = []
    for pk, count in counts.items():
        seconds = LabelEvent.objects.filter(
            project=project, by=pk, action=LabelEvent.Action.SUBMITTED, seconds__isnull=False
        ).order_by("-pk")
        recent = [value for value in seconds.values_list("seconds", flat=True)[:RECENT] if value is not None]
        person = people[pk]
        found.append(
            {
                "name": person.get_full_name() or person.username,
                "initials": initials(person),
                "count": count,
                "median": median(recent) if recent else None,
                "kept": 100 * kept[pk] if pk in kept else None,
            }
        )
    return found
