"""Details as a manager uses it: each section changed and saved by itself, at a desk and on a phone (SPEC T1)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Locator, Page, expect

from labeling.models import LabelTask
from projects.access import is_open_to_all, people_with
from projects.models import Project
from tests import make

WIDTHS = {"desk": 1280, "phone": 390}


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_each_section_is_changed_and_saved_by_itself(
    project: Project, manager: User, labeler: User, tmp_path: Path, open_page: Callable[..., Page], width: int
) -> None:
    path = f"/admin/projects/project/{project.pk}/details/"
    page = open_page(manager, path, viewport={"width": width, "height": 800})

    def card(name: str) -> Locator:
        return page.locator(f"section#{name}")

    def save(name: str, said: str) -> None:
        card(name).get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_text(said)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        project.refresh_from_db()

    card("name").get_by_label("Name").fill("Pets at home")
    save("name", "Saved the name.")
    assert project.name == "Pets at home"

    card("refresh").get_by_role("checkbox").check()
    save("refresh", "Saved.")
    assert project.incremental_refresh
    make.pictures(tmp_path / "images" / "new", 3)
    card("refresh").get_by_role("button", name="Refresh now").click()
    newest = card("refresh").get_by_role("row").nth(1)
    expect(newest.get_by_role("cell").nth(2)).to_have_text("3")
    assert LabelTask.objects.filter(project=project).count() == 23

    card("classes").get_by_label("Class name").first.fill("kitten")
    handle = card("classes").get_by_role("button", name=re.compile("^Move")).first
    handle.focus()
    handle.press("ArrowDown")
    save("classes", "Saved")
    assert list(project.classes.values_list("name", flat=True)) == ["dog", "kitten", "bird"]

    card("instructions").get_by_label("Text").fill("Look at the **ears**.")
    expect(card("instructions").locator(".preview strong")).to_have_text("ears")
    save("instructions", "Saved the instructions.")
    assert project.instructions_text == "Look at the **ears**."

    card("assist").get_by_label("Let a model help").check()
    save("assist", "A model helps from now on.")
    assert project.assist_enabled

    card("access").get_by_label("Only those named here").check()
    card("access").get_by_role("group", name="People").get_by_label("labeler", exact=True).check()
    save("access", "Saved")
    assert not is_open_to_all(project)
    assert people_with(project, "label_project") == {labeler.pk, manager.pk}


def test_what_is_wrong_stands_beside_its_field_and_what_is_settled_says_why(
    project: Project, manager: User, open_page: Callable[..., Page]
) -> None:
    page = open_page(manager, f"/admin/projects/project/{project.pk}/details/")
    settled = page.locator("#name dl")
    for reason in ("as the labels depend on it", "as the labels belong to its images", "an administrator of the site"):
        expect(settled).to_contain_text(reason)
    name = page.locator("#name").get_by_label("Name")
    name.fill("")
    page.locator("#name").get_by_role("button", name="Save", exact=True).click()
    expect(name).to_have_accessible_description("Give the project a name.")
    page.locator("#instructions").get_by_label("Link").fill("javascript:alert(1)")
    page.locator("#instructions").get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#instructions").get_by_label("Link")).to_have_attribute("aria-invalid", "true")
    before = project.name
    project.refresh_from_db()
    assert (project.name, project.instructions_url) == (before, "")
