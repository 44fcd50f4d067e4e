"""A trained model with everything that it needs to judge an image; arrays in files, never pickles.

It has one part, a head on the features of the untouched network; or, fine-tuned, one for each half of the images
(assist/jobs/tuning.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from django.utils.translation import gettext as _

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

    def take(self, rows: np.ndarray) -> Verdicts:
        """Return some of them."""
        return Verdicts(*(part[rows] for part in self._columns()))

    @classmethod
    def join(cls, several: Sequence[Verdicts]) -> Verdicts:
        """Return them one after the other."""
        columns = zip(*(one._columns() for one in several), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    def _columns(self) -> tuple[np.ndarray, ...]:
        return (self.y, self.rank, self.shown, self.each, self.scores)


@dataclass
class Part:
    """A head and the features that it reads; it judges the images that have such features."""

    head: Any  # of pipeline.head, or of pipeline.multilabel
    scaling: Scaling
    embeddings: Embeddings
    trained_on: np.ndarray  # task ids, in the order of the leave-one-out scores

    @classmethod
    def fit(cls, labeled: Labeled, embeddings: Embeddings, is_multilabel: bool) -> Part:
        """Train on labels whose images all have features."""
        scaling = Scaling.fit(embeddings.features(), embeddings.stages)
        x = scaling.apply(embeddings.features()[embeddings.rows(labeled.images)])
        if is_multilabel:
            head: Any = multilabel.fit(x, labeled.y)
        else:
            head = multiclass.fit(x, labeled.y.argmax(1), labeled.y.shape[1])
        return cls(head, scaling, embeddings, labeled.tasks)

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Return the scores of rows of the features."""
        features = self.embeddings.features()
        parts = [
            self.head.scores(self.scaling.apply(features[rows[at : at + CHUNK]])) for at in range(0, len(rows), CHUNK)
        ]
        return np.concatenate(parts) if parts else np.empty((0, len(self.head.solution.mu)))


@dataclass
class Model:
    """The model of one training. An image has features in one of the parts at most."""

    run: AssistRun
    classes: list[int]
    parts: list[Part]
    is_multilabel: bool

    @classmethod
    def fit(cls, work: Work, classes: list[int], labeled: Labeled, sources: Sequence[Embeddings]) -> Model:
        """Train on labels whose images have features in one of the sources."""
        is_multilabel = work.project.task_type == Project.TaskType.MULTILABEL
        parts = [
            Part.fit(labeled.take(np.flatnonzero(found.rows(labeled.images) >= 0)), found, is_multilabel)
            for found in sources
        ]
        return cls(work.run, classes, parts, is_multilabel)

    @property
    def trained_on(self) -> np.ndarray:
        """The tasks whose labels the heads have seen, in the order of the leave-one-out verdicts."""
        return np.concatenate([part.trained_on for part in self.parts])

    def save(self, folder: Path) -> dict[str, str]:
        """Write it; return the names of the files."""
        names: dict[str, str] = {}
        for number, part in enumerate(self.parts):
            mine = _names(number)
            part.head.save(folder / mine["head"])
            part.scaling.save(folder / mine["scaling"])
            classes = np.array(self.classes, np.int64)
            np.savez(folder / mine["labels"], tasks=part.trained_on, classes=classes)
            names |= {f"{what}{number or ''}": name for what, name in mine.items()}
        return names

    @classmethod
    def load(cls, run: AssistRun) -> Model:
        """Read the model of a training. Raises Unusable when its files are gone."""
        is_multilabel = run.project.task_type == Project.TaskType.MULTILABEL
        kind: Any = multilabel.MultiHead if is_multilabel else multiclass.Head
        parts = []
        try:
            for number, digest in enumerate(run.config.get("tuned") or [run.config["digest"]]):
                names = _names(number)
                with np.load(run.folder / names["labels"], allow_pickle=False) as found:
                    tasks, classes = found["tasks"], found["classes"].tolist()
                head, scaling = kind.load(run.folder / names["head"]), Scaling.load(run.folder / names["scaling"])
                embeddings = Embeddings.open(run.project, digest, tuple(run.config["stages"]))
                parts.append(Part(head, scaling, embeddings, tasks))
        except (OSError, KeyError, ValueError) as error:
            raise Unusable(
                _("The files of the model can't be read: %(error)s. Train again.") % {"error": error}
            ) from error
        return cls(run, classes, parts, is_multilabel)

    def is_current(self, project: Project) -> bool:
        """Whether the project still has the classes that it was trained for."""
        return sorted(self.classes) == sorted(class_ids(project))

    def judge(self, images: np.ndarray) -> tuple[np.ndarray, Verdicts]:
        """Return which of the images have features, and what the model says of those."""
        places, verdicts = [], []
        for part in self.parts:
            rows = part.embeddings.rows(images)
            known = np.flatnonzero(rows >= 0)
            places.append(known)
            verdicts.append(self._verdicts(part, part.scores(rows[known])))
        known = np.concatenate(places)
        order = np.argsort(known, kind="stable")
        return known[order], Verdicts.join(verdicts).take(order)

    def leave_one_out(self) -> Verdicts:
        """Return what the model says of the images that it was trained on, of each as if it had not seen it."""
        return Verdicts.join([self._verdicts(part, part.head.loo_scores()) for part in self.parts])

    def _verdicts(self, part: Part, scores: np.ndarray) -> Verdicts:
        """Turn scores into answers."""
        if self.is_multilabel:
            each = part.head.chances(scores)
            shown = multilabel.confidence(each)
            return Verdicts(multilabel.predict(each).astype(np.uint8), shown, shown, each, scores)
        y = np.zeros(scores.shape, np.uint8)
        y[np.arange(len(scores)), multiclass.predict(scores)] = 1
        each = multiclass.softmax(scores / part.head.temperature)
        return Verdicts(y, multiclass.margin(scores), part.head.confidence(scores), each, scores)


def _names(number: int) -> dict[str, str]:
    """Return the names of a part's files."""
    after = f"-{number}" if number else ""
    return {what: f"{what}{after}.npz" for what in ("head", "scaling", "labels")}
