"""The cycle from labels to prelabeled pages, by every door (SPEC A3 to A9)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from assist import cycle, labels, runs
from assist.models import AssistRun, Departure, Prediction
from labeling import class_changes, queue
from labeling.models import Kind, LabelTask, Status
from projects.models import LabelClass, Project
from tests import make
from tests.assist import planted

State = AssistRun.State


@pytest.fixture
def assisted(manager: User, tmp_path: Path) -> Project:
    """A project of sixty images whose model is good, with a target that thirty labels can prove."""
    return planted.project(manager, tmp_path / "images")


@pytest.fixture
def client_of(manager: User) -> Client:
    client = Client()
    client.force_login(manager)
    return client


def kinds(project: Project) -> list[str]:
    return [run.kind for run in AssistRun.objects.filter(project=project).order_by("pk")]


def test_labels_start_a_training_by_themselves_and_prelabels_follow(assisted: Project, labeler: User) -> None:
    """SPEC A3, A5, A6, A8."""
    planted.label(assisted, labeler, 19)
    assert AssistRun.objects.filter(kind="training").count() == 0
    planted.label(assisted, labeler, 1)
    assert kinds(assisted)[-3:] == ["training", "validation", "inference"]
    assert set(AssistRun.objects.values_list("state", flat=True)) == {State.DONE}
    validation = AssistRun.objects.get(kind="validation")
    assert validation.metrics["used"] and validation.metrics["accuracy"] == 1.0
    suggested = LabelTask.objects.filter(kind=Kind.PRELABELED)
    assert suggested.count() == AssistRun.objects.get(kind="inference").metrics["suggested"] > 10
    page = queue.claim(assisted, labeler, 9)
    assert page is not None and page.kind == Kind.PRELABELED
    tasks = list(page.tasks.order_by("place"))
    assert {task.prelabels[0]["label_class"] for task in tasks} == {planted.truth(tasks[0])}
    assert all(planted.truth(task) == task.prelabels[0]["label_class"] for task in suggested)
    assert all(0 < task.prelabels[0]["confidence"] <= 1 for task in tasks)


def test_what_lies_above_the_threshold_leaves_labeled_and_blank_alike(assisted: Project, labeler: User) -> None:
    """SPEC A4: the ledger of docs/assist.md."""
    planted.label(assisted, labeler, 20)
    left = Departure.objects.all()
    threshold = AssistRun.objects.get(kind="validation").metrics["threshold"]
    assert left.filter(is_suggested=True).count() == LabelTask.objects.filter(kind=Kind.PRELABELED).count()
    blind = left.filter(is_suggested=False)
    assert blind.count() == AssistRun.objects.get(kind="validation").metrics["decision"]["n"]
    assert set(blind.values_list("task__status", flat=True)) == {Status.LABELED}
    assert all(departure.confidence >= threshold for departure in left)


def test_it_does_not_train_while_suggestions_wait_and_goes_on_afterwards(assisted: Project, labeler: User) -> None:
    """SPEC A3: one round after the other, until nothing is left."""
    planted.label(assisted, labeler, 20)
    with pytest.raises(runs.Refused, match="wait to be confirmed"):
        runs.enqueue(assisted)
    planted.label(assisted, labeler, 40)
    assert LabelTask.objects.filter(status=Status.LABELED).count() == 60
    assert cycle.due(assisted) == ""


def test_a_model_that_is_not_sure_enough_is_not_used_and_says_what_it_needs(
    manager: User, labeler: User, tmp_path: Path
) -> None:
    """SPEC A5."""
    project = planted.project(manager, tmp_path / "images", noise=0.2)
    project.assist_target = 0.95
    project.save()
    planted.label(project, labeler, 20)
    validation = AssistRun.objects.get(kind="validation")
    assert validation.metrics["used"] is False
    assert validation.metrics["needed"] > 50
    assert "more labels needed" in validation.log
    assert not AssistRun.objects.filter(kind="inference").exists()
    assert not LabelTask.objects.filter(kind=Kind.PRELABELED).exists()


def test_labels_at_random_publish_nothing(manager: User, labeler: User, tmp_path: Path) -> None:
    """SPEC A5: the promise can't be met by chance."""
    project = planted.project(manager, tmp_path / "images", noise=50.0)
    planted.label(project, labeler, 30)
    assert AssistRun.objects.filter(kind="validation").first().metrics["used"] is False
    assert not Departure.objects.exists()


def test_a_fixed_threshold_keeps_every_fifth_image_blank_and_shows_its_error(assisted: Project, labeler: User) -> None:
    """SPEC A5, A8: a newer model replaces its suggestions."""
    assisted.assist_threshold = 0.1
    assisted.save()
    planted.label(assisted, labeler, 20)
    validation = AssistRun.objects.get(kind="validation")
    assert validation.metrics["is_fixed"] and validation.metrics["decision"]["k"] == 0
    blank = LabelTask.objects.exclude(kind=Kind.PRELABELED).exclude(status=Status.LABELED)
    assert blank.exists() and all(task.rank % 5 == 0 for task in blank)
    assert not Departure.objects.exists()
    before = LabelTask.objects.filter(kind=Kind.PRELABELED).count()
    runs.enqueue(assisted)
    assert LabelTask.objects.filter(kind=Kind.PRELABELED).count() == before


def test_switching_off_takes_back_what_waits_and_leaves_pages_alone(
    assisted: Project, labeler: User, client_of: Client
) -> None:
    """SPEC A1."""
    planted.label(assisted, labeler, 20)
    page = queue.claim(assisted, labeler, 4)
    assert page is not None
    client_of.patch(f"/api/v1/projects/{assisted.pk}/", {"assist": {"enabled": False}}, "application/json")
    suggested = LabelTask.objects.filter(kind=Kind.PRELABELED)
    assert set(suggested.values_list("page", flat=True)) == {page.pk}
    assert not LabelTask.objects.filter(kind=Kind.MANUAL, prelabels__isnull=False).exists()
    with pytest.raises(runs.Refused, match="is off"):
        runs.enqueue(assisted)


def test_imported_suggestions_are_none_of_its_business(assisted: Project, labeler: User) -> None:
    """SPEC A1: what was imported stays when assistance is switched off."""
    task = LabelTask.objects.order_by("-rank").first()
    LabelTask.objects.filter(pk=task.pk).update(kind=Kind.PRELABELED, prelabels=[], priority=0)
    cycle.switch_off(assisted)
    task.refresh_from_db()
    assert task.kind == Kind.PRELABELED


def test_imported_labels_judge_no_model_even_when_classes_were_merged_since(
    assisted: Project, manager: User, labeler: User, tmp_path: Path
) -> None:
    """METHOD 2: who made them may have used a model; merging writes them again, and they stay what they are."""
    names = list(LabelClass.objects.filter(project=assisted).values_list("name", flat=True))
    paths = LabelTask.objects.values_list("image__path", flat=True)[:10]
    table = tmp_path / "labels.csv"
    table.write_text("path,label\n" + "".join(f"{path},{names[-1]}\n" for path in paths))
    call_command("import_labels", assisted.name, str(table))
    planted.label(assisted, labeler, 10)
    assisted.pause()
    *_others, heir, merged = labels.class_ids(assisted)
    class_changes.merge_class(assisted, manager, merged, heir)
    known = labels.read_labels(assisted, labels.class_ids(assisted))
    assert (len(known), int(known.is_blind.sum())) == (20, 10)


def test_the_api_starts_shows_and_cancels_runs(
    assisted: Project, labeler: User, client_of: Client, outsider: User
) -> None:
    """API.md; SPEC H1, R2."""
    url = f"/api/v1/projects/{assisted.pk}/assist-runs/"
    refused = client_of.post(url, {}, "application/json")
    assert refused.status_code == 409 and "Label some images" in refused.json()["detail"]
    planted.label(assisted, labeler, 10)
    progress = client_of.get(f"/api/v1/projects/{assisted.pk}/progress/").json()
    assert progress["next_training"]["labels"] == 10
    made = client_of.post(url, {}, "application/json")
    assert made.status_code == 201 and made.json()["kind"] == "training"
    run = client_of.get(f"/api/v1/assist-runs/{made.json()['id']}/").json()
    assert run["state"] == "done" and run["progress"] == 1 and run["device"] == "cpu"
    assert {row["kind"] for row in client_of.get(url).json()["results"]} >= {"training", "validation"}
    again = client_of.post(f"/api/v1/assist-runs/{run['id']}/cancel/")
    assert again.status_code == 409
    other = Client()
    other.force_login(labeler)
    for address in (url, f"/api/v1/assist-runs/{run['id']}/"):
        assert other.get(address).status_code == 404
    assert other.post(f"/api/v1/assist-runs/{run['id']}/cancel/").status_code == 404


def test_a_second_run_waits_for_the_first(assisted: Project, labeler: User, client_of: Client) -> None:
    """SPEC A3; ATTACKS 24: one in flight per project."""
    planted.label(assisted, labeler, 10)
    AssistRun.objects.create(project=assisted, kind="training", state=State.RUNNING, token="other")
    answer = client_of.post(f"/api/v1/projects/{assisted.pk}/assist-runs/", {}, "application/json")
    assert answer.status_code == 409 and "under way already" in answer.json()["detail"]


def test_a_class_retired_while_the_model_is_made_ends_the_round_in_words(assisted: Project, labeler: User) -> None:
    """SPEC A9: nothing of a model that knows other classes is published."""
    planted.label(assisted, labeler, 19)
    training = AssistRun.objects.create(
        project=assisted, kind="training", state=State.RUNNING, token="mine", device="cpu"
    )
    from assist.jobs.work import perform

    validation = perform(training, "mine")
    assert validation is not None
    LabelClass.objects.create(project=assisted, name="fish", position=9)
    assert perform(validation, "mine") is None
    validation.refresh_from_db()
    assert validation.state == State.FAILED and "classes changed" in validation.error
    assert not LabelTask.objects.filter(kind=Kind.PRELABELED).exists()


def test_suggestions_are_taken_back_when_a_class_is_retired(assisted: Project, labeler: User, manager: User) -> None:
    """SPEC C3, A9."""
    planted.label(assisted, labeler, 20)
    gone, *kept = make.class_ids(assisted)
    suggested = LabelTask.objects.filter(kind=Kind.PRELABELED)
    assert {task.prelabels[0]["label_class"] for task in suggested} == {gone, *kept}
    assisted.pause()
    class_changes.retire_class(assisted, manager, gone)
    assert not suggested.all().exists()  # the model knew other classes: the next one knows these
    assert kept


def test_switched_off_in_the_middle_it_publishes_nothing(assisted: Project, labeler: User) -> None:
    """SPEC A1, A9."""
    from assist.jobs.work import perform

    planted.label(assisted, labeler, 19)
    run = AssistRun.objects.create(project=assisted, kind="training", state=State.RUNNING, token="mine", device="cpu")
    validation = perform(run, "mine")
    assert validation is not None
    cycle.switch_off(assisted)
    Project.objects.filter(pk=assisted.pk).update(assist_enabled=False)
    assert perform(validation, "mine") is None
    validation.refresh_from_db()
    assert validation.state == State.CANCELLED
    assert not Prediction.objects.exists()


def test_one_class_only_fails_in_words(assisted: Project, labeler: User) -> None:
    """Issue 4, bad input."""
    page = make.page(assisted, labeler, 9)
    from labeling.submit import submit

    submit(page, make.answers(page, labels=make.class_ids(assisted)[:1]))
    run = runs.enqueue(assisted)
    run.refresh_from_db()
    assert run.state == State.FAILED and "All 9 labels are “cat”" in run.error


def test_images_that_cannot_be_read_are_left_out_and_counted(assisted: Project, labeler: User) -> None:
    """SPEC A9: the rows of unreadable images are not numbers."""
    from assist.embeddings import Embeddings

    embeddings = Embeddings.open(assisted, planted.DIGEST, planted.STAGES)
    broken = LabelTask.objects.order_by("rank")[25].image_id
    embeddings.append(np.array([broken]), np.full((1, sum(planted.STAGES)), np.nan))
    planted.label(assisted, labeler, 20)
    assert AssistRun.objects.get(kind="inference").state == State.DONE
    assert LabelTask.objects.get(image=broken).kind == Kind.MANUAL


def test_a_full_disk_fails_in_words_and_leaves_nothing(
    assisted: Project, labeler: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 4, bad input: a disk that is full while the model is written."""
    import errno

    from assist.jobs.model import Model

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Model, "save", full)
    planted.label(assisted, labeler, 20)
    run = AssistRun.objects.get(kind="training")
    assert run.state == State.FAILED and "disk is full" in run.error
    assert not AssistRun.objects.filter(kind="validation").exists()


def test_the_command_trains_and_waits(assisted: Project, labeler: User, capsys: pytest.CaptureFixture[str]) -> None:
    """API.md, commands."""
    with pytest.raises(CommandError, match="no project"):
        call_command("assist", "nowhere")
    with pytest.raises(CommandError, match="Label some images"):
        call_command("assist", assisted.name, "--wait")
    assisted.assist_target = 0.95
    assisted.save()
    planted.label(assisted, labeler, 10)
    call_command("assist", str(assisted.pk), "--train", "--wait")
    assert capsys.readouterr().out.strip() == str(AssistRun.objects.get(kind="training").pk)
    with pytest.raises(CommandError, match="not sure enough"):
        call_command("assist", assisted.name, "--inference", "--wait")


def test_a_deleted_project_takes_its_runs_and_files_along(assisted: Project, labeler: User) -> None:
    """SPEC P4."""
    from assist.models import project_folder
    from projects.deletion import delete_project

    planted.label(assisted, labeler, 20)
    folder = project_folder(assisted.pk)
    assert folder.is_dir()
    delete_project(assisted)
    assert not AssistRun.objects.exists() and not folder.exists()


def test_several_labels_are_learned_and_a_set_is_right_as_a_whole(manager: User, labeler: User, tmp_path: Path) -> None:
    """SPEC P3, A5: multi-label projects go the same way."""
    project = planted.project(manager, tmp_path / "images", task_type="multilabel", target=0.5)
    planted.label(project, labeler, 20)
    validation = AssistRun.objects.get(kind="validation")
    assert validation.state == State.DONE and validation.metrics["judges"] == 20, validation.log
    assert "confusion" not in validation.metrics and len(validation.metrics["per_class"]) == 3
    suggested = LabelTask.objects.filter(kind=Kind.PRELABELED)
    assert validation.metrics["used"] == suggested.exists()
    for task in suggested:
        assert [label["label_class"] for label in task.prelabels] == [planted.truth(task)]


def test_the_next_images_share_pages_with_their_like_in_place_of_older_pages(
    manager: User, labeler: User, tmp_path: Path
) -> None:
    """SPEC A7, A8: the next batch in the fixed random order, no more; a page on the screen is left alone."""
    project = planted.project(manager, tmp_path / "images", clustering=True, min_labels=27)
    run = runs.enqueue(project, AssistRun.Kind.FEATURIZATION)
    run.refresh_from_db()
    assert run.state == State.DONE and run.metrics["grouped"] == 27, run.log
    clustered = LabelTask.objects.filter(kind=Kind.CLUSTERED)
    first = LabelTask.objects.order_by("rank").values_list("pk", flat=True)[:27]
    assert set(clustered.values_list("pk", flat=True)) == set(first)
    page = queue.claim(project, labeler, 9)
    assert page is not None and page.kind == Kind.CLUSTERED
    tasks = list(page.tasks.all())
    assert len({task.group for task in tasks}) == 1 and len(tasks) == 9
    # The batch is random, so the classes don't fill whole pages; what is left over shares one.
    like: dict[int, Counter[int]] = {}
    for task in clustered:
        like.setdefault(task.group, Counter())[planted.truth(task)] += 1
    assert sum(max(counts.values()) for counts in like.values()) >= 0.7 * 27
    runs.enqueue(project, AssistRun.Kind.FEATURIZATION)
    assert clustered.filter(page=page).count() == 9
    assert clustered.exclude(page=page).count() == 27
    cycle.switch_off(project)
    assert set(clustered.values_list("page", flat=True)) == {page.pk}


def test_classes_that_are_gone_open_another_ledger(assisted: Project, labeler: User) -> None:
    """docs/assist.md: labels given before are no fair sample of another population."""
    from django.db import transaction

    from assist.labels import open_ledger

    planted.label(assisted, labeler, 20)
    with transaction.atomic():
        first = open_ledger(assisted)
    LabelClass.objects.create(project=assisted, name="fish", position=9)
    with transaction.atomic():
        second = open_ledger(assisted)
    assert second.pk != first.pk and second.after_event > 0
