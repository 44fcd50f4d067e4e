"""Fine-tuning within a training: two networks, each judged by the half of the labels that it has not seen.

An image belongs to one of two halves, by its random rank. Each half has a network that learned from the labels of the
*other* half only, and a head of its own on that network's features, judged by leave-one-out. So neither network nor
head of an image has seen its label; every blind label can judge; a blank image is judged by the same pair as the labels
of its half, so that labels and blank images stay alike (docs/assist.md). Each image is looked at once, by its half's
network.

The untouched network is kept unless this is better on the same labels; both were compared on the labels that the
promise rests on, so each gets half of the doubt (assist/jobs/validation.py).
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from django.conf import settings
from django.utils.translation import gettext as _

from assist.embeddings import Embeddings
from assist.jobs import features
from assist.jobs.model import Model
from assist.jobs.work import Unusable, Work
from assist.labels import Labeled, rows_of
from assist.models import AssistRun
from assist.pictures import Pictures
from assist.pipeline.choosing import is_better
from assist.words import tuning_in_words
from labeling.models import LabelTask
from projects.models import Image, Project

if TYPE_CHECKING:
    from assist.pipeline.backbones import Backbone

HALVES = (0, 1)
FROM_LABELS = 1_000  # below, the head alone is as good (docs/benchmarks.md): not unless asked
LEAST_LABELS = 8  # in each half
KEPT_TRAININGS = 2  # whose networks and features stay


@dataclass(frozen=True)
class Span:
    """A part of the run's progress."""

    begin: float
    share: float

    def at(self, share: float) -> float:
        """Return how far the run is when the part is so far."""
        return self.begin + self.share * share

    def half(self, number: int) -> Span:
        """Return the first or second half of it."""
        return Span(self.begin + number * self.share / 2, self.share / 2)


def is_wanted(project: Project, device: str, n_labels: int) -> bool:
    """Whether a training fine-tunes: when asked; or by itself on a GPU, once there are many labels."""
    if project.assist_training == Project.Training.AUTOMATIC:
        return device != "cpu" and n_labels >= FROM_LABELS
    return project.assist_training == Project.Training.FINE_TUNE


def halves(project: Project) -> Callable[[np.ndarray], np.ndarray]:
    """Return what tells the half of each image: by its random rank, so the same in every round."""
    ranks = dict(LabelTask.objects.in_project(project).values_list("image_id", "rank"))

    def half(images: np.ndarray) -> np.ndarray:
        return np.array([ranks.get(pk, 0) % 2 for pk in images.tolist()], np.int64)

    return half


def improve(work: Work, untouched: Model, labeled: Labeled) -> tuple[Model, dict[str, Any]]:
    """Fine-tune; return the better model, and what the run's page says of the comparison."""
    from assist.pipeline.finetune import NoMemory  # torch: in the child process only

    half = halves(work.project)(labeled.images)
    if words := _too_few(labeled, half):
        work.log(words)
        return untouched, {"tuning": {"used": False, "why": words}}
    started = time.monotonic()
    curves: list[list[list[float]]] = []
    try:
        networks = [_network(work, labeled, half, number, Span(0.3, 0.3).half(number), curves) for number in HALVES]
    except (NoMemory, FloatingPointError) as error:
        words = _("not fine-tuned: %(error)s") % {"error": error}
        work.log(words)
        return untouched, {"tuning": {"used": False, "why": words}}
    sources = [_source(work, network) for network in networks]
    for number in HALVES:
        _look(work, networks[number], sources[number], labeled.images[half == number], Span(0.6, 0.05).half(number))
    tuned = Model.fit(work, untouched.classes, labeled, sources)
    found = compare(untouched, tuned, labeled) | {"curves": curves, "seconds": round(time.monotonic() - started, 1)}
    work.log(tuning_in_words(found))
    if not found["used"]:
        forget(work.project, [network.digest for network in networks])
        return untouched, {"tuning": found}
    look_at_all(work, networks, sources, Span(0.65, 0.25))
    work.configure(tuned=[network.digest for network in networks])
    return tuned, {"tuning": found}


def _too_few(labeled: Labeled, half: np.ndarray) -> str:
    """Return why these labels can't be learned in two halves, if so."""
    fewest = min(int((half == number).sum()) for number in HALVES)
    if fewest < LEAST_LABELS:
        return _("not fine-tuned: too few labels for two halves yet")
    if any(labeled.y[half == number].any(0).sum() < 2 for number in HALVES):
        return _("not fine-tuned: a half of the labels is of one class only")
    return ""


def _network(
    work: Work, labeled: Labeled, half: np.ndarray, number: int, span: Span, curves: list[list[list[float]]]
) -> Backbone:
    """Return the network of a half, trained on the other one; a lost worker's is used again."""
    from assist.pipeline.backbones import Backbone
    from assist.pipeline.finetune import LARGER, finetune

    seen = labeled.take(np.flatnonzero(half != number))
    key = f"{number}-{hashlib.sha256(seen.tasks.tobytes() + seen.y.tobytes()).hexdigest()[:16]}"
    made: dict[str, Any] = work.run.config.get("tuning") or {}
    curve: list[list[float]] = []
    curves.append(curve)
    if key in made and (file := features.tuned_file(work.project, made[key]["digest"])).is_file():
        curve.extend(made[key]["curve"])
        work.log(_("network %(n)d of 2: taken over from the worker before") % {"n": number + 1})
        return Backbone.restore(file)

    def progress(share: float, figures: dict[str, float]) -> None:
        curve.append([round(share, 4), round(figures["loss"], 4), round(figures["accuracy"], 4)])
        words = _("fine-tuning network %(n)d of 2: %(p)d %% done, loss %(loss).3f")
        work.report(span.at(share), words % {"n": number + 1, "p": 100 * share, "loss": figures["loss"]})

    work.report(span.begin, _("fine-tuning network %(n)d of 2") % {"n": number + 1})
    pictures = Pictures(work.project, LARGER)
    rows = Image.objects.in_bulk(seen.images.tolist())
    seen = seen.take(np.array([at for at, pk in enumerate(seen.images.tolist()) if pk in rows], np.int64))
    is_multilabel = work.project.task_type == Project.TaskType.MULTILABEL
    network = finetune(
        features.untouched(work.project),
        pictures.read(rows[pk] for pk in seen.images.tolist()),
        seen.y if is_multilabel else seen.y.argmax(1),
        work.run.device,
        progress,
        work.run.seed + number,
        steps=settings.ASSIST_STEPS or None,
    )
    network.save(features.tuned_file(work.project, network.digest))
    curve[:] = curve[:: max(1, len(curve) // 100)]
    work.configure(tuning={**made, key: {"digest": network.digest, "curve": curve}})
    work.log(_("network %(n)d of 2: %(words)s") % {"n": number + 1, "words": network.words})
    return network


def _source(work: Work, network: Backbone) -> Embeddings:
    return Embeddings.open(work.project, network.digest, network.stages)


def _look(work: Work, network: Backbone, found: Embeddings, images: np.ndarray, span: Span) -> None:
    """Compute those features of the images that a network has not computed yet."""
    missing = np.intersect1d(found.missing(work.project), images)
    features.compute(work, network, found, features.in_order(work, missing), span.begin, span.share)


def look_at_all(work: Work, networks: list[Backbone], sources: list[Embeddings], span: Span) -> None:
    """Look at every image of the project once, each by the network of its half."""
    half = halves(work.project)
    for number in HALVES:
        missing = sources[number].missing(work.project)
        _look(work, networks[number], sources[number], missing[half(missing) == number], span.half(number))


def look_at_new(work: Work, training: AssistRun, model: Model) -> None:
    """Before a fine-tuned model is used: look at images that joined or changed since. Raises Unusable."""
    from assist.pipeline.backbones import Backbone, WrongWeights

    if digests := training.config.get("tuned"):
        try:
            networks = [Backbone.restore(features.tuned_file(work.project, digest)) for digest in digests]
        except WrongWeights as error:
            raise Unusable(str(error)) from error
        look_at_all(work, networks, [part.embeddings for part in model.parts], Span(0, 0.5))


def compare(untouched: Model, tuned: Model, labeled: Labeled) -> dict[str, Any]:
    """Return how many blind labels each gets right, every one judged by a model that has not seen it."""
    blind = labeled.tasks[labeled.is_blind]
    judged = np.intersect1d(np.intersect1d(blind, untouched.trained_on), tuned.trained_on)
    truth = labeled.y[rows_of(labeled.tasks, judged)]
    before, after = (
        (model.leave_one_out().take(rows_of(model.trained_on, judged)).y == truth).all(1)
        for model in (untouched, tuned)
    )
    better, worse = int((after & ~before).sum()), int((before & ~after).sum())
    return {
        "used": is_better(better, worse),
        "labels": len(judged),
        "right": int(after.sum()),
        "right_before": int(before.sum()),
        "better": better,
        "worse": worse,
    }


def forget(project: Project, digests: list[str]) -> None:
    """Delete networks and their features."""
    for digest in digests:
        shutil.rmtree(Embeddings.place(project, digest), ignore_errors=True)
        features.tuned_file(project, digest).unlink(missing_ok=True)


def tidy(project: Project) -> None:
    """Delete the networks and features of older trainings: nothing uses them any more."""
    trainings = AssistRun.objects.filter(project=project, kind=AssistRun.Kind.TRAINING)
    done = trainings.filter(state=AssistRun.State.DONE)
    kept = {digest for run in done[:KEPT_TRAININGS] for digest in run.config.get("tuned") or []}
    for run in trainings.exclude(state__in=[AssistRun.State.QUEUED, AssistRun.State.RUNNING]):
        made: dict[str, Any] = run.config.get("tuning") or {}
        forget(project, [one["digest"] for one in made.values() if one["digest"] not in kept])
