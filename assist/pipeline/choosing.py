"""What to train on, what comes on one page, and which of two models is used."""

from __future__ import annotations

import numpy as np
from scipy.special import bdtr

from assist.pipeline.policy import LUCK, MAX_CONFIRMED, MAX_TRAINING, PAGE


def training_set(
    blind: np.ndarray, confirmed: np.ndarray, rng: np.random.Generator, most: int = MAX_TRAINING
) -> tuple[np.ndarray, np.ndarray]:
    """Choose what to train on: all blind labels, within reason, and some random confirmed prelabels.

    Both are arrays of positions or ids; so are the answers. Blind labels that are not chosen are judged directly.
    """
    if len(confirmed) > MAX_CONFIRMED:
        confirmed = rng.choice(confirmed, MAX_CONFIRMED, replace=False)
    if len(blind) > most - len(confirmed):
        blind = rng.choice(blind, most - len(confirmed), replace=False)
    return blind, confirmed


def pages_by_class(predicted: np.ndarray, confidences: np.ndarray, size: int = PAGE) -> list[np.ndarray]:
    """Return prelabeled pages: positions of one predicted class, the most confident first: the odd one stands out."""
    pages = []
    for number in np.unique(predicted):
        members = np.flatnonzero(predicted == number)
        members = members[np.argsort(-confidences[members], kind="stable")]
        pages += [members[start : start + size] for start in range(0, len(members), size)]
    return pages


def is_better(better: int, worse: int) -> bool:
    """Tell whether a model that is right on so many more images, and wrong on so many more, is better (sign test)."""
    return better > worse and 1 - float(bdtr(better - 1, better + worse, 0.5)) <= LUCK
