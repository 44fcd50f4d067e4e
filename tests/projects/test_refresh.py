"""Looking again: on time, at once when the queue runs dry, two at once, killed, with a store that is down (SPEC F)."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, transaction
from django.test import Client
from django.utils import timezone

from labeling import feeder, intake, queue
from labeling.feeder import opened
from labeling.models import LabelPage, LabelTask
from labeling.submit import submit
from projects import refresh, refresh_due, signals
from projects.models import Image, Project, Refresh
from projects.seen import SeenImages
from tests import make
from tests.clouds.names import BULK
from tests.clouds.servers import Server
from tests.clouds.weather import Weather
from tests.exports.written import export


def test_new_images_come_in_random_order_among_those_that_wait_and_none_moves(project: Project, tmp_path: Path) -> None:
    # F4, A2
    before = dict(LabelTask.objects.values_list("image_id", "rank"))
    make.pictures(tmp_path / "images" / "new", 40)
    refresh.enqueue(project)
    after = dict(LabelTask.objects.values_list("image_id", "rank"))
    assert {pk: rank for pk, rank in after.items() if pk in before} == before
    new = [rank for pk, rank in after.items() if pk not in before]
    assert len(new) == 40
    assert min(new) < max(before.values())
    assert max(new) > min(before.values())
    assert sorted(new) != new


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite keeps no such statistics by itself")
def test_postgresql_knows_at_once_that_very_many_images_joined(
    manager: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it does, it walks over all tasks to find those of a page."""
    monkeypatch.setattr(intake, "MANY", 30)
    make.project(manager, make.pictures(tmp_path / "many", 40))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, reltuples FROM pg_class WHERE relname IN ('projects_image', 'labeling_labeltask')"
        )
        assert dict(cursor.fetchall()) == {"projects_image": 40, "labeling_labeltask": 40}


def test_labels_stay_when_files_go_change_and_come_back(project: Project, labeler: User, tmp_path: Path) -> None:
    # D7
    page = make.page(project, labeler)
    submit(page, make.answers(page, labels=[make.class_ids(project)[0]]))
    paths = list(page.tasks.values_list("image__path", flat=True)) or list(
        LabelTask.objects.filter(status="labeled").values_list("image__path", flat=True)
    )
    kept = {path: (tmp_path / "images" / path).read_bytes() for path in paths[:2]}
    (tmp_path / "images" / paths[0]).unlink()
    (tmp_path / "images" / paths[1]).write_bytes(kept[paths[1]] + b" ")
    refresh.enqueue(project)
    gone, changed = (Image.objects.get(path=path) for path in paths[:2])
    assert (gone.problem, changed.changed_at is not None) == ("missing", True)
    assert LabelTask.objects.get(image=gone).status == "labeled"
    assert LabelTask.objects.get(image=changed).status == "needs_review"
    (tmp_path / "images" / paths[0]).write_bytes(kept[paths[0]])
    refresh.enqueue(project)
    gone.refresh_from_db()
    assert gone.problem in ("", "missing")
    assert LabelTask.objects.get(image=gone).annotations.filter(ended_by_event__isnull=True).count() == 1


def claimed_and_changed(project: Project, labeler: User, folder: Path) -> tuple[LabelPage, LabelTask]:
    """A page with an image whose file changed since it came onto the screen, to a larger one."""
    feeder.feed(project.pk)
    page = make.page(project, labeler, 1)
    task = page.tasks.select_related("image").get()
    assert task.image.width == 64
    PIL.Image.new("RGB", (128, 96)).save(folder / task.image.path)
    refresh.enqueue(project)
    return page, task


@pytest.mark.parametrize("kind", ["multiclass", "detection"])
def test_a_label_of_a_file_that_changed_on_the_screen_is_kept_and_flagged(
    manager: User, labeler: User, tmp_path: Path, client: Client, kind: str
) -> None:
    """D7, E1: it is of the file that was seen, with that one's size, and an export is the same for ever."""
    project = make.project(manager, make.pictures(tmp_path / "images", 3), kind)
    page, task = claimed_and_changed(project, labeler, tmp_path / "images")
    label = make.class_ids(project)[0]
    box = {"label_class": label, "box": [10, 10, 40, 30]}
    assert submit(page, make.answers(page, boxes=[box]) if kind == "detection" else make.answers(page, labels=[label]))
    task.refresh_from_db()
    assert (task.status, task.annotations.get().image_width) == ("needs_review", 64)
    assert list(task.events.order_by("pk").values_list("action", flat=True)) == ["submitted", "flagged"]
    (first,) = export(project, "csv").files
    opened(project, [LabelTask.objects.select_related("image").get(pk=task.pk)])
    (again,) = export(project, "csv").files
    assert Image.objects.get(pk=task.image_id).width == 128
    assert first["sha256"] == again["sha256"]


def test_a_file_that_changed_on_the_screen_is_opened_anew_when_the_page_goes_back(
    project: Project, labeler: User, tmp_path: Path
) -> None:
    page, task = claimed_and_changed(project, labeler, tmp_path / "images")
    queue.release(page)
    task.refresh_from_db()
    assert (task.status, task.page) == ("waiting", None)


def test_what_goes_while_it_is_on_the_screen_is_labeled_all_the_same(
    project: Project, labeler: User, labeler2: User, tmp_path: Path
) -> None:
    """D7: the page is submitted as it is seen, and no answer on it is refused; an image that is given back leaves."""
    mine, others = make.page(project, labeler, 2), make.page(project, labeler2, 2)
    gone = [page.tasks.select_related("image").first() for page in (mine, others)]
    for task in gone:
        (tmp_path / "images" / task.image.path).unlink()
    refresh.enqueue(project)
    assert submit(mine, make.answers(mine, labels=make.class_ids(project)[:1])).count == 2
    queue.release(others)
    states = [LabelTask.objects.get(pk=task.pk).status for task in gone]
    assert states == ["labeled", "missing"]
    assert Image.objects.get(pk=gone[0].image_id).problem == "missing"


def test_a_page_that_is_loaded_anew_shows_the_file_as_it_is_now(
    boxes: Project, labeler: User, tmp_path: Path, client: Client
) -> None:
    """Then a label is of the new file, and nothing has to be looked at again."""
    page, task = claimed_and_changed(boxes, labeler, Path(boxes.dataset.datastore.container))
    client.force_login(labeler)
    client.get(f"/label/{boxes.pk}/")
    box = {"label_class": make.class_ids(boxes)[0], "box": [70, 60, 50, 30]}
    submit(LabelPage.objects.get(pk=page.pk), make.answers(page, boxes=[box]))
    task.refresh_from_db()
    assert (task.status, task.annotations.get().image_width) == ("labeled", 128)


def test_what_a_project_may_hold_is_filled_and_no_more(project: Project, tmp_path: Path, settings: Any) -> None:
    # D5, F1
    settings.MAX_IMAGES_PER_PROJECT = 23
    make.pictures(tmp_path / "images" / "new", 5)
    refresh.enqueue(project)
    last = project.refreshes.first()
    assert last is not None
    assert (last.added, last.left_out) == (3, 2)
    Project.objects.filter(pk=project.pk).update(incremental_refresh=True, next_refresh_at=None)
    assert refresh_due.enqueue_due() == 0


def test_the_less_is_left_the_sooner_it_looks_again() -> None:
    # F1
    assert refresh_due.interval(0, 0) == refresh_due.SOONEST
    assert refresh_due.interval(100, 0) == refresh_due.LATEST
    assert refresh_due.interval(1_000, 100) > refresh_due.interval(500, 100) > refresh_due.interval(500, 500)
    assert refresh_due.interval(1, 10_000) == refresh_due.SOONEST


def test_it_looks_at_the_time_that_was_set_and_not_before(project: Project, tmp_path: Path) -> None:
    # F1
    assert refresh_due.enqueue_due() == 0  # switched off
    Project.objects.filter(pk=project.pk).update(incremental_refresh=True)
    assert refresh_due.enqueue_due() == 1
    project.refresh_from_db()
    assert project.next_refresh_at is not None
    assert refresh_due.enqueue_due() == 0
    Project.objects.filter(pk=project.pk).update(next_refresh_at=timezone.now() - timedelta(seconds=1))
    make.pictures(tmp_path / "images" / "new", 2)
    assert refresh_due.enqueue_due() == 1
    assert project.images.count() == 22


def test_a_dry_queue_is_filled_at_once(manager: User, labeler: User, tmp_path: Path) -> None:
    # F1, L10: through the labeler's door
    folder = make.pictures(tmp_path / "few", 1)
    project = make.project(manager, folder, incremental_refresh=True)
    client = Client()
    client.force_login(labeler)

    def claim() -> Any:
        return client.post(f"/api/v1/labeling/projects/{project.pk}/claim/", {"count": 1}, "application/json").json()

    page = claim()["page"]
    answer = {"items": [{"id": page["items"][0]["id"], "labels": make.class_ids(project)[:1]}]}
    assert client.post(f"/api/v1/labeling/pages/{page['id']}/submit/", answer, "application/json").status_code == 200
    make.pictures(folder / "new", 1)
    assert claim()["page"] is None  # it has just been looked at
    assert project.refreshes.count() == 1
    Refresh.objects.update(created_at=timezone.now() - timedelta(minutes=2))
    claim()
    assert project.refreshes.count() == 2
    assert claim()["page"]["items"]


def test_two_at_once_are_one(project: Project, tmp_path: Path) -> None:
    make.pictures(tmp_path / "images" / "new", 30)
    start = threading.Barrier(4)

    def go() -> None:
        start.wait()
        try:
            row = refresh.enqueue(project, wake=False)
            refresh.run(row.pk)
            refresh.run(row.pk)  # delivered twice
        finally:
            connection.close()

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert project.images.count() == LabelTask.objects.filter(project=project).count() == 50
    assert sum(project.refreshes.values_list("added", flat=True)) == 50
    assert set(project.refreshes.values_list("state", flat=True)) == {"done"}


def test_the_command_refreshes_what_is_named(project: Project, tmp_path: Path) -> None:
    # F3
    make.pictures(tmp_path / "images" / "new", 2)
    said = StringIO()
    call_command("refresh_datasets", project.name, stdout=said)
    assert f"{project.name}: 22 found, 2 added" in said.getvalue()
    call_command("refresh_datasets", "--all", stdout=said)
    assert project.refreshes.count() == 3
    for wrong in ([], ["nobody"], ["--all", project.name]):
        with pytest.raises(CommandError):
            call_command("refresh_datasets", *wrong, stdout=said)
    (tmp_path / "images").rename(tmp_path / "away")
    with pytest.raises(CommandError, match="not refreshed"):
        call_command("refresh_datasets", str(project.pk), stdout=said)
    assert "is not there" in said.getvalue()


def test_a_store_that_is_down_does_no_harm(project: Project, tmp_path: Path) -> None:
    # F2, N3: nothing is missing, nothing unreadable; it goes on when the store is back.
    Image.objects.update(width=None, height=None)
    LabelTask.objects.update(status="waiting")
    (tmp_path / "images").rename(tmp_path / "away")
    refresh.enqueue(project)
    last = project.refreshes.first()
    assert last is not None
    assert (last.state, last.missing) == ("failed", 0)
    assert "is not there" in last.error
    feeder.feed(project.pk)
    assert not project.images.exclude(problem="").exists()
    project.refresh_from_db()
    assert project.state == "running"
    (tmp_path / "away").rename(tmp_path / "images")
    refresh.enqueue(project)
    assert LabelTask.objects.filter(status="queued").count() == 20
    assert project.images.exclude(problem="").count() == 0


def test_a_cloud_that_asks_to_go_slower_for_good_is_told_in_words(
    clouds: Callable[[str], Server], weather: Callable[[Server], Weather], manager: User
) -> None:
    server = clouds("s3")
    proxy = weather(server)
    place = server.datastore("slow").open()
    for number in range(3):
        place.write(f"{number}.png", io.BytesIO(make.tiny_png()), overwrite=True)
    project = make.project_of(manager, server.datastore("slow", port=proxy.port))
    proxy.fault = lambda path: (503, b"<Error><Code>SlowDown</Code></Error>")
    refresh.enqueue(project)
    last = project.refreshes.first()
    assert last is not None
    assert (last.state, last.missing) == ("failed", 0)
    assert "asks to go slower" in last.error
    proxy.fault = lambda path: False
    refresh.enqueue(project)
    assert project.refreshes.filter(state="done", found=3, missing=0).count() == 2


def test_a_killed_refresh_goes_on_where_it_was(
    clouds: Callable[[str], Server],
    weather: Callable[[Server], Weather],
    manager: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # N3: a real process, killed in the middle of the listing; then another one.
    server = clouds("s3")
    proxy = weather(server)
    project = make.project_of(manager, server.datastore(f"{BULK}/000"), "**/*.*")
    assert project.images.count() == 1000
    dataset = project.dataset
    dataset.datastore = server.datastore(port=proxy.port)
    dataset.pattern = f"{BULK}/00?/*"
    dataset.save()
    row = refresh.enqueue(project, wake=False)
    gate = threading.Event()

    def slow(path: str) -> bool:
        if "list-type" in path and len([p for p in proxy.requests if "list-type" in p]) > 3:
            gate.wait(60)
        return False

    proxy.fault = slow
    code = (
        "import django; django.setup()\n"
        "from projects import refresh\n"
        "refresh.BATCH_SECONDS = 0.0\n"
        f"refresh.run({row.pk})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env=make.same_site(), start_new_session=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and row.found < 3000:
        time.sleep(0.1)
        row.refresh_from_db()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    gate.set()
    assert row.found == 3000
    assert row.state == "running"
    proxy.requests.clear()
    proxy.fault = lambda path: False
    Refresh.objects.filter(pk=row.pk).update(heartbeat_at=timezone.now() - 2 * refresh.LOST_AFTER)
    assert refresh.reap() == 1
    row.refresh_from_db()
    assert (row.state, row.found, row.added, row.missing) == ("done", 10_000, 10_000, 1000)
    listings = [path for path in proxy.requests if "list-type" in path]
    assert "start-after=bulk" in listings[0]
    assert len(listings) < 11
    assert project.images.filter(problem="").count() == 10_000


def test_what_was_seen_fits_into_a_row() -> None:
    seen = SeenImages(1_000_000, 1_500_000)
    seen.add(range(1_000_000, 1_400_000))
    seen.add([5, 2_000_000])
    packed = seen.pack()
    again = SeenImages.unpack(packed)
    assert len(packed) < 5_000
    assert [pk in again for pk in (5, 1_000_000, 1_399_999, 1_400_000, 2_000_000)] == [False, True, True, False, False]
    assert 5 not in SeenImages.unpack(SeenImages(1, 0).pack())


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="reads PostgreSQL's own counters")
def test_what_is_listed_is_looked_up_without_reading_all_images(project: Project) -> None:
    """A listing comes in hundreds of parts: reading every image for each of them takes minutes where seconds do."""
    scans = "SELECT seq_scan, idx_scan FROM pg_stat_xact_user_tables WHERE relname = 'projects_image'"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO projects_image (project_id, path, size, etag, orientation, problem, problem_detail)"
            " SELECT %s, 'camera/' || n || '.jpg', 1, '', 1, '', '' FROM generate_series(1, 60000) AS n",
            [project.pk],
        )
        cursor.execute(scans)
        before = cursor.fetchone()
        paths = [f"camera/{number}.jpg" for number in range(58_001, 62_001)]
        assert set(refresh.known_images(project.pk, paths)) == set(paths[:2000])
        cursor.execute(scans)
        n_all, n_looks = (after - was for after, was in zip(cursor.fetchone(), before, strict=True))
        assert (n_all, n_looks) == (0, len(paths))


def test_a_refresh_that_lost_its_database_goes_on_when_it_is_back(project: Project, tmp_path: Path) -> None:
    """It has not failed: as after the loss of its worker, another one takes it up."""
    make.pictures(tmp_path / "images", 25)

    def lose(**kwargs: object) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    job = refresh.enqueue(project, wake=False)
    signals.images_registered.connect(lose)
    try:
        with pytest.raises(OperationalError):
            refresh.run(job.pk)
    finally:
        signals.images_registered.disconnect(lose)
    assert Image.objects.filter(project=project).count() == 20
    Refresh.objects.filter(pk=job.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=2))
    assert refresh.reap() == 1
    job.refresh_from_db()
    assert (job.state, job.found, job.added) == ("done", 25, 5)
    assert Image.objects.filter(project=project).count() == 25
