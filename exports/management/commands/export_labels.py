"""`manage.py export_labels PROJECT --format F`: the same job as the button."""

import shutil
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from exports import jobs
from exports.models import Export
from projects.models import Project


class Command(BaseCommand):
    """Export a project's labels."""

    help = "Export a project's labels and print the file's path as the last line."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which project, in which form, to where."""
        parser.add_argument("project", help="A project's id or name.")
        parser.add_argument("--format", choices=Export.Format.values, default=Export.Format.COCO)
        parser.add_argument("--coordinates", choices=["pixel", "normalized"], default="pixel")
        parser.add_argument("--output", help="A file to copy the export to.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write the export here and now."""
        found = Project.objects.filter(name=options["project"]).first()
        if found is None and options["project"].isdigit():
            found = Project.objects.filter(pk=options["project"]).first()
        if found is None:
            raise CommandError(f"There is no project “{options['project']}”.")
        try:
            export = jobs.enqueue(found, None, {"coordinates": options["coordinates"]}, options["format"])
        except (jobs.Busy, ValidationError) as error:
            raise CommandError(str(error)) from error
        jobs.write(export.pk)
        export.refresh_from_db()
        if export.state != Export.State.DONE:
            raise CommandError(export.error or "A worker has taken the export over; look for it in the console.")
        path = Path(jobs.default_datastore().container) / export.location
        if options["output"]:
            with jobs.open_file(export) as source, Path(options["output"]).open("wb") as target:
                shutil.copyfileobj(source, target)
            path = Path(options["output"]).resolve()
        self.stdout.write(str(path))
