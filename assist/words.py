"""Sentences that stand in a run's log and on its page alike."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _


def tuning_in_words(found: dict[str, Any]) -> str:
    """Return what came of a fine-tuning."""
    if "why" in found:
        return str(found["why"])
    n = max(found["labels"], 1)
    figures = {"a": 100 * found["right"] / n, "b": 100 * found["right_before"] / n, "n": found["labels"]}
    if found["used"]:
        words = _(
            "Fine-tuned, and in use: right on %(a).1f %% of %(n)d labels that it had not seen, untouched %(b).1f %%."
        )
    else:
        words = _(
            "Fine-tuned, but not used: right on %(a).1f %% of %(n)d labels that it had not seen, untouched %(b).1f %%; "
            "it must be clearly better."
        )
    return words % figures
