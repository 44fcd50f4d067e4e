"""The database goes away, a disk fills up: people are told in words, and nothing that was stored is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from labeling.models import LabelTask
from projects.models import Project
from tests import make
from tests.api.doors import JSON, assert_problem, client

# What PostgreSQL raises when a file can't grow: for a statement, not for good.
FULL = """
    CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'could not extend file "base/5/16384": No space left on device' USING ERRCODE = 'disk_full';
    END $$;
    CREATE TRIGGER disk_full BEFORE INSERT ON labeling_labelevent EXECUTE FUNCTION disk_full();
"""


@contextmanager
def database_down() -> Iterator[None]:
    """Take SQLite's file out of reach, or look for PostgreSQL where nothing listens; put it back."""
    elsewhere = {"NAME": "/nowhere/labelsite.sqlite3"} if connection.vendor == "sqlite" else {"PORT": "1"}
    kept = {key: connection.settings_dict[key] for key in elsewhere}
    connection.close()
    connection.settings_dict.update(elsewhere)
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.update(kept)


@contextmanager
def disk_full() -> Iterator[None]:
    """Let SQLite's file grow no more; have PostgreSQL say of the history that it can't grow."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("VACUUM")
            cursor.execute("PRAGMA page_count")
            full, cleared = f"PRAGMA max_page_count = {cursor.fetchone()[0]}", "PRAGMA max_page_count = 1073741823"
        else:
            full, cleared = FULL, "DROP FUNCTION disk_full CASCADE"
        cursor.execute(full)
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(cleared)


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
