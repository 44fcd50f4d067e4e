"""The images of a project with their labels: filters of the Data tab and the API, in pages by key (SPEC V1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext as _

from labeling.current import current_labels
from labeling.models import Annotation, Kind, LabelEvent, LabelTask, Status
from labeling.pages import image_data
from projects.models import Project

GIVEN = (LabelEvent.Action.SUBMITTED, LabelEvent.Action.SKIPPED, LabelEvent.Action.CORRECTED)


class InvalidFilter(ValueError):
    """A filter's value that can't be read, in words."""


@dataclass(frozen=True, slots=True)
class ImageFilter:
    """Which images to show; an empty field leaves all."""

    statuses: tuple[str, ...] = ()
    label_class: int | None = None
    labeler: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    kind: str = ""
    path: str = ""
    confidence_from: float | None = None
    confidence_to: float | None = None

    @classmethod
    def parse(cls, query: Mapping[str, Any]) -> ImageFilter:
        """Read the fields of a query string. Raises InvalidFilter."""
        statuses = tuple(s for s in str(query.get("status", "")).split(",") if s)
        unknown = [s for s in statuses if s not in Status.values]
        if unknown:
            raise InvalidFilter(_("“%(status)s” is not a state.") % {"status": unknown[0]})
        path = str(query.get("path", ""))
        if "\0" in path:
            raise InvalidFilter(_("No path holds a NUL character."))
        kind = str(query.get("kind", ""))
        if kind and kind not in Kind.values:
            raise InvalidFilter(_("“%(kind)s” is not a kind of task.") % {"kind": kind})
        return cls(
            statuses=statuses,
            label_class=_number(query, "label_class"),
            labeler=_number(query, "labeler"),
            since=_moment(query, "since"),
            until=_moment(query, "until"),
            kind=kind,
            path=path[:1024],
            confidence_from=_share(query, "confidence_from"),
            confidence_to=_share(query, "confidence_to"),
        )


def _number(query: Mapping[str, Any], name: str) -> int | None:
    value = query.get(name) or None
    if value is None:
        return None
    if not str(value).isascii() or not str(value).isdigit() or len(str(value)) > 18:
        raise InvalidFilter(_("“%(name)s” is the number of a row.") % {"name": name})
    return int(value)


def _share(query: Mapping[str, Any], name: str) -> float | None:
    value = str(query.get(name) or "")
    if not value:
        return None
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InvalidFilter(_("“%(value)s” is not a confidence. Write it as 0.85.") % {"value": value})
    return share


def _moment(query: Mapping[str, Any], name: str) -> datetime | None:
    value = str(query.get(name) or "")
    if not value:
        return None
    try:
        day = parse_date(value)
        moment = datetime.combine(day, time.min) if day else parse_datetime(value)
    except ValueError:
        moment = None
    if moment is None:
        raise InvalidFilter(_("“%(value)s” is not a date. Write it as 2026-11-23.") % {"value": value})
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


def who_labeled(project: Project) -> QuerySet[User]:
    """Return the people who have labeled in a project, found by its history: an index has each person's."""
    given = LabelEvent.objects.filter(by=OuterRef("pk"), project=project, action__in=GIVEN)
    return User.objects.filter(Exists(given))


def filtered_tasks(project: Project, wanted: ImageFilter) -> QuerySet[LabelTask]:
    """Return the project's tasks that the filter leaves, newest id first."""
    return narrowed(project, LabelTask.objects.in_project(project), wanted).order_by("-id")


def narrowed(project: Project, tasks: QuerySet[LabelTask], wanted: ImageFilter) -> QuerySet[LabelTask]:
    """Return those of the project's tasks that the filter leaves."""
    if wanted.statuses:
        tasks = tasks.filter(status__in=wanted.statuses)
    if wanted.label_class is not None:
        labels = Annotation.objects.current(project).filter(task=OuterRef("pk"), label_class=wanted.label_class)
        tasks = tasks.filter(Exists(labels))
    if wanted.labeler is not None:
        tasks = tasks.filter(labeler=wanted.labeler)
    if wanted.since is not None:
        tasks = tasks.filter(labeled_at__gte=wanted.since)
    if wanted.until is not None:
        tasks = tasks.filter(labeled_at__lt=wanted.until)
    if wanted.kind:
        tasks = tasks.filter(kind=wanted.kind)
    if wanted.confidence_from is not None:
        tasks = tasks.filter(confidence__gte=wanted.confidence_from)
    if wanted.confidence_to is not None:
        tasks = tasks.filter(confidence__lte=wanted.confidence_to)
    if wanted.path:
        tasks = tasks.filter(image__path__has_text=wanted.path)
    return tasks


def with_labels(project: Project, tasks: Iterable[LabelTask]) -> list[dict[str, Any]]:
    """Return tasks with their labels as plain data, by a constant number of queries."""
    tasks = list(tasks)
    labels = current_labels(project, (task.pk for task in tasks))
    return [
        {
            "id": task.image_id,
            "task": task.pk,
            "status": task.status,
            "kind": task.kind,
            "image": image_data(task.image),
            "problem": task.image.problem_detail or task.image.get_problem_display() if task.image.problem else "",
            "labels": [
                {"label_class": label.label_class, **({"box": label.box} if label.box else {})}
                for label in labels.get(task.pk, ())
            ],
            "labeler": (task.labeler.get_full_name() or task.labeler.username) if task.labeler else None,
            "labeled_at": task.labeled_at,
            "confidence": task.confidence,
        }
        for task in tasks
    ]
