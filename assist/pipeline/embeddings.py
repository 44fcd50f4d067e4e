"""Features of a backbone made comparable: what the classifier and the clusters see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FIT_ON = 50_000
CHUNK = 8_192


@dataclass
class Scaling:
    """Signed square root, every value standardised over the project's images, every stage of the same weight.

    The mean squared length of an embedding is 1.
    """

    mean: np.ndarray
    factor: np.ndarray  # stage weight / standard deviation

    @classmethod
    def fit(cls, features: np.ndarray, stages: Sequence[int]) -> Scaling:
        """Learn it from features (n, width); `stages` are the widths of the stages. Rows of NaN are left out."""
        if features.ndim != 2 or features.shape[1] != sum(stages):
            raise ValueError(f"features are {features.shape}, stages {tuple(stages)}: their widths must add up")
        rows = np.linspace(0, len(features) - 1, min(len(features), FIT_ON)).astype(int)
        known = np.asarray(features[rows], np.float32)
        known = _root(known[np.isfinite(known).all(1)])
        if not len(known):
            raise ValueError("no image could be read, so there is nothing to scale by")
        mean, spread = known.mean(0, dtype=np.float64), known.std(0, dtype=np.float64)
        weight = np.repeat([1 / np.sqrt(len(stages) * width) for width in stages], stages)
        factor = np.where(spread > 1e-6, weight / np.maximum(spread, 1e-6), 0.0)
        return cls(mean.astype(np.float32), factor.astype(np.float32))

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Return embeddings, float32 (n, width)."""
        scaled = np.empty(features.shape, np.float32)
        for start in range(0, len(features), CHUNK):
            part = np.asarray(features[start : start + CHUNK], np.float32)
            scaled[start : start + CHUNK] = (_root(part) - self.mean) * self.factor
        return scaled

    def save(self, file: Path) -> None:
        """Write it as arrays."""
        np.savez(file, mean=self.mean, factor=self.factor)

    @classmethod
    def load(cls, file: Path) -> Scaling:
        """Read it; nothing in the file is ever run."""
        with np.load(file, allow_pickle=False) as found:
            return cls(found["mean"], found["factor"])


def _root(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.sqrt(np.abs(values))
