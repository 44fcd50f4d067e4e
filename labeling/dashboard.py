"""What the dashboard shows: progress, queue, pace, distribution, labelers (SPEC B)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from statistics import median
from typing import Any

from django.contrib.auth.models import User
from django.core.cache import cache
from django.db.models import DateTimeField, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.defaultfilters import floatformat
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from labeling import signals
from labeling.agreement import Kept, kept_by_reviewers, stand_out
from labeling.models import LabelEvent
from labeling.pages import initials
from labeling.progress import Progress, progress
from labeling.tallies import answered_by_labeler
from projects.access import get_project_to_review
from projects.frame import frame
from projects.models import LabelClass, Project
from projects.prepared import PreparedCount, Slot

DAYS = 9
PACE_DAYS = 7
RECENT = 5000  # answers over which medians are taken: those of all labelers are read at once
EARLIER = 500  # answers of a labeler who gave none of those
CHART_HEIGHT = 62
CHART_BOTTOM = 80
GAP = 0.7  # between the parts of the ring, of 100
SHOWN_CLASSES = 10
# How long is kept what costs more to count than a glance is worth.
DAY_SECONDS = 24 * 3600
LABELERS_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a whole: its count, its share in percent, and where it is drawn, on a ring or bar of 100."""

    name: Any
    look: str
    count: int
    percent: float
    start: float = 0.0
    drawn: float = 0.0
    sign: str = ""


@dataclass(frozen=True, slots=True)
class Day:
    """A day's labels, and its bar in a chart of CHART_HEIGHT."""

    day: date
    count: int
    short: str
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
    """Return everything that the dashboard shows: some twenty queries, and one a day for who labeled long ago."""
    counts = progress(project)
    days = labels_per_day(project)
    return {
        "counts": counts,
        "done": done_parts(counts),
        "pending_parts": pending_parts(counts),
        "pending_percent": counts.share(counts.pending),
        "labeled_percent": counts.share(counts.labeled),
        "ring": _placed([*done_parts(counts), *pending_parts(counts)]),
        "queue": queue_parts(counts),
        "n_queued": sum(counts.queue.values()),
        "distribution": (classes := distribution(project, counts))[:SHOWN_CLASSES],
        "more_classes": classes[SHOWN_CLASSES:],
        "answered": counts.labeled + counts.needs_review,
        "days": days,
        "today": days[-1].count,
        "median": medians(project).get(None),
        "finish": expected_finish(project, counts, days),
        "labelers": (people := labelers(project)),
        "knows_kept": any(row["kept"] for row in people),
        "knows_backed": any(row["backed"] is not None for row in people),
        "odd_labelers": [row for row in people if row["stands_out"]],
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


def _placed(parts: list[Part]) -> list[Part]:
    """Return the parts one after the other, each with a gap behind it; a part that is there can be seen."""
    start, placed = 0.0, []
    for part in parts:
        drawn = max(part.percent - GAP, 0.25) if part.count else 0.0
        placed.append(replace(part, start=start, drawn=drawn))
        start += part.percent
    return placed


def queue_parts(counts: Progress) -> list[Part]:
    """Return what waits in the queue, by kind (SPEC B2)."""
    total = sum(counts.queue.values()) or 1
    names = (
        ("prelabeled", _("Prelabeled"), "model", "spark"),
        ("clustered", _("Clustered"), "group", "group"),
        ("manual", _("Manual"), "p2", "hand"),
    )
    return _placed(
        [
            Part(name, look, counts.queue[kind], 100 * counts.queue[kind] / total, sign=sign)
            for kind, name, look, sign in names
        ]
    )


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
    """Return how many images were labeled on each of the last days, in the viewer's zone (SPEC B6)."""
    today = timezone.localdate()
    dates = [today - timedelta(days=number) for number in reversed(range(DAYS))]
    counts = [_count_day(project, day) for day in dates[:-1]]
    counts.append(_count_answers(project, today))
    most = max(counts) or 1
    days = []
    for number, (day, count) in enumerate(zip(dates, counts, strict=True)):
        height = max(CHART_HEIGHT * count / most, 1.5)
        days.append(Day(day, count, _short(count), 6 + 24 * number, CHART_BOTTOM - height, height))
    return days


def _count_day(project: Project, day: date) -> int:
    """Count the answers of a day that is over: they do not change any more."""
    key = f"day-{project.pk}-{day.isoformat()}-{timezone.get_current_timezone_name().replace(' ', '')}"
    return int(cache.get_or_set(key, lambda: _count_answers(project, day), DAY_SECONDS) or 0)


_answers = PreparedCount(
    lambda: LabelEvent.objects.filter(
        project=Slot("project"),
        action=LabelEvent.Action.SUBMITTED,
        at__gte=Slot("start", DateTimeField()),
        at__lt=Slot("end", DateTimeField()),
    )
)


def _count_answers(project: Project, day: date) -> int:
    start, end = (timezone.make_aware(datetime.combine(d, time.min)) for d in (day, day + timedelta(days=1)))
    return _answers(project=project.pk, start=start, end=end)


def _submitted(project: Project) -> QuerySet[LabelEvent]:
    return LabelEvent.objects.filter(project=project, action=LabelEvent.Action.SUBMITTED)


def _short(count: int) -> str:
    """Return a number that fits over a bar: 126, 8.2k, 12k."""
    if count < 1000:
        return str(count) if count else ""
    return f"{floatformat(count / 1000, 1)}k" if count < 10_000 else f"{count // 1000}k"


def expected_finish(project: Project, counts: Progress, days: list[Day]) -> dict[str, Any] | None:
    """Return the day of the last image at the pace of the last days, free days included; None without a pace."""
    recent = [day.count for day in days[-PACE_DAYS:]]
    first = next((number for number, count in enumerate(recent) if count), None)
    if first is None or not counts.pending:
        return None
    a_day = sum(recent) / (len(recent) - first)
    return {
        "day": timezone.localdate() + timedelta(days=min(int(counts.pending / a_day), 3650)),
        "a_day": max(round(a_day), 1),
        "n_labelers": cache.get_or_set(
            f"labelers-{project.pk}", lambda: _n_labelers(project, days[-PACE_DAYS].day), LABELERS_SECONDS
        ),
    }


def _n_labelers(project: Project, since: date) -> int:
    start = timezone.make_aware(datetime.combine(since, time.min))
    return _submitted(project).filter(at__gte=start).values("by").distinct().count()


def labelers(project: Project) -> list[dict[str, Any]]:
    """Return who labeled how many images, their median seconds, and whose labels are kept (SPEC B6, ATTACKS 28)."""
    counts = answered_by_labeler(project)
    people = User.objects.in_bulk(list(counts))
    backed = signals.ask_for_backed(project)
    kept: dict[int, Kept] = cache.get_or_set(  # type: ignore[assignment]
        f"kept-{project.pk}", lambda: kept_by_reviewers(project), LABELERS_SECONDS
    )
    odd = stand_out(kept)
    recent = medians(project)
    return [
        {
            "name": people[pk].get_full_name() or people[pk].username,
            "initials": initials(people[pk]),
            "pk": pk,
            "count": count,
            "median": recent[pk] if pk in recent else earlier_median(project, pk, count),
            "kept": kept.get(pk),
            "stands_out": pk in odd,
            "backed": 100 * backed[pk] if pk in backed else None,
        }
        for pk, count in counts.items()
    ]


def medians(project: Project) -> dict[int | None, float]:
    """Return the median seconds for an image over the last answers: of all under None, and of each who gave some."""

    def find() -> dict[int | None, float]:
        seconds: dict[int | None, list[float]] = defaultdict(list)
        for labeler, value in _last_seconds(_submitted(project), RECENT):
            for whose in {None, labeler}:
                seconds[whose].append(value)
        return {whose: median(values) for whose, values in seconds.items()}

    return cache.get_or_set(f"medians-{project.pk}", find, LABELERS_SECONDS) or {}


def earlier_median(project: Project, labeler: int, count: int) -> float | None:
    """Return the median seconds of somebody who labeled ``count`` images, none of them of late: it stays as it is."""

    def find() -> float:
        values = [value for _labeler, value in _last_seconds(_submitted(project).filter(by=labeler), EARLIER)]
        return median(values) if values else -1.0

    found = cache.get_or_set(f"median-{project.pk}-{labeler}-{count}", find, DAY_SECONDS)
    return None if found is None or found < 0 else float(found)


def _last_seconds(answers: QuerySet[LabelEvent], count: int) -> Iterator[tuple[int | None, float]]:
    rows = answers.filter(seconds__isnull=False).order_by("-at").values_list("by", "seconds")[:count]
    return ((by, seconds) for by, seconds in rows if seconds is not None)
