"""The API's doors (API.md, SPEC H1, R2)."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from PIL import Image as Picture

from projects.models import Dataset, Project
from projects.tokens import create_token
from tests import make

JSON = "application/json"


def client(user: User, scope: str = "all") -> Client:
    _token, key = create_token(user, scope=scope)
    return Client(headers={"authorization": f"Token {key}"})


def test_a_project_is_made_labeled_and_exported_from_outside(manager: User, labeler: User, tmp_path: Path) -> None:
    api = client(manager)
    folder = make.pictures(tmp_path / "in", 3)
    store = api.post("/api/v1/datastores/", {"name": "s", "kind": "local", "container": str(folder)}, JSON).json()
    dataset = api.post("/api/v1/datasets/", {"name": "d", "datastore": store["id"], "pattern": "**/*.*"}, JSON).json()
    body = {"name": "p", "task_type": "multiclass", "dataset": dataset["id"], "classes": [{"name": "a"}, {"name": "b"}]}
    made = api.post("/api/v1/projects/", body, JSON)
    assert (made.status_code, made.json()["state"]) == (201, "initializing")
    pk = made.json()["id"]

    work = client(labeler)
    (mine,) = work.get("/api/v1/labeling/projects/").json()["results"]
    assert (mine["id"], mine["remaining"], [c["key"] for c in mine["classes"]]) == (pk, 3, ["1", "2"])
    page = work.post(f"/api/v1/labeling/projects/{pk}/claim/", {"count": 2}, JSON).json()["page"]
    items = [{"id": item["id"], "labels": [mine["classes"][0]["id"]]} for item in page["items"]]
    answer = work.post(f"/api/v1/labeling/pages/{page['id']}/submit/", {"items": items, "next": True}, JSON)
    assert answer.json()["submitted"] == 2
    assert len(answer.json()["next"]["items"]) == 1
    again = work.post(f"/api/v1/labeling/pages/{page['id']}/submit/", {"items": items, "next": True}, JSON)
    assert again.json() == answer.json()

    progress = api.get(f"/api/v1/projects/{pk}/progress/").json()
    assert (progress["total"], progress["labeled"], progress["pending"]["claimed"]) == (3, 2, 1)
    export = api.post(f"/api/v1/projects/{pk}/exports/", {"format": "coco"}, JSON)
    assert export.status_code == 202
    file = api.get(f"/api/v1/exports/{export.json()['id']}/download/")
    assert b'"annotations"' in b"".join(file.streaming_content)


@pytest.mark.parametrize("path", ["", "progress/", "images/", "exports/"])
def test_a_hidden_project_answers_like_one_that_is_not_there(project: Project, labeler: User, path: str) -> None:
    api = client(labeler)
    hidden = api.get(f"/api/v1/projects/{project.pk}/{path}")
    missing = api.get(f"/api/v1/projects/{project.pk + 1000}/{path}")
    assert hidden.status_code == missing.status_code == 404
    assert hidden.content == missing.content


def test_an_outsider_can_not_claim(project: Project, outsider: User) -> None:
    answer = client(outsider).post(f"/api/v1/labeling/projects/{project.pk}/claim/", {}, JSON)
    assert answer.status_code == 404


def test_a_foreign_page_and_a_missing_one_are_the_same_409(project: Project, labeler: User, labeler2: User) -> None:
    page = make.page(project, labeler)
    api = client(labeler2)
    answers = [
        api.post(f"/api/v1/labeling/pages/{pk}/submit/", {"items": make.answers(page, labels=[1])}, JSON)
        for pk in (page.pk, page.pk + 1000)
    ]
    assert [answer.status_code for answer in answers] == [409, 409]
    assert answers[0].content == answers[1].content


def test_an_error_is_a_problem_in_words(project: Project, labeler: User) -> None:
    page = make.page(project, labeler, 1)
    answer = client(labeler).post(f"/api/v1/labeling/pages/{page.pk}/submit/", {"items": []}, JSON)
    assert answer.status_code == 400
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "errors"}
    assert "no answer yet" in problem["detail"]
    assert answer["Content-Type"] == "application/problem+json"


def test_the_task_type_can_not_change(project: Project, manager: User) -> None:
    answer = client(manager).patch(f"/api/v1/projects/{project.pk}/", {"task_type": "detection"}, JSON)
    assert answer.status_code == 409
    assert client(manager).patch(f"/api/v1/projects/{project.pk}/", {"name": "new"}, JSON).json()["name"] == "new"


def test_a_paused_project_hands_out_nothing(project: Project, manager: User, labeler: User) -> None:
    assert client(manager).post(f"/api/v1/projects/{project.pk}/pause/").json()["state"] == "paused"
    assert client(manager).post(f"/api/v1/projects/{project.pk}/pause/").status_code == 409
    answer = client(labeler).post(f"/api/v1/labeling/projects/{project.pk}/claim/", {}, JSON)
    assert answer.json() == {"page": None, "reason": "paused"}


def test_a_token_does_what_its_scope_says(project: Project, manager: User) -> None:
    assert client(manager, "read").post(f"/api/v1/projects/{project.pk}/pause/").status_code == 403
    assert client(manager, "label").get("/api/v1/projects/").status_code == 403
    assert Client(headers={"authorization": "Token nonsense"}).get("/api/v1/projects/").status_code == 401
    assert Client().get("/api/v1/projects/?token=x").status_code == 401


def test_a_labeler_can_not_make_projects_or_read_datastores(project: Project, labeler: User) -> None:
    api = client(labeler)
    body = {"name": "p", "task_type": "multiclass", "dataset": project.dataset_id, "classes": [{"name": "a"}]}
    assert api.post("/api/v1/projects/", body, JSON).status_code == 403
    assert api.get("/api/v1/datastores/").status_code == 403


def test_a_secret_is_never_read_back(manager: User, tmp_path: Path) -> None:
    api = client(manager)
    body = {"name": "s", "kind": "s3", "container": "bucket", "secret": "hush-hush", "options": {"access_key": "me"}}
    made = api.post("/api/v1/datastores/", body, JSON)
    assert made.status_code == 201
    assert b"hush" not in made.content + api.get("/api/v1/datastores/").content


def test_the_same_idempotency_key_makes_one_export(project: Project, manager: User) -> None:
    api = client(manager)
    path, key = f"/api/v1/projects/{project.pk}/exports/", {"idempotency-key": "abc"}
    first, again = (api.post(path, {"format": "coco"}, JSON, headers=key) for _ in range(2))
    assert first.json() == again.json()
    assert len(api.get(path).json()["results"]) == 1
    assert api.post(path, {"format": "coco", "options": {}}, JSON, headers=key).status_code == 422


def test_uploads_say_what_became_of_each_file(manager: User, project: Project) -> None:
    content = BytesIO()
    Picture.new("RGB", (8, 8)).save(content, "PNG")
    good, bad = BytesIO(content.getvalue()), BytesIO(b"<svg/>")
    good.name, bad.name = "new.png", "bad.jpg"
    dataset = Dataset.objects.get(project=project)
    answer = client(manager).post(f"/api/v1/datasets/{dataset.pk}/files/", {"files": [good, bad]})
    assert answer.json()["stored"] == ["new.png"]
    assert "something else" in answer.json()["refused"][0]["reason"]
