"""Training: people's labels and the images' features become a model."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from django.utils.translation import gettext as _

from assist.cycle import standing
from assist.jobs import detection, features, tuning
from assist.jobs.model import Model
from assist.jobs.work import Outcome, Unusable, Work
from assist.labels import Labeled, class_ids, read_labels, rows_of
from assist.models import AssistRun
from assist.pipeline.choosing import training_set
from projects.models import LabelClass, Project


def perform(work: Work) -> Outcome:
    """Train the project's model."""
    work.configure(counted=standing(work.project).labels, task_type=work.project.task_type, tuned=None)
    work.check_device()
    if work.project.is_detection:
        return detection.train(work)
    classes = class_ids(work.project)
    labeled = read_labels(work.project, classes)
    check_labels(work.project, classes, labeled)
    tunes = tuning.is_wanted(work.project, work.run.device, len(labeled))
    embeddings, _left = features.ensure_features(work, share=0.3 if tunes else 0.8)
    work.configure(stages=list(embeddings.stages))
    started = time.monotonic()
    chosen = choose(labeled, embeddings.rows(labeled.images), work.run.seed)
    check_labels(work.project, classes, chosen)
    work.report(0.3 if tunes else 0.85, _("training"))
    model = Model.fit(work, classes, chosen, [embeddings])
    more: dict[str, Any] = {}
    if tunes:
        model, more = tuning.improve(work, model, chosen)
    work.report(0.95, _("saving"))
    artifacts = model.save(work.folder)
    seconds = time.monotonic() - started
    metrics = describe(classes, chosen, model) | more | {"fit_seconds": round(seconds, 2)}
    n, m = metrics["labels"], metrics["confirmed"]
    work.log(
        _("trained on %(n)d labels, %(m)d of them confirmed suggestions, in %(s).1f s") % {"n": n, "m": m, "s": seconds}
    )
    work.log(_("right on %(p).1f %% of them, each judged by the model without it") % {"p": 100 * metrics["accuracy"]})
    return Outcome(
        metrics,
        artifacts,
        follow=AssistRun.Kind.VALIDATION,
        model=work.run,
        after=lambda: tuning.tidy(work.project),
    )


def check_labels(project: Project, classes: list[int], labeled: Labeled) -> None:
    """Raise Unusable for labels from which nothing can be learned."""
    if len(classes) < 2 and project.task_type == Project.TaskType.MULTICLASS:
        raise Unusable(_("The project has one class only, so there is nothing to tell apart. Add another class."))
    if not len(labeled):
        raise Unusable(_("There are no labels of the present classes on readable images yet."))
    found = np.flatnonzero(labeled.y.any(0))
    if project.task_type == Project.TaskType.MULTICLASS and len(found) < 2:
        name = LabelClass.objects.get(pk=classes[int(found[0])]).name
        words = _("All %(n)d labels are “%(name)s”: a model needs examples of two classes at least. Label more images.")
        raise Unusable(words % {"n": len(labeled), "name": name})


def choose(labeled: Labeled, rows: np.ndarray, seed: int) -> Labeled:
    """Return the labels to train on: the blind ones, and some confirmed suggestions, of images that can be read."""
    readable = rows >= 0
    blind = np.flatnonzero(labeled.is_blind & readable)
    confirmed = np.flatnonzero(~labeled.is_blind & readable)
    chosen = np.concatenate(training_set(blind, confirmed, np.random.default_rng(seed)))
    return labeled.take(np.sort(chosen))


def describe(classes: list[int], chosen: Labeled, model: Model) -> dict[str, Any]:
    """Return what the run's page says of the training."""
    verdicts = model.leave_one_out()
    chosen = chosen.take(rows_of(chosen.tasks, model.trained_on))
    right = (verdicts.y == chosen.y).all(1)
    return {
        "labels": len(chosen),
        "blind": int(chosen.is_blind.sum()),
        "confirmed": int((~chosen.is_blind).sum()),
        "per_class": {str(pk): int(n) for pk, n in zip(classes, chosen.y.sum(0), strict=True)},
        "accuracy": float(right.mean()),
        "temperature": round(float(getattr(model.parts[0].head, "temperature", 0.0)), 4),
    }
