"""docs/api.md runs as it is printed: its shell blocks, one after the other, against a site that is up."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from PIL import Image as Picture
from pytest_django.live_server_helper import LiveServer

from exports.models import Export
from labeling.models import LabelTask
from projects.models import Project
from tests import make

ROOT = Path(__file__).parent.parent.parent


def test_the_tour_runs_as_printed(live_server: LiveServer, manager: User, tmp_path: Path) -> None:
    missing = [name for name in ("bash", "curl", "jq") if shutil.which(name) is None]
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"not installed: {', '.join(missing)}")
    for number in range(6):
        Picture.new("RGB", (32, 24), (number * 40, 90, 120)).save(tmp_path / f"{number}.jpg")
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs/api.md").read_text(), re.M | re.S)
    assert len(blocks) >= 8
    script = "set -eu -o pipefail\n" + "\n".join(blocks)
    environment = make.same_site(SITE=live_server.url, PHOTOS=str(tmp_path))
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    project = Project.objects.get()
    assert (project.name, project.state) == ("Tour", "paused")
    assert LabelTask.objects.filter(project=project, status="approved").count() == 4
    assert Export.objects.get().state == "done"
    assert '"annotations": 4' in done.stdout
    assert "“poetry” is not" in done.stdout or "not a valid choice" in done.stdout
