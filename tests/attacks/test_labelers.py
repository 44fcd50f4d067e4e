"""Attack 28: one labeler answers at random; it shows, the model is not used, and those labels are taken back."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect

from assist.models import AssistRun
from labeling import review
from labeling.models import Annotation, Kind, LabelEvent, LabelTask
from labeling.submit import submit
from projects.access import set_people
from projects.models import Project
from tests import make
from tests.assist import planted

Opener = Callable[..., Page]
N_LOOKED_AT = 12  # of each labeler's images


@pytest.fixture
def shared(manager: User, tmp_path: Path) -> Project:
    return make.project(manager, make.pictures(tmp_path / "images", 90))


def truth(task: LabelTask, classes: list[int]) -> int:
    return classes[task.image_id % len(classes)]


def label(project: Project, person: User, n_images: int, choose: Callable[[LabelTask], int]) -> None:
    page = make.page(project, person, n_images)
    submit(page, [{"id": task.pk, "labels": [choose(task)]} for task in page.tasks.all()], 30)


def look_at(project: Project, reviewer: User, person: User, n_images: int) -> None:
    """Review somebody's images: approve what is right, correct or reject what is wrong, in turn."""
    classes = make.class_ids(project)
    for number, task in enumerate(LabelTask.objects.filter(labeler=person).order_by("pk")[:n_images]):
        given = Annotation.objects.current().get(task=task).label_class_id
        if given == truth(task, classes):
            review.approve(project, reviewer, [task.image_id])
        elif number % 2:
            review.correct(project, reviewer, [{"id": task.pk, "labels": [truth(task, classes)]}])
        else:
            review.reject(project, reviewer, [task.image_id])


@pytest.fixture
def spoiled(shared: Project, manager: User, labeler: User, labeler2: User) -> Project:
    """Two careful labelers and one who presses any key; a reviewer has looked at some images of each."""
    careful, careful2, careless = labeler, labeler2, make.user("careless", "labeler")
    classes = make.class_ids(shared)
    chance = random.Random(28)
    for person in (careful, careful2, careless):
        right = person is not careless
        label(shared, person, 30, lambda task, ok=right: truth(task, classes) if ok else chance.choice(classes))
    for person in (careful, careful2, careless):
        look_at(shared, manager, person, N_LOOKED_AT)
    return shared


def rows(project: Project, user: User) -> dict[str, dict[str, object]]:
    client = Client()
    client.force_login(user)
    context = client.get(f"/admin/projects/project/{project.pk}/dashboard/").context
    return {row["name"]: row for row in context["labelers"]}


def test_28_random_labels_show_on_the_dashboard_within_a_dozen_images(spoiled: Project, manager: User) -> None:
    found = rows(spoiled, manager)
    assert {name for name, row in found.items() if row["stands_out"]} == {"careless"}
    assert found["labeler"]["kept"].percent == found["labeler2"]["kept"].percent == 100
    assert found["careless"]["kept"].judged == N_LOOKED_AT and found["careless"]["kept"].percent < 70


def test_28_a_verdict_that_was_undone_or_is_on_ones_own_label_is_none(
    shared: Project, manager: User, labeler: User
) -> None:
    set_people(shared, "label_project", [manager])
    classes = make.class_ids(shared)
    for person in (labeler, manager):
        label(shared, person, 9, lambda task: truth(task, classes))
    ids = list(LabelTask.objects.filter(labeler__isnull=False).order_by("pk").values_list("image", flat=True))
    done = review.review(shared, manager, review.ACTS["reject"], ids)
    assert rows(shared, manager).get("labeler") is None
    review.undo(shared, manager, done.first, done.last)
    assert rows(shared, manager)["labeler"]["kept"] is None
    theirs = LabelTask.objects.filter(labeler=labeler).values_list("image", flat=True)
    review.approve(shared, manager, [*theirs[:4]])
    assert rows(shared, manager)["labeler"]["kept"].judged == 4
    assert rows(shared, manager)["manager"]["kept"] is None


def test_28_one_persons_labels_of_some_time_are_withdrawn_and_brought_back(
    spoiled: Project, manager: User, open_page: Opener
) -> None:
    """Seen on the dashboard, taken back in the console, undone from the list: the labels are as they were."""
    careless = User.objects.get(username="careless")
    theirs = LabelTask.objects.filter(labeler=careless, status="labeled")
    early = list(theirs.order_by("pk").values_list("pk", flat=True)[:5])
    LabelTask.objects.filter(pk__in=early).update(labeled_at=timezone.now() - timedelta(days=2))
    late = set(theirs.values_list("pk", flat=True)) - set(early)
    others = Annotation.objects.current().exclude(task__in=late).count()
    before = sorted(Annotation.objects.current().values_list("task", "label_class", "place"))
    page = open_page(manager, f"/admin/projects/project/{spoiled.pk}/dashboard/")
    expect(page.get_by_text("clearly fewer than of the others")).to_contain_text("careless")
    page.get_by_role("link", name="Withdraw somebody’s labels").click()
    page.get_by_label("Labels given by").select_option(label="careless")
    since = page.evaluate("new Date(Date.now() - 864e5).toISOString().slice(0, 16)")
    page.get_by_label("From").fill(since)
    page.get_by_role("button", name="Show how many").click()
    expect(page.get_by_role("status").filter(has_text="Look at them")).to_contain_text(f"{len(late)} images")
    page.get_by_role("button", name=f"Withdraw the labels of {len(late)} images").click()
    expect(page.get_by_text(f"Withdrew the labels of {len(late)} images")).to_be_visible()
    assert Annotation.objects.current().count() == others
    assert set(LabelTask.objects.filter(pk__in=late).values_list("status", flat=True)) == {"queued"}
    assert theirs.count() == len(early)
    assert LabelEvent.objects.filter(action="rejected", by=manager, task__in=late).count() == len(late)
    entry = page.locator("#withdrawals li")
    expect(entry).to_contain_text("careless")
    entry.get_by_role("button", name="Undo").click()
    expect(page.locator("#withdrawals li")).to_contain_text("undone")
    assert sorted(Annotation.objects.current().values_list("task", "label_class", "place")) == before
    assert set(LabelTask.objects.filter(pk__in=late).values_list("status", flat=True)) == {"labeled"}


def test_28_approved_labels_stay_unless_they_are_asked_for_too(spoiled: Project, manager: User) -> None:
    client = Client()
    client.force_login(manager)
    url = f"/admin/projects/project/{spoiled.pk}/withdraw/"
    labeler = User.objects.get(username="labeler")
    mine = LabelTask.objects.filter(labeler=labeler)
    client.post(url, {"labeler": labeler.pk})
    assert set(mine.exclude(status="queued").values_list("status", flat=True)) == {"approved"}
    client.post(url, {"labeler": labeler.pk, "approved": "on"})
    assert set(mine.values_list("status", flat=True)) == {"queued"}
    assert LabelTask.objects.filter(labeler__username="labeler2", status="approved").count() == N_LOOKED_AT


def test_28_a_program_withdraws_by_filter_and_reject(spoiled: Project, manager: User) -> None:
    client = Client()
    client.force_login(manager)
    careless = User.objects.get(username="careless")
    base = f"/api/v1/projects/{spoiled.pk}"
    query = {"labeler": careless.pk, "status": "labeled", "since": (timezone.now() - timedelta(hours=1)).isoformat()}
    ids = [image["id"] for image in client.get(f"{base}/images/", query).json()["results"]]
    answer = client.post(f"{base}/reject/", json.dumps({"images": ids}), "application/json")
    assert answer.status_code == 200 and len(ids) == 30 - N_LOOKED_AT
    assert not LabelTask.objects.filter(labeler=careless, status="labeled").exists()


def test_28_random_labels_close_the_models_gate(manager: User, labeler: User, tmp_path: Path) -> None:
    """The pictures are easy and the labels are noise: nothing is prelabeled."""
    project = planted.project(manager, tmp_path / "images", noise=0.2)
    classes = make.class_ids(project)
    chance = random.Random(28)
    for _ in range(3):
        label(project, labeler, 10, lambda task: chance.choice(classes))
    validation = AssistRun.objects.filter(kind="validation").first()
    assert validation is not None and validation.metrics["used"] is False
    assert not LabelTask.objects.filter(kind=Kind.PRELABELED).exists()


def test_28_what_was_promised_by_withdrawn_labels_is_taken_back(manager: User, labeler: User, tmp_path: Path) -> None:
    project = planted.project(manager, tmp_path / "images")
    planted.label(project, labeler, 20)
    assert LabelTask.objects.filter(kind=Kind.PRELABELED).exists()
    client = Client()
    client.force_login(manager)
    client.post(f"/admin/projects/project/{project.pk}/withdraw/", {"labeler": labeler.pk, "approved": "on"})
    assert not LabelTask.objects.filter(kind=Kind.PRELABELED).exists()
    assert not Annotation.objects.current().exists()
