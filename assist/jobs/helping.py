"""Parts of another worker's run: the worker that was asked to help takes what waits."""

from __future__ import annotations

from assist.jobs import detection, features, sharding
from assist.models import AssistRun


def help_with(run: AssistRun) -> int:
    """Take parts until nothing waits; return how many were done here."""
    n_done = 0
    done: set[str] = set()
    while (network := sharding.wanted(run)) and network not in done:
        find = detection.helper if run.project.is_detection else features.helper
        compute = find(run, network)
        if compute is not None:
            n_done += sharding.help_with(run, network, compute)
        done.add(network)
    return n_done
