"""Submits over HTTP that can't be taken: a sentence, and nothing written (API.md; attacks 5, 6 and 8)."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from labeling.models import Annotation, LabelEvent, LabelPage
from projects.models import Project
from projects.tokens import create_token
from tests import make


def post(person: User, page: LabelPage, items: object) -> tuple[int, dict[str, object]]:
    _token, key = create_token(person)
    answer = Client(headers={"authorization": f"Token {key}"}).post(
        f"/api/v1/labeling/pages/{page.pk}/submit/", {"items": items}, "application/json"
    )
    return answer.status_code, answer.json()


@pytest.fixture(autouse=True)
def _nothing_is_written(request: pytest.FixtureRequest) -> object:
    request.getfixturevalue("manager")
    yield
    assert not LabelEvent.objects.exists()
    assert not Annotation.objects.exists()


def test_a_task_of_another_project_is_refused(project: Project, manager: User, labeler: User, tmp_path: Path) -> None:
    other = make.project(manager, make.pictures(tmp_path / "other", 2))
    foreign = other.tasks.first()
    page = make.page(project, labeler, 1)
    cat = make.class_ids(project)[0]
    items = [*make.answers(page, labels=[cat]), {"id": foreign.pk, "labels": [cat]}]
    status, problem = post(labeler, page, items)
    assert status == 400
    assert f"Image {foreign.pk} is not on this page" in str(problem)


def test_a_class_of_another_project_is_refused(project: Project, manager: User, labeler: User, tmp_path: Path) -> None:
    other = make.project(manager, make.pictures(tmp_path / "other", 2))
    page = make.page(project, labeler, 1)
    status, problem = post(labeler, page, make.answers(page, labels=make.class_ids(other)[:1]))
    assert status == 400
    assert "not a class" in str(problem)


@pytest.mark.parametrize("items", [None, "all", {}, [None], [[1]], [{"id": "1"}], []])
def test_answers_of_another_shape_are_refused(project: Project, labeler: User, items: object) -> None:
    page = make.page(project, labeler, 1)
    status, problem = post(labeler, page, items)
    assert status == 400
    assert problem["status"] == 400 and problem["title"]


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ("[NaN, 0, 5, 5]", ""),
        ("[0, 0, Infinity, 5]", ""),
        ("[0, 0, -5, 5]", "above zero"),
        ("[-20, 0, 5, 5]", "outside the image"),
        ("[0, 0, 1e300, 5]", "outside the image"),
        ("[0, 0]", "[x, y, width, height]"),
        ('"0,0,5,5"', "[x, y, width, height]"),
    ],
)
def test_a_box_that_is_none_is_refused(boxes: Project, labeler: User, box: str, words: str) -> None:
    page = make.page(boxes, labeler, 1)
    _token, key = create_token(labeler)
    task, digit = page.tasks.get().pk, make.class_ids(boxes)[0]
    body = f'{{"items": [{{"id": {task}, "boxes": [{{"label_class": {digit}, "box": {box}}}]}}]}}'
    answer = Client(headers={"authorization": f"Token {key}"}).post(
        f"/api/v1/labeling/pages/{page.pk}/submit/", body, "application/json"
    )
    assert answer.status_code == 400
    assert words in answer.json()["detail"] or words in str(answer.json()["errors"])
