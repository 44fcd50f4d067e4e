"""Labeled datasets: immutable, versioned, over the API (SPEC E3)."""

from __future__ import annotations

import hashlib
import html
import re
import runpy
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from exports.models import Export, LabeledDataset
from labeling.submit import submit
from projects.deletion import delete_project
from projects.models import Project
from tests import make
from tests.exports.written import export


def test_a_snapshot_has_a_name_for_good_and_its_files_over_the_api(tagged: Project, manager: User, client) -> None:
    client.force_login(manager)
    for _n in range(2):  # in the same second, most likely
        export(tagged, "dataset")
    found = client.get("/api/v1/labeled-datasets/").json()["results"]
    assert len({row["title"] for row in found}) == 2
    assert all(re.fullmatch(r"project-\d+_\d{8}_\d{6}", row["title"]) for row in found)
    row = client.get(f"/api/v1/labeled-datasets/{found[0]['name']}/{found[0]['version']}/").json()
    assert row == found[0]
    assert (row["rows"], row["task_type"], row["classes"][0]) == (3, "multilabel", "=1+1")
    assert [file["name"] for file in row["files"]] == [f"{row['title']}.{end}" for end in ("jsonl", "csv", "parquet")]
    for file in row["files"]:
        content = b"".join(client.get(file["url"]).streaming_content)
        assert hashlib.sha256(content).hexdigest() == file["sha256"] and len(content) == file["bytes"]


def test_a_snapshot_never_changes(tagged: Project) -> None:
    dataset = export(tagged, "dataset").labeled_dataset
    dataset.version = "20200101_000000"
    with pytest.raises(TypeError, match="never changes"):
        dataset.save()


def test_one_that_is_still_written_is_not_shown(tagged: Project, manager: User, client) -> None:
    made = export(tagged, "dataset")
    Export.objects.filter(pk=made.pk).update(state="running")
    client.force_login(manager)
    assert client.get("/api/v1/labeled-datasets/").json()["results"] == []
    assert LabeledDataset.objects.count() == 1


def test_it_outlives_its_project_for_who_asked_for_it(tagged: Project, manager: User, client) -> None:
    """P4."""
    made = export(tagged, "dataset")
    Export.objects.filter(pk=made.pk).update(requested_by=manager)
    delete_project(tagged)
    client.force_login(manager)
    (row,) = client.get("/api/v1/labeled-datasets/").json()["results"]
    assert client.get(row["files"][0]["url"]).status_code == 200


def client_of(user: User) -> Client:
    visitor = Client()
    visitor.force_login(user)
    return visitor


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "detection", "normalized"])
def test_the_page_shows_rows_and_python_that_runs_as_printed(
    task: str, manager: User, labeler: User, tmp_path: Path, request: pytest.FixtureRequest, capsys
) -> None:
    if task == "multiclass":
        project = request.getfixturevalue("project")
        page = make.page(project, labeler)
        submit(page, make.answers(page, labels=make.class_ids(project)[1:2]))
    else:
        project = request.getfixturevalue("tagged" if task == "multilabel" else "drawn")
    options = {"coordinates": "normalized"} if task == "normalized" else {}
    dataset = export(project, "dataset", include_unlabeled=True, **options).labeled_dataset
    visitor = client_of(manager)
    assert str(dataset) in visitor.get("/admin/exports/labeleddataset/").content.decode()
    text = visitor.get(f"/admin/exports/labeleddataset/{dataset.pk}/").content.decode()
    assert "0000.png" in text and "not labeled" in text
    samples = [html.unescape(code) for code in re.findall(r"<pre[^>]*data-sample[^>]*>(.*?)</pre>", text, re.DOTALL)]
    assert len(samples) == 2
    for code in samples:
        script = tmp_path / "sample.py"
        script.write_text(code)
        runpy.run_path(str(script), run_name="__main__")  # in this process, which has loaded torch once
        told = capsys.readouterr().out
        assert "path" in told or "torch.Size" in told


def test_other_peoples_snapshots_are_not_there(tagged: Project, labeler: User) -> None:
    dataset = export(tagged, "dataset").labeled_dataset
    for person in (make.user("other", "manager"), labeler, make.user("reviewer", "reviewer")):
        visitor = client_of(person)
        for url in (f"{dataset.pk}/", f"{dataset.pk}/{dataset}.csv/"):
            assert visitor.get(f"/admin/exports/labeleddataset/{url}").status_code == 404
