"""Races (SPEC N3, ATTACKS 8): nobody gets what another has, and of two that exclude each other one wins."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from labeling import feeder, queue, review
from labeling.models import Annotation, LabelEvent, LabelTask
from labeling.queue import Lapsed, Paused
from labeling.submit import submit
from projects import refresh
from projects.access import lock
from projects.models import Image, Project, Refresh
from tests import make


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Do all the works at the same time; return what each gave, or the exception that it raised."""
    results: list[Any] = [None] * len(works)
    start = threading.Barrier(len(works))

    def run(number: int, work: Callable[[], Any]) -> None:
        start.wait()
        try:
            results[number] = work()
        except Exception as error:
            results[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.fixture
def crowd(roles: None) -> list[User]:
    return [make.user(f"labeler{n}", "labeler") for n in range(12)]


def unexpected(results: Sequence[Any], *expected: type[Exception]) -> list[Any]:
    return [result for result in results if isinstance(result, Exception) and not isinstance(result, expected)]


def test_a_crowd_gets_different_images(manager: User, crowd: list[User], tmp_path: Path) -> None:
    project = make.project(manager, make.pictures(tmp_path / "many", 130))
    feeder.feed(project.pk, 130)
    pages = at_once(*(lambda labeler=labeler: queue.claim(project, labeler, 9) for labeler in crowd))
    assert unexpected(pages) == []
    claimed = LabelTask.objects.filter(status="claimed")
    assert claimed.count() == sum(page.size for page in pages if page) == 12 * 9
    assert all(page.tasks.count() == 9 for page in pages)


def test_two_tabs_of_one_person_get_one_page(project: Project, labeler: User) -> None:
    feeder.feed(project.pk)
    pages = at_once(*(lambda: queue.claim(project, labeler, 4) for _tab in range(4)))
    assert unexpected(pages) == []
    assert len({page.pk for page in pages}) == 1
    assert LabelTask.objects.filter(status="claimed").count() == 4


def test_the_same_submit_at_once_counts_once(project: Project, labeler: User) -> None:
    page = make.page(project, labeler)
    items = make.answers(page, labels=make.class_ids(project)[:1])
    results = at_once(*(lambda: submit(page, items) for _try in range(4)))
    assert [result.count for result in results] == [9] * 4
    assert LabelEvent.objects.filter(action="submitted").count() == 9


def test_a_submit_and_a_pause_come_one_after_the_other(project: Project, labeler: User) -> None:
    page = make.page(project, labeler)
    items = make.answers(page, labels=make.class_ids(project)[:1])
    results = at_once(lambda: submit(page, items), project.pause)
    assert unexpected(results, Paused) == []
    stored = 0 if isinstance(results[0], Paused) else 9
    assert Annotation.objects.current().count() == stored


def test_a_correction_and_a_rejection_leave_one_state(project: Project, labeler: User, manager: User) -> None:
    from labeling.submit import Reviewed, correct

    page = make.page(project, labeler)
    cat, dog, _bird = make.class_ids(project)
    submit(page, make.answers(page, labels=[cat]))
    ids = list(page.tasks.values_list("image", flat=True))
    results = at_once(
        lambda: correct(page, make.answers(page, labels=[dog]), labeler),
        lambda: review.reject(project, manager, ids),
    )
    assert unexpected(results, Reviewed) == []
    assert Annotation.objects.current().count() == 0
    assert set(LabelTask.objects.filter(image__in=ids).values_list("status", flat=True)) == {"queued"}


def test_a_submit_and_a_lapse_leave_one_state(project: Project, labeler: User) -> None:
    page = make.page(project, labeler)
    items = make.answers(page, labels=make.class_ids(project)[:1])
    results = at_once(lambda: submit(page, items), lambda: queue.release(page))
    assert unexpected(results, Lapsed) == []
    labeled = LabelTask.objects.filter(status="labeled").count()
    assert labeled == Annotation.objects.current().count()
    assert labeled in (0, 9)
    assert not LabelTask.objects.filter(status="claimed").exists()


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one lock, so nobody waits crosswise")
@pytest.mark.parametrize("what", ["feed", "changed", "gone", "back"])
def test_an_import_and_what_looks_at_images_do_not_wait_for_each_other_crosswise(
    manager: User, tmp_path: Path, what: str
) -> None:
    """Both write tasks and images. An import holds tasks and then wants the images of them."""
    project = make.project(manager, make.pictures(tmp_path / "images", 20))
    paths = sorted((tmp_path / "images").iterdir())
    if what == "back":
        for path in paths:
            path.rename(tmp_path / path.name)
        refresh.run(refresh.enqueue(project, wake=False).pk)
    if what == "feed":
        Image.objects.filter(project=project).update(width=None, height=None)
        LabelTask.objects.filter(project=project).update(status="waiting")
    for path in paths:
        if what == "changed":
            path.write_bytes(make.tiny_png())
        elif what == "gone":
            path.unlink()
        elif what == "back":
            (tmp_path / path.name).rename(path)
    done, errors = threading.Event(), []

    def other() -> None:
        try:
            if what == "feed":
                feeder.feed(project.pk)
            else:
                refresh.run(refresh.enqueue(project, wake=False).pk)
        except Exception as error:
            errors.append(error)
        finally:
            done.set()
            connection.close()

    thread = threading.Thread(target=other)
    with transaction.atomic():
        lock(project)
        ids = list(LabelTask.objects.filter(project=project).select_for_update().values_list("pk", flat=True))
        thread.start()
        while not done.wait(0.1) and not someone_waits():
            pass
        Image.objects.filter(project=project).update(orientation=1)
    thread.join()
    assert errors == []
    assert len(ids) == 20
    assert not Refresh.objects.filter(project=project).exclude(state="done").exists()


def someone_waits() -> bool:
    """Whether a transaction waits for a row that another holds."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return bool(cursor.fetchone()[0])
