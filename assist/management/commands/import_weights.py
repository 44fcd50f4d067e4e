"""`manage.py import_weights FILE --backbone NAME`: local pretrained weights, checked before they are kept."""

import shutil
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from projects.models import Project


class Command(BaseCommand):
    """Keep a file of pretrained weights for a network."""

    help = "Check a file of pretrained weights by its tensors' names and shapes, keep it, and print where."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which file, for which network."""
        parser.add_argument("file", type=Path)
        parser.add_argument("--backbone", required=True, choices=Project.Network.values)

    def handle(self, *args: Any, **options: Any) -> None:
        """Read the file without running anything in it, then copy it to where runs look."""
        from assist.pipeline.backbones import WrongWeights, check_weights  # loads torch: in this command only

        file, name = options["file"], options["backbone"]
        if not file.is_file():
            raise CommandError(f"“{file}” is not a file.")
        try:
            digest = check_weights(file, name)
        except WrongWeights as error:
            raise CommandError(str(error)) from error
        folder = Path(settings.ASSIST_WEIGHTS_DIR or Path(settings.DATA_DIR) / "weights")
        target = folder / f"{name}.pth"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part = target.with_suffix(".part")
            shutil.copyfile(file, part)
            part.replace(target)
        except OSError as error:
            raise CommandError(f"The weights can't be kept in {folder}: {error.strerror}.") from error
        self.stdout.write(f"sha256 {digest}")
        self.stdout.write(str(target))
