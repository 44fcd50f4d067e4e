"""Labeled datasets: immutable, versioned, over the API (SPEC E3)."""

from __future__ import annotations

import hashlib
import re

import pytest
from django.contrib.auth.models import User

from exports.models import Export, LabeledDataset
from projects.deletion import delete_project
from projects.models import Project
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
