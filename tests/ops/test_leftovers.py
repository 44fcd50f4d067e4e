"""What killed processes left half-written is swept up; what is in use, and what people have there, stays."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from pytest_django.fixtures import Settings

from assist.models import AssistRun
from exports import jobs
from exports.importing import jobs as import_jobs
from exports.importing.taking import Choices
from exports.models import LabelImport
from labelsite import leftovers
from projects.models import Project
from tests import make


def written(path: Path, hours_ago: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("half")
    then = time.time() - 3600 * hours_ago
    os.utime(path, (then, then))
    return path


@pytest.fixture(autouse=True)
def _temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the test's own: others work in the machine's."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


def test_only_what_is_old_and_half_written_goes(project: Project, tmp_path: Path, settings: Settings) -> None:
    data, store = Path(settings.DATA_DIR), Path(project.dataset.datastore.container)
    old = [
        written(data / "previews" / "ab" / "cd-512.jpg.4711", 30),
        written(data / "datastore" / "export" / "coco" / ".writing-x1", 30),
        written(store / "deep" / ".writing-x2", 30),
        written(tmp_path / "tmp" / "labelsite-export-x" / "file.json", 30).parent,
        written(tmp_path / "tmp" / "tmpx.upload.zip", 30),
    ]
    os.utime(old[3], (time.time() - 108_000,) * 2)
    kept = [
        written(data / "previews" / "ab" / "cd-512.jpg", 30),
        written(data / "previews" / "ab" / "ef-512.jpg.4711", 2),
        written(store / "deep" / ".writing-x3", 2),
        written(store / "deep" / "writing-x4.png", 30),
        written(tmp_path / "tmp" / "labelsite-export-y" / "file.json", 2).parent,
        written(tmp_path / "tmp" / "labelsite-mine", 30),
    ]
    leftovers.sweep()
    assert [path for path in old if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []


def test_files_of_jobs_that_came_to_nothing_go(project: Project, manager: User, monkeypatch: Any) -> None:
    """An import that was acknowledged keeps its file; that of a killed request, and of a failed export, is nobody's."""
    monkeypatch.setattr(import_jobs, "wake", lambda row: None)
    content = ContentFile(b"path,label\n0001.png,cat")
    row = import_jobs.enqueue(project, manager, content, "labels.csv", LabelImport.Kind.FINAL, Choices())  # type: ignore[arg-type]
    store = jobs.default_datastore().open()
    orphan = store.write(f"{row.key.rpartition('/')[0]}/20200101T000000-orphan", ContentFile(b"x"))  # type: ignore[arg-type]
    mine = store.write("import/my own/photo.png", ContentFile(b"x"))  # type: ignore[arg-type]
    make.page(project, manager, 1)
    good, bad = jobs.enqueue(project, manager, {}, "csv"), jobs.enqueue(project, manager, {}, "coco")
    good.refresh_from_db()
    bad.refresh_from_db()
    type(bad).objects.filter(pk=bad.pk).update(state="failed")
    run = AssistRun.objects.create(project=project, kind="training", state="failed")
    done = AssistRun.objects.create(project=project, kind="training", state="done")
    for each in (run, done):
        each.folder.mkdir(parents=True)
    leftovers.sweep(older_than=0)
    assert store.exists(row.key)
    assert store.exists(mine)
    assert not store.exists(orphan)
    assert store.exists(good.location)
    assert not store.exists(bad.location)
    assert (run.folder.exists(), done.folder.exists()) == (False, True)
