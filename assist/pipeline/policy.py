"""When to train: the loop's constants, for the site and for the benchmark that proves the promise.

Web processes read them, so nothing is imported here that takes memory.
"""

from __future__ import annotations

import math

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
    return first if blind < first else max(blind + 1, math.ceil(blind * growth))
