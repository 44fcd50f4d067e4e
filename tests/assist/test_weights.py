"""`manage.py import_weights`: what is kept, and what is refused in words (issue 4, bad input; ATTACKS 22)."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from assist.models import AssistRun
from assist.pipeline.backbones import NAMES, bare
from labeling.models import LabelTask
from labeling.submit import submit
from projects.models import Project
from tests import make
from tests.assist import planted


def test_managers_choose_among_the_networks_that_there_are() -> None:
    assert sorted(Project.Network.values) == sorted(NAMES)


def test_weights_are_checked_and_kept_where_runs_look(
    tmp_path: Path, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.DATA_DIR = tmp_path / "data"
    settings.ASSIST_WEIGHTS_DIR = ""
    file = tmp_path / "resnet.pth"
    torch.save(bare("resnet18").state_dict(), file)
    call_command("import_weights", str(file), "--backbone", "resnet18")
    digest, place = capsys.readouterr().out.split("\n")[:2]
    assert Path(place) == tmp_path / "data" / "weights" / "resnet18.pth" and Path(place).is_file()
    assert digest.startswith("sha256 ")


def test_other_weights_are_refused_with_what_does_not_fit(tmp_path: Path, settings: Any) -> None:
    settings.ASSIST_WEIGHTS_DIR = str(tmp_path / "weights")
    file = tmp_path / "other.pth"
    torch.save(bare("resnet18").state_dict(), file)
    with pytest.raises(CommandError, match="not weights of mobilenet_v2"):
        call_command("import_weights", str(file), "--backbone", "mobilenet_v2")
    with pytest.raises(CommandError, match="is not a file"):
        call_command("import_weights", str(tmp_path / "nothing"), "--backbone", "mobilenet_v2")
    assert not (tmp_path / "weights").exists()


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_a_pickle_with_code_is_refused_and_its_code_never_runs(tmp_path: Path, settings: Any) -> None:
    settings.ASSIST_WEIGHTS_DIR = str(tmp_path / "weights")
    for number, save in enumerate((torch.save, lambda found, path: path.write_bytes(pickle.dumps(found)))):
        file = tmp_path / f"bomb{number}.pth"
        save({"features": Bomb(tmp_path / "harm")}, file)
        with pytest.raises(CommandError, match="not opened|cannot be read"):
            call_command("import_weights", str(file), "--backbone", "resnet18")
    assert not (tmp_path / "harm").exists() and not (tmp_path / "weights").exists()


# --- Runs with wrong files -----------------------------------------------------------------------------------


def of_other_shapes(file: Path, folder: Path) -> None:
    state = bare("mobilenet_v2").state_dict()
    state["features.0.0.weight"] = torch.zeros(32, 1, 3, 3)
    torch.save(state, file)


def with_code(file: Path, folder: Path) -> None:
    torch.save({"features.0.0.weight": Bomb(folder / "harm")}, file)


def plain_pickle_with_code(file: Path, folder: Path) -> None:
    file.write_bytes(pickle.dumps({"features.0.0.weight": Bomb(folder / "harm")}))


def cut_off(file: Path, folder: Path) -> None:
    torch.save(bare("mobilenet_v2").state_dict(), file)
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size // 2)


WRONG = [
    (of_other_shapes, "not weights of mobilenet_v2: features.0.0.weight has the shape 32 x 1 x 3 x 3"),
    (with_code, "more than tensors"),
    (plain_pickle_with_code, "more than tensors"),
    (cut_off, "cannot be read as a file of weights; it may be cut off"),
]


@pytest.mark.parametrize(("write", "words"), WRONG)
def test_a_run_with_wrong_weights_ends_in_words_that_people_see(
    write: Any, words: str, manager: User, tmp_path: Path, settings: Any
) -> None:
    """Issue 4, bad input: the command, the run's page and the dashboard say what is wrong; no code is run."""
    project = planted.project(manager, tmp_path / "images", count=12)
    settings.ASSIST_WEIGHTS_DIR = str(tmp_path / "weights")
    (tmp_path / "weights").mkdir()
    write(tmp_path / "weights" / "mobilenet_v2.pth", tmp_path)
    with pytest.raises(CommandError, match=words):
        call_command("assist", project.name, "--featurize", "--wait")
    run = AssistRun.objects.get()
    assert run.state == "failed" and words in run.error and words in run.log
    client = Client()
    client.force_login(manager)
    base = f"/admin/projects/project/{project.pk}"
    for page in (f"{base}/runs/{run.pk}/", f"{base}/dashboard/"):
        assert words in client.get(page).content.decode().replace("&quot;", '"')
    with pytest.raises(CommandError, match=words):
        file = str(tmp_path / "weights" / "mobilenet_v2.pth")
        call_command("import_weights", file, "--backbone", "mobilenet_v2")
    assert not (tmp_path / "harm").exists()


def test_a_detector_with_wrong_weights_ends_in_words(
    boxes: Project, labeler: User, tmp_path: Path, settings: Any
) -> None:
    settings.ASSIST_WEIGHTS_DIR = str(tmp_path)
    cut_off(tmp_path / "mobilenet_v2.pth", tmp_path)
    for _number in range(5):
        page = make.page(boxes, labeler, 1)
        submit(page, make.answers(page, boxes=[{"label_class": make.class_ids(boxes)[0], "box": [4, 4, 30, 20]}]))
    for rank, task in enumerate(LabelTask.objects.order_by("pk")):
        LabelTask.objects.filter(pk=task.pk).update(rank=5 * (rank % 2) + rank // 2)
    Project.objects.update(assist_enabled=True, assist_device="cpu")
    with pytest.raises(CommandError, match="cannot be read as a file of weights"):
        call_command("assist", boxes.name, "--train", "--wait")
