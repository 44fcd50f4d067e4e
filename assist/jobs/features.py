"""The network and the features of the project's images: computed where they are missing, scaled where they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from django.conf import settings
from django.utils.translation import gettext as _

from assist import runs
from assist.embeddings import Embeddings
from assist.jobs import sharding
from assist.jobs.work import Unusable, Work
from assist.models import AssistRun, project_folder
from assist.pictures import Pictures
from labeling.models import LabelTask
from projects.models import Image, Project

if TYPE_CHECKING:
    from assist.pipeline.backbones import Backbone

BATCH = {"cpu": 32, "cuda": 256}
SIDE = 224  # pixels that a network looks at
CHUNK = 2000  # images looked up at once
FIRST = 2000  # images embedded before the first pages are grouped, in a large project


def weights_folder() -> Path | None:
    """Return where local weights lie: the operator's folder, else the one that import_weights fills."""
    if settings.ASSIST_WEIGHTS_DIR:
        return Path(settings.ASSIST_WEIGHTS_DIR)
    return Path(settings.DATA_DIR) / "weights"


def untouched(project: Project) -> Backbone:
    """Return the project's network with the weights that there are. Raises Unusable."""
    from assist.pipeline.backbones import Backbone, WrongWeights  # torch: in the child process only

    try:
        return Backbone.load(project.assist_network, weights_folder(), download=settings.ASSIST_DOWNLOAD)
    except WrongWeights as error:
        raise Unusable(str(error)) from error


def load_backbone(work: Work) -> Backbone:
    """Return the project's network, and write down where its weights come from. Raises Unusable."""
    backbone = untouched(work.project)
    name = backbone.name
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
    compute(work, backbone, found, todo, 0, share)
    return found, len(missing) - len(todo)


def compute(work: Work, backbone: Backbone, found: Embeddings, images: np.ndarray, begin: float, share: float) -> None:
    """Compute and keep the features of images, from ``begin`` of the run's progress on. Large sets are shared out."""
    if not len(images):
        return
    pictures = Pictures(work.project, SIDE)
    if len(images) >= sharding.FEATURES.least:
        n_parts = sharding.cut(work.run, backbone.digest, images, sharding.FEATURES.part)
        runs.ask_for_help(work.run, n_parts - 1)
        work.log(_("cut into %(n)d parts, for as many workers as there are") % {"n": n_parts})

        def report(done: float) -> None:
            work.report(begin + share * done, _("looking at images: %(n)d %% done") % {"n": 100 * done})

        sharding.finish(work.run, backbone.digest, whole(backbone, pictures, work.run.device), found.append, report)
    else:
        n_done = 0
        for ids, features in in_batches(backbone, pictures, work.run.device, images):
            found.append(ids, features)
            n_done += len(features)
            words = _("looking at images: %(n)d of %(total)d") % {"n": n_done, "total": len(images)}
            work.report(begin + share * n_done / len(images), words)
    words = _("%(n)d images looked at, %(m)d of them unreadable") % {"n": len(images), "m": pictures.n_unreadable}
    work.log(words)


def in_batches(
    backbone: Backbone, pictures: Pictures, device: str, images: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield images and their features, some at a time; an image whose row is gone is left out."""
    from assist.pipeline.backbones import embed

    for start in range(0, len(images), CHUNK):
        rows = Image.objects.in_bulk(images[start : start + CHUNK].tolist())
        present = np.array([pk for pk in images[start : start + CHUNK].tolist() if pk in rows], np.int64)
        source = pictures.read(rows[pk] for pk in present.tolist())
        at = 0
        for features in embed(backbone, source, device, BATCH[device.partition(":")[0]]):
            yield present[at : at + len(features)], features
            at += len(features)


def whole(backbone: Backbone, pictures: Pictures, device: str) -> sharding.Compute:
    """Return what computes one part: every image has a row, of NaN where there is nothing to see."""

    def compute_part(images: np.ndarray, beat: Callable[[], None]) -> np.ndarray:
        features = np.full((len(images), backbone.width), np.nan, np.float32)
        place = {pk: at for at, pk in enumerate(images.tolist())}
        for ids, found in in_batches(backbone, pictures, device, images):
            features[[place[pk] for pk in ids.tolist()]] = found
            beat()
        return features.astype(np.float16)

    return compute_part


def helper(run: AssistRun, digest: str) -> sharding.Compute | None:
    """Return what computes a part of another worker's run; None where this machine has other weights."""
    from assist.pipeline.backbones import Backbone

    tuned = tuned_file(run.project, digest)
    if tuned.is_file():
        backbone = Backbone.restore(tuned)
    else:
        backbone = Backbone.load(run.config["network"], weights_folder(), download=settings.ASSIST_DOWNLOAD)
    if backbone.digest != digest:
        return None
    project = Project.objects.select_related("dataset__datastore").get(pk=run.project_id)
    return whole(backbone, Pictures(project, SIDE), run.device)


def tuned_file(project: Project, digest: str) -> Path:
    """Return where a fine-tuned network of the project lies, if it is one."""
    return project_folder(project.pk) / f"network-{digest[:16]}.pt"
