"""The tabs of a project in the console (SPEC B, V, T, E1, R2)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from exports.models import Export
from labeling.models import Annotation, LabelTask
from labeling.submit import submit
from projects.access import is_open_to_all
from projects.models import LabelClass, Project
from tests import make

TABS = ("dashboard", "data", "details", "exports")


def client(user: User) -> Client:
    visitor = Client()
    visitor.force_login(user)
    return visitor


def url(project: Project, tab: str) -> str:
    return f"/admin/projects/project/{project.pk}/{tab}/"


@pytest.fixture
def labeled(project: Project, labeler: User) -> Project:
    """Nine of twenty images labeled as cats, by hand, in nine seconds."""
    page = make.page(project, labeler)
    submit(page, make.answers(page, labels=make.class_ids(project)[:1]), 9)
    return project


@pytest.mark.parametrize("tab", TABS)
def test_other_people_find_nothing_there(labeled: Project, labeler: User, tab: str) -> None:
    other = make.user("other", "manager")
    assert client(other).get(url(labeled, tab)).status_code == 404
    assert client(labeler).get(url(labeled, tab)).status_code == 404


def test_a_dashboard_tells_numbers_that_add_up(labeled: Project, manager: User) -> None:
    text = client(manager).get(url(labeled, "dashboard")).content.decode()
    assert "45.0%" in text
    assert "9 labels on 9 images" in text
    numbers = [int(n) for n in re.findall(r"<b>(\d+)</b>", text)]
    labeled_n, review_n, skipped_n, *pending = numbers[:6]
    assert (labeled_n, review_n, skipped_n) == (9, 0, 0)
    assert labeled_n + sum(pending[:1]) == 20
    assert "labeler" in text and "1.0 s" in text


def test_data_is_filtered_and_reviewed(labeled: Project, manager: User) -> None:
    visitor = client(manager)
    cat = make.class_ids(labeled)[0]
    page = visitor.get(url(labeled, "data"), {"label_class": cat}).content.decode()
    assert page.count('name="images"') == 9
    image = LabelTask.objects.filter(status="labeled").values_list("image", flat=True)[0]
    visitor.post(url(labeled, "data/act"), {"action": "approve", "images": [image]})
    assert LabelTask.objects.get(image=image).status == "approved"
    visitor.post(url(labeled, "data/act"), {"action": "reject", "images": [image]})
    assert LabelTask.objects.get(image=image).status == "queued"
    assert Annotation.objects.current().count() == 8


def test_a_wrong_filter_is_told_in_words(labeled: Project, manager: User) -> None:
    assert "is not a state" in client(manager).get(url(labeled, "data"), {"status": "lost"}).content.decode()


def test_an_image_shows_its_history_and_is_corrected(labeled: Project, manager: User, labeler: User) -> None:
    visitor = client(manager)
    task = LabelTask.objects.filter(status="labeled")[0]
    assert labeler.username in visitor.get(url(labeled, f"data/{task.image_id}")).content.decode()
    dog = make.class_ids(labeled)[1]
    visitor.post(url(labeled, "data/correct"), {"items": json.dumps([{"id": task.pk, "labels": [dog]}])})
    assert Annotation.objects.current().get(task=task).label_class_id == dog


def test_details_save_each_section_on_its_own(labeled: Project, manager: User) -> None:
    visitor = client(manager)
    visitor.post(url(labeled, "details"), {"section": "name", "name": "Pets"})
    visitor.post(url(labeled, "details"), {"section": "instructions", "instructions_text": "**Look**"})
    visitor.post(url(labeled, "details"), {"section": "access", "access": "named"})
    labeled.refresh_from_db()
    assert (labeled.name, labeled.instructions_text) == ("Pets", "**Look**")
    assert not is_open_to_all(labeled)


def test_classes_change_names_and_places_and_keep_their_labels(labeled: Project, manager: User) -> None:
    cat, dog, bird = make.class_ids(labeled)
    body = {
        "section": "classes",
        "class": [dog, cat, bird],
        "class_name": ["cat", "dog", "owl"],
        "class_color": ["c1", "#123456", "c3"],
    }
    client(manager).post(url(labeled, "details"), body)
    assert list(LabelClass.objects.values_list("pk", "name")) == [(dog, "cat"), (cat, "dog"), (bird, "owl")]
    assert Annotation.objects.current().filter(label_class=cat).count() == 9


def test_equal_class_names_change_nothing(labeled: Project, manager: User) -> None:
    cat, dog, bird = make.class_ids(labeled)
    body = {
        "section": "classes",
        "class": [cat, dog, bird],
        "class_name": ["a", "A", "c"],
        "class_color": ["c1", "c2", "c3"],
    }
    page = client(manager).post(url(labeled, "details"), body, follow=True)
    assert page.status_code == 422
    assert "There is “A” already." in page.content.decode()
    assert set(LabelClass.objects.values_list("name", flat=True)) == {"cat", "dog", "bird"}


def test_an_error_on_details_stands_beside_its_field_and_nothing_is_saved(labeled: Project, manager: User) -> None:
    """T1: what was typed stays, other sections are as they were."""
    other = Project.objects.create(name="Taken", task_type="multiclass", dataset=labeled.dataset)
    answer = client(manager).post(url(labeled, "details"), {"section": "name", "name": other.name})
    assert answer.status_code == 422
    text = answer.content.decode()
    assert 'value="Taken"' in text and "already exists" in text
    assert Project.objects.get(pk=labeled.pk).name == labeled.name


def test_details_say_what_can_not_change_and_why(labeled: Project, manager: User) -> None:
    text = client(manager).get(url(labeled, "details")).content.decode()
    assert "as the labels depend on it" in text and "as the labels belong to its images" in text
    assert labeled.dataset.datastore.container in text


def test_the_questions_are_put_below_what_was_typed(labeled: Project, manager: User) -> None:
    """I2: a button that saves nothing."""
    body = {"section": "instructions", "instructions_text": "Mine.", "questions": "1"}
    text = client(manager).post(url(labeled, "details"), body).content.decode()
    assert "Mine.\n\n### Which labels are there" in text
    assert Project.objects.get(pk=labeled.pk).instructions_text == ""


def test_refresh_now_looks_and_the_list_tells_what_was_found(labeled: Project, manager: User, tmp_path: Path) -> None:
    """F2: on Details, with its history."""
    make.pictures(tmp_path / "images", 23)
    visitor = client(manager)
    visitor.post(url(labeled, "details"), {"section": "refresh", "now": "1"})
    card = visitor.get(url(labeled, "details"), {"section": "refresh"}).content.decode()
    assert '<td class="r">3</td>' in card and "Label classes" not in card


def test_classes_are_added_on_details_once_the_manager_has_seen_the_numbers(labeled: Project, manager: User) -> None:
    """C4: numbers before the choice; nothing while the project runs; undone from the history."""
    visitor = client(manager)
    add = f"/admin/projects/project/{labeled.pk}/classes/add/"
    body = {"names": "fox\n\nowl\n", "existing": "restart_remove"}
    refused = visitor.post(add, body)
    assert refused.status_code == 422 and "Pause the project first" in refused.content.decode()
    assert LabelClass.objects.count() == 3
    visitor.post(add, {"pause": "pause"})
    page = visitor.get(add).content.decode()
    assert "9 labels will be set aside. All 20 images come round again" in page
    assert "Only the 11 pending images" in page
    wrong = visitor.post(add, {**body, "names": "fox\nCAT"})
    assert wrong.status_code == 422 and "There is a class “CAT” already." in wrong.content.decode()
    visitor.post(add, body)
    assert list(LabelClass.objects.values_list("name", flat=True)) == ["cat", "dog", "bird", "fox", "owl"]
    assert Annotation.objects.current().count() == 0
    details = visitor.get(url(labeled, "details")).content.decode()
    assert "started over: 9 labels set aside" in details
    (undo,) = re.findall(r'action="([^"]+/classes/undo/\d+/)"', details)
    told = visitor.post(undo, follow=True).content.decode()
    assert "9 labels are back." in told
    assert Annotation.objects.current().count() == 9
    assert "These labels are back already" in visitor.post(undo, follow=True).content.decode()


def test_a_class_is_merged_and_another_deleted_on_its_page(labeled: Project, manager: User) -> None:
    visitor = client(manager)
    cat, dog, bird = make.class_ids(labeled)
    page = f"/admin/projects/project/{labeled.pk}/classes/"
    assert "paused first" in visitor.get(f"{page}{cat}/").content.decode()
    visitor.post(f"{page}{cat}/", {"action": "pause"})
    assert "Choose a class." in visitor.post(f"{page}{cat}/", {"action": "merge"}).content.decode()
    assert "can&#x27;t be deleted" in visitor.post(f"{page}{cat}/", {"action": "delete"}).content.decode()
    visitor.post(f"{page}{cat}/", {"action": "merge", "into": dog})
    visitor.post(f"{page}{bird}/", {"action": "delete"})
    assert list(LabelClass.objects.current().values_list("pk", flat=True)) == [dog]
    assert Annotation.objects.current().filter(label_class=dog).count() == 9


def test_a_link_that_is_no_web_address_is_refused(labeled: Project, manager: User) -> None:
    body = {"section": "instructions", "instructions_url": "javascript:alert(1)"}
    client(manager).post(url(labeled, "details"), body)
    labeled.refresh_from_db()
    assert labeled.instructions_url == ""


def test_an_export_is_asked_for_and_taken_away(labeled: Project, manager: User) -> None:
    visitor = client(manager)
    page = visitor.post(url(labeled, "exports"), follow=True).content.decode()
    export = Export.objects.get()
    assert f"/exports/{export.pk}/" in page
    file = visitor.get(url(labeled, f"exports/{export.pk}"))
    assert b"".join(file.streaming_content).count(b'"image_id"') == 9
