"""Large featurizations are shared by several workers (issue 4, 7)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from assist import runs
from assist.embeddings import Embeddings
from assist.jobs import sharding
from assist.models import AssistRun, Shard
from projects.models import Image, Project
from tests.assist import planted


@pytest.fixture
def large(manager: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that is taken for a large one, without features yet; one image can't be read."""
    monkeypatch.setattr(sharding, "FEATURES", sharding.Size(10, 8))
    project = planted.project(manager, tmp_path / "images", count=20)
    for path in Embeddings.open(project, planted.DIGEST, planted.STAGES).folder.iterdir():
        path.unlink()
    (tmp_path / "images" / "0003.png").write_bytes(b"no image")
    return project


def test_the_parts_of_a_large_run_become_the_features_of_all_images(large: Project) -> None:
    run = runs.enqueue(large, AssistRun.Kind.FEATURIZATION)
    run.refresh_from_db()
    assert run.state == "done" and "cut into 3 parts" in run.log, run.log
    assert set(Shard.objects.values_list("state", flat=True)) == {"done"}
    found = Embeddings.open(large, planted.DIGEST, planted.STAGES)
    images = np.array(list(Image.objects.order_by("path").values_list("pk", flat=True)))
    rows = found.rows(images)
    assert (rows >= 0).sum() == 19 and rows[3] == -1
    assert not list(run.folder.glob("*.npy"))


def test_a_part_is_taken_once_and_a_lost_one_again(large: Project) -> None:
    run = AssistRun.objects.create(project=large, kind="featurization", state="running", token="mine", device="cpu")
    assert sharding.cut(run, "a", np.arange(20), 8) == 3
    taken = [sharding.take(run, "a") for _try in range(4)]
    assert [shard.number for shard in taken if shard] == [0, 1, 2] and taken[3] is None
    Shard.objects.filter(number=1).update(heartbeat_at=timezone.now() - timedelta(minutes=5))
    again = sharding.take(run, "a")
    assert again is not None and again.number == 1
    assert sharding.wanted(run) == "a" and sharding.take(run, "b") is None
    lost = taken[1]
    assert lost is not None
    with pytest.raises(sharding.Lost):
        sharding.do(lost, lambda images, beat: np.zeros((len(images), 2)))
    sharding.do(again, lambda images, beat: np.full((len(images), 2), images[0]))
    assert np.load(sharding.result(again))[0, 0] == 8
    runs.cancel(run)
    assert sharding.take(run, "a") is None
