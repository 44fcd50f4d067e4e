"""Who may do what: roles, and whose things are whose (SPEC R1 to R3, ATTACKS 1 to 6)."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from projects.models import Dataset, Datastore, Project
from tests import make

JSON = "application/json"


def client(user: User) -> Client:
    visitor = Client()
    visitor.force_login(user)
    return visitor


@pytest.fixture
def rival(roles: None) -> User:
    """A manager who has nothing to do with the project."""
    return make.user("rival", "manager")


def test_a_manager_can_not_raise_own_rights(manager: User) -> None:
    """ATTACKS 1: whatever is posted to the pages of people and groups, nothing is there."""
    body = {"username": "manager", "is_superuser": "on", "is_staff": "on", "is_active": "on", "groups": [1, 2, 3]}
    visitor = client(manager)
    group = Group.objects.get(name="Manager")
    addresses = [
        f"user/{manager.pk}/change/", f"user/{manager.pk}/password/", "user/add/", f"group/{group.pk}/change/",
    ]  # fmt: skip
    before = sorted(manager.get_all_permissions())
    for address in addresses:
        assert visitor.get(f"/admin/auth/{address}").status_code == 404
        assert visitor.post(f"/admin/auth/{address}", body).status_code == 404
    fresh = User.objects.get(pk=manager.pk)
    assert not fresh.is_superuser
    assert sorted(fresh.get_all_permissions()) == before
    assert User.objects.count() == 1


def test_queue_tables_are_not_for_managers(manager: User) -> None:
    """ATTACKS 23."""
    for model in ("ormq", "schedule", "success", "failure"):
        assert client(manager).post(f"/admin/django_q/{model}/add/", {"name": "x"}).status_code == 404


@pytest.mark.parametrize("query", ["?q=project", "?owner__password__startswith=a", "?created_by__password__gt=0"])
def test_other_managers_projects_are_in_no_list(project: Project, rival: User, query: str) -> None:
    """ATTACKS 2 and 3: neither searching nor looking things up by other fields finds them."""
    visitor = client(rival)
    for page in ("/admin/projects/project/", "/admin/search/", "/admin/projects/dataset/"):
        answer = visitor.get(f"{page}{query}")
        assert answer.status_code == 200
        assert project.name not in answer.content.decode()
        assert project.dataset.name not in answer.content.decode()
    assert visitor.get("/api/v1/projects/").json()["results"] == []
    assert visitor.get(f"/api/v1/projects/{query}").status_code == 400  # what the schema does not name is refused


def test_other_managers_datastores_can_not_be_used(project: Project, rival: User) -> None:
    """ATTACKS 2: not looked into, not built on, not changed; at no door."""
    store, dataset, visitor = project.dataset.datastore, project.dataset, client(rival)
    assert store.name not in visitor.get("/admin/projects/datastore/").content.decode()
    for page in ("browse", "found"):
        answer = visitor.get(f"/admin/projects/datastore/{page}/", {"datastore": store.pk, "pattern": "**/*.*"})
        assert "0000.png" not in answer.content.decode()
    upload = visitor.post("/admin/projects/datastore/upload/", {"datastore": store.pk})
    assert upload.status_code == 400 and "Choose a datastore" in upload.json()["detail"]
    body = {"name": "theirs", "datastore": store.pk, "pattern": "**/*.*"}
    assert visitor.post("/api/v1/datasets/", body, JSON).status_code == 400
    visitor.post("/admin/projects/dataset/add/", body)
    assert not Dataset.objects.filter(name="theirs").exists()
    new = {"name": "p", "task_type": "multiclass", "dataset": dataset.pk, "classes": [{"name": "a"}]}
    assert visitor.post("/api/v1/projects/", new, JSON).status_code == 400
    assert visitor.patch(f"/api/v1/datastores/{store.pk}/", {"container": "/"}, JSON).status_code == 404
    assert visitor.delete(f"/api/v1/datastores/{store.pk}/").status_code == 404


def test_what_the_site_sets_up_is_for_every_manager_and_changed_by_none(rival: User, tmp_path: Path) -> None:
    root = User.objects.create_superuser("root")
    shared = Datastore.objects.create(name="shared", container=str(tmp_path), created_by=root)
    visitor = client(rival)
    names = {row["name"] for row in visitor.get("/api/v1/datastores/").json()["results"]}
    assert names == {"shared", "default"}
    assert visitor.patch(f"/api/v1/datastores/{shared.pk}/", {"name": "mine"}, JSON).status_code == 403
    assert visitor.get(f"/admin/projects/datastore/{shared.pk}/change/").status_code == 404
    body = {"name": "set", "datastore": shared.pk, "pattern": "**/*.*"}
    assert visitor.post("/api/v1/datasets/", body, JSON).status_code == 201
