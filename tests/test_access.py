"""Who may do what: roles, and whose things are whose (SPEC R1 to R3, ATTACKS 1 to 6)."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from labeling.models import LabelEvent, LabelPage
from labeling.submit import submit
from projects.models import Dataset, Datastore, Image, Project
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


# --- Who may do what in one project (SPEC R1, R3) -------------------------------------------------------


def details(project: Project) -> str:
    return f"/admin/projects/project/{project.pk}/details/"


def may(user: User, project: Project) -> set[str]:
    """Return what the person may do in the project, asked at the doors."""
    visitor = client(User.objects.get(pk=user.pk))
    paths = {
        "label": f"/label/{project.pk}/",
        "review": f"/admin/projects/project/{project.pk}/data/",
        "manage": details(project),
        "export": f"/admin/projects/project/{project.pk}/exports/",
    }
    return {name for name, path in paths.items() if visitor.get(path).status_code == 200}


def test_a_project_is_open_to_all_or_to_named_people_and_groups(
    project: Project, manager: User, labeler: User, labeler2: User, outsider: User
) -> None:
    """R1: both doors, each opened and shut on Details."""
    night, visitor = Group.objects.create(name="night shift"), client(manager)
    outsider.groups.add(night)
    assert (may(labeler, project), may(outsider, project)) == ({"label"}, set())
    visitor.post(details(project), {"section": "access", "access": "named", "people": [labeler2.pk]})
    assert (may(labeler, project), may(labeler2, project)) == (set(), {"label"})
    visitor.post(details(project), {"section": "access", "access": "named", "groups": [night.pk]})
    assert (may(labeler2, project), may(outsider, project)) == (set(), {"label"})
    visitor.post(details(project), {"section": "access", "access": "all"})
    assert (may(labeler2, project), may(outsider, project)) == ({"label"}, set())


def test_reviewers_and_managers_are_named_on_details(project: Project, manager: User, rival: User) -> None:
    reviewer = make.user("reviewer", "reviewer")
    visitor = client(manager)
    body = {"section": "access", "access": "named", "reviewers": [reviewer.pk], "managers": [rival.pk]}
    visitor.post(details(project), body)
    assert may(reviewer, project) == {"review"}
    assert may(rival, project) == may(manager, project) == {"label", "review", "manage", "export"}
    visitor.post(details(project), {"section": "access", "access": "named"})
    assert may(reviewer, project) == may(rival, project) == set()
    assert may(manager, project) == {"label", "review", "manage", "export"}  # nobody locks oneself out


@pytest.mark.parametrize("field", ["reviewers", "managers"])
def test_a_labeler_can_not_be_made_more_on_details(project: Project, manager: User, labeler: User, field: str) -> None:
    """Roles are given by administrators: a manager names only those who have the role."""
    answer = client(manager).post(details(project), {"section": "access", "access": "all", field: [labeler.pk]})
    assert answer.status_code == 422
    assert may(labeler, project) == {"label"}


def test_role_groups_can_not_be_named_to_open_other_doors(project: Project, manager: User, rival: User) -> None:
    group = Group.objects.get(name="Manager")
    body = {"section": "access", "access": "named", "groups": [group.pk]}
    assert client(manager).post(details(project), body).status_code == 422
    assert may(rival, project) == set()


def test_ids_of_another_project_are_refused_and_nothing_is_written(
    project: Project, manager: User, labeler: User, rival: User, tmp_path: Path
) -> None:
    """ATTACKS 5 and 6: images of another project mixed in, thousands of ids, twice the same."""
    other = make.project(rival, make.pictures(tmp_path / "theirs", 2))
    theirs = list(Image.objects.filter(project=other).values_list("pk", flat=True))
    page = make.page(project, labeler, 2)
    submit(page, make.answers(page, labels=make.class_ids(project)[:1]))
    mine = list(page.tasks.values_list("image", flat=True))
    visitor, before = client(manager), LabelEvent.objects.count()
    for action in ("approve", "reject"):
        address = f"/api/v1/projects/{project.pk}/{action}/"
        for ids in ([*mine, theirs[0]], theirs, [], list(range(100_000)), [10**30]):
            assert visitor.post(address, {"images": ids}, JSON).status_code in (400, 409), (action, len(ids))
        assert visitor.post(f"/api/v1/projects/{other.pk}/{action}/", {"images": theirs}, JSON).status_code == 404
    assert LabelEvent.objects.count() == before
    assert visitor.post(f"/api/v1/projects/{project.pk}/approve/", {"images": [*mine, *mine]}, JSON).status_code == 200
    foreign_class = {"items": make.answers(make.page(project, labeler, 1), labels=make.class_ids(other)[:1])}
    page = LabelPage.objects.get(status="open")
    assert client(labeler).post(f"/api/v1/labeling/pages/{page.pk}/submit/", foreign_class, JSON).status_code == 400
    assert LabelEvent.objects.filter(action="submitted").count() == 2
