"""Run a program as a child that ends with its parent: a run's own process, so that its memory comes back."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

BEAT_SECONDS = 2.0
GRACE_SECONDS = 10.0
PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run_in_child(
    argv: Sequence[str],
    *,
    is_wanted: Callable[[], bool],
    cwd: Path,
    env: Mapping[str, str] | None = None,
    output: int | None = None,
    every: float = BEAT_SECONDS,
    grace: float = GRACE_SECONDS,
) -> int:
    """Run the program and return its exit status, below zero for the signal that ended it.

    ``is_wanted`` is asked every few seconds, and is the place for a heartbeat; once it says no, the child and its
    children are asked to end (SIGTERM), and made to after ``grace``.
    """
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        # OMP_WAIT_POLICY: threads that wait for work sleep, which is several times faster on shared cores.
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **(env or {})},
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    deadline = 0.0
    try:
        while True:
            try:
                return process.wait(timeout=every)
            except subprocess.TimeoutExpired:
                if not deadline and not is_wanted():
                    os.killpg(process.pid, signal.SIGTERM)
                    deadline = time.monotonic() + grace
                elif deadline and time.monotonic() > deadline:
                    os.killpg(process.pid, signal.SIGKILL)
    finally:  # also when the queue ends this worker's task by an exception
        with suppress(ProcessLookupError):  # whoever is left of its group
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
