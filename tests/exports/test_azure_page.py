"""docs/azure.md: what it tells people to type works as printed."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from django.contrib.auth.models import User
from django.core.management import call_command

from projects.models import Project
from tests import make
from tests.exports.test_importing import SHARES, azure
from tests.exports.written import in_database

PAGE = (Path(__file__).parent.parent.parent / "docs/azure.md").read_text()


def test_azures_export_becomes_a_running_project_with_all_its_labels(
    manager: User, tmp_path: Path, monkeypatch
) -> None:
    make.pictures(tmp_path / "images" / "cats", 4)
    shares = [(f"cats/{path}", name, box) for path, name, box in SHARES]
    (tmp_path / "labels.json").write_text(json.dumps(azure(shares)))
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines():
        python, _script, *words = shlex.split(line)
        assert python == "python"
        call_command(*words)
    project = Project.objects.get(name="Moved")
    assert project.is_running and list(project.classes.values_list("name", flat=True)) == ["digit", "Line"]
    assert in_database(project) == {
        "cats/0000.png": [("digit", (16, 24, 32, 12)), ("Line", (0, 0, 64, 48))],
        "cats/0003.png": [("digit", (32, 24, 8, 12))],
    }
