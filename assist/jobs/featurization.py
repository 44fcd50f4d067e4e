"""Featurization: images become embeddings, and the next ones to be labeled share pages with their like (SPEC A7)."""

from __future__ import annotations

from typing import Any

import numpy as np
from django.utils.translation import gettext as _

from assist.cycle import newest_model, standing
from assist.embeddings import Embeddings
from assist.jobs import features
from assist.jobs.model import Model
from assist.jobs.work import Outcome, Unusable, Work
from assist.labels import read_unlabeled
from assist.models import AssistRun
from assist.pipeline import clusters
from assist.pipeline.embeddings import Scaling
from assist.pipeline.policy import PAGE
from labeling import feeder, suggestions
from projects.models import Image, Project


def perform(work: Work) -> Outcome:
    """Compute what is missing, then put the next batch on pages."""
    newest = Image.objects.filter(project=work.project).order_by("-pk").values_list("pk", flat=True).first() or 0
    work.configure(newest=newest)  # what was tried, should it fail
    work.check_device()
    # In a large project the first pages don't wait for the last image: another run looks at the rest.
    is_first = not AssistRun.objects.filter(
        project=work.project, kind=AssistRun.Kind.FEATURIZATION, state=AssistRun.State.DONE
    ).exists()
    embeddings, n_left = features.ensure_features(work, share=0.85, most=features.FIRST if is_first else None)
    work.configure(newest=newest if not n_left else 0, stages=list(embeddings.stages))
    metrics: dict[str, Any] = {"images": len(embeddings), "left": n_left}
    now = standing(work.project)
    metrics["grouped_for"] = now.needed
    pages: list[np.ndarray] = []
    if work.project.assist_clustering and now.batch:
        work.report(0.9, _("putting alike images together"))
        pages = next_pages(work, embeddings, now.batch)
        work.log(_("the next %(n)d images are on %(m)d pages") % {"n": sum(map(len, pages)), "m": len(pages)})
    follow = AssistRun.Kind.FEATURIZATION if n_left else ""
    return Outcome(
        metrics,
        publish=lambda project: publish(project, pages),
        follow=follow,
        after=lambda: prepare(work.project),
    )


def next_pages(work: Work, embeddings: Embeddings, count: int) -> list[np.ndarray]:
    """Return the tasks of the next batch, in their fixed random order, as pages of alike images (docs/assist.md)."""
    unlabeled = read_unlabeled(work.project)
    free = np.flatnonzero(unlabeled.is_free)
    rows = embeddings.rows(unlabeled.images[free])
    chosen = free[rows >= 0][:count]
    if not len(chosen):
        return []
    images = unlabeled.images[chosen]
    scores = scores_of(work, images)
    scaling = Scaling.fit(embeddings.features(), embeddings.stages)
    x = scaling.apply(embeddings.features()[embeddings.rows(images)])
    rng = np.random.default_rng(work.run.seed)
    return [unlabeled.tasks[chosen[page]] for page in clusters.pages(x, scores, PAGE, rng)]


def scores_of(work: Work, images: np.ndarray) -> np.ndarray | None:
    """Return the newest model's scores, or None before the first one, or where it does not fit any more."""
    training = work.run.model or newest_model(work.project)
    if training is None or training.config.get("digest") != work.run.config["digest"]:
        return None
    try:
        model = Model.load(training)
    except Unusable:
        return None
    if not model.is_current(work.project):
        return None
    known, verdicts = model.judge(images)
    return verdicts.scores if len(known) == len(images) else None


def publish(project: Project, pages: list[np.ndarray]) -> dict[str, Any]:
    """Put the pages into the queue in place of older ones that nobody has on the screen."""
    suggestions.ungroup(project)
    n_grouped = suggestions.group_pages(project, [page.tolist() for page in pages])
    suggestions.queue_anew(project)
    return {"grouped": n_grouped, "pages": len(pages)}


def prepare(project: Project) -> None:
    """Have the first pages ready before anybody asks."""
    feeder.feed(project.pk)
