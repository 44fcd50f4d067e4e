"""Sets of labels: a set is right when all of it is (SPEC A5)."""

from pathlib import Path

import numpy as np
import pytest

from assist.pipeline import head, multilabel


def sets(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (rng.random((n, 3)) < (0.6, 0.3, 0.2)).astype(int)
    y[y.sum(1) == 0, 0] = 1
    x = y @ np.random.default_rng(9).normal(size=(3, 10)) + 0.5 * rng.normal(size=(n, 10))
    return (x / 4).astype(np.float32), y


def test_it_learns_sets_and_ranks_them() -> None:
    (x, y), (new, truth) = sets(300, 1), sets(400, 2)
    fitted = multilabel.fit(x, y)
    chances = fitted.chances(fitted.scores(new))
    right = multilabel.right(multilabel.predict(chances), truth)
    sure = multilabel.confidence(chances)
    assert right.mean() > 0.7
    assert right[np.argsort(-sure)[:200]].mean() > right[np.argsort(-sure)[200:]].mean()
    assert abs(sure.mean() - right.mean()) < 0.1  # calibrated
    assert np.allclose(fitted.loo_scores(), head.solve(head.kernel(x, x), y).loo)


def test_a_set_is_never_empty() -> None:
    chances = np.array([[0.2, 0.4, 0.1], [0.9, 0.6, 0.1]])
    assert multilabel.predict(chances).tolist() == [[False, True, False], [True, True, False]]
    assert multilabel.confidence(chances) == pytest.approx([0.8 * 0.4 * 0.9, 0.9 * 0.6 * 0.9])
    assert multilabel.right(multilabel.predict(chances), np.array([[0, 1, 0], [1, 0, 0]])).tolist() == [True, False]


def test_wrong_sets_are_the_most_suspicious_ones() -> None:
    x, y = sets(300, 3)
    y[:10, 1] = 1 - y[:10, 1]
    fitted = multilabel.fit(x, y)
    suspicion = multilabel.suspicion(fitted.chances(fitted.loo_scores()), y)
    assert len(set(np.argsort(suspicion)[:30]) & set(range(10))) >= 8


def test_labels_that_all_or_no_images_have_are_no_trouble() -> None:
    x, y = sets(50, 4)
    y[:, 0], y[:, 2] = 1, 0
    fitted = multilabel.fit(x, y)
    chances = fitted.chances(fitted.scores(x))
    assert np.isfinite(chances).all()
    assert (chances[:, 0] > 0.9).all() and (chances[:, 2] < 0.1).all()


def test_a_head_is_kept_in_a_file(tmp_path: Path) -> None:
    x, y = sets(50, 5)
    fitted = multilabel.fit(x, y)
    fitted.save(tmp_path / "head.npz")
    again = multilabel.MultiHead.load(tmp_path / "head.npz")
    assert np.array_equal(again.chances(again.scores(x)), fitted.chances(fitted.scores(x)))
    with pytest.raises(ValueError, match="2 label sets"):
        multilabel.fit(x, y[:2])
