"""Builders of what tests need, from real files up."""

from __future__ import annotations

import itertools
import os
from io import BytesIO
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from PIL import Image as Picture

from labeling import feeder, queue
from labeling.models import LabelPage
from projects.access import set_role
from projects.creation import create_project
from projects.models import Dataset, Datastore, LabelClass, Project

_numbers = itertools.count(1)


def user(name: str, role: str | None = None) -> User:
    """Make a person, with a role's group."""
    person = User.objects.create_user(name, password="correct horse battery")
    if role:
        set_role(person, role)
    return person


def pictures(folder: Path, count: int, size: tuple[int, int] = (64, 48)) -> Path:
    """Write some small PNG files and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        color = (number * 37 % 256, number * 91 % 256, 128)
        Picture.new("RGB", size, color).save(folder / f"{number:04}.png")
    return folder


def tiny_png() -> bytes:
    """Return a picture as the bytes of a file."""
    file = BytesIO()
    Picture.new("RGB", (8, 6), (200, 60, 90)).save(file, "PNG")
    return file.getvalue()


def dataset(folder: Path, pattern: str = "**/*.*", owner: User | None = None) -> Dataset:
    """Make a dataset of a folder, in a datastore of its own."""
    number = next(_numbers)
    store = Datastore.objects.create(name=f"store {number}", container=str(folder), created_by=owner)
    return Dataset.objects.create(name=f"set {number}", datastore=store, pattern=pattern, created_by=owner)


def project(
    owner: User,
    folder: Path,
    task_type: str = "multiclass",
    classes: tuple[str, ...] = ("cat", "dog", "bird"),
    **more: object,
) -> Project:
    """Make a project and have its images registered; it runs unless they could not be."""
    made = create_project(
        name=f"project {next(_numbers)}",
        task_type=task_type,
        dataset=dataset(folder, owner=owner),
        classes=[(name, None) for name in classes],
        created_by=owner,
        **more,  # type: ignore[arg-type]
    )
    made.refresh_from_db()
    return made


def project_of(owner: User, store: Datastore, pattern: str = "**/*.*", **more: object) -> Project:
    """Make a multi-class project of what a pattern finds in a datastore."""
    number = next(_numbers)
    made = create_project(
        name=f"project {number}",
        task_type="multiclass",
        dataset=Dataset.objects.create(name=f"set {number}", datastore=store, pattern=pattern, created_by=owner),
        classes=[(name, None) for name in ("cat", "dog", "bird")],
        created_by=owner,
        **more,  # type: ignore[arg-type]
    )
    made.refresh_from_db()
    return made


def database_url() -> str:
    """Return the address of the tests' own database, for another process."""
    database = connection.settings_dict
    if connection.vendor == "postgresql":
        return f"postgres://{database['USER']}@{database['HOST']}:{database['PORT']}/{database['NAME']}"
    return f"sqlite:///{database['NAME']}"


def same_site(**more: str) -> dict[str, str]:
    """Return an environment in which another process serves the same site as these tests."""
    return {
        **os.environ,
        "DATABASE_URL": database_url(),
        "DJANGO_SETTINGS_MODULE": "labelsite.settings",
        "DEVELOPMENT": "1",
        "DATA_DIR": str(settings.DATA_DIR),
        "SECRET_KEY": settings.SECRET_KEY,
        "PRIVATE_ENDPOINTS": "127.0.0.1",
        **more,
    }


def class_ids(project: Project) -> list[int]:
    """Return the ids of the project's classes, in their order."""
    return list(LabelClass.objects.filter(project=project).values_list("pk", flat=True))


def page(project: Project, labeler: User, count: int = 9) -> LabelPage:
    """Claim a page."""
    feeder.feed(project.pk)
    claimed = queue.claim(project, labeler, count)
    assert claimed is not None
    return claimed


def answers(page: LabelPage, **answer: object) -> list[dict[str, object]]:
    """Return the same answer for each item of the page."""
    return [{"id": pk, **answer} for pk in page.tasks.order_by("place").values_list("pk", flat=True)]
