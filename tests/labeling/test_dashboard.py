"""The dashboard's numbers (SPEC B1, B2, B5, B6)."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from labeling import dashboard as module
from labeling import listing, review, tallies
from labeling.images import ImageFilter
from labeling.models import Annotation, LabelEvent, LabelTask, Tally
from labeling.progress import count_progress
from labeling.submit import correct, submit
from projects import refresh
from projects.models import Project
from tests import make


@pytest.fixture
def kept(settings: Any) -> None:
    """A real cache: what is counted is kept, as on a real site."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    cache.clear()


def dashboard(project: Project, user: User) -> Any:
    client = Client()
    client.force_login(user)
    return client.get(f"/admin/projects/project/{project.pk}/dashboard/")


def test_the_label_counts_follow_every_change(
    kept: None, project: Project, manager: User, labeler: User, tmp_path: Path
) -> None:
    """SPEC B5: kept up from event to event, they equal what a fresh count says, with other projects' events between."""
    cat, dog, bird = make.class_ids(project)
    other = make.project(manager, make.pictures(tmp_path / "other", 3))
    assert count_progress(project).labels == count_progress(other).labels == {}
    page = make.page(project, labeler)
    steps = [
        lambda: submit(page, make.answers(page, labels=[cat])),
        lambda: correct(page, make.answers(page, labels=[dog]), labeler),
        lambda: review.reject(project, manager, list(page.tasks.values_list("image", flat=True)[:3])),
        lambda: review.correct(
            project, manager, [{"id": LabelTask.objects.filter(status="labeled")[0].pk, "labels": [bird]}]
        ),
        lambda: submit(second := make.page(project, labeler), make.answers(second, labels=[cat])),
    ]
    steps.insert(2, lambda: submit(theirs := make.page(other, labeler), make.answers(theirs, labels=foreign)))
    foreign = make.class_ids(other)[:1]
    for step in steps:
        step()
        for each in (project, other):
            assert count_progress(each).labels == tallies._count_labels(each)[1]
    assert sum(count_progress(project).labels.values()) == 9 - 3 + 9
    assert Annotation.objects.current().count() == 9 - 3 + 9 + 3


def test_the_tasks_are_counted_but_for_the_state_of_most(
    kept: None, project: Project, manager: User, labeler: User, labeler2: User, tmp_path: Path
) -> None:
    """SPEC B1: what is left of all is exact, whatever happens; it is told apart from a count by a lie in the cache."""
    (cat, *_others), folder = make.class_ids(project), tmp_path / "images"
    steps = [
        lambda: make.page(project, labeler),
        lambda: submit(page := make.page(project, labeler), make.answers(page, labels=[cat])),
        lambda: submit(page := make.page(project, labeler), make.answers(page, skip="unclear")),
        lambda: review.approve(
            project, manager, list(project.tasks.filter(status="labeled").values_list("image", flat=True))
        ),
        lambda: make.pictures(folder, 27) and refresh.run(refresh.enqueue(project).pk),
        lambda: make.page(project, labeler),
        lambda: (folder / "0000.png").unlink() or refresh.run(refresh.enqueue(project).pk),
        tallies.renew_all,
        cache.clear,
    ]
    for step in steps:
        step()
        counts = Counter(LabelTask.objects.filter(project=project).values_list("status", flat=True))
        progress = count_progress(project)
        assert {state: n for state, n in progress.tasks.items() if n} == counts
        waiting = LabelTask.objects.filter(project=project, status="queued").values_list("kind", flat=True)
        assert Counter(progress.queue) == Counter(waiting)
    key = f"tasks-{project.pk}"
    added, total, most = cache.get(key)
    cache.set(key, (added, total + 1000, most))
    assert count_progress(project).tasks[most] == counts[most] + 1000
    make.pictures(folder, 30)
    refresh.run(refresh.enqueue(project).pk)
    assert sum(count_progress(project).tasks.values()) == 30


def test_an_emptied_cache_is_filled_from_what_a_worker_kept(
    kept: None, project: Project, manager: User, labeler: User, labeler2: User
) -> None:
    """SPEC B5, B6: 2.5 million labels are not counted again; the row is told apart from a count by a lie in it."""
    cat, dog, _bird = make.class_ids(project)
    page = make.page(project, labeler)
    submit(page, make.answers(page, labels=[cat]))
    tallies.renew_all()
    row = Tally.objects.get(project=project)
    assert (row.labels, row.labelers) == ({str(cat): 9}, {str(labeler.pk): 9})
    assert row.tasks["total"] == 20
    Tally.objects.update(labels={cat: 1009}, labelers={labeler.pk: 2009})

    def shown() -> tuple[dict[int, int], dict[int, int]]:
        cache.clear()
        context = dashboard(project, manager).context
        return context["counts"].labels, {row["pk"]: row["count"] for row in context["labelers"]}

    assert shown() == ({cat: 1009}, {labeler.pk: 2009})
    second = make.page(project, labeler2)
    submit(second, make.answers(second, labels=[dog]))
    review.reject(project, manager, list(page.tasks.values_list("image", flat=True)[:2]))
    assert shown() == ({cat: 1007, dog: 9}, {labeler.pk: 2009})  # labels to the last event, labelers a minute ago
    Tally.objects.update(at=timezone.now() - timedelta(hours=1))
    assert shown()[1] == {labeler.pk: 7, labeler2.pk: 9}  # no worker has kept them since
    cache.clear()
    Tally.objects.all().delete()
    tallies.renew_all()
    Tally.objects.update(at=timezone.now() - timedelta(hours=1))
    assert shown() == ({cat: 7, dog: 9}, {labeler.pk: 7, labeler2.pk: 9})
    Tally.objects.update(labelers={labeler.pk: 2009})
    assert shown()[1] == {labeler.pk: 2009}  # nothing has happened since, so it holds


def test_a_project_that_is_deleted_meanwhile_has_nothing_to_count(project: Project) -> None:
    """A worker goes on to the next one, and a page that was being made is empty."""
    gone = Project(pk=project.pk + 1, name="gone")
    assert count_progress(gone).total == 0
    assert listing.page_of(gone, ImageFilter(), None, "", 48) == ([], "")


def test_the_pending_parts_add_up(project: Project, manager: User, labeler: User) -> None:
    """SPEC B1: not yet in the queue, in the queue, on a labeler's page."""
    make.page(project, labeler, 4)
    LabelTask.objects.filter(pk__in=LabelTask.objects.filter(status="queued").values("pk")[:5]).update(status="waiting")
    context = dashboard(project, manager).context
    assert [part.count for part in context["pending_parts"]] == [5, 11, 4]
    assert sum(part.count for part in context["pending_parts"]) == context["counts"].pending == 20
    assert sum(part.count for part in context["queue"]) == 11


def test_the_days_the_pace_and_the_finish(project: Project, manager: User, labeler: User) -> None:
    """SPEC B6: nine images today, none in the three days before, four before that: 13 in 5 days, 7 are left."""
    first, second = make.page(project, labeler, 4), None
    submit(first, make.answers(first, labels=make.class_ids(project)[:1]), 8)
    LabelEvent.objects.update(at=timezone.now() - timedelta(days=4))
    second = make.page(project, labeler, 9)
    submit(second, make.answers(second, labels=make.class_ids(project)[:1]), 9)
    context = dashboard(project, manager).context
    assert [day.count for day in context["days"]] == [0, 0, 0, 0, 4, 0, 0, 0, 9]
    assert context["finish"]["a_day"] == 3
    assert context["finish"]["day"] == timezone.localdate() + timedelta(days=2)
    (row,) = context["labelers"]
    assert (row["name"], row["count"], row["median"]) == ("labeler", 13, 1.0)


def test_the_seconds_of_many_labelers_are_asked_for_at_once(
    kept: None, project: Project, manager: User, labeler: User, labeler2: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SPEC B6: a hundred labelers took a second; only who has not labeled of late is asked about alone."""
    asked = {}
    for count, person, seconds in ((4, labeler, 8), (3, labeler2, 9)):
        page = make.page(project, person, count)
        submit(page, make.answers(page, labels=make.class_ids(project)[:1]), seconds)
        cache.clear()
        with CaptureQueriesContext(connection) as captured:
            rows = dashboard(project, manager).context["labelers"]
        asked[person] = [query["sql"] for query in captured.captured_queries if '"seconds" IS NOT NULL' in query["sql"]]
    assert [(row["name"], row["median"]) for row in rows] == [("labeler", 2.0), ("labeler2", 3.0)]
    assert len(asked[labeler]) == len(asked[labeler2]) == 1
    cache.clear()
    monkeypatch.setattr(module, "RECENT", 3)
    context = dashboard(project, manager).context
    assert [(row["name"], row["median"]) for row in context["labelers"]] == [("labeler", 2.0), ("labeler2", 3.0)]
    assert context["median"] == 3.0


def test_without_assistance_its_parts_are_not_shown(project: Project, manager: User) -> None:
    """SPEC B2, B3."""
    text = dashboard(project, manager).content.decode()
    assert "Clustered" not in text and "Next training" not in text and "labeled by hand" in text


def test_new_images_show_at_once(kept: None, manager: User, tmp_path: Path) -> None:
    """SPEC S1, B1: who looked while there were none is not told, seconds later, that there are none."""
    folder = tmp_path / "images"
    folder.mkdir()
    project = make.project(manager, folder)
    before = dashboard(project, manager).content.decode()
    assert "0 images in all" in before and "Nothing is left to label" not in before
    make.pictures(folder, 3)
    refresh.retry(project)
    assert "3 images in all" in dashboard(project, manager).content.decode()
