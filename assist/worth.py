"""What assistance is worth: suggestions accepted, seconds an image, hours saved (SPEC A10)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import Any

from django.core.cache import cache
from django.db.models import Count, Q

from assist.models import AssistRun, Prediction
from labeling.current import current_labels
from labeling.models import ANSWERED, Kind, LabelEvent, LabelTask
from projects.models import Project

RECENT = 5000  # answers over which medians and acceptance are taken
KEPT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Worth:
    """Seconds an image by kind of page; suggestions answered and left unchanged, in all and by class id."""

    seconds: dict[str, float]
    answered: int
    unchanged: int
    per_class: dict[int, tuple[int, int]]  # answered, unchanged
    saved_seconds: float | None

    @property
    def share(self) -> float | None:
        """The share of suggestions that were confirmed as they were, in percent."""
        return 100 * self.unchanged / self.answered if self.answered else None


def worth(project: Project) -> Worth:
    """Return what assistance was worth so far, at most some seconds old."""
    key = f"assist-worth-{project.pk}"
    found = cache.get(key)
    if found is None:
        found = count_worth(project)
        cache.set(key, found, KEPT_SECONDS)
    return found


def count_worth(project: Project) -> Worth:
    """Count it now."""
    submitted = LabelEvent.objects.filter(project=project, action=LabelEvent.Action.SUBMITTED)
    spent: dict[str, list[float]] = defaultdict(list)
    recent = submitted.filter(seconds__isnull=False).order_by("-pk").values_list("kind", "seconds")[:RECENT]
    for kind, seconds in recent:
        spent[kind].append(seconds or 0.0)
    medians = {kind: median(values) for kind, values in spent.items()}
    counts = dict(submitted.values_list("kind").annotate(n=Count("*")).order_by())
    answered, unchanged, per_class = acceptance(project)
    return Worth(medians, answered, unchanged, per_class, saved(medians, counts))


def saved(medians: dict[str, float], counts: dict[str, int]) -> float | None:
    """Return the seconds that pages with help took less than manual ones would have; None where nobody can tell."""
    manual = medians.get(Kind.MANUAL)
    if manual is None:
        return None
    helped = [kind for kind in (Kind.CLUSTERED, Kind.PRELABELED) if kind in medians]
    return sum(counts.get(kind, 0) * (manual - medians[kind]) for kind in helped) if helped else None


def acceptance(project: Project) -> tuple[int, int, dict[int, tuple[int, int]]]:
    """Return how many of the newest answered suggestions there are, how many were left as they were, and per class."""
    tasks = LabelTask.objects.in_project(project).filter(kind=Kind.PRELABELED, status__in=ANSWERED)
    tasks = tasks.filter(prelabels__isnull=False)  # a restart forgets them, also where it was restored
    suggested = dict(tasks.order_by("-labeled_at").values_list("pk", "prelabels")[:RECENT])
    given = current_labels(project, list(suggested))
    per_class: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    n_unchanged = 0
    for task, prelabels in suggested.items():
        said = sorted((label["label_class"], tuple(label.get("box") or ())) for label in prelabels or ())
        now = sorted((label.label_class, tuple(label.box or ())) for label in given.get(task, ()))
        is_same = said == now
        n_unchanged += is_same
        for label_class in {label_class for label_class, _box in said}:
            per_class[label_class][0] += 1
            per_class[label_class][1] += is_same
    return len(suggested), n_unchanged, {pk: (n, same) for pk, (n, same) in per_class.items()}


def judging_run(project: Project) -> AssistRun | None:
    """Return the newest validation: its predictions are the model's view of every label."""
    done = AssistRun.objects.filter(
        project=project, kind=AssistRun.Kind.VALIDATION, state=AssistRun.State.DONE, predictions__isnull=False
    )
    return done.first()


def backed(project: Project) -> dict[int, float]:
    """Return for each labeler the share of labels that the newest model backs, each judged by it without them."""
    run = judging_run(project)
    if run is None:
        return {}
    rows: Any = (
        Prediction.objects.filter(run=run, margin__isnull=False, task__labeler__isnull=False)
        .values_list("task__labeler")
        .annotate(n=Count("*"), n_backed=Count("pk", filter=Q(margin__gte=0)))
        .order_by()
    )
    return {labeler: n_backed / n for labeler, n, n_backed in rows}
