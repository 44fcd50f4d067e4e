"""Every format read back by readers that know nothing of this site equals the database (SPEC E3, E4, E5)."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pandas
import pyarrow.parquet
import pytest
from django.contrib.auth.models import User
from torchvision.datasets import VOCDetection

from exports import jobs
from exports.formats import formats
from exports.models import Export
from exports.writing import as_written, file_name_of
from labeling import review
from labeling.submit import submit
from projects.models import Image, Project
from tests import make
from tests.exports.written import export, files, in_database, unpacked, written


def test_parquet_csv_and_json_lines_of_a_dataset_are_the_same_rows(drawn: Project) -> None:
    found = files(export(drawn, "dataset"))
    parquet = pandas.read_parquet(found["parquet"])
    lines = pandas.read_json(found["jsonl"], lines=True, dtype=False)
    lines["labeled_at"] = pandas.to_datetime(lines["labeled_at"])
    cells = pandas.read_csv(found["csv"], parse_dates=["labeled_at"])
    cells["label"] = cells["label"].map(json.loads)
    assert pyarrow.parquet.read_table(found["parquet"]).num_rows == 2
    for table in (parquet, lines, cells):
        read = {
            row["path"]: [(box["label"], (box["x"], box["y"], box["width"], box["height"])) for box in row["label"]]
            for row in table.to_dict("records")
        }
        assert read == in_database(drawn)
        assert list(table["how"]) == ["manual", "manual"]
        assert list(table["width"]) == [64, 64]
        assert table["labeled_by"].isna().all()  # names are off unless asked for
    assert list(parquet["labeled_at"]) == list(lines["labeled_at"]) == list(cells["labeled_at"])
    folder = Path(drawn.dataset.datastore.container)
    assert list(parquet["image_url"]) == [(folder / path).as_uri() for path in parquet["path"]]


def test_a_dataset_of_a_classification_has_names_and_confidences(tagged: Project) -> None:
    table = pandas.read_parquet(files(export(tagged, "dataset"))["parquet"])
    found = {row["path"]: [(name, None) for name in row["label"]] for row in table.to_dict("records")}
    assert found == in_database(tagged)
    assert sorted(map(list, table["label_confidence"])) == [[1.0], [1.0], [1.0, 1.0]]


def test_csv_has_one_row_for_each_label(drawn: Project) -> None:
    table = pandas.read_csv(written(drawn, "csv", labelers=True))
    found: dict[str, list] = {path: [] for path in table["path"]}
    for row in table[table["status"] == "labeled"].to_dict("records"):
        found[row["path"]].append((row["label"], (row["x"], row["y"], row["width"], row["height"])))
    assert found == in_database(drawn)
    assert set(table["status"]) == {"labeled", "no_objects"}
    assert set(table["labeled_by"]) == {"labeler"}


def test_no_cell_of_a_csv_is_taken_for_a_formula(tagged: Project) -> None:
    """ATTACKS 20."""
    for path in (written(tagged, "csv"), files(export(tagged, "dataset"))["csv"]):
        with path.open(newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    with written(tagged, "csv").open(newline="") as file:
        names = {as_written(row["label"]) for row in csv.DictReader(file)}
    assert names == {"=1+1", "Über, “alles”"}


def test_torchvision_reads_pascal_voc_as_the_database_has_it(drawn: Project, tmp_path: Path) -> None:
    root = unpacked(written(drawn, "voc"), tmp_path / "voc")
    shutil.copytree(drawn.dataset.datastore.container, root / "VOCdevkit/VOC2012/JPEGImages")
    for path in (root / "VOCdevkit/VOC2012/JPEGImages").iterdir():
        path.rename(path.with_suffix(".jpg"))  # the only ending that this reader knows
    found = {}
    for picture, target in VOCDetection(str(root), year="2012", image_set="trainval"):
        document = target["annotation"]
        assert picture.size == (int(document["size"]["width"]), int(document["size"]["height"]))
        found[document["path"]] = [
            (o["name"], (x := float(b["xmin"]), y := float(b["ymin"]), float(b["xmax"]) - x, float(b["ymax"]) - y))
            for o in document.get("object", [])
            for b in [o["bndbox"]]
        ]
    assert found == in_database(drawn)


def test_yolo_lines_are_shares_of_the_image(drawn: Project, tmp_path: Path) -> None:
    root = unpacked(written(drawn, "yolo"), tmp_path / "yolo")
    names = [line.split('"')[1] for line in (root / "data.yaml").read_text().splitlines() if '"' in line]
    found = {}
    for path in in_database(drawn):
        lines = (root / "labels" / path).with_suffix(".txt").read_text().splitlines()
        found[path] = []
        for number, x, y, width, height in (map(float, line.split()) for line in lines):
            box = ((x - width / 2) * 64, (y - height / 2) * 48, width * 64, height * 48)
            found[path].append((names[int(number)], pytest.approx(box, abs=1e-6)))
    assert found == in_database(drawn)
    assert len(list(root.rglob("*.txt"))) == 2  # an image that is not labeled has no file, which would say "no objects"


def test_yolo_refuses_two_images_that_it_could_not_tell_apart(manager: User, tmp_path: Path) -> None:
    folder = make.pictures(tmp_path / "twins", 1)
    shutil.copy(folder / "0000.png", folder / "0000.bmp")
    project = make.project(manager, folder, "detection", ("digit",))
    for _n in range(2):
        page = make.page(project, manager, 1)
        submit(page, make.answers(page, boxes=[]))
    made = jobs.enqueue(project, None, {}, "yolo")
    made.refresh_from_db()
    assert made.state == "failed" and "can't tell them apart" in made.error
    names = {path.name for path in unpacked(written(project, "voc"), tmp_path / "voc").rglob("*.xml")}
    assert names == {"0000.xml", "0000.png.xml"} or names == {"0000.xml", "0000.bmp.xml"}


@pytest.mark.parametrize("name", ["coco", "dataset", "yolo", "voc", "csv"])
def test_the_same_snapshot_again_gives_the_same_bytes(drawn: Project, name: str) -> None:
    made = export(drawn, name)
    before = {path: path.read_bytes() for path in files(made).values()}
    Export.objects.filter(pk=made.pk).update(state="queued")
    jobs.write(made.pk)
    assert {path: path.read_bytes() for path in files(made).values()} == before
    assert set(formats()) == {"coco", "dataset", "yolo", "voc", "csv"}


def test_paths_lead_nowhere_out_of_an_archive() -> None:
    assert file_name_of("/../a/./b\\c:\n.png") == "_/a/_/b_c__.png"


@pytest.mark.parametrize("name", ["yolo", "voc"])
def test_formats_of_boxes_are_refused_where_there_are_none(tagged: Project, manager: User, client, name: str) -> None:
    client.force_login(manager)
    answer = client.post(f"/api/v1/projects/{tagged.pk}/exports/", {"format": name}, content_type="application/json")
    assert answer.status_code == 400 and "holds boxes" in answer.json()["detail"]


def test_only_approved_labels(tagged: Project) -> None:
    assert len(json.loads(written(tagged, approved_only=True).read_text())["images"]) == 1


def test_unlabeled_images_are_there_when_asked_for_and_say_so(tagged: Project) -> None:
    images = json.loads(written(tagged, include_unlabeled=True).read_text())["images"]
    assert [image.get("labeled", True) for image in images].count(False) == 3
    assert {(image["width"], image["height"]) for image in images} == {(64, 48)}
    table = pandas.read_csv(written(tagged, "csv", include_unlabeled=True))
    assert list(table["status"]).count("unlabeled") == 3
    # Their files were only measured: the feeder still opens them before anybody gets them.
    assert (
        Image.objects.filter(project=tagged, width__isnull=False).count()
        == tagged.tasks.exclude(status="waiting").count()
    )


def test_labels_of_some_days(tagged: Project) -> None:
    at = tagged.tasks.exclude(labeled_at=None).first().labeled_at
    day = f"{at:%Y-%m-%d}"
    for options, n_images in (
        ({"since": day, "until": day}, 3),  # a day as "until" is in it
        ({"until": "2020-01-01"}, 0),
        ({"since": "2099-01-01T00:00:00Z"}, 0),
    ):
        assert len(json.loads(written(tagged, **options).read_text())["images"]) == n_images, options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"coordinates": "polar"}, "pixel"),
        ({"approved_only": "yes"}, "true or false"),
        ({"since": "soon"}, "a date"),
        ({"since": "9999-12-31", "until": "9999-12-31"}, "a date"),
        ({"since": "2026-01-02", "until": "2026-01-01"}, "comes after"),
        ({"colour": 1}, "not an option"),
    ],
)
def test_wrong_options_are_refused_in_words(
    tagged: Project, manager: User, client, options: dict[str, object], words: str
) -> None:
    client.force_login(manager)
    url = f"/api/v1/projects/{tagged.pk}/exports/"
    answer = client.post(url, {"format": "csv", "options": options}, content_type="application/json")
    assert answer.status_code == 400 and words in answer.json()["detail"], answer.json()
    assert not Export.objects.exists()


def test_rejected_labels_and_other_projects_stay_out(tagged: Project, drawn: Project, manager: User) -> None:
    """ATTACKS 21."""
    image = tagged.tasks.filter(status="labeled").values_list("image", flat=True)[0]
    review.reject(tagged, manager, [image])
    document = json.loads(written(tagged).read_text())
    assert {image["file_name"] for image in document["images"]} == set(in_database(tagged))
    assert len(document["images"]) == 2


def test_an_export_can_be_cancelled(tagged: Project, manager: User, client) -> None:
    """N4."""
    made = export(tagged)
    Export.objects.filter(pk=made.pk).update(state="queued")  # as if no worker were there
    client.force_login(manager)
    assert client.post(f"/api/v1/projects/{tagged.pk}/exports/", content_type="application/json").status_code == 409
    assert client.post(f"/api/v1/exports/{made.pk}/cancel/").json()["state"] == "failed"
    jobs.write(made.pk)
    assert client.get(f"/api/v1/exports/{made.pk}/").json()["error"] == "Cancelled."
    assert client.post(f"/api/v1/exports/{made.pk}/cancel/").status_code == 409


def test_a_download_streams_and_resumes(tagged: Project, manager: User, client) -> None:
    client.force_login(manager)
    made = export(tagged)
    whole = files(made)["json"].read_bytes()
    url = f"/api/v1/exports/{made.pk}/download/"
    first = client.get(url, headers={"Accept-Encoding": "gzip"})
    assert b"".join(first.streaming_content) == whole and first["Content-Length"] == str(len(whole))
    half = client.get(url, headers={"Range": "bytes=100-", "If-Range": first["ETag"]})
    assert (half.status_code, b"".join(half.streaming_content)) == (206, whole[100:])
    assert half["Content-Range"] == f"bytes 100-{len(whole) - 1}/{len(whole)}"
    tail = client.get(url, headers={"Range": "bytes=-7"})
    assert b"".join(tail.streaming_content) == whole[-7:]
    assert client.get(url, headers={"Range": f"bytes={len(whole)}-"}).status_code == 416
    assert client.get(url, headers={"Range": "bytes=5-", "If-Range": '"other"'}).status_code == 200


def test_what_is_not_mine_to_take_away_is_not_there(tagged: Project, labeler: User, client) -> None:
    """R2, ATTACKS 20."""
    made = export(tagged, "dataset")
    client.force_login(labeler)
    for url in (
        f"exports/{made.pk}/",
        f"exports/{made.pk}/download/",
        f"labeled-datasets/{made.labeled_dataset.name}/",
    ):
        assert client.get(f"/api/v1/{url}").status_code == 404
    assert client.get("/api/v1/labeled-datasets/").json()["results"] == []
