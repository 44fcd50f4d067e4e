"""What takes long to count of a big project: labels by class, and answered images by labeler.

Labels are counted once and after that kept up by what each event since then began and ended (annotations are never
changed, so the sum is exact, and 2.5 million boxes are not read every some seconds). Both are kept in the cache, and by
a worker in a row beside it: so an emptied cache costs nobody half a second.
"""

from __future__ import annotations

from datetime import timedelta

from django.core.cache import cache
from django.db.models import Count, Max, Q, QuerySet, Subquery
from django.utils import timezone

from labeling.models import Annotation, LabelEvent, LabelTask, Tally
from projects.models import LabelClass, Project

LABELS_SECONDS = 24 * 3600
LABELERS_SECONDS = 15
ROW_SERVES = timedelta(seconds=90)  # a worker renews the rows every minute
MANY_EVENTS = 100_000  # after so many, counting anew is as quick as catching up

Counted = tuple[int, dict[int, int]]  # up to which event, and how many by id


def labels_by_class(project: Project) -> dict[int, int]:
    """Return how many labels stand, by class."""
    return {pk: n for pk, n in _labels(project)[1].items() if n}


def answered_by_labeler(project: Project) -> dict[int, int]:
    """Return how many images have an answer, by who gave it, most first; at most some seconds old, or a minute."""
    key = f"labeled-by-{project.pk}"
    counts: dict[int, int] | None = cache.get(key)
    if counts is None:
        row = _row(project)
        is_good = row is not None and (row.at > timezone.now() - ROW_SERVES or row.event == last_event(project))
        counts = _by_id(row.labelers) if row is not None and is_good else _count_labelers(project)
        cache.set(key, counts, LABELERS_SECONDS)
    return counts


def last_event(project: Project) -> int:
    """Return the id of the last thing that happened in a project; 0 when nothing did."""
    return _events(project).aggregate(last=Max("pk"))["last"] or 0


def renew_all() -> None:
    """Bring the rows up to date of all projects in which something happened; a schedule calls this."""
    kept = dict(Tally.objects.values_list("project", "event"))
    for project in Project.objects.all():
        last = last_event(project)
        if last and last != kept.get(project.pk):
            _renew(project, last)


def _renew(project: Project, last: int) -> None:
    """Store what is counted now. What comes after ``last`` may be in it too, but then that is not the last any more."""
    event, labels = _labels(project)
    counted = {"labels_event": event, "labels": labels, "labelers": _count_labelers(project)}
    Tally.objects.update_or_create(project=project, defaults={"event": last, "at": timezone.now(), **counted})


def _labels(project: Project) -> Counted:
    key = f"labels-{project.pk}"
    base: Counted | None = cache.get(key)
    if base is None and (row := _row(project)) is not None:
        base = row.labels_event, _by_id(row.labels)
    last = last_event(project)
    if base is None or not 0 <= last - base[0] < MANY_EVENTS:
        base = _count_labels(project)
    elif last > base[0]:
        base = last, _catch_up(project, base[1], base[0], last)
    cache.set(key, base, LABELS_SECONDS)
    return base


def _row(project: Project) -> Tally | None:
    return Tally.objects.filter(project=project).first()


def _by_id(counts: dict[str, int]) -> dict[int, int]:
    return {int(pk): n for pk, n in counts.items()}


def _events(project: Project) -> QuerySet[LabelEvent]:
    return LabelEvent.objects.filter(project=project)


def _count_labelers(project: Project) -> dict[int, int]:
    tasks = LabelTask.objects.in_project(project).answered().filter(labeler__isnull=False)
    return dict(tasks.values_list("labeler").annotate(n=Count("*")).order_by("-n"))


def _count_labels(project: Project) -> Counted:
    """Count all labels, and say up to which event that is: by one statement, so that nothing comes between."""
    classes = list(LabelClass.objects.filter(project=project).values_list("pk", flat=True))
    last = _events(project).order_by().values("project").annotate(last=Max("pk")).values("last")
    rows = Annotation.objects.current().filter(label_class__in=classes).values("label_class")
    counted = list(rows.annotate(n=Count("*"), last=Subquery(last)).values_list("label_class", "n", "last").order_by())
    return (counted[0][2] or 0 if counted else 0), {pk: n for pk, n, _last in counted}


def _catch_up(project: Project, counts: dict[int, int], first: int, last: int) -> dict[int, int]:
    """Return the counts at one event, made of those at an earlier one."""
    classes = set(LabelClass.objects.filter(project=project).values_list("pk", flat=True))
    began = Annotation.objects.filter(created_by_event__gt=first, created_by_event__lte=last)
    standing = began.filter(Q(ended_by_event__isnull=True) | Q(ended_by_event__gt=last))
    ended = Annotation.objects.filter(ended_by_event__gt=first, ended_by_event__lte=last, created_by_event__lte=first)
    counts = dict(counts)
    for sign, rows in ((1, standing), (-1, ended)):
        for pk, n in rows.values_list("label_class").annotate(n=Count("*")).order_by():
            if pk in classes:  # events of other projects lie between
                counts[pk] = counts.get(pk, 0) + sign * n
    return counts
