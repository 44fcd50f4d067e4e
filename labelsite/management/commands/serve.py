"""`manage.py serve`: everything on one machine, in one terminal, ended together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser

from projects import devices

GRACE_SECONDS = 6.0


class Command(BaseCommand):
    """Serve the site with its worker."""

    help = "Migrate, then serve the site and its worker until Ctrl-C or SIGTERM."

    def add_arguments(self, parser: CommandParser) -> None:
        """Where to listen, and whether to make the demo."""
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--threads", type=int, default=8)
        parser.add_argument("--demo", action="store_true", help="Make the demo projects and accounts first.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare, start both processes, and wait for the first of them, or a signal, to end."""
        call_command("migrate", verbosity=0)
        call_command("collectstatic", verbosity=0, interactive=False)
        if options["demo"]:
            call_command("demo", stdout=self.stdout)
        processes: list[subprocess.Popen[bytes]] = []
        self._is_ending = False

        def end(signum: int, frame: FrameType | None) -> None:
            self._is_ending = True

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        try:
            processes += [self._web(options), self._worker()]
            if any(device != "cpu" for device, _words in devices.choices()):
                processes.append(self._worker("gpu"))  # GPU work has a queue of its own
            self.stdout.write(f"\nlabelsite is at http://{options['host']}:{options['port']}/  (Ctrl-C ends it)\n\n")
            self.stdout.flush()
            while not self._is_ending and all(process.poll() is None for process in processes):
                time.sleep(0.2)
        finally:
            self._end(processes)
        if not self._is_ending:
            sys.exit("The web server or the worker ended unexpectedly; see above.")

    def _web(self, options: dict[str, Any]) -> subprocess.Popen[bytes]:
        address = f"{options['host']}:{options['port']}"
        return self._start(
            [sys.executable, "-m", "gunicorn", "labelsite.wsgi", "--bind", address, "--workers", "1"]
            + ["--threads", str(options["threads"]), "--timeout", "120", "--graceful-timeout", "3"]
            + ["--log-level", "warning"]
        )

    def _worker(self, queue: str = "") -> subprocess.Popen[bytes]:
        return self._start([sys.executable, "manage.py", "qcluster"], {"Q_CLUSTER_NAME": queue} if queue else {})

    def _start(self, command: list[str], more: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        # A session each: Ctrl-C in the terminal reaches this process only. A signal to the worker's whole group
        # would hang it, so it goes to the first process, which ends the others.
        env = {**os.environ, **(more or {})}
        return subprocess.Popen(command, cwd=settings.BASE_DIR, start_new_session=True, env=env)

    def _end(self, processes: list[subprocess.Popen[bytes]]) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in processes:
            with suppress(ProcessLookupError):  # whoever is left of its group
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
