"""ATTACKS 1 and 3: looking things up through relations tells nothing, and nobody raises rights on Details unseen."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from labeling.submit import submit
from projects.access import people_with
from projects.models import Project
from tests import make

CONSOLE = [
    "/admin/", "/admin/projects/project/", "/admin/projects/dataset/", "/admin/projects/datastore/", "/admin/search/",
    "/admin/projects/project/{pk}/dashboard/", "/admin/projects/project/{pk}/data/",
    "/admin/projects/project/{pk}/data/count/", "/admin/projects/project/{pk}/exports/", "/label/",
]  # fmt: skip
API = [
    "/api/v1/projects/", "/api/v1/datasets/", "/api/v1/datastores/", "/api/v1/labeled-datasets/",
    "/api/v1/labeling/projects/", "/api/v1/projects/{pk}/images/", "/api/v1/projects/{pk}/classes/",
    "/api/v1/projects/{pk}/assist-runs/", "/api/v1/projects/{pk}/exports/",
]  # fmt: skip
RELATIONS = ["created_by", "labeler", "image__project__created_by"]
ORDERINGS = ["ordering", "o"]
COMPARED = re.compile(r'"password"(::text)?\)? *(LIKE|GLOB|IN|[<>=])')
# What differs from one answer to the next whatever was asked.
CHANGING = re.compile(r'[\w-]{64}|nonce="[^"]*"|<time.*?</time>|data-seen-at="[^"]*"')


@pytest.fixture
def labeled(project: Project, labeler: User) -> Project:
    page = make.page(project, labeler)
    submit(page, make.answers(page, labels=make.class_ids(project)[:1]), 9)
    return project


def answer(visitor: Client, address: str, name: str, value: str) -> tuple[int, str, list[str]]:
    """Return what is seen (its echo of the question left out), and what the database was asked."""
    with CaptureQueriesContext(connection) as asked:
        response = visitor.get(address, {name: value})
    text = CHANGING.sub("", response.content.decode()).replace(value, "?")
    return response.status_code, text, [query["sql"] for query in asked.captured_queries]


@pytest.mark.parametrize("doors", [CONSOLE, API], ids=["console", "api"])
def test_3_a_lookup_through_a_relation_answers_alike_for_hit_and_miss(
    labeled: Project, manager: User, doors: list[str]
) -> None:
    """Not by the answer, and not by its time: the same is asked of the database, and never by a password."""
    visitor = Client()
    visitor.force_login(manager)
    right = manager.password.partition("$")[0]  # the name of the hasher
    for address in (door.format(pk=labeled.pk) for door in doors):
        visitor.get(address)
        for relation in RELATIONS:
            name = f"{relation}__password__startswith"
            hit, miss = (answer(visitor, address, name, value) for value in (right, right[::-1]))
            assert hit[:2] == miss[:2], (address, name)
            assert len(hit[2]) == len(miss[2]), (address, name)
            assert not any(COMPARED.search(sql) for sql in hit[2] + miss[2]), (address, name)
        for name in ORDERINGS:
            up, down = (answer(visitor, address, name, f"{sign}created_by__password") for sign in ("", "-"))
            assert up[0] == down[0] and len(up[2]) == len(down[2]), (address, name)
            assert not any("password" in sql.partition("ORDER BY")[2] for sql in up[2] + down[2]), (address, name)


@pytest.mark.parametrize(
    "forged",
    [
        {"is_superuser": "on", "is_staff": "on"},
        {"user_permissions": ["1", "2"]},
        {"managers": "labeler"},
        {"reviewers": "labeler"},
        {"groups": "Manager"},
        {"people": "999999"},
    ],
)
def test_1_rights_are_not_raised_on_details_and_the_attempt_is_recorded(
    labeled: Project, manager: User, labeler: User, caplog: pytest.LogCaptureFixture, forged: dict[str, object]
) -> None:
    """Who tried it, and where, stands in the log; nothing of the form is done."""
    ids = {"labeler": labeler.pk, "Manager": Group.objects.get(name="Manager").pk}
    body = {name: ids.get(str(value), value) for name, value in forged.items()}
    visitor = Client()
    visitor.force_login(manager)
    address = f"/admin/projects/project/{labeled.pk}/details/"
    before = (sorted(manager.get_all_permissions()), people_with(labeled, "manage_project"))
    response = visitor.post(address, {"section": "access", "access": "named", **body})
    assert response.status_code == 422
    told = [record.getMessage() for record in caplog.records if record.name == "projects.access"]
    (line,) = told
    assert f"user {manager.pk} " in line and f"project {labeled.pk}" in line
    assert all(name in line for name in forged)
    fresh = User.objects.get(pk=manager.pk)
    assert not fresh.is_superuser
    assert (sorted(fresh.get_all_permissions()), people_with(labeled, "manage_project")) == before
    assert Client().post(address, body).status_code == 302  # to log in
    assert 'value="all"' in visitor.get(address).content.decode()
    # Labelers have no such page: the same words as for what is not there, and Django's log tells of it.
    outside = Client()
    outside.force_login(labeler)
    assert outside.post(address, {"section": "access", "access": "all", "managers": [labeler.pk]}).status_code == 404


def test_1_who_was_given_what_by_whom_is_recorded(
    labeled: Project, manager: User, labeler: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "projects.access")
    visitor = Client()
    visitor.force_login(manager)
    address = f"/admin/projects/project/{labeled.pk}/details/"
    visitor.post(address, {"section": "access", "access": "named", "people": [labeler.pk]})
    visitor.post(address, {"section": "access", "access": "named"})
    told = [record.getMessage() for record in caplog.records if record.name == "projects.access"]
    assert told == [
        f"user {manager.pk} closed project {labeled.pk} to labelers who are not named",
        f"user {manager.pk} gave label_project in project {labeled.pk} to users {labeler.pk}",
        f"user {manager.pk} took label_project in project {labeled.pk} from users {labeler.pk}",
    ]
