"""The network and the features of the project's images: computed where they are missing, scaled where they are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from django.conf import settings
from django.utils.translation import gettext as _

from assist.embeddings import Embeddings
from assist.jobs.work import Unusable, Work
from assist.pictures import Pictures
from labeling.models import LabelTask
from projects.models import Image

if TYPE_CHECKING:
    from assist.pipeline.backbones import Backbone

BATCH = {"cpu": 32, "cuda": 256}
CHUNK = 2000  # images looked up at once
FIRST = 2000  # images embedded before the first pages are grouped, in a large project


def weights_folder() -> Path | None:
    """Return where local weights lie: the operator's folder, else the one that import_weights fills."""
    if settings.ASSIST_WEIGHTS_DIR:
        return Path(settings.ASSIST_WEIGHTS_DIR)
    return Path(settings.DATA_DIR) / "weights"


def load_backbone(work: Work) -> Backbone:
    """Return the project's network, and write down where its weights come from. Raises Unusable."""
    from assist.pipeline.backbones import Backbone, WrongWeights  # torch: in the child process only

    name = work.project.assist_network
    try:
        backbone = Backbone.load(name, weights_folder(), download=settings.ASSIST_DOWNLOAD)
    except WrongWeights as error:
        raise Unusable(str(error)) from error
    work.configure(network=name, weights=backbone.source, weights_words=backbone.words, digest=backbone.digest)
    work.log(f"{name}: {backbone.words}")
    return backbone


def in_order(work: Work, images: np.ndarray) -> np.ndarray:
    """Return images in the order in which they are labeled, so that the next ones come first."""
    ranks = dict(LabelTask.objects.in_project(work.project).values_list("image_id", "rank"))
    return images[np.argsort([ranks.get(pk, 2**31) for pk in images.tolist()], kind="stable")]


def ensure_features(work: Work, share: float, most: int | None = None) -> tuple[Embeddings, int]:
    """Compute the features that are missing, at most ``most`` of them; return all, and how many are missing still.

    ``share`` is the part of the run's progress that this takes.
    """
    backbone = load_backbone(work)
    found = Embeddings.open(work.project, backbone.digest, backbone.stages)
    missing = in_order(work, found.missing(work.project))
    todo = missing[:most] if most is not None else missing
    if len(todo):
        n_unreadable = compute(work, backbone, found, todo, share)
        words = _("%(n)d images looked at, %(m)d of them unreadable") % {"n": len(todo), "m": n_unreadable}
        work.log(words)
    return found, len(missing) - len(todo)


def compute(work: Work, backbone: Backbone, found: Embeddings, images: np.ndarray, share: float) -> int:
    """Compute and keep the features of images; return how many could not be read."""
    from assist.pipeline.backbones import embed

    pictures = Pictures(work.project, side=224)
    n_done = 0
    for start in range(0, len(images), CHUNK):
        ids = images[start : start + CHUNK]
        rows = Image.objects.in_bulk(ids.tolist())
        present = np.array([pk for pk in ids.tolist() if pk in rows], np.int64)
        source = pictures.read(rows[pk] for pk in present.tolist())
        at = 0
        for features in embed(backbone, source, work.run.device, BATCH[work.run.device.partition(":")[0]]):
            found.append(present[at : at + len(features)], features)
            at += len(features)
            n_done += len(features)
            words = _("looking at images: %(n)d of %(total)d") % {"n": n_done, "total": len(images)}
            work.report(share * n_done / len(images), words)
    return pictures.n_unreadable
