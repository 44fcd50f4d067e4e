"""Have exports written, and find their files."""

from __future__ import annotations

import zipfile
from pathlib import Path

from exports import jobs
from exports.models import Export
from labeling.models import Annotation
from projects.models import Project


def export(project: Project, format: str = "coco", **options: object) -> Export:
    """Write an export as the button does."""
    made = jobs.enqueue(project, None, options, format)
    made.refresh_from_db()
    assert made.state == "done", made.error
    return made


def files(export: Export) -> dict[str, Path]:
    """Return the export's files by their endings."""
    root = Path(jobs.datastore_of(export).container)
    return {file["name"].rpartition(".")[2]: root / file["key"] for file in export.files}


def written(project: Project, format: str = "coco", **options: object) -> Path:
    """Write an export of one file."""
    (path,) = files(export(project, format, **options)).values()
    return path


def unpacked(path: Path, folder: Path) -> Path:
    """Unpack a zip."""
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


def in_database(project: Project) -> dict[str, list[tuple[str, tuple[float, ...] | None]]]:
    """Return the labels that stand, by image: what every reader must find again."""
    labels: dict[str, list[tuple[str, tuple[float, ...] | None]]] = {}
    for task in project.tasks.filter(status__in=("labeled", "approved", "needs_review")).select_related("image"):
        labels[task.image.path] = []
    current = Annotation.objects.current().filter(task__project=project).order_by("task_id", "place")
    for annotation in current.select_related("task__image", "label_class"):
        labels[annotation.task.image.path].append((annotation.label_class.name, annotation.box))
    return labels
