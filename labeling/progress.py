"""Where a project stands: counted by one GROUP BY over an index, and kept for some seconds (DESIGN section 2)."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.core.cache import cache
from django.db.models import Count, Max, Q, QuerySet, Subquery

from labeling import signals
from labeling.models import Annotation, Kind, LabelEvent, LabelTask, Status
from projects.models import LabelClass, Project, Refresh

KEPT_SECONDS = 2
BASE_SECONDS = 24 * 3600
BASE_EVENTS = 100_000  # after so many events, counting anew is as quick as catching up


@dataclass(frozen=True, slots=True)
class Progress:
    """The tasks of a project by what became of them; the parts add up to ``total`` (SPEC B1, B2, B5).

    Tasks that a manager took out (``removed``) are not part of the total; ``labels`` are counts by class id, ``tasks``
    counts by status and kind.
    """

    total: int
    labeled: int
    approved: int
    skipped: int
    needs_review: int
    unreadable: int
    missing: int
    removed: int
    unqueued: int
    queued: int
    claimed: int
    queue: dict[str, int]
    labels: dict[int, int] = field(default_factory=dict)
    tasks: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def pending(self) -> int:
        """What is still to be labeled."""
        return self.unqueued + self.queued + self.claimed

    @property
    def left(self) -> int:
        """The same, in a labeler's words."""
        return self.pending

    @property
    def n_labels(self) -> int:
        """How many labels there are; an image may have several."""
        return sum(self.labels.values())

    def share(self, count: int) -> float:
        """Return a count as percent of the total."""
        return 100 * count / self.total if self.total else 0.0


def progress(project: Project) -> Progress:
    """Return the project's progress, at most some seconds old."""
    found = cache.get(_key(project))
    if found is None:
        found = count_progress(project)
        cache.set(_key(project), found, KEPT_SECONDS)
    return found


def forget_progress(project: Project) -> None:
    """Have the progress counted anew by whoever asks next."""
    cache.delete(_key(project))


def _key(project: Project) -> str:
    return f"progress-{project.pk}"


def count_progress(project: Project) -> Progress:
    """Count the project's progress now."""
    rows = LabelTask.objects.filter(project=project).values_list("status", "kind").annotate(n=Count("*")).order_by()
    counts = {(status, kind): n for status, kind, n in rows}

    def of(*statuses: str) -> int:
        return sum(n for (status, _kind), n in counts.items() if status in statuses)

    removed = of(Status.REMOVED)
    return Progress(
        total=sum(counts.values()) - removed,
        labeled=of(Status.LABELED, Status.APPROVED),
        approved=of(Status.APPROVED),
        skipped=of(Status.SKIPPED),
        needs_review=of(Status.NEEDS_REVIEW),
        unreadable=of(Status.UNREADABLE),
        missing=of(Status.MISSING),
        removed=removed,
        unqueued=of(Status.WAITING),
        queued=of(Status.QUEUED),
        claimed=of(Status.CLAIMED),
        queue={kind: counts.get((Status.QUEUED, kind), 0) for kind in Kind.values},
        labels=_labels(project),
        tasks=counts,
    )


def _labels(project: Project) -> dict[int, int]:
    """Return how many labels stand, by class.

    They are counted once; after that only what the events since then began and ended is (annotations are never
    changed, so the sum is exact, and 2.5 million boxes are not read every some seconds).
    """
    key = f"labels-{project.pk}"
    base: tuple[int, dict[int, int]] | None = cache.get(key)
    last = _events(project).aggregate(last=Max("pk"))["last"] or 0
    if base is None or not 0 <= last - base[0] < BASE_EVENTS:
        base = _count_labels(project)
    elif last > base[0]:
        base = (last, _catch_up(project, base[1], base[0], last))
    cache.set(key, base, BASE_SECONDS)
    return {pk: n for pk, n in base[1].items() if n}


def _events(project: Project) -> QuerySet[LabelEvent]:
    return LabelEvent.objects.filter(project=project)


def _count_labels(project: Project) -> tuple[int, dict[int, int]]:
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


def as_json(project: Project) -> dict[str, object]:
    """Return the progress in the shape of API.md."""
    counts = progress(project)
    last = Refresh.objects.filter(project=project, state=Refresh.State.DONE).first()
    return {
        "total": counts.total,
        "labeled": counts.labeled,
        "skipped": counts.skipped,
        "needs_review": counts.needs_review,
        "unreadable": counts.unreadable,
        "missing": counts.missing,
        "pending": {"unqueued": counts.unqueued, "queued": counts.queued, "claimed": counts.claimed},
        "queue": counts.queue,
        "labels": {str(pk): n for pk, n in counts.labels.items()},
        "next_training": signals.ask_for_next_training(project),
        "refreshed_at": last.ended_at if last else None,
    }
