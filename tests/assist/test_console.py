"""What managers see of models: dashboard, runs, Data tab (SPEC B3, B4, A10, V1)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect

from assist.models import AssistRun, Prediction
from labeling.models import Kind, LabelPage, LabelTask
from projects.models import Project
from tests.assist import planted


@pytest.fixture
def round_done(manager: User, labeler: User, tmp_path: Path) -> Project:
    """A project in which a round was done: one of twenty labels was wrong."""
    project = planted.project(manager, tmp_path / "images", target=0.5)
    planted.label(project, labeler, 20, wrong=1)
    return project


@pytest.fixture
def visitor(manager: User) -> Client:
    client = Client()
    client.force_login(manager)
    return client


def page(project: Project, rest: str) -> str:
    return f"/admin/projects/project/{project.pk}/{rest}"


@pytest.mark.parametrize(("task_type", "first"), [("detection", 40), ("multiclass", 100)])
def test_the_wizard_proposes_an_earlier_first_training_for_boxes(visitor: Client, task_type: str, first: int) -> None:
    visitor.post(reverse("admin:projects_project_step", args=["details"]), {"name": "new", "task_type": task_type})
    text = visitor.get(reverse("admin:projects_project_step", args=["assist"])).content.decode()
    (field,) = [tag for tag in text.split("<input ") if 'name="min_labels"' in tag]
    assert f'value="{first}"' in field


def test_the_dashboard_shows_the_next_training_the_worth_and_the_runs(
    round_done: Project, labeler: User, visitor: Client
) -> None:
    """SPEC B3, B4, A10."""
    suggested = LabelTask.objects.filter(kind=Kind.PRELABELED).count()
    planted.label(round_done, labeler, 9)
    LabelPage.objects.update(seconds=18)
    text = visitor.get(page(round_done, "dashboard/")).content.decode()
    at = text.find("Task queue")
    assert "Next training" in text, text[at : at + 2500]
    assert f"{suggested - 9} suggestion" in text and "to be confirmed first" in text
    assert "Kept unchanged" in text and "Train now" in text
    for run in AssistRun.objects.all():
        assert f"/runs/{run.pk}/" in text


def test_a_run_says_its_verdict_and_shows_its_parts(round_done: Project, visitor: Client) -> None:
    """SPEC B4, A5."""
    validation = AssistRun.objects.get(kind="validation")
    text = visitor.get(page(round_done, f"runs/{validation.pk}/")).content.decode()
    assert "In use. At most" in text and "Precision and coverage" in text and "Confusion" in text
    assert "Where they disagree most" in text and "started on cpu" in text
    matrix = validation.metrics["confusion"]
    assert sum(map(sum, matrix)) == validation.metrics["judges"] == 20
    row, column = next((r, c) for r in range(3) for c in range(3) if r != c and matrix[r][c])
    ids = validation.metrics["classes"]
    address = page(round_done, f"runs/{validation.pk}/?label={ids[row]}&said={ids[column]}")
    assert visitor.get(address).content.decode().count('class="thumb on-photo"') == matrix[row][column]
    for run in AssistRun.objects.all():
        assert visitor.get(page(round_done, f"runs/{run.pk}/")).status_code == 200
    assert visitor.get(page(round_done, "runs/")).status_code == 200
    log = visitor.get(page(round_done, f"runs/{validation.pk}/log/"))
    assert log["Content-Type"].startswith("text/plain") and "in use above" in log.content.decode()


def test_a_run_under_way_asks_again_and_can_be_cancelled(round_done: Project, visitor: Client) -> None:
    """SPEC N4."""
    run = AssistRun.objects.create(project=round_done, kind="training", state="running", progress=0.4, step="training")
    text = visitor.get(page(round_done, f"runs/{run.pk}/"), HTTP_HX_REQUEST="true").content.decode()
    assert text.lstrip().startswith('<div id="run" hx-get=') and "40%" in text
    assert "40%" in visitor.get(page(round_done, "dashboard/")).content.decode()
    visitor.post(page(round_done, f"runs/{run.pk}/cancel/"))
    run.refresh_from_db()
    assert run.state == "cancelled"
    assert "hx-get" not in visitor.get(page(round_done, f"runs/{run.pk}/"), HTTP_HX_REQUEST="true").content.decode()


def test_train_now_says_why_not(round_done: Project, visitor: Client) -> None:
    answer = visitor.post(page(round_done, "train/"), follow=True)
    assert "wait to be confirmed" in answer.content.decode()
    failed = AssistRun.objects.create(project=round_done, kind="training", state="failed", error="The disk is full")
    assert (
        "wait to be confirmed"
        in visitor.post(page(round_done, f"runs/{failed.pk}/retry/"), follow=True).content.decode()
    )


def test_a_reviewer_sees_runs_and_starts_none(round_done: Project, outsider: User) -> None:
    """SPEC R2, R3."""
    from projects.access import set_people, set_role

    set_role(outsider, "reviewer")
    set_people(round_done, "review_project", [outsider, round_done.created_by])
    client = Client()
    client.force_login(outsider)
    run = AssistRun.objects.filter(kind="training").first()
    text = client.get(page(round_done, f"runs/{run.pk}/")).content.decode()
    assert "Parameters" in text and "Train again" not in text
    assert client.post(page(round_done, "train/")).status_code == 404
    assert client.post(page(round_done, f"runs/{run.pk}/retry/")).status_code == 404


def test_likely_wrong_labels_come_first(round_done: Project, visitor: Client) -> None:
    """METHOD: ranked by the leave-one-out margin."""
    answer = visitor.get(page(round_done, "data/?view=likely-wrong"))
    wrong = [task.pk for task in LabelTask.objects.filter(status="labeled") if label_of(task) != planted.truth(task)]
    assert len(wrong) == 1
    assert {image["task"] for image in answer.context["images"][:1]} == set(wrong)
    task = LabelTask.objects.get(pk=wrong[0])
    text = visitor.get(page(round_done, f"data/{task.image_id}/")).content.decode()
    assert "it disagrees with the label" in text
    assert Prediction.objects.get(task=task).labels[0]["label_class"] == planted.truth(task)
    assert 'data-press="k"' in text and 'data-press="m"' in text


def test_one_press_keeps_a_doubted_label_and_one_takes_the_model_s(
    round_done: Project, manager: User, open_page: Callable[..., Page]
) -> None:
    """Issue 4: one key keeps, one key mends; the most doubtful label opens by itself."""
    (task,) = [task for task in LabelTask.objects.filter(status="labeled") if label_of(task) != planted.truth(task)]
    browser = open_page(manager, page(round_done, "data/?view=likely-wrong"))
    expect(browser.locator("#image-panel [data-press=m]")).to_be_visible()
    browser.keyboard.press("m")
    expect(browser.locator(".note.good")).to_contain_text("Corrected")
    assert label_of(task) == planted.truth(task)
    task.refresh_from_db()
    assert task.status == "approved"


def test_details_shows_the_settings_and_switches_assistance_off(round_done: Project, visitor: Client) -> None:
    """SPEC A1, T1: the form says what devices are there; a value that makes no sense changes nothing."""
    address = page(round_done, "details/")
    text = visitor.get(address).content.decode()
    assert "CPU (" in text and 'value="50"' in text
    wrong = {"section": "assist", "enabled": "on", "target_percent": "120", "min_labels": "20", "device": "cpu"}
    assert "less than or equal to" in visitor.post(address, wrong, follow=True).content.decode()
    settings = wrong | {"target_percent": "90", "network": "resnet18", "threshold": "0.8", "clustering": "on"}
    assert "A model helps" in visitor.post(address, settings, follow=True).content.decode()
    round_done.refresh_from_db()
    assert (round_done.assist_target, round_done.assist_network) == (0.9, "resnet18")
    assert round_done.assist_threshold == 0.8 and round_done.assist_clustering
    assert LabelTask.objects.filter(kind=Kind.PRELABELED).exists()
    visitor.post(address, {"section": "assist"})
    round_done.refresh_from_db()
    assert not round_done.assist_enabled and not LabelTask.objects.filter(kind=Kind.PRELABELED).exists()


def label_of(task: LabelTask) -> int:
    return task.annotations.get(ended_by_event__isnull=True).label_class_id
