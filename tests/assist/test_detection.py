"""The cycle for boxes (SPEC A5, A6): trained, judged on images kept aside, boxes filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from django.contrib.auth.models import User
from django.db.models import F
from django.test import Client

from assist import cycle, runs
from assist.jobs import helping, sharding
from assist.jobs.detection import earlier_detector
from assist.jobs.work import Work
from assist.models import AssistRun
from assist.pipeline import detector as detectors
from assist.pipeline.detector import Detector
from labeling import feeder, queue
from labeling.models import Kind, LabelTask
from labeling.submit import submit
from projects.models import Image, Project
from tests import make


@pytest.fixture
def assisted(manager: User, labeler: User, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project of twenty small images, twelve of them with a box, whose detectors train for a moment only."""
    settings.ASSIST_STEPS = 1
    train = detectors.train

    def nudged(*given: Any, **more: Any) -> Detector:
        """One step teaches nothing: have it find small things of the first class everywhere, and not by chance only."""
        made = train(*given, **more)
        head = made.model.get_submodule("head")
        with torch.no_grad():
            head.get_submodule("classification_head").cls_logits.bias.copy_(torch.tensor([1.0, -1.0]))
            head.get_submodule("regression_head").bbox_reg.bias.fill_(0.5)
        return made

    monkeypatch.setattr(detectors, "train", nudged)
    project = make.project(manager, make.pictures(tmp_path / "images", 20), "detection", ("digit", "line"))
    for rank, task in enumerate(LabelTask.objects.order_by("pk")):
        LabelTask.objects.filter(pk=task.pk).update(rank=rank)
    for _number in range(12):
        page = make.page(project, labeler, 1)
        submit(page, make.answers(page, boxes=[{"label_class": make.class_ids(project)[0], "box": [4, 4, 30, 20]}]))
    project.assist_enabled, project.assist_device = True, "cpu"
    project.save()
    return project


def take_for_good(validation: AssistRun) -> None:
    """Let all boxes be shown."""
    thresholds = {**validation.metrics["thresholds"], "by_class": [0.0, 0.0], "exclusive": False}
    validation.metrics |= {"used": True, "thresholds": thresholds}
    validation.save()


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

    # From here on it is taken for a good one.
    take_for_good(validation)
    Image.objects.exclude(tasks__status="labeled").update(width=None, height=None)  # nobody has opened them yet
    runs.enqueue(assisted, AssistRun.Kind.INFERENCE)
    inference = AssistRun.objects.get(kind="inference")
    assert inference.state == "done" and inference.metrics["boxes"] > 0, inference.log
    suggested = LabelTask.objects.filter(kind=Kind.PRELABELED)
    assert suggested.count() == inference.metrics["suggested"] == 8
    assert all(task.rank % 20 for task in suggested)
    page = queue.claim(assisted, labeler, 1)
    assert page is not None and page.kind == Kind.PRELABELED
    task = page.tasks.get()
    submit(page, [{"id": task.pk, "boxes": [{k: box[k] for k in ("label_class", "box")} for box in task.prelabels]}])
    task.refresh_from_db()
    assert task.status == "labeled" and task.annotations.count() == len(task.prelabels)


def test_a_training_goes_on_from_the_last_one_and_never_judges_by_what_it_learned(
    assisted: Project, labeler: User
) -> None:
    runs.enqueue(assisted)
    first = AssistRun.objects.get(kind="training")
    LabelTask.objects.filter(rank=1).update(rank=25)  # learned, then rejected and labeled on a blank page again
    runs.enqueue(assisted)
    second, validation = AssistRun.objects.filter(pk__gt=first.pk).exclude(follows=first).order_by("pk")
    words = "it went on from the last training's model"
    assert words in second.log and words not in first.log
    assert second.metrics["aside"] == 4 and validation.metrics["judges"] == 3

    assisted.assist_network = "resnet50"  # another kind of detector begins anew
    assisted.save()
    assert earlier_detector(Work(second, second.token), "fasterrcnn_resnet50_fpn_v2", second.config["classes"]) is None


def test_images_that_stay_blank_come_among_those_with_boxes(assisted: Project, labeler: User) -> None:
    """Else the last ones would judge a model that nobody needs any more."""
    runs.enqueue(assisted)
    validation = AssistRun.objects.get(kind="validation")
    take_for_good(validation)
    LabelTask.objects.filter(rank=15).update(rank=40)
    LabelTask.objects.filter(rank__in=(16, 17)).update(rank=F("rank") + 40)
    runs.enqueue(assisted, AssistRun.Kind.INFERENCE)
    inference = AssistRun.objects.get(kind="inference")
    assert inference.state == "done" and inference.metrics["suggested"], inference.log
    feeder.feed(assisted.pk)
    queued = list(LabelTask.objects.in_project(assisted).queued().values_list("rank", "kind"))
    assert (40, Kind.MANUAL) in queued[:-1] and queued[-1] == (57, Kind.PRELABELED)


def test_boxes_are_trained_early_then_at_every_doubling_and_not_for_a_last_few(
    assisted: Project, labeler: User
) -> None:
    assert assisted.assist_min_labels == 40  # nobody chose; 100 for classes
    Project.objects.update(assist_min_labels=10)
    assisted.refresh_from_db()
    assert cycle.next_training_data(assisted) == {"labels": 12, "needed": 10}
    assert cycle.due(assisted) == AssistRun.Kind.TRAINING
    runs.enqueue(assisted)
    assert cycle.next_training_data(assisted) == {"labels": 12, "needed": 24}
    for _number in range(6):
        page = make.page(assisted, labeler, 1)
        submit(page, make.answers(page, boxes=[{"label_class": make.class_ids(assisted)[0], "box": [4, 4, 30, 20]}]))
    assert cycle.next_training_data(assisted) is None  # two are left of twenty
    assert not cycle.due(assisted)


def test_without_a_box_there_is_nothing_to_learn(assisted: Project, labeler: User) -> None:
    """Issue 4, bad input."""
    from labeling.models import Annotation

    Annotation.objects.all().delete()
    run = runs.enqueue(assisted)
    run.refresh_from_db()
    assert run.state == "failed" and "no labeled image with a box" in run.error


def test_looking_for_boxes_is_shared_and_each_part_is_kept_once(
    assisted: Project, labeler: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 4, 7: of a large inference other workers take parts; the boxes are those of one worker alone."""
    runs.enqueue(assisted)
    validation = AssistRun.objects.get(kind="validation")
    validation.metrics |= {"used": True, "thresholds": {**validation.metrics["thresholds"], "by_class": [0.0, 2.0]}}
    validation.save()
    alone = boxes_of(runs.enqueue(assisted, AssistRun.Kind.INFERENCE))

    (Path(assisted.dataset.datastore.container) / "0019.png").write_bytes(b"")
    monkeypatch.setattr(sharding, "BOXES", sharding.Size(3, 2))
    helped: list[int] = []
    take = sharding.take

    def help_once(run: AssistRun, count: int) -> None:
        """Another worker takes one part, and then has something else to do."""
        monkeypatch.setattr(sharding, "take", lambda *given: None if helped else helped.append(1) or take(*given))
        assert helping.help_with(AssistRun.objects.get(pk=run.pk)) == 1
        monkeypatch.setattr(sharding, "take", take)

    monkeypatch.setattr(runs, "ask_for_help", help_once)
    run = runs.enqueue(assisted, AssistRun.Kind.INFERENCE)
    together = boxes_of(run)
    run.refresh_from_db()
    assert run.state == "done" and "cut into" in run.log and helped == [1], run.log
    unreadable = LabelTask.objects.get(image__path="0019.png").pk
    assert run.metrics["unreadable"] == (unreadable in alone) and unreadable not in together
    assert len(together) > 1 and set(together) == set(alone) - {unreadable}
    for task, boxes in together.items():  # batches are others, so the last digits are
        assert boxes[0]["box"] == pytest.approx(alone[task][0]["box"], abs=0.5)


def boxes_of(run: AssistRun) -> dict[int, Any]:
    """Return what a run has filled in."""
    found = LabelTask.objects.filter(project=run.project, kind=Kind.PRELABELED)
    return dict(found.values_list("pk", "prelabels"))
