"""Whose labels reviewers keep: the share that was approved as it was, of those that somebody else judged (ATTACKS 28).

A verdict is an approval, a rejection or a correction by a reviewer on the newest answer that it stood on; one that was
undone, or a person's word on the own label, is none. An image has one answer, so labelers can't be compared with each
other on the same images; each is compared with how the others fare under the same reviewers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

from django.db.models import OuterRef, Subquery

from labeling.models import Annotation, LabelEvent
from projects.models import Project

RECENT = 5000  # verdicts that are looked at
Z = 1.96
Action = LabelEvent.Action
GIVING = (Action.SUBMITTED, Action.CORRECTED, Action.IMPORTED)


@dataclass(frozen=True, slots=True)
class Kept:
    """Of so many labeled images that were judged, so many were kept as they were."""

    kept: int
    judged: int

    @property
    def percent(self) -> float:
        """The share that was kept."""
        return 100 * self.kept / self.judged


def kept_by_reviewers(project: Project) -> dict[int, Kept]:
    """Return for each labeler what became of the labels that reviewers looked at, of the last RECENT verdicts."""
    newest: dict[int, tuple[int, str, int | None]] = {}
    for pk, answered, action, by, following in _verdicts(project):
        if answered is not None and following != Action.RESTORED:
            newest.setdefault(answered, (pk, action, by))
    answers = LabelEvent.objects.filter(pk__in=newest).exclude(action=Action.IMPORTED)
    # A correction without a page is a reviewer's own word.
    given_by = dict(answers.exclude(action=Action.CORRECTED, page=None).values_list("pk", "by"))
    judged: Counter[int] = Counter()
    kept: Counter[int] = Counter()
    same = _unchanged({pk: answered for answered, (pk, action, _by) in newest.items() if action == Action.CORRECTED})
    for answered, (pk, action, judge) in newest.items():
        labeler = given_by.get(answered)
        if labeler is None or labeler == judge:
            continue
        judged[labeler] += 1
        kept[labeler] += action == Action.APPROVED or pk in same
    return {labeler: Kept(kept[labeler], n) for labeler, n in judged.items()}


def _verdicts(project: Project) -> list[tuple[int, int | None, str, int | None, str | None]]:
    """Return the last RECENT verdicts, newest first: (id, the answer it is about, action, by whom, what came next).

    Asked for each action by itself, which an index has: where reviewers have said little, all that labelers have done
    would be gone through otherwise.
    """
    on_task = LabelEvent.objects.filter(task=OuterRef("task"))
    answer = on_task.filter(pk__lt=OuterRef("pk"), action__in=GIVING).order_by("-pk")
    events = LabelEvent.objects.filter(project=project, task__isnull=False).annotate(
        answer=Subquery(answer.values("pk")[:1]),
        next=Subquery(on_task.filter(pk__gt=OuterRef("pk")).order_by("pk").values("action")[:1]),
    )
    found: list[tuple[int, int | None, str, int | None, str | None]] = []
    for which in ({"action": Action.APPROVED}, {"action": Action.REJECTED}, {"action": Action.CORRECTED, "page": None}):
        given = events.filter(**which).order_by("-pk")
        found += given.values_list("pk", "answer", "action", "by", "next")[:RECENT]
    return sorted(found, key=lambda verdict: -verdict[0])[:RECENT]


def _unchanged(corrections: Mapping[int, int]) -> set[int]:
    """Return the corrections that gave the same labels as the answers that they stood on."""
    events = {*corrections, *corrections.values()}
    labels: dict[int, list[tuple[object, ...]]] = {}
    tasks = LabelEvent.objects.filter(pk__in=events).values("task")
    rows = Annotation.objects.filter(task__in=tasks, created_by_event__in=events)
    for event, *label in rows.values_list("created_by_event", "label_class", "x", "y", "width", "height"):
        labels.setdefault(event, []).append(tuple(label))
    return {
        pk
        for pk, answered in corrections.items()
        if sorted(labels.get(pk, ()), key=str) == sorted(labels.get(answered, ()), key=str)
    }


def stand_out(found: Mapping[int, Kept]) -> set[int]:
    """Return the labelers of whom clearly fewer labels are kept than of all others together.

    Clearly: the share of the others lies above the interval (Wilson's, 95 %) of theirs, so a few labels may do.
    """
    all_kept, all_judged = sum(one.kept for one in found.values()), sum(one.judged for one in found.values())
    low = set()
    for labeler, one in found.items():
        others = all_judged - one.judged
        if others and (all_kept - one.kept) / others > _upper(one):
            low.add(labeler)
    return low


def _upper(one: Kept) -> float:
    n, share = one.judged, one.kept / one.judged
    return (share + Z * Z / (2 * n) + Z * sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))) / (1 + Z * Z / n)
