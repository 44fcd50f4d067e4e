"""`manage.py import_weights`: what is kept, and what is refused in words (issue 4, bad input; ATTACKS 22)."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from django.core.management import CommandError, call_command

from assist.pipeline.backbones import NAMES, bare
from projects.models import Project


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
