"""COCO exports (SPEC E1, E2, E5), read back by pycocotools."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from pycocotools.coco import COCO

from exports import jobs
from exports.models import Export
from labeling.submit import submit
from projects.models import Project
from tests import make


def written(project: Project, **options: str) -> Path:
    export = jobs.enqueue(project, None, options)
    export.refresh_from_db()
    assert export.state == "done", export.error
    return Path(jobs.default_datastore().container) / export.location


@pytest.fixture
def drawn(boxes: Project, labeler: User) -> Project:
    """Two images labeled: one with two boxes, one with no objects."""
    digit, line = make.class_ids(boxes)
    page = make.page(boxes, labeler, 1)
    two = [{"label_class": line, "box": [1, 2, 10, 20]}, {"label_class": digit, "box": [4.5, 6, 32, 24]}]
    submit(page, make.answers(page, boxes=two))
    page = make.page(boxes, labeler, 1)
    submit(page, make.answers(page, boxes=[]))
    return boxes


def test_pycocotools_reads_boxes_as_they_were_drawn(drawn: Project) -> None:
    coco = COCO(str(written(drawn)))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["digit", "line"]
    assert len(coco.getImgIds()) == 2  # "no objects" is there, without an annotation
    found = coco.loadAnns(coco.getAnnIds())
    assert [annotation["bbox"] for annotation in found] == [[1, 2, 10, 20], [4.5, 6, 32, 24]]
    assert [(a["id"], a["area"], a["iscrowd"], a["category_id"]) for a in found] == [(1, 200, 0, 2), (2, 768, 0, 1)]
    assert {(image["width"], image["height"]) for image in coco.loadImgs(coco.getImgIds())} == {(64, 48)}


def test_normalized_boxes_are_shares_of_the_image(drawn: Project) -> None:
    found = json.loads(written(drawn, coordinates="normalized").read_text())["annotations"]
    assert found[1]["bbox"] == [4.5 / 64, 6 / 48, 0.5, 0.5]


def test_a_classification_has_one_annotation_per_label_and_no_box(project: Project, labeler: User) -> None:
    page = make.page(project, labeler)
    submit(page, make.answers(page, labels=make.class_ids(project)[1:2]))
    document = json.loads(written(project).read_text())
    assert len(document["images"]) == len(document["annotations"]) == 9
    assert all(a["category_id"] == 2 and "bbox" not in a for a in document["annotations"])


def test_the_same_snapshot_again_gives_the_same_bytes(drawn: Project, labeler: User) -> None:
    first = written(drawn)
    before = first.read_bytes()
    page = make.page(drawn, labeler, 1)
    submit(page, make.answers(page, boxes=[]))
    export = Export.objects.get()
    Export.objects.filter(pk=export.pk).update(state="queued")
    jobs.write(export.pk)
    assert first.read_bytes() == before


def test_nothing_is_ever_overwritten(drawn: Project) -> None:
    assert written(drawn) != written(drawn)


def test_the_command_prints_the_path_last(drawn: Project, tmp_path: Path, capsys) -> None:
    call_command("export_labels", drawn.name, "--output", str(tmp_path / "out.json"))
    path = Path(capsys.readouterr().out.splitlines()[-1])
    assert len(json.loads(path.read_text())["annotations"]) == 2
