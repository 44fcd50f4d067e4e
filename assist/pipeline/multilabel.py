"""The classifier for images with one or more labels each: the same kernel, a calibrated chance for every label."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from assist.pipeline.head import CHUNK, Solution, kernel, solve


@dataclass
class MultiHead:
    """Predicts a set of labels for each embedding."""

    x: np.ndarray
    solution: Solution
    platt: np.ndarray  # (labels, 2): slope and offset of each label's chance

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Return (n, labels) scores of embeddings."""
        parts = [self.solution.scores(kernel(x[start : start + CHUNK], self.x)) for start in range(0, len(x), CHUNK)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.solution.mu)))

    def loo_scores(self) -> np.ndarray:
        """Return the scores of the labeled images, each as the model without it would give."""
        return self.solution.loo

    def chances(self, scores: np.ndarray) -> np.ndarray:
        """Return how probable each label is."""
        return _sigmoid(scores * self.platt[:, 0] + self.platt[:, 1])

    def save(self, file: Path) -> None:
        """Write the head as arrays."""
        solution = self.solution
        np.savez(file, x=self.x, weights=solution.weights, mu=solution.mu, loo=solution.loo, platt=self.platt)

    @classmethod
    def load(cls, file: Path) -> MultiHead:
        """Read a head; nothing in the file is ever run."""
        with np.load(file, allow_pickle=False) as found:
            return cls(found["x"], Solution(found["weights"], found["mu"], found["loo"]), found["platt"])


def fit(x: np.ndarray, y: np.ndarray) -> MultiHead:
    """Fit a classifier on embeddings (n, width) and their labels, (n, labels) of 0 and 1."""
    if len(x) != len(y) or not len(x):
        raise ValueError(f"{len(x)} embeddings and {len(y)} label sets: there must be as many, and one at least")
    if not np.isfinite(x).all():
        raise ValueError("an embedding has values that are not numbers")
    solution = solve(kernel(x, x), y)
    platt = np.array([calibrate(solution.loo[:, label], y[:, label]) for label in range(y.shape[1])])
    return MultiHead(np.asarray(x, np.float32), solution, platt.reshape(-1, 2))


def predict(chances: np.ndarray) -> np.ndarray:
    """Return the most probable set for each image, (n, labels) of bool; never an empty one."""
    found = chances > 0.5
    if chances.shape[1]:
        found[np.arange(len(found)), chances.argmax(1)] = True
    return found


def confidence(chances: np.ndarray) -> np.ndarray:
    """Return how probable the predicted set is as a whole."""
    return np.where(predict(chances), chances, 1 - chances).prod(1)


def right(predicted: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return for which images the predicted set is the true one."""
    return np.asarray((predicted == y.astype(bool)).all(1))


def suspicion(chances: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the least chance among each image's own answers: the lowest are likely wrong label sets."""
    return np.where(y.astype(bool), chances, 1 - chances).min(1)


def calibrate(scores: np.ndarray, labels: np.ndarray, rounds: int = 50) -> tuple[float, float]:
    """Return slope and offset that turn scores into chances (Platt): logistic regression with his softened targets."""
    positive = float(labels.sum())
    negative = len(labels) - positive
    targets = np.where(labels > 0, (positive + 1) / (positive + 2), 1 / (negative + 2))
    slope, offset = 1.0, 0.0
    given = np.column_stack([scores, np.ones(len(scores))])

    def loss(values: np.ndarray) -> float:
        z = given @ values
        return float(np.sum(np.logaddexp(0, z) - targets * z)) + 1e-4 * float(values @ values)

    values = np.array([slope, offset])
    for _round in range(rounds):
        chance = _sigmoid(given @ values)
        gradient = given.T @ (chance - targets) + 2e-4 * values
        hessian = (given * (chance * (1 - chance))[:, None]).T @ given + 2e-4 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        length, before = 1.0, loss(values)
        while loss(values - length * step) > before and length > 1e-6:
            length /= 2
        values = values - length * step
        if np.abs(length * step).max() < 1e-8:
            break
    return float(values[0]), float(values[1])


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -500, 500)))
