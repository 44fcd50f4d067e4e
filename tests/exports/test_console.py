"""The Exports tab, through a manager's browser and client (SPEC E1, E4, N4)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from playwright.sync_api import Page, expect

from exports.models import Export, LabelImport
from projects.models import Project
from tests.exports.test_importing import SHARES, azure
from tests.exports.written import in_database


@pytest.fixture
def visitor(manager: User) -> Client:
    client = Client()
    client.force_login(manager)
    return client


def url(project: Project, end: str = "exports/") -> str:
    return f"/admin/projects/project/{project.pk}/{end}"


def test_formats_that_fit_are_offered(drawn: Project, tagged: Project, visitor: Client) -> None:
    def offered(project: Project) -> list[str]:
        return re.findall(r'name="format" value="(\w+)"', visitor.get(url(project)).content.decode())

    assert offered(drawn) == ["coco", "dataset", "yolo", "voc", "csv"]
    assert offered(tagged) == ["coco", "dataset", "csv"]


def test_a_manager_chooses_a_format_and_takes_the_file_away(
    drawn: Project, manager: User, open_page: Callable[..., Page]
) -> None:
    page = open_page(manager, url(drawn))
    page.locator("[name=format][value=voc]").check()
    expect(page.get_by_label("Images without a label too")).to_be_hidden()  # this format has no way to say it
    page.locator("[name=format][value=csv]").check()
    page.get_by_label("Images without a label too").check()
    page.locator("form.ls-export").get_by_role("button", name="Export").click()
    row = page.locator("#exports tbody tr").first
    expect(row).to_contain_text("with unlabeled images")
    with page.expect_download() as download:
        row.get_by_role("link", name="Download").click()
    assert len(pandas.read_csv(download.value.path())) == 3 + 3  # three labeled rows, three images not labeled


def test_several_files_are_offered_and_a_snapshot_has_its_page(drawn: Project, visitor: Client) -> None:
    page = visitor.post(url(drawn), {"format": "dataset"}, follow=True).content.decode()
    dataset = Export.objects.get().labeled_dataset
    for ending in ("jsonl", "csv", "parquet"):
        file = visitor.get(url(drawn, f"exports/{dataset.export_id}/"), {"file": f"{dataset}.{ending}"})
        assert file.status_code == 200 and file["Content-Disposition"].endswith(f'{dataset}.{ending}"')
    assert f"/admin/exports/labeleddataset/{dataset.pk}/" in page
    assert visitor.get(url(drawn, f"exports/{dataset.export_id}/"), {"file": "../../secret"}).status_code == 404


def test_wrong_dates_and_formats_are_told_in_words(drawn: Project, visitor: Client) -> None:
    body = {"format": "coco", "since": "2026-02-01", "until": "2026-01-01"}
    assert "comes after" in visitor.post(url(drawn), body, follow=True).content.decode()
    assert "Choose one of these formats" in visitor.post(url(drawn), {"format": "exe"}, follow=True).content.decode()
    assert not Export.objects.exists()


def test_one_is_cancelled_and_tried_again(drawn: Project, visitor: Client) -> None:
    visitor.post(url(drawn), {"format": "csv", "approved_only": "on"})
    first = Export.objects.get()
    Export.objects.filter(pk=first.pk).update(state="running", progress=0.4)
    page = visitor.get(url(drawn)).content.decode()
    assert 'hx-trigger="every 2s"' in page and 'aria-valuenow="40"' in page
    assert "Cancelled." in visitor.post(url(drawn, f"exports/{first.pk}/cancel/"), follow=True).content.decode()
    visitor.post(url(drawn, f"exports/{first.pk}/again/"))
    second = Export.objects.exclude(pk=first.pk).get()
    assert (second.state, second.options) == ("done", first.options)


def test_labels_come_in_with_a_report(boxes: Project, visitor: Client) -> None:
    document = azure([*SHARES, ("none.png", "digit", [0.1, 0.1, 0.2, 0.2])])
    file = SimpleUploadedFile("azure.json", json.dumps(document).encode())
    page = visitor.post(url(boxes, "labels/"), {"file": file, "kind": "final"}, follow=True).content.decode()
    assert "2 of 3 images, with 3 labels." in page and "shares of the image" in page
    assert "no image of that path" in page and "none.png" in page
    assert len(in_database(boxes)) == 2
    assert "Choose a file" in visitor.post(url(boxes, "labels/"), follow=True).content.decode()
    assert LabelImport.objects.get().requested_by == User.objects.get(username="manager")


def test_a_bad_file_is_refused_in_words(boxes: Project, visitor: Client, tmp_path: Path) -> None:
    file = SimpleUploadedFile("photo.json", b"\xff\xd8\xff\xe0")
    page = visitor.post(url(boxes, "labels/"), {"file": file, "kind": "final"}, follow=True).content.decode()
    assert "not a text in UTF-8" in page
