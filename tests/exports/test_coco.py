"""COCO exports (SPEC E1, E2, E5), read back by pycocotools and torchvision."""

from __future__ import annotations

import json
from pathlib import Path

from django.contrib.auth.models import User
from django.core.management import call_command
from pycocotools.coco import COCO
from torchvision.datasets import CocoDetection

from exports import jobs
from exports.models import Export
from labeling.submit import submit
from projects.models import Image, LabelClass, Project
from tests import make
from tests.exports.written import in_database, written


def test_pycocotools_reads_boxes_as_they_were_drawn(drawn: Project) -> None:
    coco = COCO(str(written(drawn)))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["digit", "line"]
    assert len(coco.getImgIds()) == 2  # "no objects" is there, without an annotation
    found = coco.loadAnns(coco.getAnnIds())
    assert [annotation["bbox"] for annotation in found] == [[1, 2, 10, 20], [4.5, 6, 32, 24]]
    assert [(a["id"], a["area"], a["iscrowd"], a["category_id"]) for a in found] == [(1, 200, 0, 2), (2, 768, 0, 1)]
    assert {(image["width"], image["height"]) for image in coco.loadImgs(coco.getImgIds())} == {(64, 48)}


def test_torchvision_reads_images_and_boxes_as_the_database_has_them(drawn: Project) -> None:
    path = written(drawn)
    names = {c["id"]: c["name"] for c in json.loads(path.read_text())["categories"]}
    data = CocoDetection(drawn.dataset.datastore.container, str(path))
    found = {}
    for number, (picture, targets) in zip(data.ids, data, strict=True):
        assert picture.size == (64, 48)
        boxes = [(names[target["category_id"]], tuple(target["bbox"])) for target in targets]
        found[data.coco.loadImgs(number)[0]["file_name"]] = boxes
    assert found == in_database(drawn)


def test_normalized_boxes_are_shares_of_the_image(drawn: Project) -> None:
    found = json.loads(written(drawn, coordinates="normalized").read_text())["annotations"]
    assert found[1]["bbox"] == [4.5 / 64, 6 / 48, 0.5, 0.5]


def test_a_classification_has_one_annotation_per_label_and_no_box(tagged: Project) -> None:
    document = json.loads(written(tagged).read_text())
    assert len(document["images"]) == 3
    assert all("bbox" not in annotation for annotation in document["annotations"])
    coco = COCO(str(written(tagged)))
    names = {c["id"]: c["name"] for c in coco.dataset["categories"]}
    found = {
        image["file_name"]: [(names[a["category_id"]], None) for a in coco.imgToAnns[image["id"]]]
        for image in coco.dataset["images"]
    }
    assert found == in_database(tagged)


def test_the_same_snapshot_again_gives_the_same_bytes(drawn: Project, labeler: User) -> None:
    first = written(drawn, labelers=True)
    before = first.read_bytes()
    # Everything that may change later does: labels, classes, the project's name, the files themselves, names of people.
    page = make.page(drawn, labeler, 1)
    submit(page, make.answers(page, boxes=[]))
    LabelClass.objects.filter(project=drawn, name="digit").update(name="number")
    Project.objects.filter(pk=drawn.pk).update(name="renamed")
    Image.objects.filter(project=drawn).update(width=None, height=None)
    User.objects.filter(pk=labeler.pk).update(username="married")
    export = Export.objects.get()
    Export.objects.filter(pk=export.pk).update(state="queued")
    jobs.write(export.pk)
    assert first.read_bytes() == before


def test_nothing_is_ever_overwritten(drawn: Project) -> None:
    assert written(drawn) != written(drawn)


def test_it_lies_where_the_requirement_says(drawn: Project) -> None:
    path = written(drawn)
    assert str(path).endswith(f"/export/coco/{path.stem}/{Export.objects.get().pk}/{path.stem}.json")


def test_the_command_prints_the_path_last(drawn: Project, tmp_path: Path, capsys) -> None:
    call_command("export_labels", drawn.name, "--output", str(tmp_path / "out.json"))
    path = Path(capsys.readouterr().out.splitlines()[-1])
    assert len(json.loads(path.read_text())["annotations"]) == 2
