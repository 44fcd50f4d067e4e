"""Attack 25: a worker killed at each step of its work; nothing is half there, and another one ends the work.

Each test has a real process carry out a real job, and ends it by SIGKILL at one step: before it has claimed the job, in
the middle of writing, and before it commits. What can be seen is then as it was, and the reaper hands the job on.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from assist import runs
from assist.models import AssistRun, Prediction
from exports import jobs
from exports.models import Export
from labeling import review_jobs
from labeling.models import Annotation, Kind, LabelEvent, LabelTask, ReviewJob
from labeling.submit import submit
from projects import refresh
from projects.models import Image, Project, Refresh
from tests import make
from tests.assist import planted

LONG_AGO = timedelta(minutes=10)
WORKER = """
import os, pkgutil, signal, sys
import django
django.setup()
from django.conf import settings
settings.ASSIST_IN_PROCESS = True
job, number, step, when = sys.argv[1:]
owner, _dot, name = step.rpartition(".")
owner = pkgutil.resolve_name(owner)
real = getattr(owner, name)

def last_step(*args, **more):
    if when == "after":
        real(*args, **more)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, name, last_step)
pkgutil.resolve_name(job)(int(number))
"""


def work_and_die(job: str, number: int, step: str) -> None:
    """Have another process do a job, and be killed ``before`` or ``after`` a step."""
    when, _space, name = step.partition(" ")
    command = [sys.executable, "-c", WORKER, job, str(number), name, when]
    done = subprocess.run(command, env=make.same_site(), capture_output=True, text=True, timeout=180)
    assert done.returncode == -signal.SIGKILL, done.stderr  # it came as far as that step


def seen(*rows: Any) -> list[Any]:
    """Return what is stored, as it can be compared."""
    return [sorted(found.values_list(), key=str) for found in rows]


@pytest.mark.parametrize(
    "step",
    [
        "before labeling.review_jobs.move",
        "after labeling.history.end_labels",
        "after labeling.review_jobs.review_all",
    ],
)
def test_25_a_review_is_all_there_or_not_at_all(project: Project, manager: User, labeler: User, step: str) -> None:
    page = make.page(project, labeler)
    submit(page, make.answers(page, labels=make.class_ids(project)[:1]))
    job = ReviewJob.objects.create(
        project=project, by=manager, action="reject", query={}, seen_at=timezone.now(), total=9
    )
    visible = (Annotation.objects.all(), LabelTask.objects.all(), LabelEvent.objects.all())
    before = seen(*visible)
    work_and_die("labeling.review_jobs.run", job.pk, step)
    assert seen(*visible) == before
    ReviewJob.objects.update(started_at=timezone.now() - LONG_AGO, created_at=timezone.now() - LONG_AGO)
    assert review_jobs.reap() == 1
    job.refresh_from_db()
    assert (job.state, job.count) == ("done", 9)
    assert not Annotation.objects.current().exists()
    assert LabelEvent.objects.filter(action="rejected").count() == 9
    assert review_jobs.reap() == 0


@pytest.mark.parametrize(
    "step",
    [
        "before exports.models.Export.start",
        "after exports.jobs._store",
        "before exports.models.Export.finish",
    ],
)
def test_25_an_export_is_whole_or_not_there(
    project: Project, manager: User, labeler: User, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = make.page(project, labeler)
    submit(page, make.answers(page, labels=make.class_ids(project)[:1]))
    with monkeypatch.context() as asleep:
        asleep.setattr(jobs, "wake", lambda job: None)
        export = jobs.enqueue(project, manager, {}, "csv")
    work_and_die("exports.jobs.write", export.pk, step)
    export.refresh_from_db()
    assert export.state in ("queued", "running") and not export.location and jobs.file_of(export) is None
    Export.objects.update(heartbeat_at=timezone.now() - LONG_AGO)
    assert jobs.reap() == 1
    export.refresh_from_db()
    assert (export.state, export.rows) == ("done", 9)
    with jobs.open_file(export) as file:
        assert len(file.read().splitlines()) == 10
    assert jobs.reap() == 0


@pytest.mark.parametrize(
    "step",
    [
        "before projects.refresh.move",
        "after projects.refresh._Registration.insert",
        "before projects.refresh._finish",
    ],
)
def test_25_a_refresh_registers_each_image_once(project: Project, tmp_path: Path, step: str) -> None:
    make.pictures(tmp_path / "images", 30)
    row = refresh.enqueue(project, wake=False)
    work_and_die("projects.refresh.run", row.pk, step)
    whole = 30 if step.endswith("_finish") else 20
    assert Image.objects.count() == LabelTask.objects.count() == whole
    Refresh.objects.filter(pk=row.pk).update(
        heartbeat_at=timezone.now() - LONG_AGO, created_at=timezone.now() - LONG_AGO
    )
    assert refresh.reap() == 1
    row.refresh_from_db()
    assert (row.state, row.found, row.added, row.missing) == ("done", 30, 10, 0)
    assert Image.objects.count() == LabelTask.objects.count() == 30
    assert refresh.reap() == 0


@pytest.mark.parametrize(
    "step",
    [
        "before assist.models.AssistRun.start",
        "after labeling.suggestions.suggest",
        "after assist.jobs.inference.publish",
    ],
)
def test_25_prelabels_are_published_whole_or_not_at_all(
    manager: User, labeler: User, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = planted.project(manager, tmp_path / "images", min_labels=1000)
    planted.label(project, labeler, 20)
    run = AssistRun.objects.create(project=project, kind="training", device="cpu")
    work_and_die("assist.runs.execute", run.pk, step)
    assert not LabelTask.objects.filter(kind=Kind.PRELABELED).exists()
    assert not Prediction.objects.filter(is_suggested=True, run__state="done").exists()
    AssistRun.objects.update(heartbeat_at=timezone.now() - LONG_AGO, created_at=timezone.now() - LONG_AGO)
    assert runs.reap() == 1
    assert set(AssistRun.objects.values_list("state", flat=True)) == {"done"}
    assert LabelTask.objects.filter(kind=Kind.PRELABELED).exists()
    assert runs.reap() == 0
