"""Add, rename, merge, retire and delete classes, and undo it (SPEC C3, C4), over the API and on labeling pages."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection, transaction
from django.test import Client, override_settings

from assist.blind import blind_tasks
from assist.worth import acceptance
from benchmarks.big_project import build
from exports.models import Export
from labeling import class_changes, indexes, queue, resets, review, suggestions
from labeling.answers import Label
from labeling.class_changes import NotPaused, add_classes, undo
from labeling.models import Annotation, LabelEvent, LabelTask
from labeling.pages import page_data
from labeling.progress import count_progress, forget_progress
from labeling.queue import Lapsed
from labeling.submit import submit
from labeling.tallies import labels_by_class
from projects import signals
from projects.deletion import delete_project
from projects.models import Image, LabelClass, Project
from tests import make
from tests.labeling.test_concurrency import at_once, unexpected

JSON = "application/json"


@pytest.fixture(autouse=True)
def as_for_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Go the way of half a million labels (labeling/indexes.py); the other modules go the way of a few."""
    monkeypatch.setattr(indexes, "MANY", 1)


@pytest.fixture
def api(manager: User) -> Client:
    visitor = Client()
    visitor.force_login(manager)
    return visitor


def classes_url(project: Project, pk: int | str = "") -> str:
    return f"/api/v1/projects/{project.pk}/classes/{f'{pk}/' if pk else ''}"


def answer(project: Project, labeler: User, count: int, **answer: object) -> list[int]:
    """Answer some images alike; return their tasks."""
    page = make.page(project, labeler, count)
    tasks = list(page.tasks.order_by("place").values_list("pk", flat=True))
    submit(page, make.answers(page, **answer), 3)
    return tasks


def pause(project: Project) -> None:
    Project.objects.filter(pk=project.pk).update(state="paused")


def run(project: Project) -> None:
    Project.objects.filter(pk=project.pk).update(state="running")


def state(project: Project) -> dict[str, Any]:
    """What everybody can see of the project's labels."""
    labels = Annotation.objects.current().filter(task__project=project)
    return {
        "tasks": set(
            LabelTask.objects.filter(project=project).values_list("pk", "status", "kind", "labeler", "labeled_at")
        ),
        "labels": set(labels.values_list("task", "place", "label_class", "x", "y", "width", "height")),
    }


def index_names() -> set[str]:
    """The names of the indexes of tasks and labels."""
    with connection.cursor() as cursor:
        tables = [LabelTask._meta.db_table, Annotation._meta.db_table]
        return {name for table in tables for name in connection.introspection.get_constraints(cursor, table)}


def kept_in_memory() -> int:
    """What SQLite keeps of the database for this connection: KiB, negative."""
    with connection.cursor() as cursor:
        return int(cursor.execute("PRAGMA cache_size").fetchone()[0])


def page_items(project: Project, labeler: User, count: int = 9) -> list[dict[str, Any]]:
    page = make.page(project, labeler, count)
    shown = page_data(project, labeler, page)["page"]
    assert shown is not None
    return shown["items"]


@pytest.fixture
def worked(project: Project, labeler: User, manager: User) -> Project:
    """Four cats, of which one is approved and one flagged; two dogs; one image skipped."""
    cat, dog, _bird = make.class_ids(project)
    cats = answer(project, labeler, 4, labels=[cat])
    answer(project, labeler, 2, labels=[dog])
    answer(project, labeler, 1, skip="no_class")
    review.approve(project, manager, list(LabelTask.objects.filter(pk=cats[0]).values_list("image", flat=True)))
    LabelTask.objects.filter(pk=cats[1]).update(status="needs_review")
    LabelEvent.objects.create(project=project, task_id=cats[1], action="flagged")
    return project


def test_classes_are_added_only_while_the_project_is_paused(worked: Project, api: Client) -> None:
    refused = api.post(classes_url(worked), {"names": ["fox"]}, JSON)
    assert refused.status_code == 409 and "Pause the project" in refused.json()["detail"]
    api.post(f"/api/v1/projects/{worked.pk}/pause/")
    before = state(worked)
    made = api.post(classes_url(worked), {"names": [" fox ", "owl"]}, JSON)
    assert made.status_code == 201
    assert [(row["name"], row["position"]) for row in made.json()] == [("fox", 3), ("owl", 4)]
    assert state(worked) == before  # going on is what happens unless something else is asked for
    assert LabelEvent.objects.get(action="class_added").detail["names"] == ["fox", "owl"]


@pytest.mark.parametrize(
    ("names", "word"),
    [(["Cat"], "already"), (["fox", "FOX"], "twice"), (["  "], "name"), ([], "empty"), (["x"] * 2, "twice")],
)
def test_names_that_can_not_be_are_refused_and_nothing_is_added(
    worked: Project, api: Client, names: list[str], word: str
) -> None:
    pause(worked)
    refused = api.post(classes_url(worked), {"names": names, "existing": "restart_remove"}, JSON)
    assert refused.status_code == 400
    assert word in refused.json()["detail"].lower() or word in str(refused.json()["errors"]).lower()
    assert list(refused.json()["errors"])[0].startswith("names")
    assert LabelClass.objects.filter(project=worked).count() == 3
    assert count_progress(worked).n_labels == 6


def test_a_big_change_leaves_the_indexes_as_they_were_also_when_it_is_stopped(worked: Project, manager: User) -> None:
    before, names = state(worked), index_names()
    tasks = LabelTask.objects.filter(project=worked)

    def stop(done: int, total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        review.review_all(worked, manager, review.ACTS["reject"], tasks, stop)
    assert (state(worked), index_names()) == (before, names)
    done = review.review_all(worked, manager, review.ACTS["reject"], tasks)
    assert (done.count, done.left, state(worked)["labels"], index_names()) == (6, 14, set(), names)
    review.undo(worked, manager, done.first, done.last)
    assert (state(worked), index_names()) == (before, names)
    pause(worked)
    add_classes(worked, manager, ["fox"], "restart_keep")
    assert index_names() == names
    undo(worked, manager, LabelEvent.objects.get(action="reset").pk)
    assert (state(worked), index_names()) == (before, names)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite's own cache")
def test_a_big_change_has_much_memory_while_it_lasts(worked: Project, manager: User) -> None:
    """A web process gives each connection little; a big change reads and writes everything."""
    connection.cursor().execute("PRAGMA cache_size=-2000")
    seen: list[int] = []

    def look(done: int, total: int) -> None:
        seen.append(kept_in_memory())
        raise InterruptedError

    with pytest.raises(InterruptedError):
        review.review_all(worked, manager, review.ACTS["reject"], LabelTask.objects.filter(project=worked), look)
    assert seen == [-64 * 1024]
    assert kept_in_memory() == -2000


def test_starting_over_takes_labels_out_of_every_view_and_undo_brings_them_back(
    worked: Project, api: Client, manager: User
) -> None:
    """C4: views, exports and counts; the history keeps all; undo restores every state."""
    pause(worked)
    before = state(worked)
    api.post(classes_url(worked), {"names": ["fox"], "existing": "restart_remove"}, JSON)
    counts = count_progress(worked)
    assert (counts.labeled, counts.skipped, counts.needs_review, counts.n_labels) == (0, 0, 0, 0)
    assert counts.pending == 20
    images = api.get(f"/api/v1/projects/{worked.pk}/images/").json()["results"]
    assert not any(image["labels"] or image["labeled_at"] for image in images)
    assert exported(worked, api) == 0
    assert Annotation.objects.filter(task__project=worked).count() == 6
    reset = LabelEvent.objects.get(action="reset")
    assert (reset.detail["labels"], reset.detail["images"], reset.by) == (6, 7, manager)

    undo(worked, manager, reset.pk)
    assert state(worked) == before
    assert exported(worked, api) == 6
    with pytest.raises(resets.NotUndoable):
        undo(worked, manager, reset.pk)


def exported(project: Project, api: Client) -> int:
    """Export the project and return how many labels are in the file."""
    return export(project, api).count(b'"category_id"')


def exported_images(project: Project, api: Client) -> int:
    """Export the project and return how many images are in the file."""
    return export(project, api).count(b'"file_name"')


def export(project: Project, api: Client) -> bytes:
    made = api.post(f"/api/v1/projects/{project.pk}/exports/", {"format": "coco"}, JSON).json()
    assert Export.objects.get(pk=made["id"]).state == "done"
    file = api.get(f"/api/v1/exports/{made['id']}/download/")
    return b"".join(file.streaming_content)


def history(project: Project, task: int, api: Client) -> list[tuple[str, list[int], list[int]]]:
    """What the API tells of an image: what was done, and the classes of its labels before and after."""
    image = LabelTask.objects.get(pk=task).image_id
    shown = api.get(f"/api/v1/projects/{project.pk}/images/{image}/").json()["history"]
    classes = [[[label["label_class"] for label in event[when]] for when in ("before", "labels")] for event in shown]
    return [(event["action"], *both) for event, both in zip(shown, classes, strict=True)]


def test_an_images_history_tells_when_its_labels_were_set_aside_and_came_back(
    worked: Project, api: Client, manager: User, labeler2: User
) -> None:
    """N6: what stood before and after each step, also when nobody touched the image itself."""
    cat, dog, bird = make.class_ids(worked)
    kept, anew = LabelTask.objects.filter(project=worked, annotations__label_class=dog).values_list("pk", flat=True)
    pause(worked)
    add_classes(worked, manager, ["fox"], "restart_keep")
    LabelTask.objects.filter(project=worked).exclude(pk=anew).update(status="missing")
    run(worked)
    assert answer(worked, labeler2, 1, labels=[bird]) == [anew]
    pause(worked)
    undo(worked, manager, LabelEvent.objects.get(action="reset").pk)
    assert history(worked, kept, api) == [("submitted", [], [dog])]
    assert history(worked, anew, api) == [("submitted", [], [dog]), ("submitted", [], [bird])]
    seen = {}
    for task in (kept, anew):
        image = LabelTask.objects.get(pk=task).image_id
        panel = api.get(f"/admin/projects/project/{worked.pk}/data/{image}/").content.decode()
        seen[task] = [word for word in ("set the labels aside", "restored") if word in panel]
    assert seen == {kept: ["set the labels aside", "restored"], anew: ["set the labels aside"]}


def test_the_counts_of_labels_follow_a_restart_and_what_is_labeled_after_it(
    worked: Project, manager: User, labeler2: User
) -> None:
    """SPEC B5, C4: kept up from event to event, also by a process that read the project before."""
    cat, dog, bird = make.class_ids(worked)

    def counted() -> dict[int, int]:
        forget_progress(worked)
        return count_progress(worked).labels

    with_a_real_cache = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    with override_settings(CACHES=with_a_real_cache):
        cache.clear()
        assert counted() == {cat: 4, dog: 2}
        pause(worked)
        add_classes(worked, manager, ["fox"], "restart_keep")
        assert counted() == {}
        run(worked)
        answer(worked, labeler2, 100, labels=[bird])
        assert counted() == {bird: 20}
        cache.clear()  # counted anew it is the same
        assert counted() == {bird: 20}


def test_the_counts_of_labels_are_right_at_once_for_who_read_the_project_before_a_restore(
    worked: Project, manager: User
) -> None:
    """C4: a page that began before doesn't say that there are no labels; the next one has them, too."""
    pause(worked)
    add_classes(worked, manager, ["fox"], "restart_keep")
    read_before = Project.objects.get(pk=worked.pk)
    undo(worked, manager, LabelEvent.objects.get(action="reset").pk)
    assert sum(labels_by_class(read_before).values()) == sum(labels_by_class(worked).values()) == 6


def test_labels_that_are_set_aside_are_not_counted_each_time(
    worked: Project, manager: User, django_assert_num_queries: Any
) -> None:
    """Half a million of them take a while, and a dashboard asks every two seconds."""
    with override_settings(CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}):
        cache.clear()
        pause(worked)
        add_classes(worked, manager, ["fox"], "restart_keep")
        assert labels_by_class(worked) == {}
        with django_assert_num_queries(1):  # has anything happened since?
            assert labels_by_class(worked) == {}


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="reads SQLite's plan")
def test_labels_are_counted_by_the_index_alone_also_while_a_restart_stands(worked: Project, manager: User) -> None:
    """Else each of millions of boxes that are set aside would be looked up in its table, for a page about classes."""
    pause(worked)
    add_classes(worked, manager, ["fox"], "restart_keep")
    worked.refresh_from_db()
    assert "COVERING INDEX annotation_class" in resets.labels_of(worked).values("label_class").explain()
    assert "COVERING INDEX annotation_class" in class_changes.with_counts(worked, worked.classes.all()).explain()


def test_what_an_older_version_set_aside_is_still_proposed_and_restored(
    worked: Project, manager: User, labeler2: User
) -> None:
    """It ended the labels by the restart's event; the migration marks the project, and can be taken back."""
    migration = import_module("labeling.migrations.0014_restarts_mark_the_project")
    before = state(worked)
    pause(worked)
    add_classes(worked, manager, ["fox"], "restart_keep")
    run(worked)
    (anew,) = answer(worked, labeler2, 1, labels=make.class_ids(worked)[2:3])
    reset = LabelEvent.objects.get(action="reset")
    aside = Annotation.objects.unended().exclude(task=anew)
    n_aside = aside.count()
    assert n_aside in (5, 6)
    with connection.schema_editor() as editor:
        migration.end(apps, editor)
    Project.objects.filter(pk=worked.pk).update(aside_up_to=0)
    LabelTask.objects.update(**resets.NOTHING_ASIDE)
    assert Annotation.objects.filter(ended_by_event=reset).count() == n_aside and aside.count() == 0

    with connection.schema_editor() as editor:
        migration.mark(apps, editor)
    assert aside.count() == n_aside
    worked.refresh_from_db()
    items = page_items(worked, labeler2, 100)
    assert sum(bool(item["prelabels"]) for item in items) == n_aside
    pause(worked)
    undo(worked, manager, reset.pk)
    after = state(worked)
    for what in ("tasks", "labels"):
        assert {row for row in after[what] if row[0] != anew} == {row for row in before[what] if row[0] != anew}


def test_a_file_that_changed_while_its_labels_were_set_aside_is_flagged_once_they_are_back(
    worked: Project, api: Client, manager: User, labeler2: User
) -> None:
    """D7: its labels are of another picture. Who labels it anew meanwhile has seen the new one."""
    labeled = LabelTask.objects.filter(project=worked, status__in=["labeled", "approved", "needs_review"])
    answered = dict(labeled.values_list("pk", "image"))
    anew = min(answered)
    pause(worked)
    add_classes(worked, manager, ["fox"], "restart_keep")
    with transaction.atomic():
        signals.images_changed.send(sender=Image, project=worked, image_ids=list(answered.values()))
    LabelTask.objects.filter(project=worked).exclude(pk=anew).update(status="missing")
    run(worked)
    assert answer(worked, labeler2, 1, labels=make.class_ids(worked)[2:3]) == [anew]
    pause(worked)
    undo(worked, manager, LabelEvent.objects.get(action="reset").pk)
    after = dict(LabelTask.objects.filter(pk__in=answered).values_list("pk", "status"))
    assert after == dict.fromkeys(answered, "needs_review") | {anew: "labeled"}
    url = f"/api/v1/projects/{worked.pk}/images/{answered[max(answered)]}/"
    assert api.get(url).json()["history"][-1]["action"] == "flagged"
    assert export(worked, api).count(b'"category_id"') == 6


def test_what_is_suggested_while_labels_are_set_aside_does_not_count_for_them_once_they_are_back(
    worked: Project, manager: User
) -> None:
    """Answers that were given to blank images stay so; of others what had been suggested is not known any more."""
    labeled = LabelTask.objects.filter(project=worked, status="labeled")
    helped = min(labeled.values_list("pk", flat=True))
    LabelTask.objects.filter(pk=helped).update(
        kind="prelabeled", prelabels=[{"label_class": make.class_ids(worked)[0]}]
    )
    blind = set(blind_tasks(worked))
    assert acceptance(worked)[0] == 1
    pause(worked)
    add_classes(worked, manager, ["fox"], "restart_keep")
    waiting = LabelTask.objects.filter(project=worked, status="waiting").values_list("pk", flat=True)
    label = Label(make.class_ids(worked)[1])
    packed = suggestions.pack(suggestions.Suggestion(pk, (label,), (0.9,), 0.9) for pk in waiting)
    with transaction.atomic():
        suggestions.suggest(worked, packed)
    undo(worked, manager, LabelEvent.objects.get(action="reset").pk)
    assert set(blind_tasks(worked)) == blind != set()
    assert acceptance(worked)[0] == 0


def test_kept_labels_come_back_prefilled_once(
    worked: Project, api: Client, manager: User, labeler: User, labeler2: User
) -> None:
    pause(worked)
    api.post(classes_url(worked), {"names": ["fox"], "existing": "restart_keep"}, JSON)
    assert count_progress(worked).pending == 20
    run(worked)
    cat, dog, _bird, fox = make.class_ids(worked)
    items = page_items(worked, labeler2, 100)
    suggested = [item["prelabels"][0]["label_class"] for item in items if item["prelabels"]]
    assert sorted(suggested) == [cat] * 4 + [dog] * 2
    page = queue.open_page(worked, labeler2)
    assert page is not None
    submit(page, make.answers(page, labels=[fox]))
    review.reject(worked, manager, list(Image.objects.values_list("pk", flat=True)))
    assert not any(item["prelabels"] for item in page_items(worked, labeler, 100))


def test_a_later_removal_takes_the_proposals_away(worked: Project, manager: User, labeler2: User) -> None:
    pause(worked)
    add_classes(worked, manager, ["fox"], "restart_keep")
    add_classes(worked, manager, ["owl"], "restart_remove")
    run(worked)
    assert not any(item["prelabels"] for item in page_items(worked, labeler2, 100))


def test_proposals_of_two_restarts_come_back_together(worked: Project, manager: User, labeler2: User) -> None:
    pause(worked)
    add_classes(worked, manager, ["fox"], "restart_keep")
    run(worked)
    fox = make.class_ids(worked)[3]
    n_foxes = len(answer(worked, labeler2, 3, labels=[fox]))
    pause(worked)
    add_classes(worked, manager, ["owl"], "restart_keep")
    run(worked)
    items = page_items(worked, make.user("third", "labeler"), 100)
    suggested = [item["prelabels"][0]["label_class"] for item in items if item["prelabels"]]
    assert suggested.count(fox) == n_foxes
    assert len(suggested) >= 6


def test_restoring_leaves_what_was_labeled_anew(worked: Project, manager: User, labeler2: User) -> None:
    pause(worked)
    add_classes(worked, manager, ["fox"], "restart_remove")
    run(worked)
    bird = make.class_ids(worked)[2]
    anew = answer(worked, labeler2, 100, labels=[bird])
    assert len(anew) == 20
    rejected = LabelTask.objects.get(pk=anew[0])
    review.reject(worked, manager, [rejected.image_id])
    pause(worked)
    undo(worked, manager, LabelEvent.objects.get(action="reset").pk)
    assert set(Annotation.objects.current().values_list("label_class", flat=True)) == {bird}
    assert Annotation.objects.current().count() == 19


def test_resets_are_undone_from_the_last_one(worked: Project, manager: User, labeler: User) -> None:
    pause(worked)
    first = state(worked)
    add_classes(worked, manager, ["fox"], "restart_remove")
    run(worked)
    answer(worked, labeler, 5, labels=make.class_ids(worked)[2:3])
    pause(worked)
    second = state(worked)
    add_classes(worked, manager, ["owl"], "restart_keep")
    one, two = LabelEvent.objects.filter(action="reset").order_by("pk")
    with pytest.raises(resets.NotUndoable):
        undo(worked, manager, one.pk)
    undo(worked, manager, two.pk)
    assert state(worked) == second
    undo(worked, manager, one.pk)
    back = state(worked)["labels"]
    assert second["labels"] <= back and first["labels"] & back


def test_empty_scenes_and_boxes_come_back_too(boxes: Project, api: Client, manager: User, labeler: User) -> None:
    """An image that was labeled "no objects" is labeled again after an undo, in the export too."""
    digit, _line = make.class_ids(boxes)
    answer(boxes, labeler, 1, boxes=[{"label_class": digit, "box": [1, 2, 10.5, 11]}])
    answer(boxes, labeler, 1, boxes=[])
    pause(boxes)
    before = state(boxes)
    add_classes(boxes, manager, ["dot"], "restart_remove")
    assert count_progress(boxes).labeled == 0
    assert exported_images(boxes, api) == 0
    undo(boxes, manager, LabelEvent.objects.get(action="reset").pk)
    assert state(boxes) == before
    assert exported_images(boxes, api) == 2


def test_images_that_are_gone_do_not_come_round(worked: Project, manager: User) -> None:
    task = LabelTask.objects.filter(status="labeled")[0]
    Image.objects.filter(pk=task.image_id).update(problem="missing")
    pause(worked)
    before = state(worked)
    add_classes(worked, manager, ["fox"], "restart_keep")
    assert LabelTask.objects.get(pk=task.pk).status == "missing"
    undo(worked, manager, LabelEvent.objects.get(action="reset").pk)
    assert state(worked) == before


def test_a_page_on_the_screen_lapses_when_everything_starts_over(worked: Project, manager: User, labeler: User) -> None:
    page = make.page(worked, labeler)
    items = make.answers(page, labels=make.class_ids(worked)[:1])
    pause(worked)
    add_classes(worked, manager, ["fox"], "restart_keep")
    run(worked)
    with pytest.raises(Lapsed):
        submit(page, items)
    assert Annotation.objects.current().count() == 0
    assert not LabelTask.objects.filter(status="claimed").exists()


def test_a_page_on_the_screen_stays_when_labeling_goes_on(worked: Project, manager: User, labeler: User) -> None:
    page = make.page(worked, labeler)
    pause(worked)
    add_classes(worked, manager, ["fox"])
    run(worked)
    assert submit(page, make.answers(page, labels=make.class_ids(worked)[:1])).count == 9


# --- Renaming, merging, retiring, deleting ------------------------------------------------------------


def test_a_class_is_renamed_at_any_time_and_keeps_its_labels(worked: Project, api: Client) -> None:
    cat = make.class_ids(worked)[0]
    changed = api.patch(classes_url(worked, cat), {"name": "lion", "color": "#102030"}, JSON).json()
    assert (changed["name"], changed["color"], changed["labels"]) == ("lion", "#102030", 4)
    detail = LabelEvent.objects.get(action="class_renamed").detail
    assert (detail["from"], detail["to"]) == ("cat", "lion")
    assert api.patch(classes_url(worked, cat), {"name": "DOG"}, JSON).status_code == 400
    assert LabelClass.objects.get(pk=cat).name == "lion"


def test_a_class_in_use_is_retired_and_not_deleted(worked: Project, api: Client, labeler: User) -> None:
    cat, _dog, bird = make.class_ids(worked)
    assert api.delete(classes_url(worked, bird)).status_code == 409  # running
    pause(worked)
    refused = api.delete(classes_url(worked, cat))
    assert refused.status_code == 409 and "Retire it" in refused.json()["detail"]
    assert api.delete(classes_url(worked, bird)).status_code == 204
    retired = api.patch(classes_url(worked, cat), {"retired": True}, JSON).json()
    assert (retired["retired"], retired["labels"]) == (True, 4)
    assert api.patch(classes_url(worked, _dog), {"retired": True}, JSON).status_code == 400  # the last one
    again = api.post(classes_url(worked), {"names": ["cat"]}, JSON)  # the name is free
    assert again.status_code == 201
    assert api.patch(classes_url(worked, cat), {"retired": False}, JSON).status_code == 400
    api.patch(classes_url(worked, again.json()[0]["id"]), {"name": "kitten"}, JSON)
    assert api.patch(classes_url(worked, cat), {"retired": False}, JSON).json()["retired"] is False


def test_a_retired_class_can_not_be_answered(worked: Project, manager: User, labeler: User) -> None:
    page = make.page(worked, labeler)
    cat = make.class_ids(worked)[0]
    pause(worked)
    class_changes.retire_class(worked, manager, cat)
    run(worked)
    visitor = Client()
    visitor.force_login(labeler)
    body = {"items": make.answers(page, labels=[cat])}
    refused = visitor.post(f"/api/v1/labeling/pages/{page.pk}/submit/", body, JSON)
    assert refused.status_code == 400 and "not a class" in refused.json()["detail"]


def test_a_merge_gives_the_labels_to_the_other_class_and_can_be_undone(
    worked: Project, api: Client, manager: User, labeler: User
) -> None:
    cat, dog, _bird = make.class_ids(worked)
    assert api.patch(classes_url(worked, cat), {"merged_into": dog}, JSON).status_code == 409
    pause(worked)
    before = state(worked)
    merged = api.patch(classes_url(worked, cat), {"merged_into": dog}, JSON).json()
    assert (merged["retired"], merged["merged_into"], merged["labels"]) == (True, dog, 0)
    assert count_progress(worked).labels == {dog: 6}
    assert state(worked)["tasks"] == before["tasks"]
    event = LabelEvent.objects.get(action="class_merged")
    assert event.detail["labels"] == 4
    undo(worked, manager, event.pk)
    assert state(worked)["labels"] == before["labels"]
    assert class_changes.undoable(worked) == set()


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="counts SQLite's steps")
def test_setting_aside_merging_and_undoing_take_steps_as_many_as_the_labels(roles: None) -> None:
    """Not their square: undoing the merge of a big class would never end, and nobody could label meanwhile."""
    few, many = (steps_of_changes(build(images, boxes=1, name=str(images), classes=3)) for images in (400, 3200))
    assert set(few) == {"reset", "its undo", "merge", "undo of it"}
    assert {what: many[what] / few[what] for what in few if many[what] > 16 * few[what]} == {}


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="reads PostgreSQL's own counters")
def test_undoing_a_merge_reads_what_happened_since_once_and_not_for_each_label(roles: None) -> None:
    """How many labels the merge ended its planner can't know, and takes them for one."""
    project = build(4000, boxes=1, classes=2)
    one, other = make.class_ids(project)
    pause(project)
    merge = class_changes.merge_class(project, None, one, other)
    tasks = list(project.tasks.order_by("pk").values_list("pk", flat=True)[:2000])
    LabelEvent.objects.bulk_create(LabelEvent(project=project, task_id=pk, action="approved") for pk in tasks)
    before = events_read()
    undone = undo(project, None, merge.pk)
    assert 0 < undone.detail["labels"] < merge.detail["labels"]  # those of the approved images stay
    assert events_read() - before < 50_000


def events_read() -> int:
    """How many rows of the history this transaction has read."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'labeling_labelevent'"
        )
        return int(cursor.fetchone()[0])


def steps_of_changes(project: Project) -> dict[str, int]:
    """How many hundreds of SQLite's instructions each change takes."""
    steps: dict[str, int] = {}
    pause(project)
    one, other, _third = make.class_ids(project)
    changes: dict[str, Callable[[], object]] = {
        "reset": lambda: add_classes(project, None, ["new"], "restart_keep"),
        "its undo": lambda: undo(project, None, LabelEvent.objects.get(project=project, action="reset").pk),
        "merge": lambda: class_changes.merge_class(project, None, one, other),
        "undo of it": lambda: undo(project, None, LabelEvent.objects.get(project=project, action="class_merged").pk),
    }
    for what, change in changes.items():
        connection.connection.set_progress_handler(lambda what=what: steps.update({what: steps.get(what, 0) + 1}), 100)
        change()
        connection.connection.set_progress_handler(None, 0)
    return steps


def test_an_image_with_both_classes_keeps_one_after_a_merge(manager: User, labeler: User, tmp_path: Path) -> None:
    project = make.project(manager, make.pictures(tmp_path / "many", 4), "multilabel")
    cat, dog, bird = make.class_ids(project)
    both, only = answer(project, labeler, 1, labels=[cat, dog]), answer(project, labeler, 1, labels=[bird, cat])
    pause(project)
    before = state(project)["labels"]
    event = class_changes.merge_class(project, manager, cat, dog)
    assert Annotation.objects.current().filter(task__in=both).count() == 1
    assert set(Annotation.objects.current().filter(task__in=only).values_list("label_class", flat=True)) == {bird, dog}
    undo(project, manager, event.pk)
    assert state(project)["labels"] == before


def test_what_a_merge_and_a_reset_did_is_restored_under_the_heirs_name(worked: Project, manager: User) -> None:
    cat, dog, _bird = make.class_ids(worked)
    before = state(worked)
    pause(worked)
    resets_before = add_classes(worked, manager, ["fox"], "restart_keep")
    assert resets_before
    merge = class_changes.merge_class(worked, manager, cat, dog)
    undo(worked, manager, LabelEvent.objects.get(action="reset").pk)
    assert count_progress(worked).labels == {dog: 6}
    assert merge.detail["labels"] == 0
    assert undo(worked, manager, merge.pk).detail["labels"] == 4
    assert state(worked) == before  # nobody has said anything else meanwhile


def test_merges_of_merged_classes_are_undone_from_the_last_one(worked: Project, api: Client, manager: User) -> None:
    """Also when labels came back in between, which went to the last heir at once."""
    cat, dog, bird = make.class_ids(worked)
    pause(worked)
    before = state(worked)
    add_classes(worked, manager, ["fox"], "restart_keep")
    first = class_changes.merge_class(worked, manager, dog, cat)
    second = class_changes.merge_class(worked, manager, cat, bird)
    undo(worked, manager, LabelEvent.objects.get(action="reset").pk)
    assert count_progress(worked).labels == {bird: 6}
    worked.refresh_from_db()
    assert class_changes.undoable(worked) == {second.pk}
    with pytest.raises(resets.NotUndoable):
        undo(worked, manager, first.pk)
    undo(worked, manager, second.pk)
    assert count_progress(worked).labels == {cat: 6}
    undo(worked, manager, first.pk)
    assert state(worked) == before
    third = class_changes.merge_class(worked, manager, dog, cat)  # without a restart, too
    fourth = class_changes.merge_class(worked, manager, cat, bird)
    with pytest.raises(resets.NotUndoable):
        undo(worked, manager, third.pk)
    undo(worked, manager, fourth.pk)
    undo(worked, manager, third.pk)
    assert state(worked) == before


def test_an_image_with_both_classes_is_restored_with_one_after_a_merge(
    manager: User, labeler: User, tmp_path: Path
) -> None:
    """Merged while the labels were set aside: the two of an image have become one class, which it has once."""
    project = make.project(manager, make.pictures(tmp_path / "many", 4), "multilabel")
    cat, dog, bird = make.class_ids(project)
    both, only = answer(project, labeler, 1, labels=[cat, dog]), answer(project, labeler, 1, labels=[bird, cat])
    pause(project)
    before = state(project)["labels"]
    add_classes(project, manager, ["fox"], "restart_keep")
    merge = class_changes.merge_class(project, manager, cat, dog)
    undo(project, manager, LabelEvent.objects.get(action="reset").pk)
    current = Annotation.objects.current()
    assert list(current.filter(task__in=both).values_list("label_class", flat=True)) == [dog]
    assert set(current.filter(task__in=only).values_list("label_class", flat=True)) == {bird, dog}
    undo(project, manager, merge.pk)
    assert state(project)["labels"] == before


@pytest.mark.parametrize("target", ["itself", "foreign", "retired"])
def test_a_merge_needs_another_class_of_the_project(
    worked: Project, api: Client, manager: User, target: str, tmp_path: Path
) -> None:
    cat, dog, _bird = make.class_ids(worked)
    other = make.project(manager, make.pictures(tmp_path / "other", 1))
    pause(worked)
    class_changes.retire_class(worked, manager, dog)
    into = {"itself": cat, "foreign": make.class_ids(other)[0], "retired": dog}[target]
    before = state(worked)
    assert api.patch(classes_url(worked, cat), {"merged_into": into}, JSON).status_code == 400
    assert api.patch(classes_url(other, cat), {"name": "x"}, JSON).status_code == 404  # a class of another project
    assert state(worked) == before


# --- Races --------------------------------------------------------------------------------------------


def test_a_submit_and_a_restart_leave_one_state(project: Project, manager: User, labeler: User) -> None:
    """ATTACKS 8: the answer is there and was set aside, or it was refused; never half."""
    page = make.page(project, labeler)
    items = make.answers(page, labels=make.class_ids(project)[:1])

    def start_over() -> None:
        project.pause()
        add_classes(project, manager, ["fox"], "restart_remove")

    results = at_once(lambda: submit(page, items), start_over)
    assert unexpected(results, Lapsed, queue.Paused) == []
    assert results[1] is None
    assert Annotation.objects.current().count() == 0
    stored = 0 if isinstance(results[0], Exception) else 9
    assert Annotation.objects.count() == stored
    assert LabelEvent.objects.get(action="reset").detail["labels"] == stored
    assert not LabelTask.objects.filter(status__in=["labeled", "claimed"]).exists()


def test_two_managers_restart_and_restore_at_once(worked: Project, manager: User) -> None:
    pause(worked)
    before = state(worked)
    add_classes(worked, manager, ["fox"], "restart_keep")
    reset = LabelEvent.objects.get(action="reset").pk
    results = at_once(*(lambda: undo(worked, manager, reset) for _try in range(3)))
    assert len(unexpected(results)) == 2 and unexpected(results, resets.NotUndoable) == []
    assert state(worked) == before


def test_a_class_is_not_added_to_a_project_that_has_just_been_started(project: Project, manager: User) -> None:
    project.pause()
    results = at_once(lambda: add_classes(project, manager, ["fox"]), Project.objects.get(pk=project.pk).resume)
    assert unexpected(results, NotPaused) == []
    assert LabelClass.objects.filter(name="fox").exists() != isinstance(results[0], NotPaused)


def test_no_label_is_left_without_what_it_points_at(worked: Project, manager: User, api: Client) -> None:
    """The database doesn't check it: who deletes an event, an image or a project takes the labels along."""
    pause(worked)
    add_classes(worked, manager, ["fox"], "restart_keep")
    undo(worked, manager, LabelEvent.objects.get(action="reset").pk)
    of_images = [label.task.image_id for label in Annotation.objects.current().order_by("task__image")[:2]]
    Image.objects.filter(pk__in=of_images).first().delete()  # type: ignore[union-attr]
    assert 0 < Annotation.objects.count() < 12 and not astray()
    LabelEvent.objects.filter(action="submitted", task__image=of_images[1]).get().delete()
    assert not astray()
    run(worked)
    assert api.delete(f"/api/v1/projects/{worked.pk}/").status_code == 204
    assert not Annotation.objects.exists() and not LabelEvent.objects.exists()


def astray() -> bool:
    """Whether a label names a task, a class or an event that is not there."""
    events = LabelEvent.objects.values("pk")
    labels = Annotation.objects.exclude(
        created_by_event__in=events,
        task__in=LabelTask.objects.values("pk"),
        label_class__in=LabelClass.objects.values("pk"),
    )
    ended = Annotation.objects.filter(ended_by_event__isnull=False).exclude(ended_by_event__in=events)
    return labels.exists() or ended.exists()


def test_a_submit_beside_a_deletion_leaves_no_label_behind(project: Project, labeler: User) -> None:
    """Either the labels came first and go along, or the project is gone; one of the two may be told to try again."""
    page = make.page(project, labeler, 4)
    given = make.answers(page, labels=make.class_ids(project)[:1])
    results = at_once(lambda: submit(page, given, 3), lambda: delete_project(project))
    assert any(not isinstance(result, Exception) for result in results)
    assert not astray()
    assert Annotation.objects.count() == LabelEvent.objects.filter(action="submitted").count()
    if not Project.objects.filter(pk=project.pk).exists():
        assert not Annotation.objects.exists()
