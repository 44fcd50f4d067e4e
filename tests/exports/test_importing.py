"""Labels in from files: Azure's COCO, any COCO, CSV; final or as suggestions; what did not match is told (SPEC N6)."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.test import Client
from PIL import Image as Picture

from exports.importing import jobs
from exports.importing.document import BadFile
from exports.importing.taking import Choices, read
from exports.models import LabelImport
from labeling import review
from labeling.models import LabelEvent, LabelTask
from labeling.pages import page_data
from projects.models import LabelClass, Project
from tests import make
from tests.exports.written import in_database, written

FINAL, PRELABEL = LabelImport.Kind.FINAL, LabelImport.Kind.PRELABEL


def file(folder: Path, content: object, name: str = "labels.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def taken(project: Project, path: Path, kind: str = FINAL, **choices: object) -> LabelImport:
    row = jobs.run_here(project, None, path, kind, Choices(**choices))  # type: ignore[arg-type]
    assert row.state == "done", row.error
    return row


def azure(boxes: list[tuple[str, str, list[float]]]) -> dict[str, object]:
    """Return what Azure's export writes: shares of the image, sizes as floats, the place as an AmlDatastore address."""
    paths = list(dict.fromkeys(path for path, _name, _box in boxes))
    names = list(dict.fromkeys(name for _path, name, _box in boxes))
    return {
        "images": [
            {
                "id": number,
                "width": 64.0,
                "height": 48.0,
                "file_name": f"upload/2024-05-01/{path}",
                "coco_url": f"AmlDatastore://workspaceblobstore/upload/2024-05-01/{path}",
                "absolute_url": f"https://example.blob.core.windows.net/azureml/upload/2024-05-01/{path}",
            }
            for number, path in enumerate(paths, 1)
        ],
        "annotations": [
            {
                "id": n,
                "image_id": paths.index(path) + 1,
                "category_id": names.index(name) + 1,
                "bbox": box,
                "area": 0.01,
            }
            for n, (path, name, box) in enumerate(boxes, 1)
        ],
        "categories": [{"id": n, "name": name, "supercategory": ""} for n, name in enumerate(names, 1)],
    }


SHARES = [
    ("0000.png", "digit", [0.25, 0.5, 0.5, 0.25]),
    ("0000.png", "Line", [0.0, 0.0, 1.0, 1.0]),
    ("0003.png", "digit", [0.5, 0.5, 0.125, 0.25]),
]


def test_azures_shares_become_pixels_and_count_as_imported(
    boxes: Project, manager: User, tmp_path: Path, capsys
) -> None:
    path = file(tmp_path, azure(SHARES))
    call_command("import_labels", boxes.name, str(path), "--by", manager.username)
    told = capsys.readouterr().out
    assert "2 of 2 images, with 3 labels." in told and "shares of the image" in told
    assert in_database(boxes) == {
        "0000.png": [("digit", (16, 24, 32, 12)), ("line", (0, 0, 64, 48))],
        "0003.png": [("digit", (32, 24, 8, 12))],
    }
    event = LabelEvent.objects.filter(action="imported")[0]
    assert (event.by, event.action) == (manager, "imported")
    assert set(LabelTask.objects.filter(status="labeled").values_list("labeler", flat=True)) == {None}
    with written(boxes, "csv").open() as table:
        assert {row["how"] for row in csv.DictReader(table)} == {"imported"}


def test_an_imported_image_that_is_rejected_can_be_labeled(
    boxes: Project, manager: User, labeler: User, client: Client, tmp_path: Path
) -> None:
    """Nobody had opened it; a box can only be drawn on an image whose size is known."""
    taken(boxes, file(tmp_path, azure(SHARES)))
    imported = LabelTask.objects.get(image__path="0000.png")
    review.reject(boxes, manager, [imported.image_id])
    client.force_login(labeler)
    on_screen = set()
    for _image in range(4):  # all but the other that was imported
        page = client.get(f"/label/{boxes.pk}/").context["data"]["page"]
        (item,) = page["items"]
        on_screen.add(item["id"])
        assert (item["image"]["width"], item["image"]["height"]) == (64, 48)
        box = {"label_class": make.class_ids(boxes)[0], "box": [30, 20, 20, 20]}
        body = {"items": json.dumps([{"id": item["id"], "boxes": [box]}])}
        assert client.post(f"/label/pages/{page['id']}/submit/", body).status_code == 200
    assert imported.pk in on_screen
    assert set(LabelTask.objects.values_list("status", flat=True)) == {"labeled"}


def test_the_same_file_again_changes_nothing(boxes: Project, tmp_path: Path) -> None:
    path = file(tmp_path, azure(SHARES))
    taken(boxes, path)
    again = jobs.run_here(boxes, None, path, FINAL, Choices())
    assert again.state == "failed" and again.report["left_out"]["answered"]["count"] == 2
    assert LabelEvent.objects.count() == 2


@pytest.mark.parametrize(
    ("box", "told"),
    [([0.2, 0.2, 0.8005, 0.8], "normalized"), ([0, 0, 2, 2], "pixel"), ([0.5, 0.5, 0.7, 1.0], "")],
)
def test_pixels_and_shares_are_told_apart_by_the_whole_file(tmp_path: Path, box: list[float], told: str) -> None:
    document = read(file(tmp_path, azure([("a.png", "digit", [0.1, 0.1, 0.2, 0.2]), ("b.png", "digit", box)])))
    if told:
        assert document.coordinates() == told
    else:
        with pytest.raises(BadFile, match="can't be told"):
            document.coordinates()


def test_what_did_not_match_is_told_with_the_reason(boxes: Project, labeler: User, tmp_path: Path, capsys) -> None:
    on_screen = make.page(boxes, labeler, 1).tasks.get().image.path
    others = sorted({f"000{n}.png" for n in range(5)} - {on_screen})
    document = {
        "images": [
            {"id": 1, "file_name": others[0], "width": 64, "height": 48},
            {"id": 2, "file_name": "elsewhere/none.png"},
            {"id": 3, "file_name": on_screen},
            {"id": 4, "file_name": others[1], "width": 48, "height": 64},
            {"id": 5, "file_name": others[2]},
            {"id": 6, "file_name": others[3]},
        ],
        "annotations": [
            {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]},
            {"image_id": 2, "category_id": 1, "bbox": [1, 2, 3, 4]},
            {"image_id": 3, "category_id": 1, "bbox": [1, 2, 3, 4]},
            {"image_id": 4, "category_id": 1, "bbox": [1, 2, 3, 4]},
            {"image_id": 5, "category_id": 2, "bbox": [1, 2, 3, 4]},
        ],
        "categories": [{"id": 1, "name": "digit"}, {"id": 2, "name": "cloud"}],
    }
    path = file(tmp_path, document)
    call_command("import_labels", boxes.name, str(path))
    told = capsys.readouterr().out
    for words in ("no image of that path", "on a labeler's page", "another shape", "“cloud” (1)", "not labeled yet"):
        assert words in told
    assert in_database(boxes) == {others[0]: [("digit", (1, 2, 3, 4))]}
    # Told that images without boxes show no objects, the last one is taken too.
    taken(boxes, path, empty=True)
    assert in_database(boxes)[others[3]] == []


def test_an_image_turned_by_its_camera_is_not_given_boxes_of_the_unturned_one(manager: User, tmp_path: Path) -> None:
    folder = tmp_path / "turned"
    folder.mkdir()
    exif = Picture.Exif()
    exif[0x0112] = 6
    Picture.new("RGB", (64, 48)).save(folder / "a.jpg", exif=exif)
    project = make.project(manager, folder, "detection", ("digit",))
    document = azure([("a.jpg", "digit", [0.5, 0.5, 0.25, 0.25])])
    row = jobs.run_here(project, None, file(tmp_path, document), FINAL, Choices())
    assert row.report["left_out"]["turned"]["count"] == 1
    document["images"][0] |= {"width": 48, "height": 64}  # type: ignore[index]
    taken(project, file(tmp_path, document))
    assert in_database(project) == {"a.jpg": [("digit", (24, 32, 12, 16))]}


def test_suggestions_are_shown_and_count_only_when_confirmed(boxes: Project, labeler: User, tmp_path: Path) -> None:
    document = azure(SHARES)
    for annotation in document["annotations"]:  # type: ignore[attr-defined]
        annotation["score"] = 0.75
    taken(boxes, file(tmp_path, document), PRELABEL)
    assert in_database(boxes) == {}
    data = page_data(boxes, labeler, make.page(boxes, labeler, 1))["page"]
    assert data["kind"] == "prelabeled" and data["items"][0]["confidence"] == 0.75
    assert data["items"][0]["prelabels"][0]["box"] in ([16, 24, 32, 12], [32, 24, 8, 12])


def test_a_coco_classification_in_any_order_of_its_parts(project: Project, tmp_path: Path) -> None:
    cat, dog = list(LabelClass.objects.filter(project=project))[:2]
    document = {
        "annotations": [
            {"image_id": "a", "category_id": "c"},
            {"image_id": "b", "category_id": "d"},
            {"image_id": "e", "category_id": "c"},
            {"image_id": "e", "category_id": "d"},
        ],
        "info": {"nested": [1, {"deep": "}"}], "number": 12},
        "categories": [{"id": "c", "name": cat.name}, {"id": "d", "name": dog.name.upper()}],
        "images": [{"id": "a", "file_name": "./0001.png"}, {"id": "b", "file_name": "sub\\0002.png"}]
        + [{"id": "e", "file_name": "0005.png"}],
    }
    row = taken(project, file(tmp_path, document))
    assert in_database(project) == {"0001.png": [("cat", None)], "0002.png": [("dog", None)]}
    assert (row.report["by_end"], row.report["left_out"]["one_class"]["count"]) == (1, 1)


def test_what_this_site_writes_it_takes_in_again(drawn: Project, manager: User, tmp_path: Path) -> None:
    before = in_database(drawn)
    folder = Path(drawn.dataset.datastore.container)
    for name, options in (("coco", {"coordinates": "normalized"}), ("coco", {}), ("csv", {})):
        copy = make.project(manager, folder, "detection", ("digit", "line"))
        taken(copy, written(drawn, name, **options), empty=True)
        assert in_database(copy) == {
            path: [(label, pytest.approx(box, abs=1e-9)) for label, box in labels] for path, labels in before.items()
        }


def test_names_that_were_made_safe_for_spreadsheets_come_back(tagged: Project, manager: User) -> None:
    folder = Path(tagged.dataset.datastore.container)
    names = tuple(LabelClass.objects.filter(project=tagged).values_list("name", flat=True))
    copy = make.project(manager, folder, "multilabel", names)
    taken(copy, written(tagged, "csv", include_unlabeled=True))
    assert in_database(copy) == in_database(tagged)


def test_a_csv_with_semicolons_and_edges(boxes: Project, tmp_path: Path) -> None:
    rows = "\ufeffFilename;Class;xmin;ymin;xmax;ymax\n0001.png;digit;10;20;30;25\n0001.png;line;0;0;5;5\n"
    taken(boxes, file(tmp_path, rows, "labels.csv"))
    assert in_database(boxes) == {"0001.png": [("digit", (10, 20, 20, 5)), ("line", (0, 0, 5, 5))]}


def test_images_of_the_same_name_in_two_folders_are_told_apart_or_not_guessed(manager: User, tmp_path: Path) -> None:
    for name in ("x/day", "y/day", "y/night"):
        make.pictures(tmp_path / "set" / name, 1)
    project = make.project(manager, tmp_path / "set", classes=("cat",))
    rows = "path,label\nold/x/day/0000.png,cat\n0000.png,cat\nnight/0000.png,cat\n"
    row = taken(project, file(tmp_path, rows, "labels.csv"))
    assert set(in_database(project)) == {"x/day/0000.png", "y/night/0000.png"}
    assert row.report["left_out"]["ambiguous"]["examples"] == ["0000.png"]


GOOD_IMAGE = '{"id": 1, "file_name": "0001.png"}'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "empty"),
        ("[1, 2]", "does not begin with"),
        ('{"info": 1}', "lists no images"),
        ('{"images": [' + GOOD_IMAGE, "in the middle"),
        ('{"images": [' + GOOD_IMAGE + ", {bad}]}", "not right JSON"),
        ('{"images": 7}', "not a list"),
        ('{"images": ["x"]}', "not an object"),
        ('{"images": [{"id": 1}]}', "no “file_name”"),
        ('{"images": [' + GOOD_IMAGE + "," + GOOD_IMAGE + "]}", "Two images"),
        ('{"images": [' + GOOD_IMAGE + '], "annotations": [{"image_id": 2, "category_id": 1}]}', "category 1"),
        (
            '{"images": [' + GOOD_IMAGE + '], "categories": [{"id": 1, "name": "cat"}],'
            ' "annotations": [{"image_id": 2, "category_id": 1}]}',
            "does not list",
        ),
        (
            '{"images": [' + GOOD_IMAGE + '], "categories": [{"id": 1, "name": "cat"}],'
            ' "annotations": [{"id": 7, "image_id": 1, "category_id": 1, "bbox": [1, 2, NaN, 4]}]}',
            "Annotation 7",
        ),
        (
            '{"images": [' + GOOD_IMAGE + '], "categories": [{"id": 1, "name": "cat"}],'
            ' "annotations": [{"id": 7, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}]}',
            "holds boxes",
        ),
        (
            '{"images": [' + GOOD_IMAGE + '], "categories": [{"id": 1, "name": "cat"}],'
            ' "annotations": [{"id": 8, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 1' + "0" * 400 + "]}]}",
            "Annotation 8",
        ),
        ('{"images": [{"id": 1, "file_name": "a\\u0000.png"}]}', "no name can have"),
        ('{"images": [{"id": 1, "file_name": "a\\ud800.png"}]}', "no name can have"),
        ('{"images": [], "categories": [{"id": 1, "name": "\\u0000"}]}', "no name can have"),
        ("path,label\n\0.png,cat\n", "no name can have"),
        ('{"a":' * 100_000, "not right JSON"),
        ("width,height\n1,2\n", "path"),
        ('path,label\n"' + "x" * 2_000_000 + '",cat\n', "not a CSV"),
        ("path,label\n,cat\n", "has no path"),
    ],
)
def test_bad_files_are_refused_in_words(project: Project, tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(CommandError, match=words):
        call_command("import_labels", project.name, str(file(tmp_path, content)))
    assert not LabelEvent.objects.exists()


def test_a_file_that_is_no_text_is_refused_in_words(project: Project, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_bytes(b"\xff\xfe\x00PNG")
    with pytest.raises(CommandError, match="UTF-8"):
        call_command("import_labels", project.name, str(tmp_path / "labels.json"))


def test_one_file_at_a_time_and_a_lost_worker_is_made_up_for(boxes: Project, manager: User) -> None:
    content = json.dumps(azure(SHARES)).encode()
    row = jobs.enqueue(boxes, manager, ContentFile(content), "azure.json", FINAL, Choices())  # type: ignore[arg-type]
    row.refresh_from_db()
    assert (row.state, row.report["imported"]) == ("done", 2)
    assert not jobs.datastore_of(row).open().exists(row.key)  # the file is not kept
    LabelImport.objects.filter(pk=row.pk).update(state="running")
    with pytest.raises(jobs.Busy):
        jobs.enqueue(boxes, manager, ContentFile(content), "azure.json", FINAL, Choices())  # type: ignore[arg-type]


def test_an_import_whose_worker_is_killed_goes_on_where_it_was(
    manager: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after two of three parts, and once more after the last one: the report tells of all of them."""
    project = make.project(manager, make.pictures(tmp_path / "images", 9))
    lines = ["path,label", *(f"{number:04}.png,cat" for number in range(9)), "nowhere.png,cat"]
    monkeypatch.setattr("exports.importing.taking.CHUNK", 3)

    class Killed(BaseException):
        pass

    def beat(row: LabelImport, progress: float, **facts: object) -> None:
        if LabelEvent.objects.filter(action="imported").count() >= killed_at:
            raise Killed

    for killed_at in (6, 9, 10):
        monkeypatch.setattr(LabelImport, "beat", beat)
        if killed_at == 6:
            content = ContentFile("\n".join(lines).encode())
            with pytest.raises(Killed):
                jobs.enqueue(project, manager, content, "labels.csv", FINAL, Choices())  # type: ignore[arg-type]
            continue
        row = LabelImport.objects.get()
        assert row.state == "running"
        row.put_back()
        try:
            jobs.run(row.pk)
        except Killed:
            assert killed_at == 9
    row.refresh_from_db()
    assert (row.state, row.error) == ("done", "")
    assert (row.report["imported"], row.report["imported_labels"], row.report["images"]) == (9, 9, 10)
    assert {reason: left["count"] for reason, left in row.report["left_out"].items()} == {"absent": 1}
    assert LabelEvent.objects.filter(action="imported").count() == 9
