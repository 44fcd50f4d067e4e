"""`manage.py assist PROJECT [--train] [--inference] [--featurize] [--wait]`: a run now."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from assist import runs
from assist.models import AssistRun
from projects.models import Project

KINDS = {
    "featurize": AssistRun.Kind.FEATURIZATION,
    "train": AssistRun.Kind.TRAINING,
    "inference": AssistRun.Kind.INFERENCE,
}


class Command(BaseCommand):
    """Start runs of a project's model."""

    help = "Start a run of a project's model and print its id as the last line."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which project, and what to do; without a choice it is trained."""
        parser.add_argument("project", help="A project's id or name.")
        parser.add_argument("--train", action="store_true", help="Train, judge and, if it is good enough, prelabel.")
        parser.add_argument("--inference", action="store_true", help="Use the newest model on what is unlabeled.")
        parser.add_argument("--featurize", action="store_true", help="Look at new images and group the next ones.")
        parser.add_argument("--wait", action="store_true", help="Return when it has ended; exit 1 if it failed.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Start what was asked for, one after the other."""
        found = Project.objects.filter(name=options["project"]).first()
        if found is None and options["project"].isdigit():
            found = Project.objects.filter(pk=options["project"]).first()
        if found is None:
            raise CommandError(f"There is no project “{options['project']}”.")
        wanted = [kind for name, kind in KINDS.items() if options[name]] or [AssistRun.Kind.TRAINING]
        if len(wanted) > 1 and not options["wait"]:
            raise CommandError("Several runs follow each other: add --wait, or ask for one.")
        for kind in wanted:
            try:
                run = runs.enqueue(found, kind)
            except runs.Refused as error:
                raise CommandError(str(error)) from error
            if options["wait"]:
                self._wait(run)
        self.stdout.write(str(run.pk))

    def _wait(self, run: AssistRun) -> None:
        """Wait for the run and those that follow it; say on a terminal how far they are."""
        while True:
            run.refresh_from_db()
            if self.stdout.isatty():
                self.stdout.write(f"\r{run}: {run.progress:4.0%} {run.step:<60}", ending="")
                self.stdout.flush()
            if run.state in (AssistRun.State.FAILED, AssistRun.State.CANCELLED):
                raise CommandError(f"{run} {run.get_state_display().lower()}. {run.error}")
            if run.state == AssistRun.State.DONE:
                follower = run.followers.order_by("pk").first()
                if follower is None:
                    return
                run = follower
                continue
            time.sleep(0.3)
