"""The promise (SPEC A5): what passes, what does not, and what people are told."""

from math import comb

import numpy as np
import pytest
from scipy import stats

from assist.pipeline import choosing, head, ledger, policy

NONE = np.zeros(0)


def test_binomial_by_hand() -> None:
    # (0.5)^3 (1 + 3) = 0.5; 0.95^2 = 0.9025; 1 error or fewer in 2 at 5 %: 0.9025 + 2 * 0.05 * 0.95
    for k, n, alpha, chance in [(1, 3, 0.5, 0.5), (0, 2, 0.05, 0.9025), (1, 2, 0.05, 0.9975), (2, 2, 0.05, 1.0)]:
        assert ledger.binomial_tail(k, n, alpha) == pytest.approx(chance)


def test_sample_by_hand() -> None:
    # n 2, k 0, m 20, alpha 5 %: 22 images of which 2 are wrong; none among our 2: C(20,2) / C(22,2) = 190 / 231
    assert ledger.sample_tail(0, 2, 20, 0.05) == pytest.approx(190 / 231)
    # n 3, k 1, m 4, alpha 25 %: 7 images, 3 wrong; at most 1 among our 3: (C(4,3) + 3 C(4,2)) / C(7,3) = 22 / 35
    assert ledger.sample_tail(1, 3, 4, 0.25) == pytest.approx(22 / 35)
    assert ledger.sample_tail(3, 10, 0, 0.05) == 0.0  # nothing published, nothing to break
    assert ledger.sample_tail(0, 0, 10, 0.05) == 1.0  # no evidence


@pytest.mark.parametrize("k, n, m", [(0, 100, 500), (3, 200, 1_000), (40, 1_500, 400_000), (7, 300, 20)])
def test_sample_is_the_hypergeometric(k: int, n: int, m: int) -> None:
    expected = stats.hypergeom.cdf(k, n + m, k + m // 20 + 1, n)
    assert ledger.sample_tail(k, n, m, 0.05) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_the_first_candidate_allows_two_errors() -> None:
    assert [ledger.smallest_evidence(2, alpha) for alpha in (0.05, 0.1, 0.03)] == [142, 70, 239]
    assert ledger.upper_bound(2, 142) < 0.05 < ledger.upper_bound(2, 141)
    assert comb(5, 2) == 10


def test_thresholds_go_down_by_steps_of_the_evidence() -> None:
    confidence = np.linspace(1, 0, 400)
    found = ledger.decide(confidence, np.ones(400, bool), NONE, 0, 0, 0, 0.95)
    assert [tried.n for tried in found.tried] == [142, 164, 189, 218, 251, 289, 333, 383, 400]
    assert found.threshold == confidence[-1]
    later = ledger.decide(confidence[:100], np.ones(100, bool), NONE, 300, 2, 50, 0.95)
    assert [tried.n for tried in later.tried] == [345, 397, 400]


def test_it_stops_at_the_first_that_fails_and_takes_the_last_that_passed() -> None:
    confidence = np.linspace(1, 0, 1_000)
    right = np.ones(1_000, bool)
    right[150:165] = False  # too many between the first and the second candidate
    waiting = np.linspace(1, 0, 2_000)
    found = ledger.decide(confidence, right, waiting, 0, 0, 0, 0.95)
    assert [tried.passed for tried in found.tried] == [True, False]
    assert found.threshold == found.tried[0].threshold
    assert (found.n, found.k, found.m) == (142, 0, int((waiting >= found.threshold).sum()))
    # lower down all would be well again, but that is not looked at
    far = ledger.at(confidence[-1], confidence, right, waiting, 0, 0, 0, 0.95)
    assert far.passed


def test_earlier_errors_count() -> None:
    confidence, right, waiting = np.linspace(1, 0, 200), np.ones(200, bool), np.linspace(1, 0, 3_000)
    assert ledger.decide(confidence, right, waiting, 100, 1, 80, 0.95).threshold is not None
    assert ledger.decide(confidence, right, waiting, 100, 12, 80, 0.95).threshold is None


def test_a_handful_of_images_must_be_right_each_and_every_one() -> None:
    """One wrong label among eight breaks the promise, so 142 labels without an error are not enough for those eight."""
    confidence = np.ones(142)
    few = ledger.decide(confidence, np.ones(142, bool), np.ones(8), 0, 0, 0, 0.95)
    assert few.threshold is None
    assert few.tried[0].binomial < ledger.DOUBT < few.tried[0].sample
    assert few.needed is not None and few.needed > 100


def test_it_says_how_many_labels_more_would_do() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.random(120)
    few = ledger.decide(confidence, np.arange(120) % 40 != 0, rng.random(500), 0, 0, 0, 0.95)
    assert few.threshold is None and few.coverage == 0
    assert few.needed is not None and 50 < few.needed < 400
    bad = ledger.decide(confidence, rng.random(120) < 0.5, rng.random(500), 0, 0, 0, 0.95)
    assert bad.threshold is None and bad.needed is None
    nothing = ledger.decide(NONE, NONE.astype(bool), rng.random(5), 0, 0, 0, 0.95)
    assert (nothing.threshold, nothing.needed, nothing.tried) == (None, None, [])


def test_ties_pass_or_stay_together() -> None:
    confidence = np.repeat([0.9, 0.5], 200)
    right = np.repeat([True, False], 200)
    found = ledger.decide(confidence, right, np.repeat([0.9, 0.5], 200), 0, 0, 0, 0.95)
    assert (found.threshold, found.n, found.coverage) == (0.9, 200, 0.5)
    assert [tried.n for tried in found.tried] == [200, 400]


def test_shuffled_labels_publish_nothing() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = (rng.normal(size=(600, 16)) / 4).astype(np.float32)
        classes = rng.integers(4, size=600)
        fitted = head.fit(x[:300], classes[:300], 4)
        loo = fitted.loo_scores()
        found = ledger.decide(
            head.margin(loo),
            head.predict(loo) == classes[:300],
            head.margin(fitted.scores(x[300:])),
            *(0, 0, 0),
            target=0.95,
        )
        assert found.threshold is None


def test_labels_in_play_and_unlabeled_images_look_alike() -> None:
    """What leaves by a threshold leaves both alike, run after run: else the ledger's evidence would not speak of U."""
    chances = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        centres = rng.normal(size=(4, 8))
        classes = rng.integers(4, size=900)
        x = ((centres[classes] + rng.normal(size=(900, 8))) / 4).astype(np.float32)
        play, labeled, waiting = np.arange(100), np.arange(100), np.arange(100, 900)
        for _run in range(3):
            fitted = head.fit(x[labeled], classes[labeled], 4)
            own = head.margin(fitted.loo_scores())[np.searchsorted(labeled, play)]
            theirs = head.margin(fitted.scores(x[waiting]))
            chances.append(stats.ks_2samp(own, theirs).pvalue)
            threshold = np.quantile(theirs, 0.8)
            play, waiting = play[own < threshold], waiting[theirs < threshold]
            batch, waiting = waiting[: len(labeled) // 2], waiting[len(labeled) // 2 :]
            play, labeled = np.sort(np.append(play, batch)), np.sort(np.append(labeled, batch))
    assert np.mean(np.array(chances) < 0.05) < 0.12


def test_the_curve_is_for_people() -> None:
    rows = ledger.curve(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, True]), np.array([0.95, 0.75]))
    assert [row["accuracy"] for row in rows] == pytest.approx([1, 1, 2 / 3, 3 / 4])
    assert [row["share"] for row in rows] == [0.5, 0.5, 1, 1]
    assert ledger.curve(NONE, NONE, NONE) == []


def test_trainings_come_when_blind_labels_have_grown_by_half() -> None:
    seen, blind = [], 0
    while blind < 1_000:
        blind = policy.next_training(blind)
        seen.append(blind)
    assert seen == [100, 150, 225, 338, 507, 761, 1142]


def test_training_sees_all_blind_labels_and_some_confirmed_prelabels() -> None:
    rng = np.random.default_rng(1)
    blind, confirmed = choosing.training_set(np.arange(500), np.arange(500, 2_000), rng)
    assert len(blind) == 500 and len(set(confirmed)) == 400
    blind, confirmed = choosing.training_set(np.arange(20_000), np.arange(20_000, 20_010), rng)
    assert len(set(blind)) == 7_990 and len(confirmed) == 10


def test_prelabeled_pages_hold_one_class_the_most_confident_first() -> None:
    pages = choosing.pages_by_class(np.array([0, 1, 0, 0, 1]), np.array([0.1, 0.2, 0.9, 0.5, 0.8]), size=2)
    assert [page.tolist() for page in pages] == [[2, 3], [0], [4, 1]]
