"""Pages are claimed, submitted, renewed, given back and lapse (SPEC L2, L8, N3)."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from labeling import feeder, queue
from labeling.answers import MAX_BOXES, InvalidAnswer
from labeling.models import Annotation, LabelEvent, LabelPage, LabelTask
from labeling.queue import Lapsed, Paused
from labeling.submit import correctable_tasks, submit
from projects.access import lock
from projects.models import Image, Project
from tests import make

TASKS = "labeling_labeltask"


def test_it_stores_every_answer_with_its_history(project: Project, labeler: User) -> None:
    page = make.page(project, labeler)
    cat = make.class_ids(project)[0]
    assert submit(page, make.answers(page, labels=[cat]), 9.0).count == 9
    tasks = LabelTask.objects.filter(project=project, status="labeled")
    assert tasks.count() == 9
    assert set(tasks.values_list("labeler", flat=True)) == {labeler.pk}
    assert set(Annotation.objects.current().values_list("label_class", flat=True)) == {cat}
    events = LabelEvent.objects.filter(project=project, action="submitted", by=labeler)
    assert [event.seconds for event in events] == [1.0] * 9


def test_a_submit_sent_twice_counts_once(project: Project, labeler: User) -> None:
    page = make.page(project, labeler)
    items = make.answers(page, labels=make.class_ids(project)[:1])
    assert submit(page, items) == submit(page, items)
    assert LabelEvent.objects.filter(project=project, action="submitted").count() == 9


def test_nobody_gets_what_another_has(project: Project, labeler: User, labeler2: User) -> None:
    first, second = make.page(project, labeler), make.page(project, labeler2)
    mine, theirs = (set(page.tasks.values_list("pk", flat=True)) for page in (first, second))
    assert len(mine) == len(theirs) == 9
    assert not mine & theirs


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL chooses by statistics")
def test_a_claim_reads_a_page_and_not_the_whole_queue(project: Project, labeler: User) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # nothing is queued yet; what comes is more than the statistics know
    Image.objects.bulk_create(Image(project=project, path=f"{n}.jpg", width=8, height=6) for n in range(3000))
    images = Image.objects.filter(project=project, tasks__isnull=True)
    LabelTask.objects.bulk_create(
        LabelTask(project=project, image=image, rank=image.pk, status="queued") for image in images
    )
    with transaction.atomic(), connection.cursor() as cursor:
        for way in ("seqscan", "bitmapscan", "sort"):  # a small table may well be read as a whole, a big one not
            cursor.execute(f"SET LOCAL enable_{way} = off")
        assert queue.claim(project, labeler, 9)
        cursor.execute("SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = %s", [TASKS])
        n_read = cursor.fetchone()[0]
    assert n_read < 1000


def test_a_submit_with_the_next_claim_is_eleven_statements(
    project: Project, labeler: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeder, "LOOK_SECONDS", 3600)  # once in a while a claim looks at the queue's length
    page = make.page(project, labeler)
    items = make.answers(page, labels=make.class_ids(project)[:1])
    with CaptureQueriesContext(connection) as asked:
        submit(page, items, 9.0)
        assert queue.claim(project, labeler, 9)
    statements = [query["sql"] for query in asked.captured_queries]
    assert len([sql for sql in statements if not sql.startswith(("BEGIN", "COMMIT"))]) == 11, statements


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL keeps plans")
def test_a_kept_plan_of_a_claim_reads_a_page_and_not_the_whole_queue(project: Project, labeler: User) -> None:
    """Asked often enough, PostgreSQL plans for any values: it must still see which index has the queue."""
    Image.objects.bulk_create(Image(project=project, path=f"{n}.jpg", width=8, height=6) for n in range(3000))
    images = Image.objects.filter(project=project, tasks__isnull=True)
    LabelTask.objects.bulk_create(
        LabelTask(project=project, image=image, rank=image.pk, status="queued") for image in images
    )
    assert connection.connection.prepare_threshold is not None
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    for _number in range(10):
        assert (page := queue.claim(project, labeler, 9))
        queue.release(page)
    with transaction.atomic(), connection.cursor() as cursor:
        assert queue.claim(project, labeler, 9)
        cursor.execute("SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = %s", [TASKS])
        assert cursor.fetchone()[0] < 1000
        cursor.execute("SELECT generic_plans FROM pg_prepared_statements WHERE statement LIKE %s", ["%SKIP LOCKED%"])
        assert cursor.fetchone()[0] > 0


def test_very_many_boxes_of_one_image_are_all_kept(manager: User, labeler: User, tmp_path: Path) -> None:
    """More values than SQLite takes in one statement."""
    project = make.project(manager, make.pictures(tmp_path / "images", 1), "detection")
    page = make.page(project, labeler, 1)
    boxes = [
        {"label_class": label_class, "box": [n % 60 + 0.5, n % 40 + 0.25, 1 + n / 8192, 2 + n / 8192]}
        for n in range(MAX_BOXES)
        for label_class in make.class_ids(project)[:1]
    ]
    submit(page, make.answers(page, boxes=boxes))
    kept = Annotation.objects.current().order_by("place")
    assert [list(label.box or ()) for label in kept] == [box["box"] for box in boxes]


def test_images_keep_their_order_on_a_page(project: Project, labeler: User) -> None:
    page = make.page(project, labeler, 4)
    asked = [task.pk for task in page.on_screen]
    assert asked == [task.pk for task in LabelPage.objects.get(pk=page.pk).on_screen]
    bigger = queue.resize(page, labeler, 9, keep=[])
    assert [task.pk for task in LabelPage.objects.get(pk=bigger.pk).on_screen][:4] == asked
    submit(page, make.answers(page, labels=make.class_ids(project)[:1]))
    assert [task.pk for task in correctable_tasks(page)][:4] == asked


def test_my_open_page_comes_back(project: Project, labeler: User) -> None:
    assert make.page(project, labeler).pk == make.page(project, labeler).pk


def test_all_images_are_handed_out_once_and_then_nothing(project: Project, labeler: User) -> None:
    seen: list[int] = []
    while page := queue.claim(project, labeler, 9):
        seen += page.tasks.values_list("image", flat=True)
        submit(page, make.answers(page, labels=make.class_ids(project)[:1]))
    assert len(seen) == len(set(seen)) == 20


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({}, "either labels"),
        ({"labels": []}, "exactly one"),
        ({"labels": [1, 2]}, "exactly one"),
        ({"labels": [10**9]}, "not a class"),
        ({"labels": ["x"]}, "not a class"),
        ({"boxes": []}, "wants"),
        ({"skip": "bored"}, "reasons"),
    ],
)
def test_a_wrong_answer_is_refused_in_words(
    project: Project, labeler: User, answer: dict[str, object], words: str
) -> None:
    page = make.page(project, labeler)
    with pytest.raises(InvalidAnswer, match=words):
        submit(page, make.answers(page, **answer))
    assert not LabelEvent.objects.filter(project=project).exists()


def test_an_image_without_answer_is_named(project: Project, labeler: User) -> None:
    page = make.page(project, labeler)
    items = make.answers(page, labels=make.class_ids(project)[:1])
    with pytest.raises(InvalidAnswer, match="no answer yet") as refused:
        submit(page, items[:-1])
    assert refused.value.item == items[-1]["id"]
    assert not Annotation.objects.exists()


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ([0, 0, math.nan, 5], "finite"),
        ([0, 0, -5, 5], "above zero"),
        ([0, 0, 5], r"\[x, y, width, height\]"),
        ([0, 0, 500, 5], "outside the image"),
        ([0, 0, True, 5], "finite"),
    ],
)
def test_a_wrong_box_is_refused_in_words(boxes: Project, labeler: User, box: list[float], words: str) -> None:
    page = make.page(boxes, labeler, 1)
    with pytest.raises(InvalidAnswer, match=words):
        submit(page, make.answers(page, boxes=[{"label_class": make.class_ids(boxes)[0], "box": box}]))
    assert not Annotation.objects.exists()


def test_a_box_is_stored_as_drawn_and_cut_at_the_edge(boxes: Project, labeler: User) -> None:
    page = make.page(boxes, labeler, 1)
    digit = make.class_ids(boxes)[0]
    drawn = [{"label_class": digit, "box": [1.25, 2.5, 10, 20]}, {"label_class": digit, "box": [-0.5, 40, 10, 8.7]}]
    submit(page, make.answers(page, boxes=drawn))
    assert [a.box for a in Annotation.objects.order_by("place")] == [(1.25, 2.5, 10, 20), (0, 40, 9.5, 8)]


def test_no_objects_is_an_answer(boxes: Project, labeler: User) -> None:
    page = make.page(boxes, labeler, 1)
    assert submit(page, make.answers(page, boxes=[])).count == 1
    assert LabelTask.objects.get(pk=page.tasks.get().pk).status == "labeled"


def test_a_lapsed_page_is_refused_and_goes_to_someone_else(project: Project, labeler: User, labeler2: User) -> None:
    page = make.page(project, labeler)
    LabelPage.objects.filter(pk=page.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(Lapsed):
        submit(page, make.answers(page, labels=make.class_ids(project)[:1]))
    assert not LabelEvent.objects.filter(project=project).exists()
    queue.sweep()
    assert not LabelTask.objects.filter(page=page).exists()
    assert make.page(project, labeler2).size == 9


def test_while_paused_nothing_is_taken_and_the_page_stays(project: Project, labeler: User) -> None:
    page = make.page(project, labeler)
    items = make.answers(page, labels=make.class_ids(project)[:1])
    project.pause()
    with pytest.raises(Paused):
        submit(page, items)
    with pytest.raises(Paused):
        queue.claim(project, labeler, 9)
    project.resume()
    assert submit(page, items).count == 9


def test_another_layout_keeps_the_work(project: Project, labeler: User) -> None:
    page = make.page(project, labeler)
    keep = list(page.tasks.order_by("-place").values_list("pk", flat=True)[:2])
    queue.resize(page, labeler, 4, keep)
    on_page = set(page.tasks.filter(status="claimed").values_list("pk", flat=True))
    assert len(on_page) == 4 and set(keep) <= on_page
    assert queue.resize(page, labeler, 9, keep).size == 9


def test_a_page_given_back_is_handed_out_again(project: Project, labeler: User) -> None:
    page = make.page(project, labeler)
    queue.release(page)
    with pytest.raises(Lapsed):
        queue.renew(page)
    assert LabelTask.objects.filter(status="claimed").count() == 0


def test_a_project_is_locked_in_a_transaction_only(project: Project) -> None:
    """Outside, the lock would be gone at once: whoever forgets the transaction is told so, each time."""
    with transaction.atomic():
        assert lock(project) == project
    for _again in range(2):
        with pytest.raises(TransactionManagementError):
            lock(project)
