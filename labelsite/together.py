"""Run programs together: when one of them ends, or a signal comes, all end. What `manage.py serve` becomes.

It stays for as long as the site does, so it holds nothing of Django. Its one argument is JSON: ``programs`` are
``{"command": words, "env": more of the environment}``, ``announcement`` is printed once they have started.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

GRACE_SECONDS = 6.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def become(programs: list[dict[str, Any]], announcement: str) -> NoReturn:
    """Turn this process into one that runs the programs; what it has loaded goes. A signal meanwhile is kept for it."""
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    work = json.dumps({"programs": programs, "announcement": announcement})
    os.execv(sys.executable, [sys.executable, "-I", "-S", __file__, work])


class Programs:
    """Programs that end together."""

    def __init__(self) -> None:
        self._is_ending = False
        self._running: list[subprocess.Popen[bytes]] = []
        for number in SIGNALS:
            signal.signal(number, self._told_to_end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _told_to_end(self, signum: int, frame: FrameType | None) -> None:
        self._is_ending = True

    def run(self, programs: list[dict[str, Any]], announcement: str) -> bool:
        """Run them until all have ended, and return whether a signal asked for it."""
        try:
            for program in programs:
                self._start(program["command"], program["env"])
            print(announcement, flush=True)  # noqa: T201 (for who started the site)
            while not self._is_ending and all(process.poll() is None for process in self._running):
                time.sleep(0.2)
        finally:
            self._end()
        return self._is_ending

    def _start(self, command: list[str], more: dict[str, str]) -> None:
        # A session each: Ctrl-C in the terminal reaches this process only. A signal to the worker's whole group
        # would hang it, so it goes to the first process, which ends the others.
        self._running.append(subprocess.Popen(command, start_new_session=True, env={**os.environ, **more}))

    def _end(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while any(process.poll() is None for process in self._running) and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in self._running:
            with suppress(ProcessLookupError):  # whoever is left of its group
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


if __name__ == "__main__":
    if not Programs().run(**json.loads(sys.argv[1])):
        sys.exit("The web server or the worker ended unexpectedly; see above.")
