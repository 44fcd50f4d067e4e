"""The Data tab: lists, pages, and reviews of few and of very many images (SPEC V1 to V3)."""

from __future__ import annotations

import json
from collections.abc import Callable
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
from PIL import Image as Picture
from playwright.sync_api import Page, expect

from labeling import class_changes, listing, review, review_jobs, suggestions
from labeling.images import ImageFilter, filtered_tasks
from labeling.models import ANSWERED, Annotation, Kind, LabelEvent, LabelTask, ReviewJob, Status
from labeling.submit import submit
from projects import refresh
from projects.models import Image, Project
from tests import make

HTMX = {"HTTP_HX_REQUEST": "true"}


def url(project: Project, tab: str = "data") -> str:
    return f"/admin/projects/project/{project.pk}/{tab}/"


@pytest.fixture
def visitor(manager: User) -> Client:
    client = Client()
    client.force_login(manager)
    return client


@pytest.fixture
def labeled(project: Project, labeler: User) -> Project:
    """Nine of twenty images labeled as cats."""
    page = make.page(project, labeler)
    submit(page, make.answers(page, labels=make.class_ids(project)[:1]), 9)
    return project


def said(response: Any) -> dict[str, Any]:
    """Return what an action tells the page."""
    assert response.status_code == 204
    return json.loads(response["HX-Trigger"])["data-said"]


def shown(visitor: Client, project: Project, **query: object) -> list[int]:
    """Return the tasks of all pages of a list, in their order."""
    found, address = [], ""
    query_or_page: dict[str, Any] = query
    while True:
        page = visitor.get(url(project) + address, query_or_page)
        found += [image["task"] for image in page.context["images"]]
        address, query_or_page = page.context["next_url"], {}
        if not address:
            return found


@pytest.fixture
def mixed(project: Project, labeler: User, labeler2: User, manager: User) -> Project:
    """Images in every state, of every kind, by two labelers, at moments of which some are equal."""
    now = timezone.now().replace(microsecond=0)
    cat, dog, _bird = make.class_ids(project)
    event = LabelEvent.objects.create(project=project, action="imported", by=manager)
    for number, task in enumerate(LabelTask.objects.order_by("pk")):
        status = [*Status.values][number % 10]
        is_answered = status in ("claimed", *ANSWERED)
        is_labeled = is_answered or number % 3 != 0
        LabelTask.objects.filter(pk=task.pk).update(
            status=status if status != "claimed" else "labeled",
            kind=Kind.values[number % 3],
            labeler=(labeler, labeler2)[number % 2] if is_labeled else None,
            labeled_at=now - timedelta(hours=number // 4) if is_labeled else None,
            confidence=0.5 + number // 4 / 10 if number % 2 else None,
        )
        if is_answered:
            Annotation.objects.create(task=task, label_class_id=(cat, dog)[number % 2], place=0, created_by_event=event)
    return project


def queries(project: Project, labeler: User) -> list[dict[str, object]]:
    since = (timezone.now() - timedelta(hours=3)).isoformat()
    cat = make.class_ids(project)[0]
    return [
        {},
        {"status": "labeled"},
        {"status": ["labeled", "approved", "waiting"]},
        {"kind": "clustered"},
        {"status": ["skipped", "queued"], "kind": "manual"},
        {"labeler": labeler.pk},
        {"labeler": labeler.pk, "status": "labeled"},
        {"label_class": cat},
        {"label_class": cat, "kind": "prelabeled"},
        {"since": since},
        {"until": since, "status": "labeled"},
        {"confidence_from": "0.6", "confidence_to": "0.8"},
        {"path": "001"},
        {"path": "1", "labeler": labeler.pk},
        {"path": "nothing like it"},
    ]


def key_of(sort: str, task: LabelTask) -> tuple[Any, ...]:
    """What a list is sorted by, ascending; those never labeled come at the end."""
    if sort == "path":
        return (task.image.path,)
    if sort == "confidence":
        return (task.confidence, task.pk)
    at = task.labeled_at.timestamp() if task.labeled_at else 0
    return (not at, at, task.pk) if sort == "oldest" else (not at, -at, -task.pk)


@pytest.mark.parametrize(("few", "common"), [(0, 3), (6, 3), (2000, 3), (2000, 1)])
@pytest.mark.parametrize("sort", listing.SORTS)
def test_each_filter_lists_what_it_should_in_each_order(
    mixed: Project, visitor: Client, labeler: User, monkeypatch: pytest.MonkeyPatch, sort: str, few: int, common: int
) -> None:
    """SPEC V1: each way of reading a list, page by page, gives what a plain filter and sort would."""
    monkeypatch.setattr(listing, "FEW", few)
    monkeypatch.setattr(listing, "SAMPLE", 4)
    monkeypatch.setattr(listing, "COMMON", common)
    monkeypatch.setattr("labeling.data_tab.PER_PAGE", 3)
    for query in queries(mixed, labeler):
        flat = {name: ",".join(value) if isinstance(value, list) else value for name, value in query.items()}
        tasks = [
            task
            for task in filtered_tasks(mixed, ImageFilter.parse(flat)).select_related("image")
            if sort != "confidence" or task.confidence is not None
        ]
        expected = [task.pk for task in sorted(tasks, key=lambda task: key_of(sort, task))]
        query = query | ({"sort": sort} if sort else {})
        assert shown(visitor, mixed, **query) == expected, query
        counted = visitor.get(url(mixed, "data/count"), query).content.decode()
        assert f'data-n="{len(expected)}"' in counted, query


@pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite reads all paths in less time than it takes to ask"
)
def test_a_text_that_many_paths_have_is_not_looked_for_in_all(
    mixed: Project, visitor: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "SAMPLE", 4)
    monkeypatch.setattr(listing, "COMMON", 3)
    asked = {}
    for text in ("png", "no such name"):
        with CaptureQueriesContext(connection) as captured:
            shown(visitor, mixed, path=text)
        asked[text] = [query["sql"] for query in captured.captured_queries if "LIMIT 2001" in query["sql"]]
    assert not asked["png"]
    assert len(asked["no such name"]) == 1


def test_no_state_is_walked_that_no_image_is_in(labeled: Project, visitor: Client) -> None:
    """A page of all states costs what the states are that there are: of labeled images alone one walk."""
    LabelTask.objects.exclude(status="labeled").delete()
    asked = []
    for query in ({}, {"status": "labeled"}):
        with CaptureQueriesContext(connection) as captured:
            assert shown(visitor, labeled, **query)
        asked.append([query["sql"] for query in captured.captured_queries if "labeled_at" in query["sql"]])
    glances = [sql for sql in asked[0] if "a_claimed" in sql]
    assert len(glances) == 2, "one for what has been labeled, one for what never was"
    assert len(asked[0]) == len(asked[1]) - 1 + len(glances), "a named state is also asked for what was never labeled"


def test_an_order_stays_with_the_page_and_what_is_done_there(labeled: Project, visitor: Client) -> None:
    """SPEC V1, V2: by confidence the filter says that only images with a suggestion are there; without it both go."""
    ids = list(LabelTask.objects.filter(status="labeled").order_by("pk").values_list("pk", flat=True))
    LabelTask.objects.filter(pk__in=ids[:4]).update(confidence=0.7)
    page = visitor.get(url(labeled), {"sort": "confidence"})
    assert [image["task"] for image in page.context["images"]] == ids[:4]
    assert page.context["here"] == "?sort=confidence&confidence_from=0"
    assert page.context["off"]["confidence"] == "?"
    text = page.content.decode()
    assert '<option value="confidence" selected>Least sure first</option>' in text
    assert "Approved 4 images" in said(all_of(visitor, labeled, "approve", page.context["here"]))["text"]
    for unknown in ("rank", "image__project__created_by__password", "-pk"):
        assert visitor.get(url(labeled), {"sort": unknown}).context["here"] == "?"


@pytest.mark.parametrize("few", [0, 2000])
def test_a_text_in_the_path_is_found_whatever_its_case(
    project: Project, visitor: Client, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """SPEC V1: signs that mean something to a database are signs, capitals of other alphabets where it knows them."""
    monkeypatch.setattr(listing, "FEW", few)
    paths = ["Straße/50%_of.PNG", "strasse/500of.png", "ÜBER/a\\b'c.png", "12/3.png"]
    images = list(Image.objects.filter(project=project).order_by("pk")[:4])
    for image, path in zip(images, paths, strict=True):
        Image.objects.filter(pk=image.pk).update(path=path)
    expected = {"STRA": 2, "50%": 1, "_OF": 1, "0of": 1, "aße": 1, "A\\B": 1, "b'c": 1, "12/3": 1, "2/": 1, "ÜBER": 1}
    if connection.vendor == "postgresql":
        expected["über"] = 1
    for text, count in expected.items():
        assert len(shown(visitor, project, path=text)) == count, text
        assert f'data-n="{count}"' in visitor.get(url(project, "data/count"), {"path": text}).content.decode(), text


def test_a_page_may_hold_a_single_image(labeled: Project, visitor: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the walks that are merged begins with a part of a page, which is one image at least."""
    monkeypatch.setattr("labeling.data_tab.PER_PAGE", 1)
    monkeypatch.setattr(listing, "FEW", 0)
    assert len(shown(visitor, labeled)) == labeled.tasks.count()


def test_who_has_labeled_can_be_chosen_and_who_has_reviewed_is_not_offered(labeled: Project, visitor: Client) -> None:
    images = LabelTask.objects.filter(project=labeled, status="labeled").values_list("image", flat=True)[:2]
    visitor.post(f"/api/v1/projects/{labeled.pk}/approve/", {"images": list(images)}, "application/json")
    assert LabelTask.objects.filter(project=labeled, status="approved").count() == 2
    assert [person.username for person in visitor.get(url(labeled)).context["people"]] == ["labeler"]


def test_what_is_labeled_shows_at_the_top_by_itself(labeled: Project, visitor: Client, labeler: User) -> None:
    """SPEC V1: the page asks again with what it has seen; 204 while nothing is new."""
    seen = visitor.get(url(labeled)).context["digest"]
    assert visitor.get(url(labeled), {"seen": seen}, **HTMX).status_code == 204
    page = make.page(labeled, labeler, 1)
    submit(page, make.answers(page, labels=make.class_ids(labeled)[:1]))
    fresh = visitor.get(url(labeled), {"seen": seen}, **HTMX)
    assert fresh.context["images"][0]["task"] == page.tasks.get().pk


def test_a_review_can_be_undone_and_exports_know_it(labeled: Project, visitor: Client, labeler: User) -> None:
    """SPEC V2: labels come back as they were; what went on meanwhile is left alone."""
    ids = list(LabelTask.objects.filter(status="labeled").values_list("image", flat=True))
    visitor.post(url(labeled, "data/act"), {"action": "approve", "images": ids[:1]}, **HTMX)
    answer = said(visitor.post(url(labeled, "data/act"), {"action": "reject", "images": ids[:4]}, **HTMX))
    assert "4 images" in answer["text"]
    assert Annotation.objects.current().count() == 5
    first, last = answer["undo"]
    assert "4 images" in said(visitor.post(url(labeled, "data/undo"), {"first": first, "last": last}, **HTMX))["text"]
    assert Annotation.objects.current().count() == 9
    assert LabelTask.objects.filter(status="approved").count() == 1
    assert LabelTask.objects.filter(status="labeled").count() == 8
    assert said(visitor.post(url(labeled, "data/undo"), {"first": first, "last": last}, **HTMX))["bad"]
    labeled.pause()
    aside = class_changes.add_classes(labeled, labeled.created_by, ["owl"], "restart_remove")
    assert not Annotation.objects.current().exists() and aside
    class_changes.undo(labeled, labeled.created_by, LabelEvent.objects.get(action="reset").pk)
    assert LabelTask.objects.filter(status="approved").count() == 1
    assert LabelTask.objects.filter(status="labeled").count() == 8
    export = visitor.post(f"/api/v1/projects/{labeled.pk}/exports/", {"format": "coco"}, "application/json").json()
    file = visitor.get(f"/api/v1/exports/{export['id']}/download/")
    assert len(json.loads(b"".join(file.streaming_content))["annotations"]) == 9


def test_a_rejection_is_undone_wherever_its_images_wait(labeled: Project, visitor: Client) -> None:
    """Not opened yet, as after an import; or sent back to wait, as when a model filled labels in meanwhile."""
    unopened, opened = LabelTask.objects.filter(status="labeled").values_list("image", flat=True)[:2]
    Image.objects.filter(pk=unopened).update(width=None, height=None)
    body = {"action": "reject", "images": [unopened, opened]}
    first, last = said(visitor.post(url(labeled, "data/act"), body, **HTMX))["undo"]
    assert LabelTask.objects.get(image=unopened).status == "waiting"
    suggestions.queue_anew(labeled)
    assert LabelTask.objects.get(image=opened).status == "waiting"
    assert "2 images" in said(visitor.post(url(labeled, "data/undo"), {"first": first, "last": last}, **HTMX))["text"]
    assert Annotation.objects.current().count() == 9
    assert LabelTask.objects.filter(status="labeled").count() == 9


def test_what_somebody_went_on_with_is_not_undone(labeled: Project, visitor: Client, labeler2: User) -> None:
    """SPEC V2."""
    image = LabelTask.objects.filter(status="labeled")[0].image_id
    first, last = said(visitor.post(url(labeled, "data/act"), {"action": "reject", "images": [image]}, **HTMX))["undo"]
    page = make.page(labeled, labeler2, 100)
    assert page.tasks.filter(image=image).exists()
    assert said(visitor.post(url(labeled, "data/undo"), {"first": first, "last": last}, **HTMX))["bad"]
    assert Annotation.objects.current().count() == 8


def all_of(visitor: Client, project: Project, action: str, query: str = "") -> Any:
    seen_at = visitor.get(url(project)).context["seen_at"]
    body = {"action": action, "all": 1, "here": query, "seen_at": seen_at}
    return visitor.post(url(project, "data/act"), body, **HTMX)


def test_all_that_match_are_reviewed_and_others_left(labeled: Project, visitor: Client) -> None:
    """SPEC V2: what it does not fit is left and counted."""
    answer = said(all_of(visitor, labeled, "approve"))
    assert "9 images" in answer["text"] and "11 others" in answer["text"]
    assert LabelTask.objects.filter(status="approved").count() == 9


def test_what_nobody_saw_is_not_reviewed(labeled: Project, visitor: Client, labeler: User) -> None:
    """SPEC V2: labeled after the page was made."""
    seen_at = visitor.get(url(labeled)).context["seen_at"]
    page = make.page(labeled, labeler, 4)
    submit(page, make.answers(page, labels=make.class_ids(labeled)[:1]))
    body = {"action": "approve", "all": 1, "here": "?status=labeled", "seen_at": seen_at}
    visitor.post(url(labeled, "data/act"), body, **HTMX)
    assert LabelTask.objects.filter(status="approved").count() == 9
    assert LabelTask.objects.filter(status="labeled").count() == 4


@pytest.mark.parametrize("here, seen_at", [("?status=lost", "2026-01-01T00:00:00+00:00"), ("", "never"), ("", "")])
def test_a_selection_that_cannot_be_read_changes_nothing(
    labeled: Project, visitor: Client, here: str, seen_at: str
) -> None:
    body = {"action": "reject", "all": 1, "here": here, "seen_at": seen_at}
    assert said(visitor.post(url(labeled, "data/act"), body, **HTMX))["bad"]
    assert Annotation.objects.current().count() == 9


@pytest.fixture
def many(labeled: Project, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Project:
    """More images match than are reviewed at once: a worker does it, in several steps."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    cache.clear()
    monkeypatch.setattr(review, "MAX_IDS", 5)
    monkeypatch.setattr(review, "CHUNK", 2)
    return labeled


def test_very_many_are_reviewed_by_a_worker_and_undone_by_one(many: Project, visitor: Client) -> None:
    """SPEC V2, N4."""
    assert "worker" in said(all_of(visitor, many, "reject", "?status=labeled"))["text"]
    job = ReviewJob.objects.get()
    assert (job.state, job.count) == ("done", 9)
    assert not Annotation.objects.current().exists()
    assert "Rejected 9 images" in visitor.get(url(many, "data/job")).content.decode()
    visitor.post(url(many, "data/undo"), {"first": job.first_event, "last": job.last_event}, **HTMX)
    assert ReviewJob.objects.latest("pk").state == "done"
    assert Annotation.objects.current().count() == 9


def waiting_job(project: Project, by: User) -> ReviewJob:
    return ReviewJob.objects.create(
        project=project, by=by, action="reject", query={"status": "labeled"}, seen_at=timezone.now(), total=9
    )


def test_a_cancelled_review_has_changed_nothing(
    many: Project, visitor: Client, manager: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SPEC N4: stopped between two steps, all that was done is rolled back."""
    job = waiting_job(many, manager)
    record = review._record

    def record_and_cancel(*args: Any, **kwargs: Any) -> None:
        record(*args, **kwargs)
        job.refresh_from_db()
        assert job.state == "running"
        review_jobs.cancel(job)

    monkeypatch.setattr(review, "_record", record_and_cancel)
    review_jobs.run(job.pk)
    job.refresh_from_db()
    assert job.state == "cancelled"
    assert Annotation.objects.current().count() == 9
    assert not LabelEvent.objects.filter(action="rejected").exists()
    waiting = waiting_job(many, manager)
    visitor.post(url(many, f"data/jobs/{waiting.pk}/cancel"), **HTMX)
    review_jobs.run(waiting.pk)
    waiting.refresh_from_db()
    assert waiting.state == "cancelled"


def test_a_lost_worker_s_review_is_done_by_another(many: Project, manager: User) -> None:
    """SPEC N3: nothing is left half-done, and a second delivery does nothing."""
    job = waiting_job(many, manager)
    hour_ago = timezone.now() - timedelta(hours=1)
    ReviewJob.objects.update(state="running", token="lost", attempts=1, started_at=hour_ago)
    assert review_jobs.reap() == 1
    job.refresh_from_db()
    assert (job.state, job.count) == ("done", 9)
    review_jobs.run(job.pk)
    assert LabelEvent.objects.filter(action="rejected").count() == 9


def test_one_worker_s_review_at_a_time(many: Project, visitor: Client, manager: User) -> None:
    waiting_job(many, manager)
    assert said(all_of(visitor, many, "reject", "?status=labeled"))["bad"]


def test_skipped_images_show_the_reason_and_are_returned_or_taken_out(
    project: Project, visitor: Client, labeler: User
) -> None:
    """SPEC V3."""
    page = make.page(project, labeler, 2)
    submit(page, make.answers(page, skip="no_class", note="a zebra"))
    first, second = page.tasks.order_by("place").values_list("image", flat=True)
    grid = visitor.get(url(project), {"status": "skipped"}).content.decode()
    assert grid.count("No class fits") == 2
    panel = visitor.get(url(project, f"data/{first}")).content.decode()
    assert "No class fits" in panel and "a zebra" in panel
    visitor.post(url(project, "data/act"), {"action": "return", "images": [first]}, **HTMX)
    visitor.post(url(project, "data/act"), {"action": "remove", "images": [second]}, **HTMX)
    assert LabelTask.objects.get(image=first).status == "queued"
    assert LabelTask.objects.get(image=second).status == "removed"


def test_a_changed_image_is_opened_again_for_its_correction(
    boxes: Project, visitor: Client, labeler: User, tmp_path: Path
) -> None:
    """SPEC D7: its boxes are checked against the size that the file has now; one that broke can't be corrected."""
    digit = make.class_ids(boxes)[0]
    for _image in range(2):
        page = make.page(boxes, labeler, 1)
        submit(page, make.answers(page, boxes=[{"label_class": digit, "box": [4, 4, 20, 20]}]))
    larger, broken = Image.objects.filter(tasks__status="labeled")
    Picture.new("RGB", (128, 96)).save(tmp_path / "scenes" / larger.path)
    (tmp_path / "scenes" / broken.path).write_bytes(b"no image any more")
    refresh.enqueue(boxes)
    images = f"{broken.pk},{larger.pk}"
    data = visitor.get(url(boxes, "data/correct"), {"images": images, "here": "?"}).context["data"]
    (item,) = data["page"]["items"]
    assert (item["image"]["id"], item["image"]["width"], item["image"]["height"]) == (larger.pk, 128, 96)
    wide = json.dumps([{"id": item["id"], "boxes": [{"label_class": digit, "box": [0, 0, 128, 96]}]}])
    assert visitor.post(data["urls"]["submit"], {"items": wide}, **HTMX).status_code == 200
    assert LabelTask.objects.get(image=larger).status == "approved"
    assert LabelTask.objects.get(image=broken).status == "needs_review"


def test_a_selection_is_corrected_page_after_page(labeled: Project, visitor: Client) -> None:
    """SPEC V2: the labelers' page, with what stands filled in; then back to the list."""
    ids = list(LabelTask.objects.filter(status="labeled").values_list("image", flat=True))
    outside = LabelTask.objects.filter(status="queued")[0].image_id
    dog = make.class_ids(labeled)[1]
    images = ",".join(map(str, [*ids[:2], outside]))
    data = visitor.get(url(labeled, "data/correct"), {"images": images, "here": "?status=labeled"}).context["data"]
    cat = make.class_ids(labeled)[0]
    assert [item["answer"] for item in data["page"]["items"]] == [{"labels": [cat]}] * 2
    wrong = json.dumps([{"id": item["id"], "labels": []} for item in data["page"]["items"]])
    assert visitor.post(data["urls"]["submit"], {"items": wrong}, **HTMX).status_code == 400
    right = json.dumps([{"id": item["id"], "labels": [dog]} for item in data["page"]["items"]])
    after = visitor.post(data["urls"]["submit"], {"items": right}, **HTMX).context["data"]
    assert after["leave"].endswith("/data/?status=labeled")
    assert LabelTask.objects.filter(status="approved").count() == 2
    assert Annotation.objects.current().filter(label_class=dog).count() == 2


def test_the_history_says_who_did_what_when_and_how(labeled: Project, visitor: Client, labeler: User) -> None:
    """SPEC N6, V1."""
    image = LabelTask.objects.filter(status="labeled")[0].image_id
    visitor.post(url(labeled, "data/act"), {"action": "reject", "images": [image]}, **HTMX)
    rows = visitor.get(url(labeled, f"data/{image}")).context["history"]
    assert [(row["event"].action, row["given"], row["ended"]) for row in rows] == [
        ("rejected", {}, {"cat": 1}),
        ("submitted", {"cat": 1}, {}),
    ]
    assert (rows[1]["event"].by, rows[1]["event"].kind, rows[1]["event"].seconds) == (labeler, "manual", 1.0)


# --- In a browser -----------------------------------------------------------------------------------------------------


def test_images_are_reviewed_by_keys_and_undone(
    labeled: Project, manager: User, open_page: Callable[..., Page]
) -> None:
    """SPEC V1, V2, L7: choose, reject, undo, look closer, approve; without a mouse."""
    page = open_page(manager, url(labeled) + "?status=labeled&status=approved")
    shots = page.locator(".shot")
    expect(shots).to_have_count(9)
    shots.first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+Space")
    expect(page.locator("[data-count]")).to_have_text("2")
    page.keyboard.press("x")
    expect(shots).to_have_count(7)
    page.locator("#said button").click()
    expect(shots).to_have_count(9)
    expect(page.locator("[data-selection]")).to_be_hidden()
    shots.nth(2).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#image .hist li")).to_have_count(1)
    page.keyboard.press("e")
    expect(page.locator("#image .hist li")).to_have_count(2)
    expect(page.locator(".thumb .mark")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator("#image")).to_have_count(0)


def test_boxes_are_corrected_with_the_labelers_editor(
    boxes: Project, manager: User, labeler: User, open_page: Callable[..., Page]
) -> None:
    """SPEC V2: from the grid into the editor, and back to where it was."""
    claimed = make.page(boxes, labeler, 1)
    digit = make.class_ids(boxes)[0]
    submit(claimed, make.answers(claimed, boxes=[{"label_class": digit, "box": [4, 4, 20, 20]}]))
    page = open_page(manager, url(boxes) + "?status=labeled")
    page.locator(".shot").click()
    page.locator("[data-correct-one]").click()
    expect(page.locator("[data-status]")).not_to_be_empty()
    expect(page.locator("[data-box-list] li")).to_have_count(1)
    page.keyboard.press(",")
    page.keyboard.press("Delete")
    expect(page.locator("[data-box-list] li")).to_have_count(0)
    page.keyboard.press("n")
    page.keyboard.press("Enter")
    page.wait_for_url("**/data/?status=labeled")
    expect(page.locator(".empty")).to_be_visible()
    task = LabelTask.objects.get(pk=claimed.tasks.get().pk)
    assert task.status == "approved"
    assert not Annotation.objects.current().exists()
