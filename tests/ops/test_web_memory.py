"""A web process's threads take no more memory than they need (labelsite/wsgi.py)."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no such heaps")
ROOT = Path(__file__).parent.parent.parent
THREADS = 8
# What gunicorn does: it loads the application, then answers in threads. Each of these takes and keeps memory.
SERVE = f"""
import ctypes, json, sys, threading
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
print(json.dumps(sizes))
"""


def serve(folder: Path, **more: str) -> tuple[list[int], int]:
    """Return how many kB of the database the threads' connections keep, and from how many heaps they all take."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment = {**kept, "DEVELOPMENT": "1", "DATA_DIR": str(folder), "PYTHONPATH": str(ROOT), **more}
    command = [sys.executable, "-c", SERVE, str(folder / "heaps.xml")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    sizes: Any = json.loads(done.stdout)
    return [-size for size in sizes], (folder / "heaps.xml").read_text().count("<heap ")


def test_threads_share_one_heap_and_keep_little_of_the_database(tmp_path: Path) -> None:
    sizes, n_heaps = serve(tmp_path)
    assert sizes == [8 * 1024] * THREADS
    assert n_heaps == 1


def test_an_operator_can_give_them_more(tmp_path: Path) -> None:
    sizes, n_heaps = serve(tmp_path, SQLITE_CACHE_MB="32", MALLOC_ARENA_MAX="4")
    assert sizes == [32 * 1024] * THREADS
    assert n_heaps == 4
