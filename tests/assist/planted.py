"""Projects whose images have planted features, so that a model learns from them in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from django.contrib.auth.models import User

from assist.embeddings import Embeddings
from labeling import queue
from labeling.models import LabelPage, LabelTask
from labeling.submit import submit
from projects.models import Image, LabelClass, Project
from tests import make

DIGEST = "none-mobilenet_v2"  # what the network has without weights
STAGES = (96, 160, 1280)


def project(
    owner: User, folder: Path, count: int = 60, noise: float = 0.2, task_type: str = "multiclass", **assist: Any
) -> Project:
    """Make an assisted project; the truth of an image is its number modulo the number of classes."""
    made = make.project(owner, make.pictures(folder, count, (8, 8)), task_type)
    fix_order(made)
    plant(made, noise)
    settings = {"enabled": True, "min_labels": 20, "target": 0.6, "device": "cpu", "clustering": False}
    for name, value in (settings | assist).items():
        setattr(made, f"assist_{name}", value)
    made.save()
    return made


def fix_order(made: Project) -> None:
    """Give the tasks the same random order each time; by chance, a few images' order decides what may be shown."""
    tasks = list(LabelTask.objects.filter(project=made).order_by("image__path"))
    for task, rank in zip(tasks, np.random.default_rng(5).permutation(len(tasks)).tolist(), strict=True):
        task.rank = rank
    LabelTask.objects.bulk_update(tasks, ["rank"])


def plant(made: Project, noise: float = 0.2) -> None:
    """Write features from which the truth can be read, but for some noise."""
    images = list(Image.objects.filter(project=made).order_by("path"))
    rng = np.random.default_rng(7)
    n_classes = LabelClass.objects.filter(project=made).count()
    middle = rng.normal(size=(n_classes, sum(STAGES)))
    features = middle[[number % n_classes for number in range(len(images))]]
    found = Embeddings.open(made, DIGEST, STAGES)
    ids = np.array([image.pk for image in images], np.int64)
    found.append(ids, features + noise * rng.normal(size=features.shape))


def truth(task: LabelTask) -> int:
    """Return the class of a task's image."""
    classes = make.class_ids(task.project)
    return classes[int(Path(task.image.path).stem) % len(classes)]


def label(made: Project, labeler: User, count: int, wrong: int = 0) -> list[LabelPage]:
    """Label so many images by their truth, page by page; the first ``wrong`` of them otherwise."""
    pages = []
    while count > 0:
        page = queue.claim(made, labeler, min(count, 9))
        assert page is not None
        items = []
        for task in page.tasks.order_by("place"):
            classes = make.class_ids(made)
            said = truth(task) if wrong <= 0 else classes[(classes.index(truth(task)) + 1) % len(classes)]
            wrong -= 1
            items.append({"id": task.pk, "labels": [said]})
        submit(page, items)
        count -= len(items)
        pages.append(page)
    return pages
