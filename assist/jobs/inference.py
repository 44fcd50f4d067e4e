"""Inference: the model over the unlabeled images; those above the threshold become prelabeled pages (SPEC A6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from django.utils.translation import gettext as _

from assist.blind import suggested_tasks
from assist.cycle import is_certified
from assist.jobs import detection, staging, tuning
from assist.jobs.judging import Judged, judge
from assist.jobs.model import Model
from assist.jobs.validation import check_current, current_ledger, labels_of, load_current
from assist.jobs.work import Outcome, Unusable, Work
from assist.labels import population
from assist.models import AssistRun, Ledger
from assist.pipeline.choosing import pages_by_class
from labeling import feeder, suggestions
from labeling.answers import Label
from labeling.suggestions import Suggestion
from projects.models import Project

BLANK_EVERY = 5  # with a fixed threshold every fifth image stays blank, or nothing could be measured any more


def perform(work: Work) -> Outcome:
    """Judge the blank images and publish what lies above the threshold."""
    training, validation = sources(work)
    work.check_device()
    if work.project.is_detection:
        return detection.infer(work, training, validation)
    model = load_current(work, training)
    ledger = current_ledger(work)
    if validation.config.get("ledger") != ledger.pk and is_certified(work.project):
        raise Unusable(_("Images joined or changed since the model was judged. Train again: the promise needs it."))
    tuning.look_at_new(work, training, model)
    work.configure(threshold=validation.metrics["threshold"], is_fixed=validation.metrics["is_fixed"])
    judged = judge(work.project, model, ledger)
    work.report(0.7, _("choosing what to publish"))
    plan = choose(judged, validation.metrics["threshold"], is_fixed=validation.metrics["is_fixed"])
    packed = stage(work, model, judged, plan, ledger)
    work.report(0.95, _("publishing"))
    follow = AssistRun.Kind.FEATURIZATION if work.project.assist_clustering else ""
    return Outcome(
        {"unlabeled": len(judged.about), "threshold": validation.metrics["threshold"]},
        publish=lambda project: publish(work, project, model, plan, ledger, packed),
        follow=follow,
        model=training,
        after=lambda: prepare(work.project),
    )


def sources(work: Work) -> tuple[AssistRun, AssistRun]:
    """Return the training whose model is used and the validation that allows it. Raises Unusable."""
    before = work.run.follows
    if before is None or before.kind != AssistRun.Kind.VALIDATION:
        done = AssistRun.objects.filter(project=work.project, kind=AssistRun.Kind.VALIDATION)
        before = done.filter(state=AssistRun.State.DONE).first()
    if before is None or before.model is None:
        raise Unusable(_("There is no model that was judged. Train one."))
    if not before.metrics.get("used"):
        raise Unusable(_("The newest model is not used: it is not sure enough yet. See its validation."))
    return before.model, before


@dataclass(frozen=True)
class Plan:
    """What lies above the threshold: rows of the labeled images that may judge, and of the blank ones, on pages."""

    labeled: np.ndarray
    pages: list[np.ndarray]  # positions in judged.about
    is_fixed: bool


def choose(judged: Judged, threshold: float, is_fixed: bool) -> Plan:
    """Choose what is above the threshold; pages of one predicted class, the most confident first."""
    verdicts = judged.open_verdicts
    confidence = verdicts.shown if is_fixed else verdicts.rank
    above = np.flatnonzero(confidence >= threshold)
    if is_fixed:
        above = above[verdicts.y[above].any(1)]
        ranks = judged.unlabeled.ranks[judged.about[above]]
        above = above[ranks % BLANK_EVERY != 0]
        above = above[judged.unlabeled.is_free[judged.about[above]]]
    groups = group_numbers(verdicts.y[above])
    pages = [above[page] for page in pages_by_class(groups, confidence[above])]
    pages.sort(key=lambda page: -float(confidence[page].max()))
    labeled = np.flatnonzero(judged.is_judge & (judged.verdicts.rank >= threshold))
    return Plan(labeled if not is_fixed else labeled[:0], pages, is_fixed)


def group_numbers(y: np.ndarray) -> np.ndarray:
    """Return a number for each set of classes."""
    if not len(y):
        return np.empty(0, int)
    _sets, numbers = np.unique(y, axis=0, return_inverse=True)
    return np.asarray(numbers).ravel()


def stage(work: Work, model: Model, judged: Judged, plan: Plan, ledger: Ledger) -> list[str]:
    """Write down what the model says and what leaves, seen by nobody yet; return the suggestions, packed.

    What leaves the pool are blind labels and blank images alike (docs/assist.md).
    """
    staging.clear(work)
    blank, judges = judged.open_verdicts, judged.verdicts
    n_blank, n_labeled = sum(map(len, plan.pages)), len(plan.labeled)

    def classes_of(y: np.ndarray) -> list[int]:
        return [model.classes[c] for c in np.flatnonzero(y).tolist()]

    places = [at for page in plan.pages for at in page.tolist()]
    tasks = judged.unlabeled.tasks[judged.about[places]].tolist() if places else []
    said = (
        (task, labels_of(model.classes, blank, at), float(blank.shown[at]), None, True)
        for task, at in zip(tasks, places, strict=True)
    )
    staging.predictions(work, said, n_blank, 0.7, 0.1)
    if not plan.is_fixed:
        left = chain(
            (
                (task, classes_of(blank.y[at]), float(blank.rank[at]), True)
                for task, at in zip(tasks, places, strict=True)
            ),
            (
                (int(judged.labeled.tasks[row]), classes_of(judges.y[row]), float(judges.rank[row]), False)
                for row in plan.labeled.tolist()
            ),
        )
        staging.departures(work, ledger.pk, left, n_blank + n_labeled, 0.8, 0.1)
    return suggestions.pack(filled_in(judged, model, plan))


def publish(
    work: Work, project: Project, model: Model, plan: Plan, ledger: Ledger, packed: list[str]
) -> dict[str, Any]:
    """Fill the suggestions in; what was written down counts with the end of this transaction."""
    check_current(project, model)
    ledger.refresh_from_db()
    if not plan.is_fixed and (ledger.closed_at or ledger.population != population(project)):
        raise Unusable(_("Images joined or changed while the model was at work. The next training has them."))
    if plan.is_fixed:
        suggestions.withdraw(suggested_tasks(project))
    filled = suggestions.suggest(project, packed)
    staging.blanks_stay(work.run, filled)
    suggestions.queue_anew(project)
    work.log(_("%(n)d images on %(m)d prelabeled pages") % {"n": len(filled), "m": len(plan.pages)})
    return {"suggested": len(filled), "pages": len(plan.pages)}


def filled_in(judged: Judged, model: Model, plan: Plan) -> Iterator[Suggestion]:
    """Yield what is suggested, page by page."""
    verdicts = judged.open_verdicts
    for number, page in enumerate(plan.pages, 1):
        for at in page.tolist():
            classes = np.flatnonzero(verdicts.y[at]).tolist()
            yield Suggestion(
                task=int(judged.unlabeled.tasks[judged.about[at]]),
                labels=tuple(Label(model.classes[c]) for c in classes),
                confidences=tuple(round(float(verdicts.each[at, c]), 4) for c in classes),
                confidence=float(verdicts.shown[at]),
                group=number,
            )


def prepare(project: Project) -> None:
    """Have the first pages ready before anybody asks."""
    feeder.feed(project.pk)
