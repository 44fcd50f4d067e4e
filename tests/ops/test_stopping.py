"""A site that is stopped in the middle of work and started again goes on where it was (SPEC N3)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import make

ROOT = Path(__file__).parent.parent.parent
SETUP = """
import sys, django; django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.contrib.auth.models import User
from projects.access import set_role
from projects.tokens import create_token
user = User.objects.create_user("anna")
set_role(user, "manager")
call_command("create_project", "Stop", type="multiclass", images=sys.argv[1], classes="a,b", stdout=sys.stderr)
print(create_token(user)[1])
"""


def wait_for(what: Callable[[], Any], seconds: float = 90) -> Any:
    """Return what it returns, once that is something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := what():
                return found
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.3)
    raise AssertionError(f"nothing came within {seconds} s")


def test_no_lease_and_no_job_is_lost(tmp_path: Path) -> None:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment = {**kept, "DEVELOPMENT": "1", "DATA_DIR": str(tmp_path / "var"), "WORKERS": "1"}
    environment["DJANGO_SETTINGS_MODULE"] = "labelsite.settings"
    images = str(make.pictures(tmp_path / "images", 6))
    done = subprocess.run(
        [sys.executable, "-c", SETUP, images], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    key = done.stdout.strip()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    site = f"http://127.0.0.1:{port}"

    def call(path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Token {key}", "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(f"{site}/api/v1/{path}", data, headers)) as answer:
            return json.load(answer)

    def serve() -> subprocess.Popen[bytes]:
        command = [sys.executable, "manage.py", "serve", "--port", str(port)]
        log = (tmp_path / "log").open("ab")
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        wait_for(lambda: urllib.request.urlopen(f"{site}/healthz").status == 200)
        return process

    process = serve()
    try:
        project = wait_for(lambda: next((p for p in call("projects/")["results"] if p["state"] == "running"), None))
        address = f"labeling/projects/{project['id']}/claim/"
        page = call(address, {"count": 4})["page"]
        export = call(f"projects/{project['id']}/exports/", {"format": "coco"})
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        process = serve()
        assert call(address, {"count": 4})["page"]["id"] == page["id"]
        items = [{"id": item["id"], "labels": [project["classes"][0]["id"]]} for item in page["items"]]
        assert call(f"labeling/pages/{page['id']}/submit/", {"items": items})["submitted"] == 4
        # What was cut off comes back by the reaper, after its heartbeat has been missed for 90 seconds.
        wait_for(lambda: call(f"exports/{export['id']}/")["state"] == "done", seconds=200)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
