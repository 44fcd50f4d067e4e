"""Pages of images that look alike, so that one key can answer most of a page."""

from __future__ import annotations

import heapq
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from sklearn.cluster import MiniBatchKMeans

COMPONENTS = 64
COMPONENT_WEIGHT = 0.5  # beside class scores of weight 1
CELL = 1_000  # images that are compared with each other, each with each
FIT_ON = 20_000
CHUNK = 8_192


def pages(embedding: np.ndarray, scores: np.ndarray | None, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Group images by what the model sees in them: arrays of at most `size` positions, in random order.

    The order is random so that a batch that is left half-way is still a random sample. `scores` are the class scores
    of the images, None before the first model.
    """
    if size < 2 or len(embedding) < 2:
        return [np.array([position]) for position in rng.permutation(len(embedding))]
    points = coordinates(embedding, scores, rng)
    groups, rest = [], []
    cells = _cells(points, rng)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for cell, (whole, left) in zip(cells, pool.map(lambda cell: _greedy(points[cell], size), cells), strict=True):
            groups += [cell[group] for group in whole]
            rest.append(cell[left])
    groups += _of_rest(points, np.concatenate(rest), size)
    return [groups[number] for number in rng.permutation(len(groups))]


def coordinates(embedding: np.ndarray, scores: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Return where images lie: principal components, beside class scores once there are some."""
    parts = _components(embedding, rng)
    if scores is None or scores.shape[1] < 2:
        return parts
    scores = np.asarray(scores, np.float32)
    return np.hstack([scores / _rms(scores), COMPONENT_WEIGHT * parts / _rms(parts)])


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) or 1.0


def _components(embedding: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the first principal components, fitted on a sample of a large set."""
    chosen = np.sort(rng.choice(len(embedding), min(len(embedding), FIT_ON), replace=False))
    sample = np.asarray(embedding[chosen], np.float32)
    mean = sample.mean(0)
    sample = sample - mean
    _values, vectors = np.linalg.eigh(sample.T @ sample if sample.shape[0] >= sample.shape[1] else sample @ sample.T)
    top = vectors[:, ::-1][:, :COMPONENTS]
    if sample.shape[0] < sample.shape[1]:
        top = sample.T @ top
        top = top / np.maximum(np.linalg.norm(top, axis=0), 1e-6)
    points = np.empty((len(embedding), top.shape[1]), np.float32)
    for start in range(0, len(embedding), CHUNK):
        points[start : start + CHUNK] = (np.asarray(embedding[start : start + CHUNK], np.float32) - mean) @ top
    return points


def _cells(points: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Cut a large set into cells of neighbours that are small enough to compare each with each."""
    if len(points) <= 2 * CELL:
        return [np.arange(len(points))]
    count = len(points) // CELL
    means = MiniBatchKMeans(
        count, batch_size=4 * CELL, n_init=1, max_iter=20, init="random", random_state=int(rng.integers(2**31))
    )
    means.fit(points[rng.choice(len(points), min(len(points), 100 * count), replace=False)])
    labels = np.empty(len(points), np.int32)
    for start in range(0, len(points), CHUNK):
        part = points[start : start + CHUNK]
        labels[start : start + CHUNK] = (
            (means.cluster_centers_**2).sum(1) - 2 * part @ means.cluster_centers_.T
        ).argmin(1)
    order = np.argsort(labels, kind="stable")
    cells = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return [part for cell in cells for part in np.array_split(cell, -(-len(cell) // (2 * CELL)))]


def _greedy(points: np.ndarray, size: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Take out the image with the closest neighbours and these, again and again; return the groups and who is left."""
    n = len(points)
    free = np.ones(n, bool)
    if n < size:
        return [], np.arange(n)
    squares = (points**2).sum(1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * points @ points.T, 0)
    np.fill_diagonal(distances, -1)  # each is its own nearest
    order = np.argsort(distances, axis=1).astype(np.int32)
    np.fill_diagonal(distances, 0)
    np.sqrt(distances, out=distances)
    tightness = np.take_along_axis(distances, order[:, :size], axis=1).sum(1)
    heap = list(zip(tightness.tolist(), range(n), strict=True))
    heapq.heapify(heap)
    groups = []
    left = n
    while left >= size:
        value, image = heapq.heappop(heap)
        if not free[image]:
            continue
        row = order[image]
        near = row[free[row]][:size]
        now = float(distances[image, near].sum())
        if now > value * (1 + 1e-6) + 1e-9:  # neighbours have gone since: it stands further back now
            heapq.heappush(heap, (now, image))
            continue
        groups.append(near)
        free[near] = False
        left -= size
    return groups, np.flatnonzero(free)


def _of_rest(points: np.ndarray, rest: np.ndarray, size: int) -> list[np.ndarray]:
    """Group those that no cell could place; the last group may be smaller."""
    groups: list[np.ndarray] = []
    parts = np.array_split(rest, max(1, -(-len(rest) // (2 * CELL))))
    left: list[np.ndarray] = []
    for part in parts:
        whole, over = _greedy(points[part], size)
        groups += [part[group] for group in whole]
        left.append(part[over])
    last = np.concatenate(left) if left else rest
    return groups + [last[start : start + size] for start in range(0, len(last), size)]


def purity(groups: list[np.ndarray], classes: np.ndarray) -> float:
    """Return the mean share of a page that its most frequent class has."""
    if not groups:
        return 0.0
    return float(np.mean([np.bincount(classes[group]).max() / len(group) for group in groups]))
