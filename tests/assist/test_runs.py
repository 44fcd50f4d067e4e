"""Runs start once, end once, and survive killed workers (SPEC A9; ATTACKS 24, 25)."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from assist import cycle, runs
from assist.children import run_in_child
from assist.jobs.work import Outcome, Stopped, Work
from assist.labels import Labeled
from assist.models import AssistRun
from labeling import suggestions
from labeling.answers import Label
from labeling.models import Kind, LabelTask
from labeling.suggestions import Suggestion
from projects.models import Project
from projects.transitions import WrongState
from tests import make
from tests.assist import planted

State = AssistRun.State
NOTHING = Labeled(np.empty(0, int), np.empty(0, int), np.empty((0, 0), int), np.empty(0, bool))
SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def assisted(manager: User, tmp_path: Path) -> Project:
    return planted.project(manager, tmp_path / "images", count=30)


@pytest.fixture
def run(assisted: Project) -> AssistRun:
    """A run that waits for a worker."""
    return AssistRun.objects.create(project=assisted, kind="training", device="cpu")


def test_of_two_workers_one_gets_the_run(run: AssistRun) -> None:
    other = AssistRun.objects.get(pk=run.pk)
    run.start("one")
    with pytest.raises(WrongState):
        other.start("two")
    assert AssistRun.objects.get(pk=run.pk).token == "one"


def test_a_cancelled_run_publishes_nothing_and_its_worker_is_told(run: AssistRun) -> None:
    run.start("mine")
    work = Work(run, "mine")
    work.report(0.5, "half-way")
    runs.cancel(run)
    assert runs.beat("mine") is False
    with pytest.raises(Stopped):
        work.report(1, "done")
    with pytest.raises(Stopped):
        work.finish(Outcome({"accuracy": 1.0}, publish=lambda project: pytest.fail("published")))
    run.refresh_from_db()
    assert run.state == State.CANCELLED and run.metrics == {} and "cancelled" in run.log


def test_what_a_run_publishes_is_undone_when_it_cannot_end(run: AssistRun) -> None:
    """ATTACKS 25: killed between "published" and "ended", neither is there."""
    run.start("mine")

    def publish(project: Project) -> dict[str, int]:
        LabelTask.objects.filter(project=project).update(kind=Kind.PRELABELED)
        AssistRun.objects.filter(pk=run.pk).update(token="another")
        return {}

    with pytest.raises(Stopped):
        Work(run, "mine").finish(Outcome(publish=publish))
    assert not LabelTask.objects.filter(kind=Kind.PRELABELED).exists()
    run.refresh_from_db()
    assert (run.state, run.token) == (State.RUNNING, "mine")


def test_a_lost_worker_s_run_is_given_to_another_and_at_last_fails_in_words(
    run: AssistRun, settings: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[int] = []
    monkeypatch.setattr(runs, "_wake_worker", lambda lost: woken.append(lost.pk))
    long_ago = timezone.now() - timedelta(minutes=5)
    for attempt in range(1, runs.MAX_ATTEMPTS + 1):
        run.refresh_from_db()
        run.start(f"attempt {attempt}")
        assert runs.reap() == 0
        AssistRun.objects.filter(pk=run.pk).update(heartbeat_at=long_ago)
        assert runs.reap() == (1 if attempt < runs.MAX_ATTEMPTS else 0)
    run.refresh_from_db()
    assert run.state == State.FAILED and "lost 3 times" in run.error
    assert woken == [run.pk] * 2


def test_a_run_that_no_worker_was_told_of_is_told_again(run: AssistRun, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[int] = []
    monkeypatch.setattr(runs, "_wake_worker", lambda lost: woken.append(lost.pk))
    AssistRun.objects.filter(pk=run.pk).update(created_at=timezone.now() - timedelta(minutes=5))
    assert runs.reap() == 1 and woken == [run.pk]


def test_a_child_that_was_killed_fails_the_run_in_words(run: AssistRun) -> None:
    run.start("mine")
    runs.settle("mine", -9)
    run.refresh_from_db()
    assert run.state == State.FAILED and "signal 9" in run.error


def test_gpu_runs_have_a_queue_of_their_own(settings: object) -> None:
    """SPEC N2."""
    from projects import devices

    settings.ASSIST_DEVICES = ["cuda:0"]  # type: ignore[attr-defined]
    assert devices.choices()[0][0] == "cuda:0" and devices.choices()[-1][0] == "cpu"
    assert devices.queue_for("cuda:0") == {"cluster": "gpu"} and devices.queue_for("cpu") == {}


def test_a_run_on_a_gpu_that_the_worker_does_not_have_fails_in_words(
    manager: User, labeler: User, tmp_path: Path, settings: Any
) -> None:
    """Web and worker may be on different machines: what one offers the other need not have."""
    settings.ASSIST_DEVICES = ["cuda:99"]
    project = planted.project(manager, tmp_path / "images", count=30, device="cuda:99")
    planted.label(project, labeler, 20)
    for _look in range(3):
        cycle.look(project.pk)
    found = AssistRun.objects.order_by("pk")
    assert [run.kind for run in found] == ["featurization", "training"]  # once each, not again at every look
    for run in found:
        assert run.device == "cuda:99" and run.state == State.FAILED
        assert "There is no cuda:99 where this worker runs" in run.error and "CPU" in run.error


# --- Child processes ---------------------------------------------------------------------------------------


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_child_says_how_it_ended() -> None:
    root = Path(settings.BASE_DIR)
    assert run_in_child([sys.executable, "-c", "raise SystemExit(3)"], is_wanted=lambda: True, cwd=root) == 3


def test_a_child_that_is_not_wanted_any_more_ends_with_its_own_children(tmp_path: Path) -> None:
    """SPEC A9: cancel is a signal, and one that is not heeded is followed by another."""
    pid = tmp_path / "pid"
    stubborn = f"import signal; signal.signal(15, signal.SIG_IGN); {SLEEP}"
    parent = (
        "import pathlib, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {stubborn!r}])\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(child.pid))\n"
        "child.wait()"
    )
    status = run_in_child(
        [sys.executable, "-c", parent],
        is_wanted=lambda: not pid.exists(),
        cwd=tmp_path,
        every=0.1,
        grace=0.3,
    )
    assert status == -signal.SIGTERM
    deadline = time.monotonic() + 10
    while alive(int(pid.read_text())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(int(pid.read_text()))


def test_a_child_ends_with_the_worker_that_started_it(tmp_path: Path) -> None:
    """SPEC A9, N3: a killed worker leaves no process behind."""
    pid = tmp_path / "pid"
    child = f"import os, pathlib; pathlib.Path({str(pid)!r}).write_text(str(os.getpid())); {SLEEP}"
    code = (
        "import pathlib, sys\nfrom assist.children import run_in_child\n"
        f"run_in_child([sys.executable, '-c', {child!r}], is_wanted=lambda: True, cwd=pathlib.Path('.'))"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], cwd=settings.BASE_DIR)
    deadline = time.monotonic() + 30
    while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    worker.kill()
    worker.wait()
    while alive(int(pid.read_text())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(int(pid.read_text()))


def test_a_whole_round_runs_in_a_process_of_its_own(
    assisted: Project, labeler: User, settings: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SPEC A3, A9: the network is loaded there and the images are looked at; nothing of it stays in this process."""
    from assist.embeddings import Embeddings

    planted.label(assisted, labeler, 12)
    for path in Embeddings.open(assisted, planted.DIGEST, planted.STAGES).folder.iterdir():
        path.unlink()  # so that the child looks at the images
    AssistRun.objects.all().delete()
    settings.ASSIST_IN_PROCESS = False  # type: ignore[attr-defined]
    for key, value in (
        ("DATABASE_URL", make.database_url()),
        ("DJANGO_SETTINGS_MODULE", "labelsite.settings"),
        ("ASSIST_WEIGHTS_DIR", ""),
    ):
        monkeypatch.setenv(key, value)
    runs.enqueue(assisted)
    training = AssistRun.objects.get(kind="training")
    assert training.state == State.DONE, training.log
    assert training.config["weights"] == "none" and "no pretrained weights" in training.config["weights_words"]
    assert "30 images looked at" in training.log
    assert AssistRun.objects.filter(kind="validation", state=State.DONE).exists()


def test_what_a_killed_run_wrote_down_counts_for_nobody(assisted: Project, labeler: User, run: AssistRun) -> None:
    """SPEC A9: predictions and departures count once their run is done; the next run deletes the others."""
    from assist.blind import suggested_tasks
    from assist.jobs import staging
    from assist.labels import open_ledger, read_ledger
    from assist.models import Departure, Prediction
    from labeling import signals

    run.start("mine")
    work = Work(run, "mine")
    with transaction.atomic():
        ledger = open_ledger(assisted)
    task = LabelTask.objects.order_by("pk")[0]
    said = [{"label_class": make.class_ids(assisted)[0], "confidence": 0.9}]
    for _attempt in range(2):  # the second one finds what the first has left
        staging.clear(work)
        staging.predictions(work, [(task.pk, said, 0.9, None, True)], 1, 0, 0.5)
        staging.departures(work, ledger.pk, [(task.pk, [1], 0.9, True)], 1, 0.5, 0.5)
    assert Prediction.objects.get().labels == said and Departure.objects.get().classes == [1]
    LabelTask.objects.filter(pk=task.pk).update(kind=Kind.PRELABELED)
    assert not suggested_tasks(assisted).exists()
    assert read_ledger(ledger, NOTHING, []).m == 0
    assert [answer for _who, answer in signals.asking_for_suggestion.send(sender=None, task=task) if answer] == []
    AssistRun.objects.filter(pk=run.pk).update(state=State.DONE)
    assert suggested_tasks(assisted).exists() and read_ledger(ledger, NOTHING, []).m == 1
    with pytest.raises(Stopped):
        staging.predictions(work, [(task.pk, said, 0.9, None, True)], 1, 0, 1)


def test_images_that_were_claimed_meanwhile_stay_blank(assisted: Project, labeler: User) -> None:
    """SPEC A6: many suggestions are filled in by a few statements, and none on a page that somebody has."""
    page = make.page(assisted, labeler, 4)
    tasks = list(LabelTask.objects.order_by("pk"))
    bird = make.class_ids(assisted)[2]
    wanted = [Suggestion(task.pk, (Label(bird),), (0.9,), 0.8, group=3) for task in tasks]
    with transaction.atomic():
        filled = suggestions.suggest(assisted, suggestions.pack(wanted))
    assert filled == {task.pk for task in tasks if task.page_id != page.pk} and len(filled) == 26
    for task in LabelTask.objects.all():
        if task.pk in filled:
            assert (task.kind, task.priority, task.group, task.confidence) == (Kind.PRELABELED, 0, 3, 0.8)
            assert task.prelabels == [{"label_class": bird, "confidence": 0.9}]
        else:
            assert task.kind == Kind.MANUAL and task.prelabels is None
    with transaction.atomic():  # pages of alike images take none of them away
        assert suggestions.group_pages(assisted, [[task.pk for task in tasks]]) == 0
