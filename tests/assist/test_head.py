"""The classifier on embeddings: each labeled image is judged as if the model had not seen it (SPEC A4)."""

from pathlib import Path

import numpy as np
import pytest

from assist.pipeline import head


def blobs(rng: np.random.Generator, n: int, classes: int = 3, spread: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings around a point for each class."""
    centres = rng.normal(size=(classes, 8))
    labels = rng.integers(classes, size=n)
    return ((centres[labels] + spread * rng.normal(size=(n, 8))) / 3).astype(np.float32), labels


def test_leave_one_out_is_refitting_without_the_image() -> None:
    x, classes = blobs(np.random.default_rng(1), 40)
    fitted = head.fit(x, classes, 3)
    for left_out in range(40):
        rest = np.arange(40) != left_out
        refit = head.solve(head.kernel(x[rest], x[rest]), head.one_hot(classes[rest], 3), mu=fitted.solution.mu)
        expected = refit.scores(head.kernel(x[[left_out]], x[rest]))[0]
        assert fitted.loo_scores()[left_out] == pytest.approx(expected, abs=1e-6)


def test_it_learns_and_says_how_sure_it_is() -> None:
    rng = np.random.default_rng(2)
    x, classes = blobs(rng, 400)
    fitted = head.fit(x[:200], classes[:200], 3)
    scores = fitted.scores(x[200:])
    right = head.predict(scores) == classes[200:]
    confidence = fitted.confidence(scores)
    assert right.mean() > 0.9
    assert abs(confidence.mean() - right.mean()) < 0.08  # calibrated
    sure = np.argsort(-head.margin(scores))
    assert right[sure[:100]].mean() >= right[sure[100:]].mean()


def test_wrong_labels_are_the_most_suspicious_ones() -> None:
    x, classes = blobs(np.random.default_rng(3), 200, spread=0.2)
    planted = classes.copy()
    planted[:10] = (planted[:10] + 1) % 3
    suspicion = head.suspicion(head.fit(x, planted, 3).loo_scores(), planted)
    assert len(set(np.argsort(suspicion)[:20]) & set(range(10))) >= 9


def test_one_class_only_is_predicted_without_any_confidence_to_rank_by() -> None:
    x, _classes = blobs(np.random.default_rng(4), 20)
    alone = head.fit(x, np.zeros(20, int), 1)
    assert head.predict(alone.scores(x)).tolist() == [0] * 20
    assert head.margin(alone.scores(x)).tolist() == [0] * 20
    of_two = head.fit(x, np.zeros(20, int), 2)
    assert head.predict(of_two.loo_scores()).tolist() == [0] * 20


def test_a_head_is_kept_in_a_file_without_code(tmp_path: Path) -> None:
    x, classes = blobs(np.random.default_rng(5), 60)
    fitted = head.fit(x, classes, 3)
    fitted.save(tmp_path / "head.npz")
    again = head.Head.load(tmp_path / "head.npz")
    assert np.array_equal(again.scores(x), fitted.scores(x))
    assert again.temperature == fitted.temperature
    np.savez(tmp_path / "evil.npz", x=np.array([print], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        head.Head.load(tmp_path / "evil.npz")


def test_bad_input_is_refused_in_words() -> None:
    x, classes = blobs(np.random.default_rng(6), 5)
    with pytest.raises(ValueError, match="5 embeddings and 3 labels"):
        head.fit(x, classes[:3], 3)
    with pytest.raises(ValueError, match="0 embeddings"):
        head.fit(x[:0], classes[:0], 3)
    x[2, 3] = np.nan
    with pytest.raises(ValueError, match="not numbers"):
        head.fit(x, classes, 3)
