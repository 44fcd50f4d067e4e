"""A model against the labels and over what is unlabeled: for validation, which decides, and inference, which acts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assist.cycle import is_certified
from assist.jobs.model import Model, Verdicts
from assist.labels import Facts, Labeled, Unlabeled, judges, read_labels, read_ledger, read_unlabeled
from assist.models import Ledger
from projects.models import Project


@dataclass(frozen=True)
class Judged:
    """V and U of docs/assist.md: labels that may judge, each by a model that has not seen it; and blank images."""

    labeled: Labeled  # every label with a verdict
    verdicts: Verdicts  # one for each of them
    right: np.ndarray
    is_judge: np.ndarray  # blind, of this ledger, and not left yet
    unlabeled: Unlabeled
    about: np.ndarray  # rows of unlabeled that have a verdict and have not left
    open_verdicts: Verdicts  # one for each of those
    facts: Facts


def judge(project: Project, model: Model, ledger: Ledger) -> Judged:
    """Bring labels, leave-one-out verdicts and verdicts over blank images together, as they are now."""
    labeled = read_labels(project, model.classes)
    unlabeled = read_unlabeled(project, with_replaceable=not is_certified(project))
    facts = read_ledger(ledger, labeled, model.classes)
    rows, verdicts = _verdicts(model, labeled)
    labeled = labeled.take(rows)
    departed = np.fromiter(facts.departed, np.int64)
    known, found = model.judge(unlabeled.images)
    stays = ~np.isin(unlabeled.tasks[known], departed)
    return Judged(
        labeled,
        verdicts,
        (verdicts.y == labeled.y).all(1),
        judges(ledger, labeled) & ~np.isin(labeled.tasks, departed),
        unlabeled,
        known[stays],
        found.take(stays),
        facts,
    )


def _verdicts(model: Model, labeled: Labeled) -> tuple[np.ndarray, Verdicts]:
    """Return the rows that have a verdict, and these: leave-one-out where the model has seen the image."""
    at = {task: row for row, task in enumerate(model.trained_on.tolist())}
    seen = np.array([at.get(task, -1) for task in labeled.tasks.tolist()], np.int64)
    old = np.flatnonzero(seen >= 0)
    new = np.flatnonzero(seen < 0)
    known, direct = model.judge(labeled.images[new])
    rows = np.concatenate([old, new[known]])
    order = np.argsort(rows)
    return rows[order], Verdicts.join([model.leave_one_out().take(seen[old]), direct]).take(order)
