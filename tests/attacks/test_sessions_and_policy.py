"""ATTACKS 18, 19, 24 and 26, each through the real door."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import OrmQ
from pytest_django.fixtures import Settings

from exports.models import Export
from projects.models import ApiToken, Project, Refresh
from projects.tokens import create_token
from tests import make
from tests.api.doors import JSON, assert_problem, client

ROOT = Path(__file__).parent.parent.parent
HOSTS = {"ALLOWED_HOSTS": "labels.example.org"}


def directives(answer: object) -> dict[str, str]:
    policy = answer["Content-Security-Policy"]  # type: ignore[index]
    return {name: rest for name, _space, rest in (part.strip().partition(" ") for part in policy.split(";")) if name}


@pytest.fixture
def counting_cache(settings: Settings) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "attacks"}}
    cache.clear()


# --- 18: the policy ---------------------------------------------------------------------------------


def test_18_no_page_of_the_labelers_lets_inline_or_evaluated_scripts_run(project: Project, labeler: User) -> None:
    browser = Client()
    browser.force_login(labeler)
    pages = ["/label/", f"/label/{project.pk}/", f"/label/{project.pk}/instructions/", "/api/v1/docs/", "/nowhere/"]
    for answer in [browser.get(page) for page in pages] + [Client().get("/login/")]:
        policy = directives(answer)
        assert policy["default-src"] == "'self'"
        assert "unsafe" not in answer["Content-Security-Policy"], answer.request["PATH_INFO"]
        assert (policy["object-src"], policy["frame-ancestors"]) == ("'none'", "'none'")
        html = answer.content.decode()
        for script in re.findall(r"<script\b[^>]*>", html):
            assert "src=" in script or "nonce=" in script or 'type="application/json"' in script, script
        assert not re.search(r"<[^>]+\son\w+=", html)
        assert not re.search(r"<[^>]+\sstyle=", html)


def test_18_htmx_evaluates_nothing_and_asks_this_site_only(project: Project, labeler: User) -> None:
    browser = Client()
    browser.force_login(labeler)
    html = browser.get(f"/label/{project.pk}/").content.decode()
    assert '"allowEval":false' in html
    assert '"selfRequestsOnly":true' in html


def test_18_the_console_s_relaxed_policy_ends_with_the_console(manager: User) -> None:
    browser = Client()
    browser.force_login(manager)
    assert "'unsafe-eval'" in directives(browser.get("/admin/projects/project/"))["script-src"]
    for path in ("/label/", "/api/v1/projects/", "/administration/"):
        assert "unsafe" not in browser.get(path)["Content-Security-Policy"]


# --- 19: forged requests, sessions, keys --------------------------------------------------------------


def test_19_every_unsafe_call_wants_the_csrf_token(project: Project, manager: User) -> None:
    page = make.page(project, manager, 1)
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(manager)
    for path in (
        f"/label/pages/{page.pk}/submit/",
        f"/label/pages/{page.pk}/release/",
        f"/admin/projects/project/{project.pk}/details/",
        f"/admin/projects/project/{project.pk}/data/act/",
        "/admin/projects/apitoken/",
        "/language/",
        "/logout/",
        f"/api/v1/projects/{project.pk}/pause/",
        "/api/v1/projects/",
    ):
        assert browser.post(path, {"x": 1}).status_code == 403, path
    project.refresh_from_db()
    assert project.is_running
    assert not ApiToken.objects.exists()


def test_19_logging_in_can_not_be_forged(labeler: User) -> None:
    forged = Client(enforce_csrf_checks=True)
    form = {"username": "labeler", "password": "correct horse battery"}
    assert forged.post("/login/", form).status_code == 403
    assert not Session.objects.exists()


def test_19_a_session_that_somebody_planted_is_not_kept(labeler: User) -> None:
    browser = Client()
    browser.cookies["sessionid"] = "planted0planted0planted0planted0"
    browser.post("/login/", {"username": "labeler", "password": "correct horse battery"})
    assert browser.get("/label/").status_code == 200
    assert browser.cookies["sessionid"].value != "planted0planted0planted0planted0"
    assert browser.cookies["sessionid"]["httponly"]
    assert browser.cookies["sessionid"]["samesite"] == "Lax"


@pytest.mark.parametrize("end", ["log out", "switched off", "deleted", "expired", "another password"])
def test_19_a_session_ends_at_once(labeler: User, end: str) -> None:
    browser = Client()
    browser.post("/login/", {"username": "labeler", "password": "correct horse battery"})
    assert browser.get("/label/").status_code == 200
    cookie = browser.cookies["sessionid"].value
    if end == "log out":
        browser.post("/logout/")
        browser.cookies["sessionid"] = cookie
    elif end == "switched off":
        User.objects.update(is_active=False)
    elif end == "deleted":
        labeler.delete()
    elif end == "expired":
        Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    else:
        labeler.set_password("a staple, correct")
        labeler.save()
    answer = browser.get("/label/")
    assert (answer.status_code, answer["Location"]) == (302, "/login/?next=/label/")


def test_19_logging_in_leads_nowhere_else(labeler: User) -> None:
    form = {"username": "labeler", "password": "correct horse battery", "next": "https://evil.example/"}
    assert Client().post("/login/", form)["Location"] == "/label/"


@pytest.mark.parametrize("name", ["token", "key", "api_key", "access_token", "Authorization"])
def test_19_a_key_in_the_address_opens_nothing(manager: User, name: str) -> None:
    _token, key = create_token(manager)
    assert Client().get(f"/api/v1/projects/?{name}={key}").status_code == 401
    answer = client(manager).get(f"/api/v1/projects/?{name}={key}")
    assert answer.status_code == 400
    assert key not in answer.content.decode()


def test_19_keys_are_kept_as_digests_and_end_at_once(manager: User) -> None:
    token, key = create_token(manager)
    kept = ApiToken.objects.values().get(pk=token.pk)
    assert not any(key in str(value) for value in kept.values())
    web = Client(headers={"authorization": f"Token {key}"})
    assert web.get("/api/v1/projects/").status_code == 200
    console = Client()
    console.force_login(manager)
    console.post(f"/admin/projects/apitoken/{token.pk}/revoke/")
    assert_problem(web.get("/api/v1/projects/"), 401, "revoked")


def test_19_a_key_ends_with_its_person(manager: User) -> None:
    web = client(manager)
    User.objects.filter(pk=manager.pk).update(is_active=False)
    assert_problem(web.get("/api/v1/projects/"), 401)


def test_19_a_scope_is_no_matter_of_the_address(project: Project, manager: User) -> None:
    only_labels = client(manager, "label")
    for path in ("projects/", "datastores/", f"projects/{project.pk}/images/", "datasets/", "labeled-datasets/"):
        assert_problem(only_labels.get(f"/api/v1/{path}"), 403)
    assert only_labels.get("/api/v1/labeling/projects/").status_code == 200
    only_reads = client(manager, "read")
    assert_problem(only_reads.post(f"/api/v1/labeling/projects/{project.pk}/claim/", {}, JSON), 403)
    assert_problem(only_reads.delete(f"/api/v1/projects/{project.pk}/"), 403)


def test_19_guessing_a_password_ends(labeler: User, settings: Settings) -> None:
    settings.AXES_ENABLED = True
    form = {"username": "labeler", "password": "wrong"}
    statuses = [Client().post("/login/", form).status_code for _ in range(12)]
    assert statuses[0] == 200
    assert statuses[-1] == 429
    right = Client().post("/login/", {**form, "password": "correct horse battery"})
    assert right.status_code == 429  # the right one does not tell itself apart now


def test_19_who_guesses_shuts_out_nobody_else_behind_a_proxy(labeler: User, settings: Settings) -> None:
    settings.AXES_ENABLED = settings.BEHIND_PROXY = True

    def log_in(said: str, password: str = "wrong") -> int:
        client = Client(REMOTE_ADDR="172.18.0.2", HTTP_X_FORWARDED_FOR=said)  # the proxy asks, and says for whom
        return client.post("/login/", {"username": "labeler", "password": password}).status_code

    # What a caller says of itself comes before what the proxy says.
    statuses = [log_in(f"198.51.100.{number}, 203.0.113.66") for number in range(12)]
    assert statuses[-1] == 429
    assert log_in("203.0.113.66", "correct horse battery") == 429
    assert log_in("198.51.100.7", "correct horse battery") == 302


def test_19_without_a_proxy_nobody_says_who_he_is(labeler: User, settings: Settings) -> None:
    settings.AXES_ENABLED, settings.BEHIND_PROXY = True, False
    form = {"username": "labeler", "password": "wrong"}
    said = [f"198.51.100.{number}" for number in range(12)]
    assert [Client(HTTP_X_FORWARDED_FOR=one).post("/login/", form).status_code for one in said][-1] == 429


# --- 24: floods ---------------------------------------------------------------------------------------


def test_24_a_flood_of_exports_is_one(project: Project, manager: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Conf, "SYNC", False)  # jobs wait for a worker, as in the real site
    before, api = OrmQ.objects.count(), client(manager)
    address = f"/api/v1/projects/{project.pk}/exports/"
    statuses = [api.post(address, {"format": "coco"}, JSON).status_code for _ in range(100)]
    assert (statuses[0], set(statuses[1:])) == (202, {409})
    assert Export.objects.count() == 1
    assert OrmQ.objects.count() == before + 1


def test_24_a_flood_of_refreshes_is_one(project: Project, manager: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Conf, "SYNC", False)
    before, api = Refresh.objects.count(), client(manager)
    answers = [api.post(f"/api/v1/projects/{project.pk}/refresh/").json()["id"] for _ in range(50)]
    assert len(set(answers)) == 1
    assert Refresh.objects.count() == before + 1


def test_24_what_starts_long_work_has_a_rate_of_its_own(
    project: Project, manager: User, counting_cache: None, settings: Settings
) -> None:
    rates = settings.REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": {**rates, "jobs": "3/day"}}
    api = client(manager)
    for path in (f"projects/{project.pk}/exports/", f"projects/{project.pk}/assist-runs/", "projects/"):
        api.post(f"/api/v1/{path}", {}, JSON)
    test = api.post(f"/api/v1/datastores/{project.dataset.datastore_id}/test/")
    assert_problem(test, 429)
    assert int(test["Retry-After"]) > 0
    assert api.get("/api/v1/projects/").status_code == 200  # looking goes on


# --- 26: a default install ------------------------------------------------------------------------------


def manage(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_26_production_demands_its_key_and_its_names(tmp_path: Path) -> None:
    data = {"DATA_DIR": str(tmp_path)}
    without_key = manage("check", **data, **HOSTS)
    assert without_key.returncode != 0 and "Set SECRET_KEY" in without_key.stderr
    without_names = manage("check", SECRET_KEY="x" * 60, **data)
    assert without_names.returncode != 0 and "Set ALLOWED_HOSTS" in without_names.stderr


def test_26_check_deploy_is_clean(tmp_path: Path) -> None:
    key = "".join(chr(33 + (number * 7) % 90) for number in range(60))
    done = manage("check", "--deploy", "--fail-level", "WARNING", DATA_DIR=str(tmp_path), SECRET_KEY=key, **HOSTS)
    assert done.returncode == 0, done.stderr
    assert "no issues (0 silenced)" in done.stdout
    weak = manage("check", "--deploy", "--fail-level", "WARNING", DATA_DIR=str(tmp_path), SECRET_KEY="short", **HOSTS)
    assert weak.returncode != 0  # the check does look


def test_26_a_new_site_has_nobody_to_log_in_as(transactional_db: None) -> None:
    assert not User.objects.exists()
    for path in ("/register/", "/signup/", "/accounts/signup/", "/api/v1/users/", "/login/register/"):
        assert Client().get(path).status_code == 404
        assert Client().post(path, {"username": "me", "password": "correct horse battery"}).status_code == 404
    for name, password in (("admin", "admin"), ("manager", "manager"), ("labeler1", "labeler1"), ("root", "root")):
        assert Client().post("/login/", {"username": name, "password": password}).status_code == 200
    assert not Session.objects.exists()
