"""`manage.py run_assist ID TOKEN`: what a worker starts as a child process; not for people."""

import logging
import os
import signal
import sys
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from assist.models import AssistRun
from assist.runs import DATABASE_WAS_AWAY, carry_out
from projects.transitions import DATABASE_AWAY

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    """Carry out a run that a worker has started."""

    help = "Carry out a run that a worker has started (workers call this; people use `assist`)."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which run, and the token of the attempt."""
        parser.add_argument("run", type=int)
        parser.add_argument("token", nargs="?", default="")
        parser.add_argument(
            "--help-out", action="store_true", help="Take parts of a run that another worker carries out."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Work until the round is done; SIGTERM ends it at once, and what was not published never is."""

        def end(signum: int, frame: FrameType | None) -> None:
            os._exit(128 + signum)  # threads of the pipeline would hold an ordinary exit up

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
        try:
            if options["help_out"]:
                from assist.jobs.helping import help_with  # loads torch

                help_with(AssistRun.objects.get(pk=options["run"]))
            else:
                carry_out(options["run"], options["token"])
        except DATABASE_AWAY:
            logger.exception("The database is away: the run waits for another worker.")
            sys.exit(DATABASE_WAS_AWAY)
