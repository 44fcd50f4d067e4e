"""The database goes away, a disk fills up: people are told in words, and nothing that was stored is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from labeling.models import LabelTask
from projects.models import Project
from tests import make
from tests.api.doors import JSON, assert_problem, client

SQLITE = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="takes an SQLite file away")
pytestmark = SQLITE


@contextmanager
def database_down() -> Iterator[None]:
    """Take the database's file out of reach, and put it back."""
    name = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = "/nowhere/labelsite.sqlite3"
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = name


@contextmanager
def disk_full() -> Iterator[None]:
    """Let the database's file grow no more."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")
        pages = cursor.execute("PRAGMA page_count").fetchone()[0]
        cursor.execute(f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA max_page_count = 1073741823")


def visitor(user: User) -> Client:
    browser = Client(raise_request_exception=False)
    browser.force_login(user)
    return browser


def test_pages_say_that_the_database_is_away_and_try_again(project: Project, labeler: User) -> None:
    browser = visitor(labeler)
    with database_down():
        answer = browser.get(f"/label/{project.pk}/")
        assert answer.status_code == 503
        assert int(answer["Retry-After"]) > 0
        assert "database can’t be reached" in answer.content.decode().replace("&#x27;", "’")
        assert 'http-equiv="refresh"' in answer.content.decode()
        ready = browser.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert "can't be reached" in ready.json()["checks"]["database"]
        assert browser.get("/healthz").status_code == 200
    assert browser.get(f"/label/{project.pk}/").status_code == 200


def test_a_submit_while_the_database_is_away_is_kept_by_trying_again(project: Project, labeler: User) -> None:
    api = client(labeler)
    api.raise_request_exception = False
    page = make.page(project, labeler, 3)
    body = {"items": make.answers(page, labels=make.class_ids(project)[:1])}
    address = f"/api/v1/labeling/pages/{page.pk}/submit/"
    with database_down():
        answer = api.post(address, body, JSON)
        assert_problem(answer, 503, "can't be reached")
        assert int(answer["Retry-After"]) > 0
    assert api.post(address, body, JSON).json()["submitted"] == 3
    assert LabelTask.objects.filter(project=project, status="labeled").count() == 3


def test_a_full_disk_takes_nothing_half(project: Project, labeler: User) -> None:
    """Boxes enough to need new pages of the file."""
    api = client(labeler)
    api.raise_request_exception = False
    page = make.page(project, labeler, 9)
    note = "x" * 450
    body = {"items": make.answers(page, skip="other", note=note)}
    address = f"/api/v1/labeling/pages/{page.pk}/submit/"
    with disk_full():
        answer = api.post(address, body, JSON)
        assert_problem(answer, 503, "disk is full")
        assert not LabelTask.objects.filter(project=project, status="skipped").exists()
    assert api.post(address, body, JSON).json()["submitted"] == 9
