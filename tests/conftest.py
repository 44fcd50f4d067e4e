"""The cast: a manager, two labelers and an outsider, and a project of images to label."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import User

from projects.models import Project
from tests import make


@pytest.fixture(autouse=True)
def _jobs_run_at_commit(request: pytest.FixtureRequest) -> None:
    """Have what waits for a commit done, as in the real site: tests with a database commit."""
    if "project" in request.fixturenames or "manager" in request.fixturenames:
        request.getfixturevalue("transactional_db")


@pytest.fixture
def roles(transactional_db: None) -> None:
    """Make again what migrations made: a flushed database has lost it."""
    from django.conf import settings
    from django.contrib.auth.models import Group

    from projects.apps import grant_role_rights
    from projects.models import Datastore

    for name in ("Manager", "Labeler", "Reviewer"):
        Group.objects.get_or_create(name=name)
    folder = Path(settings.DATA_DIR) / "datastore"
    folder.mkdir(exist_ok=True)
    Datastore.objects.get_or_create(is_default=True, defaults={"name": "default", "container": str(folder)})
    grant_role_rights()


@pytest.fixture
def manager(roles: None) -> User:
    return make.user("manager", "manager")


@pytest.fixture
def labeler(roles: None) -> User:
    return make.user("labeler", "labeler")


@pytest.fixture
def labeler2(roles: None) -> User:
    return make.user("labeler2", "labeler")


@pytest.fixture
def outsider(roles: None) -> User:
    return make.user("outsider")


@pytest.fixture
def project(manager: User, tmp_path: Path) -> Project:
    """A running multi-class project of twenty images."""
    return make.project(manager, make.pictures(tmp_path / "images", 20))


@pytest.fixture
def boxes(manager: User, tmp_path: Path) -> Project:
    """A running detection project of five images of 64 × 48 pixels."""
    return make.project(manager, make.pictures(tmp_path / "scenes", 5), "detection", ("digit", "line"))
