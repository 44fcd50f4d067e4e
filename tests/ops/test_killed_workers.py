"""A worker that is killed in the middle of a model's run: another one ends it, and nothing is half-done (SPEC A9, N3).

Real ``qcluster`` processes, killed with everything that they started. Only the clock is helped: the dead worker's
heartbeat is made old, and the reaper is told to come now.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.models import OrmQ, Schedule
from django_q.signing import SignedPackage

from assist.embeddings import Embeddings
from assist.models import AssistRun, Departure, Prediction
from labeling.models import Kind, LabelEvent, LabelTask, Status
from projects.models import Project
from tests import make
from tests.assist import planted

ROOT = Path(__file__).parent.parent.parent
REAPER = "assist.runs.reap"
LONG_AGO = timedelta(minutes=5)
State = AssistRun.State


def wait_for(what: Callable[[], Any], words: str, seconds: float = 300) -> Any:
    """Return what it returns, once that is something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError(f"{words} did not come within {seconds} s: {list(AssistRun.objects.values_list('log'))}")


@contextmanager
def worker(log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a worker of this site; what is left of it is killed at the end."""
    more = {"ASSIST_IN_PROCESS": "0", "ASSIST_DOWNLOAD": "0", "ASSIST_WEIGHTS_DIR": "", "WORKERS": "2", **environment}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "qcluster"],
            cwd=ROOT,
            env=make.same_site(**more),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker's whole process group; its child, in a group of its own, dies with it."""
    children = runs_of(process.pid)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in children), "the end of the child", 30)


def runs_of(group: int) -> list[int]:
    """Return the run_assist processes whose parents are of a process group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if b"run_assist" in (folder / "cmdline").read_bytes() and os.getpgid(parent) == group:
                found.append(int(folder.name))
        except (OSError, IndexError):
            continue
    return found


def let_time_pass() -> None:
    """Make the heartbeats old, and have the reaper come now."""
    OrmQ.objects.all().delete()  # what the dead worker had fetched comes back by the reaper, not by the queue
    AssistRun.objects.filter(state=State.RUNNING).update(heartbeat_at=timezone.now() - LONG_AGO)
    AssistRun.objects.filter(state=State.QUEUED).update(created_at=timezone.now() - LONG_AGO)
    Schedule.objects.all().delete()
    call = {"id": uuid.uuid4().hex, "name": "reaper", "func": REAPER, "args": (), "kwargs": {}}
    get_broker().enqueue(SignedPackage.dumps(call | {"started": timezone.now()}))


def started(project: Project, kind: str) -> AssistRun:
    """Return a run that waits for a worker."""
    run = AssistRun.objects.create(project=project, kind=kind, device="cpu", seed=1)
    let_time_pass()
    return run


def is_at(run: AssistRun, kind: str, words: str) -> Callable[[], bool]:
    """Return what tells that a run of the round is at a step."""
    return lambda: AssistRun.objects.filter(
        project=run.project, kind=kind, state=State.RUNNING, step__startswith=words
    ).exists()


def finish(run: AssistRun, log: Path) -> None:
    """Have another worker end what the first one left."""
    let_time_pass()
    with worker(log, ASSIST_STEPS="2"):
        active = AssistRun.objects.filter(project=run.project, state__in=[State.QUEUED, State.RUNNING])
        wait_for(lambda: not active.exists(), "the end of the round")
    states = set(AssistRun.objects.filter(project=run.project).values_list("state", flat=True))
    assert states == {State.DONE}, list(AssistRun.objects.values_list("kind", "state", "log"))
    assert AssistRun.objects.filter(project=run.project, attempts=2, log__contains="worker was lost").count() == 1


def labeled(project: Project) -> int:
    """Return how many acknowledged labels there are."""
    assert LabelTask.objects.filter(project=project, status=Status.LABELED).count() == (
        LabelEvent.objects.filter(project=project, action="submitted").count()
    )
    return LabelTask.objects.filter(project=project, status=Status.LABELED).count()


def test_featurization_goes_on_where_it_was(manager: User, labeler: User, tmp_path: Path) -> None:
    project = planted.project(manager, tmp_path / "images", count=160)
    for path in Embeddings.open(project, planted.DIGEST, planted.STAGES).folder.iterdir():
        path.unlink()
    run = started(project, "featurization")
    with worker(tmp_path / "log"):
        rows = Embeddings.open(project, planted.DIGEST, planted.STAGES)
        wait_for(lambda: len(rows), "the first batch")
    n_rows = len(Embeddings.open(project, planted.DIGEST, planted.STAGES))
    assert 0 < n_rows < 160
    planted.label(project, labeler, 9)
    finish(run, tmp_path / "log")
    run.refresh_from_db()
    assert run.metrics["images"] == 160 and f"{160 - n_rows} images looked at" in run.log
    assert labeled(project) == 9


def test_a_training_begins_again(manager: User, labeler: User, tmp_path: Path) -> None:
    project = planted.project(manager, tmp_path / "images", count=60, training="fine-tune", min_labels=50)
    planted.label(project, labeler, 36)
    run = started(project, "training")
    with worker(tmp_path / "log", ASSIST_STEPS="5000"):
        wait_for(is_at(run, "training", "fine-tuning"), "fine-tuning")
    run.refresh_from_db()
    assert run.state == State.RUNNING and run.metrics == {}
    planted.label(project, labeler, 9)
    finish(run, tmp_path / "log")
    assert AssistRun.objects.filter(project=project, kind="validation").count() == 1
    assert labeled(project) == 45


def test_a_publication_is_whole_or_not_there(manager: User, labeler: User, tmp_path: Path) -> None:
    project = planted.project(manager, tmp_path / "images", count=60, min_labels=50)
    planted.label(project, labeler, 36)
    run = started(project, "training")
    with slow_suggestions(), worker(tmp_path / "log"):
        staged = Departure.objects.filter(run__project=project, run__state=State.RUNNING)
        wait_for(staged.exists, "the publication")  # all is written down but the tasks
        time.sleep(2)
    inference = AssistRun.objects.get(project=project, kind="inference")
    assert inference.state == State.RUNNING
    assert not LabelTask.objects.filter(kind=Kind.PRELABELED).exists()
    planted.label(project, labeler, 9)
    assert not LabelTask.objects.filter(kind=Kind.PRELABELED).exists()
    finish(run, tmp_path / "log")
    suggested = set(LabelTask.objects.filter(kind=Kind.PRELABELED).values_list("pk", flat=True))
    assert suggested
    for written in (Prediction.objects.filter(run=inference), Departure.objects.filter(run=inference)):
        assert set(written.filter(is_suggested=True).values_list("task_id", flat=True)) == suggested
    assert labeled(project) == 45


@contextmanager
def slow_suggestions() -> Iterator[None]:
    """Let the database take its time for each suggestion, so that a publication has a middle."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN PERFORM pg_sleep(2); RETURN NEW; END'"
            )
            cursor.execute(
                "CREATE TRIGGER slow BEFORE UPDATE OF prelabels ON labeling_labeltask"
                " FOR EACH ROW EXECUTE FUNCTION take_time()"
            )
        else:
            cursor.execute(
                "CREATE TRIGGER slow AFTER UPDATE OF prelabels ON labeling_labeltask BEGIN"
                " SELECT count(*) FROM (WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n"
                " WHERE x < 10000000) SELECT x FROM n); END"
            )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("DROP FUNCTION take_time CASCADE")
            else:
                cursor.execute("DROP TRIGGER slow")


@pytest.fixture(autouse=True)
def _no_other_schedules(transactional_db: None) -> None:
    Schedule.objects.all().delete()
