"""A web process takes no more memory than it needs, and its loaded objects stay unsearched (labelsite/wsgi.py)."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from projects.models import Project
from tests import make

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no such heaps")
ROOT = Path(__file__).parent.parent.parent
THREADS = 8
# What gunicorn does: it loads the application, then answers in threads. Each of these takes and keeps memory.
SERVE = f"""
import ctypes, gc, json, sys, threading
from labelsite.wsgi import application
from django.db import connection

def work():
    with connection.cursor() as cursor:
        sizes.append(cursor.execute("PRAGMA cache_size").fetchone()[0])
    everybody.wait()
    everybody.wait()

sizes, everybody = [], threading.Barrier({THREADS} + 1)
threads = [threading.Thread(target=work) for _ in range({THREADS})]
for thread in threads:
    thread.start()
everybody.wait()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
everybody.wait()
print(json.dumps([sizes, gc.get_freeze_count(), len(gc.get_objects())]))
"""


@dataclass
class Served:
    """A web process: kB of the database in each connection, heaps, objects that stay and that may go."""

    kept: list[int]
    heaps: int
    frozen: int
    collected: int


def serve(folder: Path, **more: str) -> Served:
    """Load the application as gunicorn does, and look at it."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment = {**kept, "DEVELOPMENT": "1", "DATA_DIR": str(folder), "PYTHONPATH": str(ROOT), **more}
    command = [sys.executable, "-c", SERVE, str(folder / "heaps.xml")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    sizes, frozen, collected = json.loads(done.stdout)
    return Served([-size for size in sizes], (folder / "heaps.xml").read_text().count("<heap "), frozen, collected)


def test_threads_share_one_heap_and_keep_little_of_the_database(tmp_path: Path) -> None:
    served = serve(tmp_path)
    assert served.kept == [8 * 1024] * THREADS
    assert served.heaps == 1


def test_what_is_loaded_is_not_gone_through_in_the_middle_of_requests(tmp_path: Path) -> None:
    """The views too: a collection of all their objects takes as long as a page."""
    served = serve(tmp_path)
    assert served.frozen > 50_000
    assert served.collected < served.frozen / 10


def test_an_operator_can_give_them_more(tmp_path: Path) -> None:
    served = serve(tmp_path, SQLITE_CACHE_MB="32", MALLOC_ARENA_MAX="4")
    assert served.kept == [32 * 1024] * THREADS
    assert served.heaps == 4


LOOK = """
import json, sys
from labelsite.wsgi import application
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

call_command("collectstatic", verbosity=0, interactive=False)
client = Client(SERVER_NAME="localhost")
client.force_login(User.objects.get(username="manager"))
for address in sys.argv[1:]:
    assert client.get(address).status_code == 200, address
print(json.dumps(sorted({"numpy", "scipy", "sklearn", "torch", "pandas", "pyarrow", "botocore"} & set(sys.modules))))
"""


def test_pages_load_nothing_that_only_jobs_need(manager: User, project: Project) -> None:
    """Ten to hundreds of megabytes each, in every web process and each worker that decides what is to be trained."""
    Project.objects.filter(pk=project.pk).update(assist_enabled=True)
    base = f"/admin/projects/project/{project.pk}"
    pages = [f"{base}/{tab}/" for tab in ("dashboard", "data", "details", "exports", "labels", "runs")]
    pages += [f"/label/{project.pk}/", f"/api/v1/projects/{project.pk}/progress/"]
    command = [sys.executable, "-c", LOOK, *pages]
    done = subprocess.run(command, cwd=ROOT, env=make.same_site(), capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
