"""The features of a project's images by one set of weights: memory-mapped float16, computed once (docs/assist.md).

Two files below DATA_DIR grow together: the features, and an index that says whose row each one is. A row counts once
its index entry is there, so a killed worker costs the rows of its last batch and no more.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from assist.models import project_folder
from projects.models import Image, Project

INDEX = np.dtype([("image", "<i8"), ("at", "<f8")])


@dataclass
class Embeddings:
    """The features of one project by the weights of one digest."""

    folder: Path
    width: int
    stages: tuple[int, ...]

    @classmethod
    def open(cls, project: Project, digest: str, stages: tuple[int, ...]) -> Embeddings:
        """Open them, or begin them."""
        folder = cls.place(project, digest)
        folder.mkdir(parents=True, exist_ok=True)
        found = cls(folder, sum(stages), tuple(stages))
        (folder / "about.json").write_text(json.dumps({"digest": digest, "stages": list(stages)}))
        found._cut()
        return found

    @staticmethod
    def place(project: Project, digest: str) -> Path:
        """Return where the features by the weights of a digest lie."""
        return project_folder(project.pk) / f"features-{digest[:16]}"

    @property
    def _features(self) -> Path:
        return self.folder / "features.f16"

    @property
    def _index(self) -> Path:
        return self.folder / "index.bin"

    def _cut(self) -> None:
        """Drop rows that were written in part."""
        for path in (self._features, self._index):
            path.touch()
        n = min(self._index.stat().st_size // INDEX.itemsize, self._features.stat().st_size // self._row)
        with self._index.open("r+b") as index, self._features.open("r+b") as features:
            index.truncate(n * INDEX.itemsize)
            features.truncate(n * self._row)

    @property
    def _row(self) -> int:
        return 2 * self.width

    def __len__(self) -> int:
        return self._index.stat().st_size // INDEX.itemsize

    def append(self, images: np.ndarray, features: np.ndarray) -> None:
        """Add rows; a row of NaN says that the image can't be read."""
        entries = np.zeros(len(images), INDEX)
        entries["image"], entries["at"] = images, time.time()
        with self._features.open("ab") as file:
            file.write(np.ascontiguousarray(features, np.float16).tobytes())
        with self._index.open("ab") as file:
            file.write(entries.tobytes())

    def missing(self, project: Project) -> np.ndarray:
        """Return the images without features, or whose file has changed since, in no order."""
        index = np.fromfile(self._index, INDEX)
        at = dict(zip(index["image"].tolist(), index["at"].tolist(), strict=True))
        images = Image.objects.filter(project=project).exclude(problem=Image.Problem.MISSING)
        rows = images.values_list("pk", "changed_at").iterator(chunk_size=20_000)
        return np.array(
            [pk for pk, changed in rows if pk not in at or (changed and changed.timestamp() > at[pk])], np.int64
        )

    def rows(self, images: np.ndarray) -> np.ndarray:
        """Return the row of each image, the newest where it has several; -1 where there is none or it is unreadable."""
        index = np.fromfile(self._index, INDEX)["image"]
        if not len(index) or not len(images):
            return np.full(len(images), -1, np.int64)
        order = np.argsort(index, kind="stable")
        at = np.searchsorted(index[order], images, side="right") - 1
        found = np.where(at >= 0, order[np.maximum(at, 0)], -1)
        found = np.where((found >= 0) & (index[found] == images), found, -1)
        known = found >= 0
        if known.any():
            first = self.features()[found[known], 0]
            found[np.flatnonzero(known)[~np.isfinite(first.astype(np.float32))]] = -1
        return found

    def features(self) -> np.ndarray:
        """Return all rows, mapped and not read, float16 (n, width)."""
        n = len(self)
        if not n:
            return np.empty((0, self.width), np.float16)
        return np.memmap(self._features, np.float16, "r", shape=(n, self.width))
