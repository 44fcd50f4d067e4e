"""Validation: is the model good enough to fill labels in, and above which confidence (SPEC A4, A5)."""

from __future__ import annotations

from typing import Any

import numpy as np
from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from assist.cycle import is_certified
from assist.jobs import detection, staging
from assist.jobs.judging import Judged, judge
from assist.jobs.model import Model, Verdicts
from assist.jobs.work import Outcome, Unusable, Work
from assist.labels import open_ledger
from assist.models import AssistRun, Ledger
from assist.pipeline import ledger as promise
from assist.pipeline import multilabel
from assist.pipeline.head import suspicion
from projects.access import lock
from projects.models import Project


def perform(work: Work) -> Outcome:
    """Judge the model of the training before, and decide."""
    training = work.run.model
    if training is None:
        raise Unusable(_("There is no model to judge. Train one."))
    if work.project.is_detection:
        return detection.validate(work, training)
    model = load_current(work, training)
    ledger = current_ledger(work)
    judged = judge(work.project, model, ledger)
    work.report(0.5, _("choosing the threshold"))
    doubt = doubt_about(training)
    metrics = measure(model, judged, doubt) | decide(work.project, judged, doubt)
    work.configure(ledger=ledger.pk, target=work.project.assist_target, fixed=work.project.assist_threshold)
    work.log(in_words(metrics))
    follow = AssistRun.Kind.FEATURIZATION if work.project.assist_clustering else ""
    if metrics["used"]:
        follow = AssistRun.Kind.INFERENCE
    write_down(work, model, judged)
    return Outcome(metrics, follow=follow, model=training)


def load_current(work: Work, training: AssistRun) -> Model:
    """Return a training's model if it still fits the project. Raises Unusable."""
    model = Model.load(training)
    check_current(work.project, model)
    return model


def check_current(project: Project, model: Model) -> None:
    """Raise Unusable when the classes are others than those that the model knows."""
    if not model.is_current(project):
        raise Unusable(_("The classes changed meanwhile, so this model is not used. The next training has them."))


def current_ledger(work: Work) -> Ledger:
    """Return the ledger of the images and classes as they are now."""
    with transaction.atomic():
        return open_ledger(lock(work.project))


def doubt_about(training: AssistRun) -> float:
    """Return how often a test may pass by luck: half as often where the better of two models was chosen before.

    It was chosen by the labels that judge it now, so each of the two has half of the doubt.
    """
    chosen = "labels" in (training.metrics.get("tuning") or {})
    return promise.DOUBT / 2 if chosen else promise.DOUBT


def decide(project: Project, judged: Judged, doubt: float) -> dict[str, Any]:
    """Return the threshold and why: the lowest at which the promise holds, or the fixed one with its measured error."""
    target = project.assist_target
    facts = judged.facts
    if not is_certified(project):
        fixed = project.assist_threshold or 0.0
        found = promise.at(
            fixed,
            judged.verdicts.shown[judged.is_judge],
            judged.right[judged.is_judge],
            judged.open_verdicts.shown,
            0,
            0,
            0,
            target,
            doubt,
        )
        coverage = found.m / max(len(judged.about), 1)
        decision = {"n": found.n, "k": found.k, "m": found.m, "bound": found.bound, "coverage": coverage}
        return {"used": found.m > 0, "threshold": fixed, "is_fixed": True, "decision": decision, "needed": None}
    decision_found = promise.decide(
        judged.verdicts.rank[judged.is_judge],
        judged.right[judged.is_judge],
        judged.open_verdicts.rank,
        facts.n,
        facts.k,
        facts.m,
        target,
        doubt,
    )
    used = decision_found.threshold is not None and decision_found.m > facts.m
    return {
        "used": used,
        "threshold": decision_found.threshold,
        "is_fixed": False,
        "needed": decision_found.needed,
        "decision": decision_found.as_dict(),
        "left_before": {"n": facts.n, "k": facts.k, "m": facts.m},
    }


def measure(model: Model, judged: Judged, doubt: float) -> dict[str, Any]:
    """Return what the page of the run shows: accuracy, the curve, confusion, each class, calibration."""
    judges = judged.is_judge
    truth, said = judged.labeled.y[judges], judged.verdicts.y[judges]
    right = judged.right[judges]
    metrics: dict[str, Any] = {
        "judges": int(judges.sum()),
        "right": int(right.sum()),
        "accuracy": float(right.mean()) if len(right) else None,
        "unlabeled": len(judged.about),
        "classes": model.classes,
        "curve": curve(judged, doubt),
        "calibration_error": calibration_error(judged.verdicts.shown[judges], right),
        "per_class": per_class(model.classes, truth, said),
    }
    if not model.is_multilabel:
        matrix = np.zeros((len(model.classes), len(model.classes)), int)
        np.add.at(matrix, (truth.argmax(1), said.argmax(1)), 1)
        metrics["confusion"] = matrix.tolist()
    return metrics


def curve(judged: Judged, doubt: float) -> list[dict[str, float]]:
    """Return measured and guaranteed accuracy at many thresholds, those that left before counted in."""
    rank, right = judged.verdicts.rank[judged.is_judge], judged.right[judged.is_judge]
    points = promise.curve(rank, right, judged.open_verdicts.rank)
    for point in points:
        above = rank >= point["threshold"]
        n, k = judged.facts.n + int(above.sum()), judged.facts.k + int((~right & above).sum())
        point["guaranteed"] = 1 - promise.upper_bound(k, n, doubt)
    return points


def per_class(classes: list[int], truth: np.ndarray, said: np.ndarray) -> list[dict[str, Any]]:
    """Return, for each class, how many images people and the model gave it, and on how many they agree."""
    both = (truth & said).sum(0)
    columns = zip(classes, truth.sum(0).tolist(), said.sum(0).tolist(), both.tolist(), strict=True)
    return [{"label_class": pk, "people": n, "model": m, "both": b} for pk, n, m, b in columns]


def calibration_error(shown: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error: how far shown probabilities are from the share that is right."""
    if not len(shown):
        return 0.0
    at = np.minimum((shown * bins).astype(int), bins - 1)
    gaps = [abs(shown[at == b].mean() - right[at == b].mean()) * (at == b).sum() for b in np.unique(at)]
    return float(sum(gaps) / len(shown))


def in_words(metrics: dict[str, Any]) -> str:
    """Return the verdict as a line of the log."""
    decision = metrics["decision"]
    if metrics["used"]:
        words = _("in use above %(c).3f: %(k)d of %(n)d wrong, at most %(b).1f %%; %(m)d images in all")
        bound = 100 * decision["bound"]
        found = {"c": metrics["threshold"], "k": decision["k"], "n": decision["n"], "b": bound, "m": decision["m"]}
        return words % found
    needed = metrics["needed"]
    if needed:
        words = ngettext("not used: about %(n)d more label needed", "not used: about %(n)d more labels needed", needed)
        return words % {"n": needed}
    return _("not used: it is wrong too often")


def margins(model: Model, verdicts: Verdicts, y: np.ndarray) -> np.ndarray:
    """Return how far the model backs each image's own label; below zero it would say something else."""
    if model.is_multilabel:
        return multilabel.suspicion(verdicts.each, y) - 0.5
    return suspicion(verdicts.scores, y.argmax(1))


def labels_of(classes: list[int], verdicts: Verdicts, row: int) -> list[dict[str, Any]]:
    """Return a verdict in the shape of the API's ``prelabels``."""
    return [
        {"label_class": classes[number], "confidence": round(float(verdicts.each[row, number]), 4)}
        for number in np.flatnonzero(verdicts.y[row]).tolist()
    ]


def write_down(work: Work, model: Model, judged: Judged) -> None:
    """Write down what the model says of every labeled image."""
    staging.clear(work)
    verdicts = judged.verdicts
    backed = margins(model, verdicts, judged.labeled.y)
    rows = (
        (task, labels_of(model.classes, verdicts, row), float(verdicts.shown[row]), float(backed[row]), False)
        for row, task in enumerate(judged.labeled.tasks.tolist())
    )
    staging.predictions(work, rows, len(judged.labeled), 0.6, 0.4)
