"""`manage.py export_labels PROJECT --format F`: the same job as the button."""

import shutil
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from exports import jobs
from exports.formats import formats
from exports.models import Export
from exports.options import SWITCHES
from projects.naming import NoSuchProject, find_project
from projects.stores import StoreError


class Command(BaseCommand):
    """Export a project's labels."""

    help = "Export a project's labels and print the file's path as the last line."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which project, in which form, to where."""
        parser.add_argument("project", help="A project's id or name.")
        parser.add_argument("--format", choices=list(formats()), default="coco")
        parser.add_argument("--coordinates", choices=["pixel", "normalized"], default="pixel")
        parser.add_argument("--approved-only", action="store_true", help="Only labels that a reviewer approved.")
        parser.add_argument("--include-unlabeled", action="store_true", help="Images without a label too.")
        parser.add_argument("--labelers", action="store_true", help="The names of who labeled.")
        parser.add_argument("--since", help="Labeled from then on: 2026-11-23, or a date and time.")
        parser.add_argument("--until", help="Labeled before then; a date means that whole day.")
        parser.add_argument(
            "--output", help="A file to copy the export to; of several files, the one with the same ending."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Write the export here and now."""
        try:
            project = find_project(options["project"])
            asked = {name: options[name] for name in ("coordinates", "since", "until", *SWITCHES) if options[name]}
            export = jobs.enqueue(project, None, asked, options["format"])
        except NoSuchProject as error:
            raise CommandError(str(error)) from error
        except jobs.Busy as error:
            raise CommandError(str(error)) from error
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        jobs.write(export.pk)
        export.refresh_from_db()
        if export.state != Export.State.DONE:
            raise CommandError(export.error or "A worker has taken the export over; look for it in the console.")
        names = [file["name"] for file in export.files]
        path = Path(options["output"]) if options["output"] else None
        if path is None:
            for name in reversed(names):
                self.stdout.write(self._place(export, name))
            return
        name = next((name for name in names if path.suffix and name.endswith(path.suffix)), names[0])
        with jobs.open_file(export, name) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)
        self.stdout.write(str(path.resolve()))

    def _place(self, export: Export, name: str) -> str:
        file = jobs.file_of(export, name)
        assert file is not None
        try:
            place = jobs.datastore_of(export).open().path(file["key"])
        except StoreError:
            place = None
        return str(place or file["key"])
