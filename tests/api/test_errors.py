"""Every error below /api/v1/ is a problem in words, and changes nothing (API.md, SPEC H1)."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client
from pytest_django.fixtures import Settings

from projects.models import Project
from tests.api.doors import JSON, assert_problem, client

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def counting_cache(settings: Settings) -> None:
    """Count the calls: the tests' cache keeps nothing."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "throttle"}}
    cache.clear()


@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "status", "words"),
    [
        ("get", "nowhere/", None, JSON, 404, "no such address"),
        ("post", "projects", b"{}", JSON, 404, "ends with"),  # no slash: a redirect would lose the body
        ("get", "projects/999999999999999999/", None, JSON, 404, "no such project"),
        ("get", "projects/99999999999999999999/", None, JSON, 404, "no such address"),
        ("put", "projects/", b"{}", JSON, 405, "not allowed"),
        ("options", "projects/", None, JSON, 405, "not allowed"),
        ("post", "projects/", b"name=x", FORM, 415, "Unsupported media type"),
        ("post", "projects/", b'{"name": ', JSON, 400, "not JSON"),
        ("post", "projects/", b'{"name": NaN}', JSON, 400, "not JSON"),
        ("post", "projects/", b'{"name": "\\ud800"}', JSON, 400, "not JSON"),
        ("post", "projects/", b'{"name": "a\\u0000b"}', JSON, 400, "NUL"),
        ("post", "projects/", b"[" * 100_000, JSON, 400, "not JSON"),
        ("post", "projects/", b"[]", JSON, 400, "dictionary"),
        ("get", "projects/?page_size=many", None, JSON, 400, "from 1 to 1000"),
        ("get", "projects/?page_size=0", None, JSON, 400, "from 1 to 1000"),
        ("get", "projects/?cursor=nonsense", None, JSON, 400, "cursor"),
        ("get", "projects/?cursor=cD1ub25zZW5zZQ==", None, JSON, 400, "cursor"),  # p=nonsense
    ],
)
def test_it_is_a_problem(
    manager: User, method: str, path: str, body: bytes | None, kind: str, status: int, words: str
) -> None:
    call = getattr(client(manager), method)
    answer = call(f"/api/v1/{path}", **({"data": body, "content_type": kind} if body is not None else {}))
    assert_problem(answer, status, words)


def test_a_body_that_is_too_large_is_413(manager: User, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    answer = client(manager).post("/api/v1/projects/", b'{"name": "' + b"x" * 2000 + b'"}', JSON)
    assert_problem(answer, 413, "larger than")


def test_an_unasked_type_of_answer_is_406(manager: User) -> None:
    assert_problem(client(manager).get("/api/v1/projects/", headers={"accept": "text/html"}), 406)


def test_no_key_is_401_everywhere(project: Project) -> None:
    for path in ("projects/", f"projects/{project.pk}/images/", "labeling/projects/", "datastores/"):
        assert_problem(Client().get(f"/api/v1/{path}"), 401)


def test_a_session_needs_the_csrf_token(manager: User, project: Project) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(manager)
    assert browser.get("/api/v1/projects/").status_code == 200
    assert_problem(browser.post(f"/api/v1/projects/{project.pk}/pause/"), 403, "CSRF")
    project.refresh_from_db()
    assert project.is_running


def limit(settings: Settings, **rates: str) -> None:
    """Set rates by the day, so that no window of the clock ends in the midst of a test."""
    known = settings.REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": {**known, **rates}}


def test_the_429_says_when_to_come_back(manager: User, counting_cache: None, settings: Settings) -> None:
    limit(settings, user="5/day")
    api = client(manager)
    assert [api.get("/api/v1/projects/").status_code for _ in range(6)] == [200] * 5 + [429]
    answer = api.get("/api/v1/projects/")
    assert_problem(answer, 429)
    assert 1 <= int(answer["Retry-After"]) <= 24 * 3600


def test_guesses_at_a_key_are_counted(roles: None, counting_cache: None, settings: Settings) -> None:
    limit(settings, anon="5/day")
    stranger = Client(headers={"authorization": "Token guess"})
    assert [stranger.get("/api/v1/projects/").status_code for _ in range(7)] == [401] * 5 + [429] * 2
    spoofing = Client(headers={"authorization": "Token guess", "x-forwarded-for": "10.1.2.3"})
    assert spoofing.get("/api/v1/projects/").status_code == 429
