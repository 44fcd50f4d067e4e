"""The cycle for boxes (SPEC A5, A6): trained, judged on images kept aside, boxes filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from assist import runs
from assist.models import AssistRun
from labeling import queue
from labeling.models import Kind, LabelTask
from labeling.submit import submit
from projects.models import Project
from tests import make


@pytest.fixture
def assisted(manager: User, labeler: User, tmp_path: Path, settings: Any) -> Project:
    """A project of twenty small images, twelve of them with a box, whose detectors train for a moment only."""
    settings.ASSIST_STEPS = 2
    project = make.project(manager, make.pictures(tmp_path / "images", 20), "detection", ("digit", "line"))
    for rank, task in enumerate(LabelTask.objects.order_by("pk")):
        LabelTask.objects.filter(pk=task.pk).update(rank=rank)
    for _number in range(12):
        page = make.page(project, labeler, 1)
        submit(page, make.answers(page, boxes=[{"label_class": make.class_ids(project)[0], "box": [4, 4, 30, 20]}]))
    project.assist_enabled, project.assist_device = True, "cpu"
    project.save()
    return project


def test_a_detector_is_trained_judged_and_its_boxes_are_filled_in(
    assisted: Project, labeler: User, manager: User
) -> None:
    runs.enqueue(assisted)
    training, validation = AssistRun.objects.order_by("pk")
    assert (training.state, validation.state) == ("done", "done"), training.log + validation.log
    assert training.metrics["labels"] == 12 and training.metrics["aside"] == 3
    assert validation.metrics["judges"] == 3 and set(validation.metrics["measured"]) == {"precision", "missed", "iou"}
    client = Client()
    client.force_login(manager)
    for run in (training, validation):
        text = client.get(f"/admin/projects/project/{assisted.pk}/runs/{run.pk}/").content.decode()
        assert (
            str(run) in text
            and "by hand" in client.get(f"/admin/projects/project/{assisted.pk}/runs/").content.decode()
        )

    # Two steps teach nothing; from here on it is taken for a good one.
    validation.metrics |= {"used": True, "thresholds": {**validation.metrics["thresholds"], "by_class": [0.0, 2.0]}}
    validation.save()
    runs.enqueue(assisted, AssistRun.Kind.INFERENCE)
    inference = AssistRun.objects.get(kind="inference")
    assert inference.state == "done" and inference.metrics["boxes"] > 0, inference.log
    suggested = LabelTask.objects.filter(kind=Kind.PRELABELED)
    assert suggested.count() == inference.metrics["suggested"] > 0
    assert all(task.rank % 20 for task in suggested)
    page = queue.claim(assisted, labeler, 1)
    assert page is not None and page.kind == Kind.PRELABELED
    task = page.tasks.get()
    submit(page, [{"id": task.pk, "boxes": [{k: box[k] for k in ("label_class", "box")} for box in task.prelabels]}])
    task.refresh_from_db()
    assert task.status == "labeled" and task.annotations.count() == len(task.prelabels)


def test_without_a_box_there_is_nothing_to_learn(assisted: Project, labeler: User) -> None:
    """Issue 4, bad input."""
    from labeling.models import Annotation

    Annotation.objects.all().delete()
    run = runs.enqueue(assisted)
    run.refresh_from_db()
    assert run.state == "failed" and "no labeled image with a box" in run.error
