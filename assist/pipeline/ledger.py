"""The promise: how low the confidence threshold may go so that confirmed prelabels stay right as often as they must.

Of all labels of a project that came from confirmed prelabels, at most 1 - target are wrong, with 95 % confidence, even
if nobody looked before confirming. The evidence is the labels that people gave to blank images in random order ("blind
labels"): V, those still in play, are like U, the unlabeled images, because both are random draws of one population, and
what leaves U by being prelabeled leaves V by the same threshold, into the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy.special import bdtr, betaincinv, gammaln

DOUBT = 0.05 / 2  # 95 % confidence; half of it, as many thresholds are tried in many runs
FIRST_ERRORS = 2  # the sequence starts where so many errors are allowed: one error must not end it
STEP = 0.15
SHARES = (0.25, 0.4, 0.55, 0.7, 0.85, 1.0)  # of the blind labels in play, where "how many more" is looked for
ENDLESS = 1_000_000


def binomial_tail(k: int, n: int, alpha: float) -> float:
    """Return the chance of k errors or fewer in n draws if a share alpha of an endless set is wrong."""
    return 1.0 if k >= n else float(bdtr(k, n, alpha))


def sample_tail(k: int, n: int, m: int, alpha: float) -> float:
    """Return the chance of k errors or fewer in our n if they and the m published are one set in random order.

    The set has the fewest errors that would break the promise for the m: k + floor(alpha m) + 1.
    """
    total, wrong = n + m, k + int(np.floor(alpha * m + 1e-9)) + 1
    found = np.arange(max(0, n - (total - wrong)), min(k, wrong, n) + 1)
    if wrong > total or not len(found):
        return 0.0  # so many errors cannot be
    logs = _choose(wrong, found) + _choose(total - wrong, n - found) - _choose(total, np.array([n]))
    return float(min(1.0, np.exp(logs).sum()))


def _choose(n: int, k: np.ndarray) -> np.ndarray:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def upper_bound(k: int, n: int, doubt: float = DOUBT) -> float:
    """Return the largest share of errors that k errors in n draws leave possible (Clopper-Pearson)."""
    return 1.0 if k >= n else float(betaincinv(k + 1, n - k, 1 - doubt))


def smallest_evidence(errors: int, alpha: float, doubt: float = DOUBT) -> int:
    """Return the smallest n at which so many errors are allowed."""
    low, high = errors, errors + 1
    while binomial_tail(errors, high, alpha) > doubt:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if binomial_tail(errors, middle, alpha) <= doubt else (middle, high)
    return high


@dataclass(frozen=True)
class Tried:
    """One threshold that was tried: the evidence down to it, the labels it would publish, and what the tests say."""

    threshold: float
    n: int  # blind labels: those that left in earlier runs and those above the threshold
    k: int  # how many of them the model got wrong
    m: int  # prelabels: published in earlier runs, and the images above the threshold
    bound: float  # the share of wrong labels is below this
    binomial: float
    sample: float
    passed: bool


@dataclass(frozen=True)
class Decision:
    """Which images may be prelabeled, and why."""

    target: float
    threshold: float | None
    coverage: float  # share of the unlabeled images at or above the threshold
    n: int
    k: int
    m: int
    bound: float
    needed: int | None  # blind labels more until a threshold would pass; None: more labels alone will not do
    tried: list[Tried] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def decide(
    confidences_v: np.ndarray,
    right_v: np.ndarray,
    confidences_u: np.ndarray,
    n0: int,
    k0: int,
    m0: int,
    target: float,
    doubt: float = DOUBT,
) -> Decision:
    """Return the lowest threshold at which the promise holds, going down and stopping at the first that fails.

    `confidences_v`, `right_v`: of the blind labels in play, each by a model that did not see it; `confidences_u`: of
    the unlabeled images. `n0`, `k0`: blind labels that left in earlier runs, and how many of them were predicted
    wrongly; `m0`: prelabels published so far.
    """
    alpha = 1 - target
    tried: list[Tried] = []
    best: Tried | None = None
    for threshold in _candidates(confidences_v, n0, smallest_evidence(FIRST_ERRORS, alpha, doubt)):
        found = at(threshold, confidences_v, right_v, confidences_u, n0, k0, m0, target, doubt)
        tried.append(found)
        if not found.passed:
            break
        best = found
    if best is None:
        more = needed(confidences_v, right_v, confidences_u, n0, k0, m0, target, doubt)
        return Decision(target, None, 0.0, n0, k0, m0, upper_bound(k0, n0, doubt), more, tried)
    share = (best.m - m0) / max(1, len(confidences_u))
    return Decision(target, best.threshold, share, best.n, best.k, best.m, best.bound, 0, tried)


def at(
    threshold: float,
    confidences_v: np.ndarray,
    right_v: np.ndarray,
    confidences_u: np.ndarray,
    n0: int,
    k0: int,
    m0: int,
    target: float,
    doubt: float = DOUBT,
) -> Tried:
    """Test one threshold, such as one that the manager has fixed."""
    above = confidences_v >= threshold
    n = n0 + int(above.sum())
    k = k0 + int((~right_v.astype(bool) & above).sum())
    m = m0 + int((confidences_u >= threshold).sum())
    alpha = 1 - target
    binomial, sample = binomial_tail(k, n, alpha), sample_tail(k, n, m, alpha)
    return Tried(
        float(threshold), n, k, m, upper_bound(k, n, doubt), binomial, sample, binomial <= doubt and sample <= doubt
    )


def _candidates(confidences: np.ndarray, n0: int, first: int) -> Iterator[float]:
    """Yield thresholds that let more and more blind labels pass: fixed beforehand by their number alone."""
    down = np.sort(confidences)[::-1]
    reach = max(first, int(np.ceil(n0 * (1 + STEP))))
    last = None
    while len(down):
        count = min(reach - n0, len(down))
        if last is None or down[count - 1] < last:
            last = float(down[count - 1])
            yield last
        if count == len(down):
            return
        reach = max(reach + 1, int(np.ceil(reach * (1 + STEP))))


def needed(
    confidences_v: np.ndarray,
    right_v: np.ndarray,
    confidences_u: np.ndarray,
    n0: int,
    k0: int,
    m0: int,
    target: float,
    doubt: float = DOUBT,
) -> int | None:
    """Return how many blind labels more would let a threshold pass at the present error rates, if any number would."""
    order = np.argsort(-confidences_v, kind="stable")
    wrong = np.cumsum(~right_v.astype(bool)[order])
    fewest: int | None = None
    for share in SHARES if len(order) else ():
        count = max(1, round(share * len(order)))
        n, k = n0 + count, k0 + int(wrong[count - 1])
        m = m0 + int((confidences_u >= confidences_v[order[count - 1]]).sum())
        if evidence := _evidence_at(k / n, n, m, 1 - target, doubt):
            more = int(np.ceil((evidence - n) * len(order) / count))
            fewest = more if fewest is None else min(fewest, more)
    return fewest


def _evidence_at(rate: float, n: int, m: int, alpha: float, doubt: float) -> int | None:
    """Return how much evidence with errors at this rate both tests ask for, if any amount will do."""
    while rate < alpha and n < ENDLESS:
        n = max(n + 1, int(n * 1.02))
        k = int(np.ceil(rate * n - 1e-9))
        if binomial_tail(k, n, alpha) <= doubt and sample_tail(k, n, m, alpha) <= doubt:
            return n
    return None


def curve(
    confidences_v: np.ndarray, right_v: np.ndarray, confidences_u: np.ndarray, points: int = 50
) -> list[dict[str, float]]:
    """Return share shown and accuracy at many thresholds, the highest first: a picture, not the proof."""
    order = np.argsort(-confidences_v, kind="stable")
    right = np.cumsum(right_v.astype(bool)[order])
    up = np.sort(confidences_u)
    rows = []
    for count in np.unique(np.linspace(1, len(order), min(points, len(order))).astype(int)) if len(order) else ():
        threshold = float(confidences_v[order[count - 1]])
        share = 1 - np.searchsorted(up, threshold) / len(up) if len(up) else count / len(order)
        rows.append({"threshold": threshold, "share": float(share), "accuracy": float(right[count - 1] / count)})
    return rows
