"""A real Redis as cache and as broker: what a killed worker loses there, rows and reaper make up (SPEC N2, N3)."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis
from django.contrib.auth.models import User
from django.utils import timezone

from projects import refresh
from projects.models import Refresh
from tests import make
from tests.clouds.servers import Server, missing
from tests.clouds.weather import Weather

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A Redis of one's own."""
    program = shutil.which("redis-server")
    if program is None:
        missing("Redis")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [str(program), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port)
    for _try in range(300):
        with suppress(redis.ConnectionError):
            client.ping()
            break
        time.sleep(0.05)
    yield f"redis://127.0.0.1:{port}/0"
    client.close()
    server.terminate()
    server.wait()


def run(code: str, url: str) -> str:
    """Run some lines in another process of the same site."""
    command = [sys.executable, "-c", f"import django; django.setup()\n{code}"]
    return subprocess.run(
        command, env=make.same_site(REDIS_URL=url), cwd=ROOT, check=True, capture_output=True, text=True, timeout=120
    ).stdout.strip()


def start_worker(url: str) -> subprocess.Popen[bytes]:
    """Start a worker, as in production."""
    env = make.same_site(REDIS_URL=url, WORKERS="1", LOG_LEVEL="ERROR")
    return subprocess.Popen([sys.executable, "manage.py", "qcluster"], env=env, cwd=ROOT, start_new_session=True)


def wait_for(row: Refresh, state: str) -> None:
    """Wait until a refresh has come so far."""
    deadline = time.monotonic() + 90
    while row.state != state and time.monotonic() < deadline:
        time.sleep(0.1)
        row.refresh_from_db()
    assert row.state == state, row.error


@pytest.mark.django_db(transaction=True)
def test_processes_share_the_cache(redis_url: str) -> None:
    code = "from django.core.cache import cache; print(cache.add('turn', 1, 60), cache.get('turn'))"
    assert run(code, redis_url) == "True 1"
    assert run(code, redis_url) == "False 1"


def test_a_job_that_a_killed_worker_lost_is_done_by_another(
    redis_url: str, clouds: Callable[[str], Server], weather: Callable[[Server], Weather], manager: User
) -> None:
    server = clouds("s3")
    proxy = weather(server)
    place = server.datastore("lost-job").open()
    place.write("a.png", io.BytesIO(make.tiny_png()), overwrite=True)
    project = make.project_of(manager, server.datastore("lost-job", port=proxy.port))
    gate = threading.Event()
    proxy.fault = lambda path: bool(gate.wait(60)) and False
    place.write("b.png", io.BytesIO(make.tiny_png()), overwrite=True)
    row = refresh.enqueue(project, wake=False)
    worker = start_worker(redis_url)
    try:
        run(f"from django_q.tasks import async_task; async_task('projects.refresh.run', {row.pk})", redis_url)
        wait_for(row, "running")
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    assert all(b"labelsite" not in key or client_length(redis_url, key) == 0 for key in keys(redis_url))
    gate.set()
    Refresh.objects.filter(pk=row.pk).update(heartbeat_at=timezone.now() - 2 * refresh.LOST_AFTER)
    other = start_worker(redis_url)
    try:
        run("from projects import refresh; refresh.reap()", redis_url)
        row.refresh_from_db()
        wait_for(row, "done")
    finally:
        other.terminate()
        other.wait(60)
    assert (row.found, row.added) == (2, 1)
    assert project.images.count() == 2


def keys(url: str) -> list[bytes]:
    """Return the lists that Redis holds."""
    with redis.Redis.from_url(url) as client:
        return [key for key in client.scan_iter() if client.type(key) == b"list"]


def client_length(url: str, key: bytes) -> int:
    """Return how many jobs wait in a list."""
    with redis.Redis.from_url(url) as client:
        return int(client.llen(key))
