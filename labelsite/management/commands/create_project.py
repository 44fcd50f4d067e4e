"""`manage.py create_project NAME --type T --images DIR_OR_DATASET --classes a,b,c`: a project in one line."""

import time
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from exports.importing.document import BadFile
from exports.importing.taking import read as read_labels
from projects.creation import create_project
from projects.models import Dataset, Datastore, Project


class Command(BaseCommand):
    """Make a project from a folder or a dataset."""

    help = "Make a labeling project. A folder's files are registered where they lie; nothing is copied."

    def add_arguments(self, parser: CommandParser) -> None:
        """What the wizard asks for."""
        parser.add_argument("name")
        parser.add_argument("--type", required=True, choices=Project.TaskType.values)
        parser.add_argument("--images", required=True, help="A folder, or the name of a dataset.")
        classes = parser.add_mutually_exclusive_group(required=True)
        classes.add_argument("--classes", help="Names, with commas.")
        classes.add_argument("--classes-from", type=Path, help="A COCO or CSV file of labels, whose classes are taken.")
        parser.add_argument("--owner", help="The manager; by default the first superuser or manager.")
        parser.add_argument("--assist", action="store_true", help="Switch ML assisted labeling on.")
        parser.add_argument("--wait", action="store_true", help="Return when the project runs; exit 1 if it failed.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the project and print its id as the last line."""
        try:
            owner = self._owner(options["owner"])
            with transaction.atomic():
                project = create_project(
                    name=options["name"],
                    task_type=options["type"],
                    dataset=self._dataset(options["images"], options["name"], owner),
                    classes=[(name, None) for name in self._classes(options)],
                    created_by=owner,
                    assist={"enabled": True} if options["assist"] else None,
                )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        if options["wait"]:
            self._wait(project)
        self.stdout.write(str(project.pk))

    def _classes(self, options: dict[str, Any]) -> list[str]:
        if options["classes"] is not None:
            names: list[str] = options["classes"].split(",")
            return names
        if not options["classes_from"].is_file():
            raise CommandError(f"There is no file “{options['classes_from']}”.")
        try:
            return read_labels(options["classes_from"]).listed_classes
        except BadFile as error:
            raise CommandError(str(error)) from error

    def _owner(self, name: str | None) -> User:
        users = User.objects.filter(is_active=True).order_by("pk")
        users = users.filter(username=name) if name else users.filter(groups__name="Manager")
        owner = users.first() or (None if name else User.objects.filter(is_superuser=True).first())
        if owner is None:
            raise CommandError("There is no manager yet: make one with “manage.py create_user NAME --role manager”.")
        return owner

    def _dataset(self, images: str, name: str, owner: User) -> Dataset:
        if dataset := Dataset.objects.filter(name=images).first():
            return dataset
        folder = Path(images).expanduser().resolve()
        if not folder.is_dir():
            raise CommandError(f"“{images}” is neither a folder nor the name of a dataset.")
        datastore, _made = Datastore.objects.get_or_create(
            kind=Datastore.Kind.LOCAL,
            container=str(folder),
            prefix="",
            defaults={"name": f"{name}: {folder.name}", "created_by": owner},
        )
        dataset = Dataset(name=name, datastore=datastore, pattern="**/*.*", created_by=owner)
        dataset.full_clean()
        dataset.save()
        return dataset

    def _wait(self, project: Project) -> None:
        while project.state in (Project.State.INITIALIZING, Project.State.CREATED):
            time.sleep(0.3)
            project.refresh_from_db()
        if project.state == Project.State.FAILED:
            raise CommandError(project.failure)
