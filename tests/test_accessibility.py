"""What axe-core finds on the pages: nothing serious, on a desk and on a phone, light and dark (SPEC L7)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from playwright.sync_api import Page

from labeling.submit import submit
from projects.models import Project
from projects.tokens import create_token
from tests import make
from tests.exports.written import export

Opener = Callable[..., Page]
DESK: dict[str, object] = {"color_scheme": "light"}
PHONE: dict[str, object] = {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}, "has_touch": True}


def serious(page: Page) -> list[str]:
    """Return what axe finds that is serious, a line each."""
    answer = Axe().run(page).response
    assert len(answer["passes"]) > 5  # it has looked
    found = answer["violations"]
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]}"
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"][:3]
    ]


def cut_off(page: Page) -> list[str]:
    """Return the lists of which a part lies outside their card, a line each."""
    boxes = page.locator(".ls-list").all()
    return [f"cut off: {box.inner_text()[:80]}" for box in boxes if box.evaluate("e => e.scrollWidth > e.clientWidth")]


@pytest.fixture
def worked(project: Project, boxes: Project, labeler: User) -> tuple[Project, Project]:
    """Both projects with some labels, so that the pages show something."""
    page = make.page(project, labeler)
    submit(page, make.answers(page, labels=make.class_ids(project)[:1]), 9.0)
    page = make.page(boxes, labeler, 1)
    box = {"label_class": make.class_ids(boxes)[0], "box": [5, 5, 20, 20]}
    submit(page, make.answers(page, boxes=[box]), 9.0)
    return project, boxes


@pytest.mark.parametrize("look", [DESK, PHONE], ids=["desk", "phone"])
def test_the_labelers_pages(
    worked: tuple[Project, Project], labeler: User, open_page: Opener, look: dict[str, object]
) -> None:
    project, boxes = worked
    wrong: dict[str, list[str]] = {}
    page = open_page(labeler, "/label/", **look)
    for path in ("/label/", f"/label/{project.pk}/", f"/label/{boxes.pk}/"):
        page.goto(path)
        page.wait_for_load_state("networkidle")
        wrong[path] = serious(page)
    page.keyboard.press("?")
    page.locator("dialog#keys[open]").wait_for()
    wrong["keys"] = serious(page)
    assert {path: lines for path, lines in wrong.items() if lines} == {}


@pytest.mark.parametrize("look", [DESK, PHONE], ids=["desk", "phone"])
def test_the_console(
    worked: tuple[Project, Project], manager: User, open_page: Opener, look: dict[str, object]
) -> None:
    project, boxes = worked
    tabs = [f"{project.pk}/{tab}/" for tab in ("dashboard", "data", "details", "exports")]
    wrong: dict[str, list[str]] = {}
    page = open_page(manager, "/admin/projects/project/", **look)
    for path in ("", *tabs, f"{boxes.pk}/data/", "add/details/", "add/data/", "add/classes/"):
        page.goto(f"/admin/projects/project/{path}")
        page.wait_for_load_state("networkidle")
        wrong[path] = serious(page)
    create_token(manager)
    snapshot = f"exports/labeleddataset/{export(project, 'dataset').labeled_dataset.pk}/change/"
    lists = [f"projects/{path}" for path in ("dataset/", "dataset/add/", "datastore/", "datastore/add/", "apitoken/")]
    for path in (*lists, "exports/labeleddataset/", snapshot):
        page.goto(f"/admin/{path}")
        page.wait_for_load_state("networkidle")
        wrong[path] = serious(page) + cut_off(page)
    assert {path: lines for path, lines in wrong.items() if lines} == {}


def test_the_login(open_page: Opener, labeler: User) -> None:
    page = open_page(labeler, "/label/")
    page.context.clear_cookies()
    page.goto("/login/")
    assert serious(page) == []
