"""When to train and on what: the loop's constants, for the site and for the benchmark that proves the promise."""

from __future__ import annotations

import numpy as np
from scipy.special import bdtr

FIRST_BATCH = 100  # blind labels before the first training
GROWTH = 1.5  # then a training each time that blind labels have grown by so much
GROWTH_BOXES = 2.0  # the same for boxes, where a training takes minutes
MIN_LEFT_BOXES = 0.25  # of the labels so far must be left to label, or a training is not worth its minutes
MAX_CONFIRMED = 400  # confirmed prelabels that training sees, at most
MAX_TRAINING = 8_000  # labels that training sees, at most
PAGE = 9  # images of one predicted class on a prelabeled page, and of a cluster
LUCK = 0.05  # a fine-tuned network must be better than luck alone would make it
SUSPICIOUS_SHARE = 0.1  # of all labels, shown as likely wrong ones


def next_training(blind: int, first: int = FIRST_BATCH, growth: float = GROWTH) -> int:
    """Return at how many blind labels the next training starts, when the last one had `blind` (0: none yet)."""
    return first if blind < first else max(blind + 1, int(np.ceil(blind * growth)))


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
