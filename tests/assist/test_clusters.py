"""Pages of images that look alike (SPEC A7)."""

import numpy as np
import pytest

from assist.pipeline import clusters, head


def blobs(n: int, classes: int = 4, seed: int = 1, spread: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    points = rng.normal(size=(classes, 12))[labels] + spread * rng.normal(size=(n, 12))
    return (points / 4).astype(np.float32), labels


@pytest.mark.parametrize("n, size", [(5, 9), (9, 9), (300, 9), (301, 4), (5_000, 9), (7, 1), (0, 9), (1, 9)])
def test_every_image_is_on_one_page_and_pages_are_full_but_the_last(n: int, size: int) -> None:
    x, _labels = blobs(n)
    found = clusters.pages(x, None, size, np.random.default_rng(1))
    assert sorted(np.concatenate(found).tolist() if found else []) == list(range(n))
    assert sorted(map(len, found)) == sorted([n % size] * bool(n % size) + [size] * (n // size))


def test_pages_hold_what_is_alike_and_more_so_with_a_model() -> None:
    x, labels = blobs(600, spread=1.2)
    by_chance = clusters.purity(np.array_split(np.arange(600), 66), labels)
    before = clusters.purity(clusters.pages(x, None, 9, np.random.default_rng(1)), labels)
    scores = head.fit(*blobs(600, spread=1.2)[:2], 4).loo_scores()
    after = clusters.purity(clusters.pages(x, scores, 9, np.random.default_rng(1)), labels)
    assert by_chance < 0.5 < before < after


def test_pages_come_in_random_order() -> None:
    """A batch left half-way must still be a random sample: the tight pages must not come first (METHOD section 4)."""
    x, _labels = blobs(900)
    orders = []
    for seed in range(20):
        found = clusters.pages(x, None, 9, np.random.default_rng(seed))
        tightness = np.array([np.linalg.norm(x[page] - x[page].mean(0), axis=1).mean() for page in found])
        orders.append(np.corrcoef(np.arange(len(found)), tightness)[0, 1])
    assert abs(np.mean(orders)) < 0.1


def test_images_that_are_all_the_same_are_grouped_too() -> None:
    found = clusters.pages(np.zeros((3_000, 4), np.float32), np.zeros((3_000, 2)), 9, np.random.default_rng(1))
    assert sum(map(len, found)) == 3_000
