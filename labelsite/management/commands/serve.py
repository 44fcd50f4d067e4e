"""`manage.py serve`: everything on one machine, in one terminal, ended together."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.db import connections

from labelsite import together
from projects import devices


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
        """Prepare, then become what starts the processes and waits for the first of them, or a signal, to end."""
        call_command("migrate", verbosity=0)
        call_command("collectstatic", verbosity=0, interactive=False)
        if options["demo"]:
            call_command("demo", stdout=self.stdout)
        address = f"{options['host']}:{options['port']}"
        programs = [self._web(address, options["threads"]), self._worker()]
        if any(device != "cpu" for device, _words in devices.choices()):
            programs.append(self._worker("gpu"))  # GPU work has a queue of its own
        self.stdout.flush()
        connections.close_all()
        os.chdir(settings.BASE_DIR)
        together.become(programs, f"\nlabelsite is at http://{address}/  (Ctrl-C ends it)\n")

    def _web(self, address: str, threads: int) -> dict[str, Any]:
        command = [sys.executable, "-m", "gunicorn", "labelsite.wsgi", "--bind", address, "--workers", "1"]
        command += ["--threads", str(threads), "--timeout", "120", "--graceful-timeout", "3", "--log-level", "warning"]
        return {"command": command, "env": {}}

    def _worker(self, queue: str = "") -> dict[str, Any]:
        env = {"Q_CLUSTER_NAME": queue} if queue else {}
        return {"command": [sys.executable, "manage.py", "qcluster"], "env": env}
