"""A process of the site is killed: the others go on, and the work that it was at is done all the same (SPEC A9, N3)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django_q.models import Task

from projects import refresh
from projects.models import Project, Refresh
from tests import make
from tests.ops.test_stopping import ROOT, wait_for


@pytest.fixture
def worker(manager: User, project: Project, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker with two processes, as `qcluster` starts it, on the tests' database."""
    log = (tmp_path / "worker.log").open("wb")
    command = [sys.executable, "manage.py", "qcluster"]
    env = make.same_site(WORKERS="2")
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)
    yield process
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)


def children(pid: int) -> list[int]:
    """Return the ids of a process's children, oldest first."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def family(pid: int) -> list[int]:
    """Return a worker's processes below its first one, once all are there: the guard, two workers, and two helpers."""
    guards = children(pid)
    found = [*guards, *(child for guard in guards for child in children(guard))]
    return found if len(found) == 5 else []


def is_done(job: Refresh) -> bool:
    connection.close()
    return Refresh.objects.get(pk=job.pk).state == "done"


@pytest.mark.parametrize("which", [1, 2, 3], ids=["worker", "other worker", "monitor"])
def test_a_worker_of_which_a_process_was_killed_works_on(
    worker: subprocess.Popen[bytes], project: Project, which: int
) -> None:
    """Idle processes hold the locks of the queue: one that is killed must not take the others' work with it."""
    before = wait_for(lambda: family(worker.pid))
    ask(project)
    wait_for(lambda: is_done(Refresh.objects.latest("pk")))
    os.kill(before[which], signal.SIGKILL)
    wait_for(lambda: (now := family(worker.pid)) and not set(now) & set(before))
    n_told = Task.objects.count()
    job = ask(project)
    wait_for(lambda: is_done(job))
    wait_for(lambda: Task.objects.count() > n_told)  # what was done is told as well
    assert not any(Path(f"/proc/{pid}").exists() for pid in before)


def ask(project: Project) -> Refresh:
    """Ask for a refresh, as another process of the site does."""
    from django_q.tasks import async_task

    job = refresh.enqueue(project, wake=False)
    async_task("projects.refresh.run", job.pk, sync=False)
    return job
