"""Where a project stands: counted by one GROUP BY over an index, and kept for some seconds (DESIGN section 2)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from django.core.cache import cache

from labeling import signals
from labeling.models import Kind, Status
from labeling.tallies import labels_by_class, tasks_by_state
from projects.models import Project, Refresh

KEPT_SECONDS = 2
GRACE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Progress:
    """The tasks of a project by what became of them; the parts add up to ``total`` (SPEC B1, B2, B5).

    Tasks that a manager took out (``removed``) are not part of the total; ``labels`` are counts by class id, ``tasks``
    counts by status.
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
    tasks: dict[str, int] = field(default_factory=dict)

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
    """Return the project's progress, some seconds old: then one counts anew, and the others take what is there."""
    key = _key(project)
    found: tuple[float, Progress] | None = cache.get(key)
    if found is not None and (time.time() < found[0] or not cache.add(f"{key}-counting", True, GRACE_SECONDS)):
        return found[1]
    counts = count_progress(project)
    cache.set(key, (time.time() + KEPT_SECONDS, counts), KEPT_SECONDS + GRACE_SECONDS)
    cache.delete(f"{key}-counting")
    return counts


def forget_progress(project: Project) -> None:
    """Have the progress counted anew by whoever asks next."""
    cache.delete(_key(project))


def _key(project: Project) -> str:
    return f"progress-{project.pk}"


def count_progress(project: Project) -> Progress:
    """Count the project's progress now."""
    counts, queue = tasks_by_state(project)

    def of(*statuses: str) -> int:
        return sum(counts.get(status, 0) for status in statuses)

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
        queue={kind: queue.get(kind, 0) for kind in Kind.values},
        labels=labels_by_class(project),
        tasks=counts,
    )


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
