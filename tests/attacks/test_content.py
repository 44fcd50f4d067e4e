"""What people write is shown and never obeyed: attacks 16, 17, 18, 20 and 21."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from PIL import Image as Picture
from playwright.sync_api import Page, expect

from labeling import review
from labeling.submit import submit
from projects.markdown import render_markdown
from projects.models import Project
from tests import make
from tests.conftest import listens

Opener = Callable[..., Page]
SCRIPT = "<script>window.pwned=1</script>"
BROKEN_OUT = '"><img src=x onerror=window.pwned=1>'
TEMPLATE = "{{ 7*'7' }}{% debug %}"
EVENTS = "' hx-get='/x' hx-trigger='load' data-act='submit"
CLASSES = (SCRIPT, BROKEN_OUT, TEMPLATE, EVENTS, "javascript:alert(1)", "=cmd|' /C calc'!A0")
INSTRUCTIONS = f"""{SCRIPT}

[press me](javascript:window.pwned=1) [or me](data:text/html,{SCRIPT})

![x](x" onerror="window.pwned=1) <a href="x" onclick="window.pwned=1" hx-get="/x">y</a> <svg onload=window.pwned=1>
"""
INERT = """() => {
  const wrong = [...document.querySelectorAll('*')].flatMap((element) => [...element.attributes]
    .filter(({ name, value }) => name.startsWith('on') || value === '/x' ||
      (['href', 'src', 'action', 'formaction'].includes(name) && /^\\s*(javascript|data:text)/i.test(value)))
    .map(({ name, value }) => `${element.tagName} ${name}=${value}`))
  return [...wrong, ...(window.pwned ? ['a script ran'] : [])]
}"""


@pytest.fixture
def hostile(manager: User, labeler: User, tmp_path: Path) -> Project:
    """A project in which every text that somebody may write is an attack."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number, name in enumerate(("<img src=x onerror=window.pwned=1>", "{{ 7*'7' }}", "=1+1", "' hx-get='", "plain")):
        Picture.new("RGB", (64, 48), (40 * number, 90, 90)).save(folder / f"{name.replace('/', '_')}.png")
    project = make.project(manager, folder, classes=CLASSES)
    Project.objects.filter(pk=project.pk).update(name=f"{SCRIPT}{BROKEN_OUT}", instructions_text=INSTRUCTIONS)
    for person in (manager, labeler):
        User.objects.filter(pk=person.pk).update(first_name=SCRIPT[:30], last_name=BROKEN_OUT[:30])
    page = make.page(project, labeler, 4)
    submit(page, make.answers(page, labels=make.class_ids(project)[:1]), 4.0)
    project.refresh_from_db()
    return project


def test_hostile_names_are_inert_on_the_labelers_pages(hostile: Project, labeler: User, open_page: Opener) -> None:
    """Attack 16."""
    page = open_page(labeler, "/label/")
    assert page.evaluate(INERT) == []
    page.goto(f"/label/{hostile.pk}/")
    listens(page)
    expect(page.locator("dialog#instructions[open]")).to_be_visible()
    assert page.evaluate(INERT) == []
    page.keyboard.press("Escape")
    for name in CLASSES:
        expect(page.locator(".cls", has_text=name).first).to_be_visible()
    page.keyboard.press("2")
    expect(page.locator(".tile .chip.is-set").first).to_contain_text(BROKEN_OUT)
    page.keyboard.press("/")
    page.locator("dialog[open]").wait_for()
    assert page.evaluate(INERT) == []
    page.goto(f"/label/{hostile.pk}/instructions/")
    assert page.evaluate(INERT) == []


def test_hostile_names_are_inert_in_the_console(hostile: Project, manager: User, open_page: Opener) -> None:
    """Attack 16."""
    page = open_page(manager, "/admin/projects/project/")
    tabs = [f"{hostile.pk}/{tab}/" for tab in ("dashboard", "data", "details", "exports", "delete")]
    for path in ("", *tabs):
        page.goto(f"/admin/projects/project/{path}")
        page.wait_for_load_state("networkidle")
        assert page.evaluate(INERT) == [], path
        assert "7777777" not in page.content()
    page.goto(f"/admin/projects/project/{hostile.pk}/data/")
    page.locator(".thumb .shot").first.click()
    expect(page.locator("#image-panel")).not_to_be_empty()
    assert page.evaluate(INERT) == []


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](vbscript:x)",
        "![x](data:image/svg+xml;base64,PHN2Zz4=)",
        "<img src=x onerror=alert(1)>",
        "<iframe src=https://example.org></iframe>",
        "<a href=https://example.org style=position:fixed onclick=x>x</a>",
        "<form action=https://example.org><input></form>",
        "<div hx-get=/x hx-trigger=load>x</div>",
    ],
)
def test_instructions_go_through_one_sanitiser(text: str) -> None:
    """Attack 17."""
    html = render_markdown(text).lower()
    for wrong in ("<script", "javascript:\"", 'href="javascript', 'href="vbscript', "<img src=\"data", "onerror=\"",
                  "<iframe", "<form", "<div", "<a href=\"https://example.org\" style"):  # fmt: skip
        assert wrong not in html


def test_links_in_instructions_open_without_a_way_back(hostile: Project) -> None:
    """Attack 17."""
    assert 'rel="noopener noreferrer"' in render_markdown("[x](https://example.org)")


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "ftp://example.org", "//example.org", "x"])
def test_the_instructions_link_is_http_only(hostile: Project, manager: User, url: str) -> None:
    """Attack 17."""
    client = Client()
    client.force_login(manager)
    answer = client.patch(
        f"/api/v1/projects/{hostile.pk}/", json.dumps({"instructions": {"url": url}}), "application/json"
    )
    assert answer.status_code == 400
    hostile.refresh_from_db()
    assert hostile.instructions_url == ""


@pytest.mark.parametrize(
    "path", ["/label/", "/label/{}/", "/admin/projects/project/", "/admin/projects/project/{}/data/"]
)
def test_the_policy_forbids_inline_scripts(hostile: Project, manager: User, labeler: User, path: str) -> None:
    """Attack 18."""
    client = Client()
    client.force_login(labeler if path.startswith("/label") else manager)
    policy = client.get(path.format(hostile.pk))["Content-Security-Policy"]
    scripts = next(part for part in policy.split(";") if part.strip().startswith(("script-src", "default-src")))
    assert "unsafe-inline" not in scripts
    if path.startswith("/label"):  # the console's theme needs to evaluate its own attributes
        assert "unsafe-inline" not in policy and "unsafe-eval" not in policy


def download(project: Project, person: User, kind: str, **options: object) -> bytes:
    """Export by the API, and return the file."""
    client = Client()
    client.force_login(person)
    body = json.dumps({"format": kind, "options": options})
    asked = client.post(f"/api/v1/projects/{project.pk}/exports/", body, "application/json")
    assert asked.status_code == 202, asked.content
    answer = client.get(f"/api/v1/exports/{asked.json()['id']}/download/")
    assert answer.status_code == 200, answer.content
    return b"".join(answer.streaming_content)  # type: ignore[attr-defined]


def test_a_spreadsheet_runs_no_formula_of_ours(hostile: Project, manager: User, labeler: User) -> None:
    """Attack 20: file names and classes that look like formulas arrive as text."""
    page = make.page(hostile, labeler, 1)
    submit(page, make.answers(page, labels=make.class_ids(hostile)[-1:]), 1.0)
    rows = list(csv.reader(io.StringIO(download(hostile, manager, "csv").decode("utf-8-sig"))))
    cells = [cell for row in rows for cell in row]
    assert any("=cmd|" in cell for cell in cells)
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == []


def test_an_export_names_nobody_unless_asked(hostile: Project, manager: User, labeler: User) -> None:
    """Attack 21."""
    User.objects.filter(pk=labeler.pk).update(email="someone@example.org", first_name="", last_name="")
    for kind in ("coco", "csv"):
        silent = download(hostile, manager, kind)
        assert b"someone@example.org" not in silent and b"labeler" not in silent.replace(b"labeled", b"").replace(
            b"labeler,", b""
        ).replace(b"labeled_by", b"")
        named = download(hostile, manager, kind, labelers=True)
        assert b"labeler" in named and b"someone@example.org" not in named


def test_rejected_labels_leave_the_exports(hostile: Project, manager: User) -> None:
    """Attack 21."""
    before = json.loads(download(hostile, manager, "coco"))
    assert len(before["annotations"]) == 4
    review.reject(hostile, manager, list(hostile.tasks.filter(status="labeled").values_list("image", flat=True)))
    after = json.loads(download(hostile, manager, "coco"))
    assert (after["annotations"], after["images"]) == ([], [])


def test_an_export_is_closed_with_the_role(hostile: Project, manager: User) -> None:
    """Attack 20: who may no longer export the project can't fetch what was asked for before."""
    from projects.access import set_role

    client = Client()
    client.force_login(manager)
    asked = client.post(f"/api/v1/projects/{hostile.pk}/exports/", {"format": "coco"}, "application/json").json()
    other = make.user("other", "manager")
    stranger = Client()
    stranger.force_login(other)
    assert stranger.get(f"/api/v1/exports/{asked['id']}/download/").status_code == 404
    assert stranger.get("/api/v1/exports/999999/download/").status_code == 404
    set_role(manager, "labeler")
    Project.objects.filter(pk=hostile.pk).update(created_by=other)
    from guardian.shortcuts import remove_perm

    for right in ("manage_project", "export_project", "review_project"):
        remove_perm(right, manager, hostile)
    assert client.get(f"/api/v1/exports/{asked['id']}/download/").status_code == 404
