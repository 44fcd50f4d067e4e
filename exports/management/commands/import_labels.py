"""`manage.py import_labels PROJECT FILE [--format coco|csv] [--as final|prelabel]`: labels in, matched by path."""

from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from exports.importing import jobs
from exports.importing.report import Report
from exports.importing.taking import READERS, Choices
from exports.models import LabelImport
from projects.naming import NoSuchProject, find_project


class Command(BaseCommand):
    """Import labels into a project."""

    help = (
        "Take labels in from a COCO or CSV file, matched to the project's images by path. Images that have an answer,"
        " or are on a labeler's page, stay as they are. Prints what did not match, and why."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Which project, which file, and what it is."""
        parser.add_argument("project", help="A project's id or name.")
        parser.add_argument("file", type=Path)
        parser.add_argument("--format", choices=list(READERS), default="", help="Found out from the file if not given.")
        parser.add_argument(
            "--as",
            dest="kind",
            choices=LabelImport.Kind.values,
            default=LabelImport.Kind.FINAL,
            help="final: the labels count. prelabel: labelers see them as suggestions.",
        )
        parser.add_argument(
            "--coordinates",
            choices=["pixel", "normalized"],
            default="",
            help="How boxes are measured; found out from the file if not given.",
        )
        parser.add_argument(
            "--empty", action="store_true", help="Images that the file has no box for show no objects (detection)."
        )
        parser.add_argument("--by", help="The user who stands in the history.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import here and now."""
        if not options["file"].is_file():
            raise CommandError(f"There is no file “{options['file']}”.")
        by = User.objects.filter(username=options["by"]).first() if options["by"] else None
        if options["by"] and by is None:
            raise CommandError(f"There is no user “{options['by']}”.")
        choices = Choices(options["format"], options["coordinates"], options["empty"])
        try:
            project = find_project(options["project"])
            row = jobs.run_here(project, by, options["file"], options["kind"], choices)
        except (NoSuchProject, jobs.Busy) as error:
            raise CommandError(str(error)) from error
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        if row.report:
            self._tell(Report.load(row.report))
        if row.state != LabelImport.State.DONE:
            raise CommandError(row.error)

    def _tell(self, report: Report) -> None:
        for words, left in report.reasons():
            self.stdout.write(f"{left.count:,} left out. {words}:")
            for example in left.examples:
                self.stdout.write(f"    {example}")
            if left.count > len(left.examples):
                self.stdout.write(f"    … and {left.count - len(left.examples):,} more")
        for line in report.summary():
            self.stdout.write(line)
