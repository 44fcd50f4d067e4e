"""A trained head with everything that it needs to judge an image; arrays in files, never pickles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assist.embeddings import Embeddings
from assist.jobs.work import Unusable, Work
from assist.labels import Labeled, class_ids
from assist.models import AssistRun
from assist.pipeline import head as multiclass
from assist.pipeline import multilabel
from assist.pipeline.embeddings import Scaling
from projects.models import Project

CHUNK = 8192


@dataclass(frozen=True)
class Verdicts:
    """What a model says of some images: ``y`` (n, classes) of 0 and 1, ``shown`` the probability that people see,
    ``rank`` the confidence by which it is judged, ``each`` (n, classes) the probability of each class."""

    y: np.ndarray
    rank: np.ndarray
    shown: np.ndarray
    each: np.ndarray
    scores: np.ndarray


@dataclass
class Model:
    """The model of one training."""

    run: AssistRun
    classes: list[int]
    head: Any  # of pipeline.head, or of pipeline.multilabel
    scaling: Scaling
    embeddings: Embeddings
    trained_on: np.ndarray  # task ids, in the order of the leave-one-out scores
    is_multilabel: bool

    @classmethod
    def fit(cls, work: Work, classes: list[int], labeled: Labeled, embeddings: Embeddings) -> Model:
        """Train on labels whose images all have features."""
        scaling = Scaling.fit(embeddings.features(), embeddings.stages)
        x = scaling.apply(embeddings.features()[embeddings.rows(labeled.images)])
        is_multilabel = work.project.task_type == Project.TaskType.MULTILABEL
        if is_multilabel:
            head: Any = multilabel.fit(x, labeled.y)
        else:
            head = multiclass.fit(x, labeled.y.argmax(1), len(classes))
        return cls(work.run, classes, head, scaling, embeddings, labeled.tasks, is_multilabel)

    def save(self, folder: Path) -> dict[str, str]:
        """Write it; return the names of the files."""
        names = {"head": "head.npz", "scaling": "scaling.npz", "labels": "labels.npz"}
        self.head.save(folder / names["head"])
        self.scaling.save(folder / names["scaling"])
        np.savez(folder / names["labels"], tasks=self.trained_on, classes=np.array(self.classes, np.int64))
        return names

    @classmethod
    def load(cls, run: AssistRun) -> Model:
        """Read the model of a training. Raises Unusable when its files are gone."""
        is_multilabel = run.project.task_type == Project.TaskType.MULTILABEL
        kind: Any = multilabel.MultiHead if is_multilabel else multiclass.Head
        try:
            head = kind.load(run.folder / run.artifacts["head"])
            scaling = Scaling.load(run.folder / run.artifacts["scaling"])
            with np.load(run.folder / run.artifacts["labels"], allow_pickle=False) as found:
                tasks, classes = found["tasks"], found["classes"].tolist()
        except (OSError, KeyError, ValueError) as error:
            raise Unusable(f"The files of {run} can't be read: {error}. Train again.") from error
        embeddings = Embeddings.open(run.project, run.config["digest"], tuple(run.config["stages"]))
        return cls(run, classes, head, scaling, embeddings, tasks, is_multilabel)

    def is_current(self, project: Project) -> bool:
        """Whether the project still has the classes that it was trained for."""
        return sorted(self.classes) == sorted(class_ids(project))

    def judge(self, images: np.ndarray) -> tuple[np.ndarray, Verdicts]:
        """Return which of the images have features, and what the model says of those."""
        rows = self.embeddings.rows(images)
        known = np.flatnonzero(rows >= 0)
        parts = [
            self.head.scores(self.scaling.apply(self.embeddings.features()[rows[known[at : at + CHUNK]]]))
            for at in range(0, len(known), CHUNK)
        ]
        scores = np.concatenate(parts) if parts else np.empty((0, len(self.classes)))
        return known, self.verdicts(scores)

    def leave_one_out(self) -> Verdicts:
        """Return what the model says of the images that it was trained on, of each as if it had not seen it."""
        return self.verdicts(self.head.loo_scores())

    def verdicts(self, scores: np.ndarray) -> Verdicts:
        """Turn scores into answers."""
        if self.is_multilabel:
            each = self.head.chances(scores)
            shown = multilabel.confidence(each)
            return Verdicts(multilabel.predict(each).astype(np.uint8), shown, shown, each, scores)
        y = np.zeros(scores.shape, np.uint8)
        y[np.arange(len(scores)), multiclass.predict(scores)] = 1
        each = multiclass.softmax(scores / self.head.temperature)
        return Verdicts(y, multiclass.margin(scores), self.head.confidence(scores), each, scores)
