"""A dataset's images become a project's images (SPEC D, F, S1)."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from labeling import feeder
from labeling.models import LabelTask
from projects import refresh
from projects.models import Image, Project
from projects.patterns import PatternError, parse
from tests import make


def test_a_new_project_starts_by_itself(project: Project) -> None:
    assert project.state == "running"
    assert Image.objects.filter(project=project).count() == LabelTask.objects.filter(project=project).count() == 20


def test_an_empty_folder_fails_in_words_and_can_be_retried(manager: User, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    project = make.project(manager, empty)
    assert project.state == "failed"
    assert "holds no image" in project.failure
    make.pictures(empty, 2)
    refresh.retry(project)
    project.refresh_from_db()
    assert project.state == "running"


def test_a_folder_that_is_not_there_is_named(manager: User, tmp_path: Path) -> None:
    project = make.project(manager, tmp_path / "nowhere")
    assert project.state == "failed"
    assert "is not there" in project.failure


def test_a_refresh_finds_new_changed_and_missing_images(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    (folder / "0000.png").unlink()
    make.pictures(folder / "new", 3)
    (folder / "0001.png").write_bytes((folder / "0002.png").read_bytes() + b" ")
    refresh.enqueue(project)
    last = project.refreshes.first()
    assert last is not None
    assert (last.state, last.added, last.changed, last.missing) == ("done", 3, 1, 1)
    assert LabelTask.objects.get(image__path="0000.png").status == "missing"


def test_more_images_than_a_project_may_hold_are_left_out(manager: User, tmp_path: Path, settings) -> None:
    settings.MAX_IMAGES_PER_PROJECT = 4
    project = make.project(manager, make.pictures(tmp_path / "many", 7))
    assert list(project.images.order_by("path").values_list("path", flat=True)) == [f"000{n}.png" for n in range(4)]
    assert project.refreshes.get().left_out == 3


def test_a_text_named_jpg_is_unreadable_and_never_handed_out(manager: User, tmp_path: Path) -> None:
    folder = make.pictures(tmp_path / "mixed", 1)
    (folder / "letter.jpg").write_text("Dear image")
    project = make.project(manager, folder)
    feeder.feed(project.pk)
    image = Image.objects.get(path="letter.jpg")
    assert image.problem == "unreadable"
    assert "not a JPEG" in image.problem_detail
    assert LabelTask.objects.get(image=image).status == "unreadable"


def test_the_task_type_and_dataset_stay(project: Project) -> None:
    project.task_type = "detection"
    with pytest.raises(ValidationError, match="can't change"):
        project.save()


def test_equal_class_names_are_refused(manager: User, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="there twice"):
        make.project(manager, make.pictures(tmp_path / "few", 1), classes=("cat", "Cat"))
    assert not Project.objects.exists()


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("", ["a.jpg"]),
        ("photos", ["photos/b.png"]),
        ("photos/**", ["photos/b.png", "photos/deep/c.JPG"]),
        ("**/*.*", ["a.jpg", "photos/b.png", "photos/deep/c.JPG"]),
        ("**/*.jpg", ["a.jpg", "photos/deep/c.JPG"]),
        ("photos/*.png", ["photos/b.png"]),
    ],
)
def test_patterns_mean_what_the_spec_says(pattern: str, found: list[str]) -> None:
    keys = ["a.jpg", "photos/b.png", "photos/deep/c.JPG"]
    assert [key for key in keys if parse(pattern).matches(key)] == found


@pytest.mark.parametrize("pattern", ["/* *", "a/../b", "a//b", "a/***", "a\\b"])
def test_a_malformed_pattern_is_refused_with_the_right_form(pattern: str) -> None:
    with pytest.raises(PatternError, match=r"\*\*"):
        parse(pattern)
