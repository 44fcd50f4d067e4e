"""The probes, the metrics and the logs that an operator reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from django_q.models import Schedule
from pytest_django.fixtures import Settings

from labelsite.schedules import make_schedules
from projects.models import Project
from tests import make
from tests.api.doors import client

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def worker(transactional_db: None) -> None:
    """The schedules of a site whose worker lives."""
    make_schedules()
    Schedule.objects.update(next_run=timezone.now() + timedelta(seconds=30))


def test_it_is_alive_without_host_https_or_database(settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    for path in ("/healthz", "/healthz/"):
        answer = Client(headers={"host": "10.0.0.7:8000"}).get(path)
        assert (answer.status_code, answer.content) == (200, b"ok\n")


def test_it_is_ready_with_all_its_parts(worker: None) -> None:
    answer = Client(headers={"host": "10.0.0.7"}).get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "checks": {"database": "ok", "cache": "ok", "disk": "ok", "worker": "ok"},
    }


def test_without_a_worker_people_can_work_and_it_shows(worker: None) -> None:
    Schedule.objects.update(next_run=timezone.now() - timedelta(minutes=10))
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert "No worker" in answer.json()["checks"]["worker"]


def test_a_disk_that_fills_up_is_not_ready(worker: None, settings: Settings) -> None:
    settings.MIN_FREE_MB = 10**9
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
    assert "MB left" in answer.json()["checks"]["disk"]
    settings.DATA_DIR = Path("/nowhere")
    assert "can't be written" in Client().get("/readyz").json()["checks"]["disk"]


@pytest.mark.parametrize(
    ("token", "addresses", "header", "address", "status"),
    [
        ("", [], "", "127.0.0.1", 404),
        ("", [], "Bearer ", "127.0.0.1", 404),
        ("hush", [], "Bearer hush", "203.0.113.9", 200),
        ("hush", [], "Bearer hus", "203.0.113.9", 404),
        ("hush", [], "", "203.0.113.9", 404),
        ("", ["10.0.0.0/8"], "", "10.1.2.3", 200),
        ("", ["10.0.0.0/8"], "", "11.1.2.3", 404),
    ],
)
def test_metrics_are_for_who_may_read_them(
    worker: None, settings: Settings, token: str, addresses: list[str], header: str, address: str, status: int
) -> None:
    settings.METRICS_TOKEN, settings.METRICS_ADDRESSES = token, addresses
    answer = Client(REMOTE_ADDR=address).get("/metrics", headers={"authorization": header})
    assert answer.status_code == status


def test_metrics_tell_of_the_work_and_of_nobody(
    worker: None, project: Project, labeler: User, settings: Settings
) -> None:
    make.page(project, labeler, 3)
    client(labeler).get("/api/v1/labeling/projects/")
    Client().get("/no/such/page/of/mine")
    settings.METRICS_TOKEN = "hush"
    text = Client().get("/metrics", headers={"authorization": "Bearer hush"}).content.decode()
    lines = text.splitlines()
    assert 'labelsite_queue_tasks{kind="manual",task_type="multiclass"} 17.0' in lines
    assert "labelsite_open_pages 1.0" in lines
    assert 'labelsite_projects{state="running"} 1.0' in lines
    assert 'labelsite_jobs{kind="refresh",state="done"} 1.0' in lines
    assert "labelsite_worker_up 1.0" in lines
    counted = [line for line in lines if line.startswith("labelsite_request_seconds_count")]
    assert any('route="api/v1/labeling/projects/' in line and 'status="2xx"' in line for line in counted)
    assert any('route="(none)"' in line and 'status="4xx"' in line for line in counted)
    assert project.name not in text
    assert "no/such/page" not in text


def production(folder: Path, **more: str) -> dict[str, str]:
    key = "".join(chr(33 + (number * 7) % 90) for number in range(60))
    return {"DATA_DIR": str(folder), "SECRET_KEY": key, "ALLOWED_HOSTS": "labels.example.org", **more}


SCRIPT = """
import django; django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from projects.tokens import create_token
user = User.objects.create_user("anna", password="pass-word-of-anna")
_token, key = create_token(user)
options = {"secure": True, "SERVER_NAME": "labels.example.org"}
web = Client(headers={"authorization": f"Token {key}"}, raise_request_exception=False)
print(key)
first = web.get("/api/v1/projects/?token=" + key, headers={"x-request-id": "from-the-proxy"}, **options)
print(first["X-Request-ID"])
web.post("/login/", {"username": "anna", "password": "pass-word-of-anna"}, **options)
connection.close()
connection.settings_dict["NAME"] = "/nowhere/x.sqlite3"
print(web.get("/api/v1/projects/", headers={"x-request-id": "bad id!"}, **options).status_code)
"""


def test_logs_are_lines_of_json_with_an_id_and_no_secret(tmp_path: Path) -> None:
    """A real process: a request with a key in its header, one in its address, and one that fails."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    more = {"LOG_FORMAT": "json", "DJANGO_SETTINGS_MODULE": "labelsite.settings"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env={**kept, **production(tmp_path, **more)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    key, told, status = done.stdout.split()
    assert (told, status) == ("from-the-proxy", "503")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    requests = [line for line in lines if line["logger"] == "labelsite.access"]
    assert requests[0]["path"] == "/api/v1/projects/"
    assert (requests[0]["method"], requests[0]["status"], requests[0]["request_id"]) == ("GET", 400, "from-the-proxy")
    failed = [line for line in lines if "traceback" in line]
    assert "unable to open database file" in failed[0]["traceback"]
    assert failed[0]["request_id"] == requests[-1]["request_id"] != "bad id!"
    assert key not in done.stderr
    assert "pass-word-of-anna" not in done.stderr


def test_the_worker_s_schedules_name_functions_that_are_there(worker: None) -> None:
    from django.utils.module_loading import import_string

    for name in Schedule.objects.values_list("func", flat=True):
        assert callable(import_string(name))
    call_command("clearsessions")
