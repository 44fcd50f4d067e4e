"""Fine-tuning within the cycle: used when better, honest always, and nothing half-done (SPEC A3, A4, A9)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from django.contrib.auth.models import User
from django.test import Client
from PIL import Image as Picture

from assist import runs
from assist.embeddings import Embeddings
from assist.jobs import tuning
from assist.jobs.model import Model
from assist.jobs.work import perform
from assist.labels import read_labels
from assist.models import AssistRun, Departure, project_folder
from assist.pictures import Pictures
from assist.pipeline import choosing, weights
from labeling.models import Kind, LabelTask
from projects.models import Image, LabelClass, Project
from tests.assist import planted

State = AssistRun.State
ROUND = ("training", "validation", "inference")
COLORS = [(220, 40, 40), (40, 200, 60), (50, 60, 220)]


@pytest.fixture(autouse=True)
def _quick(settings: Any) -> None:
    settings.ASSIST_STEPS = 2
    torch.set_num_threads(1)


def tuned_project(manager: User, folder: Path, noise: float, count: int = 39) -> Project:
    """A project that fine-tunes; its classes are colors, and the untouched network sees them through some noise."""
    project = planted.project(manager, folder, count, noise, training="fine-tune")
    for path in folder.glob("*.png"):
        Picture.new("RGB", (8, 8), COLORS[int(path.stem) % 3]).save(path)
    for rank, task in enumerate(LabelTask.objects.order_by("image__path")):
        LabelTask.objects.filter(pk=task.pk).update(rank=rank)  # both halves have every class
    return project


@pytest.fixture
def blurred(manager: User, tmp_path: Path) -> Project:
    """The untouched network knows nothing, so that any other one is better."""
    return tuned_project(manager, tmp_path / "images", noise=100)


class Watched(Pictures):
    """Remembers what the networks were shown to learn from, in the order of the networks."""

    shown: list[set[int]] = []

    def read(self, images: Any) -> Iterator[Any]:
        rows = list(images)
        if self.side == 256:
            self.shown.append({row.pk for row in rows})
        return super().read(rows)


def test_a_better_network_is_used_and_only_what_it_has_not_seen_judges(
    blurred: Project, labeler: User, manager: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SPEC A4: neither network nor head of any image that judges has seen its label."""
    monkeypatch.setattr(tuning, "Pictures", Watched)
    Watched.shown = []
    planted.label(blurred, labeler, 27)
    trained, validation, inference = (AssistRun.objects.filter(kind=k).order_by("pk")[0] for k in ROUND)
    found = trained.metrics["tuning"]
    assert trained.state == validation.state == inference.state == State.DONE, trained.log + validation.log
    assert found["used"] and found["labels"] == 27 and found["better"] > found["worse"], found
    assert found["right"] > 25 and "in use" in trained.log

    model = Model.load(trained)
    images = np.array(Image.objects.order_by("pk").values_list("pk", flat=True))
    looked_at = [set(images[part.embeddings.rows(images) >= 0].tolist()) for part in model.parts]
    assert looked_at[0] | looked_at[1] == set(images.tolist()) and not looked_at[0] & looked_at[1]
    assert len(Watched.shown) == 2 and all(Watched.shown)
    for part, shown in zip(looked_at, Watched.shown, strict=True):
        assert not part & shown  # the network of a half has learned from the other half only

    labeled = read_labels(blurred, model.classes)
    departed = Departure.objects.filter(is_suggested=False)
    assert departed.count() == validation.metrics["decision"]["n"] > 0
    for departure in departed:
        (part,) = (part for part in model.parts if departure.task_id in part.trained_on)
        others = labeled.take(
            np.flatnonzero(np.isin(labeled.tasks, part.trained_on[part.trained_on != departure.task_id]))
        )
        whole = labeled.take(np.flatnonzero(np.isin(labeled.tasks, part.trained_on)))
        alone = _refit(part, others, whole)
        at = part.embeddings.rows(np.array([departure.task.image_id]))
        score = alone.scores(part.scaling.apply(part.embeddings.features()[at]))[0]
        assert model.classes[int(score.argmax())] == departure.classes[0]
        assert np.diff(np.sort(score)[-2:])[0] == pytest.approx(departure.confidence, abs=1e-5)

    suggested = LabelTask.objects.filter(kind=Kind.PRELABELED)
    assert suggested.exists() and all(planted.truth(t) == t.prelabels[0]["label_class"] for t in suggested)
    client = Client()
    client.force_login(manager)
    page = client.get(f"/admin/projects/project/{blurred.pk}/runs/{trained.pk}/").content.decode()
    assert "Fine-tuned, and in use" in page and "Right while fine-tuning" in page and page.count("<polyline") == 4


def _refit(part: Any, others: Any, whole: Any) -> Any:
    """Return the head as it would be without one image; the mean of the labels is held, as leave-one-out does."""
    from assist.pipeline.head import Head, kernel, one_hot, solve

    n_classes = whole.y.shape[1]
    x = part.scaling.apply(part.embeddings.features()[part.embeddings.rows(others.images)])
    mu = one_hot(whole.y.argmax(1), n_classes).mean(0)
    return Head(x, solve(kernel(x, x), one_hot(others.y.argmax(1), n_classes), mu), 1.0)


def test_a_network_that_is_no_better_is_not_used_and_the_page_says_so(
    manager: User, labeler: User, tmp_path: Path
) -> None:
    """SPEC A3; each of the two models had half of the doubt."""
    project = tuned_project(manager, tmp_path / "images", noise=0.2)
    planted.label(project, labeler, 27)
    trained = AssistRun.objects.get(kind="training")
    assert trained.state == State.DONE and trained.metrics["tuning"]["used"] is False, trained.log
    assert "Fine-tuned, but not used" in trained.log
    assert len(Model.load(trained).parts) == 1
    folder = project_folder(project.pk)
    assert [path.name for path in folder.glob("features-*")] == [Embeddings.place(project, planted.DIGEST).name]
    assert not list(folder.glob("network-*"))
    client = Client()
    client.force_login(manager)
    page = client.get(f"/admin/projects/project/{project.pk}/runs/{trained.pk}/").content.decode()
    assert "Fine-tuned, but not used" in page
    tests = AssistRun.objects.get(kind="validation").metrics["decision"]["tried"]
    assert all(max(test["binomial"], test["sample"]) <= 0.0125 for test in tests if test["passed"])


def test_a_lost_worker_s_network_is_taken_over_and_a_class_added_meanwhile_ends_the_round_in_words(
    blurred: Project, labeler: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SPEC A9."""
    planted.label(blurred, labeler, 19)
    learn = tuning._network

    def die(work: Any, labeled: Any, half: Any, number: int, *more: Any) -> Any:
        if number == 1:
            raise KeyboardInterrupt  # as good as killed: nothing more is written
        return learn(work, labeled, half, number, *more)

    run = AssistRun.objects.create(project=blurred, kind="training", state=State.RUNNING, token="one", device="cpu")
    monkeypatch.setattr(tuning, "_network", die)
    with pytest.raises(KeyboardInterrupt):
        perform(run, "one")
    run.refresh_from_db()
    assert run.state == State.RUNNING and run.metrics == {}
    monkeypatch.setattr(tuning, "_network", learn)
    AssistRun.objects.filter(pk=run.pk).update(token="two")
    run.refresh_from_db()
    validation = perform(run, "two")
    run.refresh_from_db()
    assert run.state == State.DONE and run.log.count("taken over") == 1, run.log
    LabelClass.objects.create(project=blurred, name="fish", position=9)
    assert validation is not None and perform(validation, "two") is None
    validation.refresh_from_db()
    assert validation.state == State.FAILED and "classes changed" in validation.error
    assert not LabelTask.objects.filter(kind=Kind.PRELABELED).exists()


def test_cancelled_in_the_middle_it_leaves_no_model(
    blurred: Project, labeler: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SPEC A9."""
    from assist.jobs import work

    monkeypatch.setattr(work, "EVERY_SECONDS", 0)
    planted.label(blurred, labeler, 19)
    run = AssistRun.objects.create(project=blurred, kind="training", state=State.RUNNING, token="one", device="cpu")
    learn = tuning._network

    def cancelled(*given: Any) -> Any:
        runs.cancel(AssistRun.objects.get(pk=run.pk))
        return learn(*given)

    monkeypatch.setattr(tuning, "_network", cancelled)
    assert perform(run, "one") is None
    run.refresh_from_db()
    assert run.state == State.CANCELLED and not AssistRun.objects.filter(kind="validation").exists()
    assert not list(project_folder(blurred.pk).glob("network-*"))


def test_older_networks_make_room(blurred: Project) -> None:
    made = []
    for number in range(4):
        digest = str(number) * 64
        Embeddings.open(blurred, digest, (1, 1, 1))
        tuning.features.tuned_file(blurred, digest).write_bytes(b"")
        config = {"tuning": {"0-a": {"digest": digest, "curve": []}}, "tuned": [digest]}
        made.append(AssistRun.objects.create(project=blurred, kind="training", state=State.DONE, config=config))
    tuning.tidy(blurred)
    left = {path.name for path in project_folder(blurred.pk).glob("network-*")}
    assert left == {f"network-{'2' * 16}.pt", f"network-{'3' * 16}.pt"}
    assert len(list(project_folder(blurred.pk).glob("features-*"))) == 3  # and those of the untouched network


def test_it_fine_tunes_when_asked_or_with_a_gpu_and_many_labels(project: Project) -> None:
    """SPEC A3: a choice of the manager."""
    table = [
        ("automatic", "cpu", 5000, False),
        ("automatic", "cuda:0", 999, False),
        ("automatic", "cuda:0", 1000, True),
        ("head", "cuda:0", 5000, False),
        ("fine-tune", "cpu", 20, True),
    ]
    for choice, device, labels, wanted in table:
        project.assist_training = choice
        assert tuning.is_wanted(project, device, labels) is wanted, choice


def test_the_setting_is_changed_by_the_api_and_on_details(project: Project, manager: User) -> None:
    client = Client()
    client.force_login(manager)
    url = f"/api/v1/projects/{project.pk}/"
    answer = client.patch(url, {"assist": {"enabled": True, "training": "fine-tune"}}, "application/json")
    assert answer.json()["assist"]["training"] == "fine-tune"
    assert client.patch(url, {"assist": {"training": "hard"}}, "application/json").status_code == 400
    details = f"/admin/projects/project/{project.pk}/details/"
    page = client.get(details).content.decode()
    assert '<option value="fine-tune" selected>' in page
    client.post(details, {"section": "assist", "enabled": "on", "device": "cpu", "training": "head"})
    project.refresh_from_db()
    assert project.assist_training == "head"


def test_better_is_more_than_luck() -> None:
    assert choosing.is_better(5, 0) and choosing.is_better(30, 12)
    assert not choosing.is_better(4, 0) and not choosing.is_better(25, 20) and not choosing.is_better(0, 0)


def test_a_network_is_written_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """Issue 4, bad input: a disk that is full, for real."""
    (tmp_path / "x.pt.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        weights.write({"a": torch.zeros(9)}, tmp_path / "x.pt")
    assert list(tmp_path.iterdir()) == []
