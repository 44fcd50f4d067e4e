"""The box editor in a real browser (SPEC L4)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from PIL import Image as Picture
from playwright.sync_api import Page, expect

from labeling.models import Annotation, LabelTask
from projects.models import Project
from tests import make
from tests.conftest import listens

Opener = Callable[..., Page]
Box = tuple[float, float, float, float]
# The editor paints once a frame: what is read after two frames is what was done before.
PAINTED = "await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));"


@pytest.fixture
def photo(manager: User, tmp_path: Path) -> Project:
    """Two photos of 1600 × 1200 pixels."""
    return make.project(manager, make.pictures(tmp_path / "photos", 2, (1600, 1200)), "detection", ("ant", "bee"))


def at(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where an image pixel is on the screen."""
    return page.evaluate(
        f"""async ([x, y]) => {{ {PAINTED} const svg = document.querySelector('.picture');
        const p = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM()); return [p.x, p.y] }}""",
        [x, y],
    )


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*at(page, *start))
    page.mouse.down()
    page.mouse.move(*at(page, (start[0] + end[0]) / 2, (start[1] + end[1]) / 2))
    page.mouse.move(*at(page, *end))
    page.mouse.up()


def shown(page: Page) -> list[Box]:
    """The boxes on the picture, in image pixels."""
    return page.evaluate(
        f"""async () => {{ {PAINTED} return [...document.querySelectorAll('.boxes .edge')].map((r) =>
        ['x', 'y', 'width', 'height'].map((name) => Number(r.getAttribute(name)))) }}"""
    )


def close(box: Box, wanted: Box, within: float = 1.0) -> bool:
    return all(abs(a - b) <= within for a, b in zip(box, wanted, strict=True))


def next_photo(page: Page) -> None:
    """Wait for the second photo, and until its editor listens."""
    expect(page.locator(".progress")).to_contain_text("1 of 2")
    listens(page)


def open_photo(open_page: Opener, labeler: User, project: Project, **options: object) -> Page:
    page = open_page(labeler, f"/label/{project.pk}/", **options)
    expect(page.locator(".picture image")).to_be_visible()
    expect(page.locator(".picture")).to_have_attribute("viewBox", re.compile(r"\d"))
    return page


def test_a_box_is_stored_where_it_was_drawn(photo: Project, labeler: User, open_page: Opener) -> None:
    page = open_photo(open_page, labeler, photo)
    page.keyboard.press("2")
    drag(page, (200, 100), (600, 500))
    assert close(shown(page)[0], (200, 100, 400, 400))
    page.keyboard.press("Enter")
    expect(page.locator(".progress")).to_contain_text("1 of 2")
    stored = Annotation.objects.get()
    assert stored.label_class.name == "bee"
    assert stored.box is not None and close(stored.box, (200, 100, 400, 400))


def test_zooming_keeps_the_point_and_the_precision(photo: Project, labeler: User, open_page: Opener) -> None:
    page = open_photo(open_page, labeler, photo)
    page.mouse.move(*at(page, 800, 600))
    before = at(page, 800, 600)
    for _turn in range(6):
        page.mouse.wheel(0, -300)
    expect(page.locator("[data-zoom-level]")).to_have_text(re.compile(r"[1-9]\d\d+%"))
    after = at(page, 800, 600)
    assert abs(before[0] - after[0]) < 1.5 and abs(before[1] - after[1]) < 1.5
    drag(page, (780, 590), (830, 620))
    assert close(shown(page)[0], (780, 590, 50, 30), 0.5)


def test_click_click_draws_without_a_drag(photo: Project, labeler: User, open_page: Opener) -> None:
    page = open_photo(open_page, labeler, photo)
    page.mouse.click(*at(page, 100, 100))
    page.mouse.click(*at(page, 300, 250))
    assert close(shown(page)[0], (100, 100, 200, 150), 1.5)


def test_keys_alone_draw_a_box(photo: Project, labeler: User, open_page: Opener) -> None:
    page = open_photo(open_page, labeler, photo)
    page.keyboard.press("r")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    for _step in range(5):
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert len(shown(page)) == 1
    page.keyboard.press("Enter")
    expect(page.locator(".progress")).to_contain_text("1 of 2")


def test_boxes_are_moved_resized_nudged_and_undone(photo: Project, labeler: User, open_page: Opener) -> None:
    page = open_photo(open_page, labeler, photo)
    drag(page, (200, 200), (400, 400))
    page.keyboard.press("m")
    drag(page, (300, 300), (400, 350))
    assert close(shown(page)[0], (300, 250, 200, 200), 2)
    drag(page, (500, 450), (700, 700))
    assert close(shown(page)[0], (300, 250, 400, 450), 3)
    before = shown(page)[0]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    assert close(shown(page)[0], (before[0] - 1, before[1] + 10, before[2], before[3]), 0.01)
    for _step in range(4):
        page.keyboard.press("z")
    assert close(shown(page)[0], (200, 200, 200, 200), 2)
    page.keyboard.press("Shift+Z")
    assert close(shown(page)[0], (300, 250, 200, 200), 2)


def test_escape_and_tiny_drags_leave_no_stray_box(photo: Project, labeler: User, open_page: Opener) -> None:
    page = open_photo(open_page, labeler, photo)
    page.mouse.move(*at(page, 100, 100))
    page.mouse.down()
    page.mouse.move(*at(page, 300, 300))
    page.keyboard.press("Escape")
    page.mouse.up()
    page.mouse.click(*at(page, 500, 500))
    page.keyboard.press("Escape")
    drag(page, (600, 600), (601, 900))
    assert shown(page) == []


def test_a_box_never_leaves_the_image(photo: Project, labeler: User, open_page: Opener) -> None:
    page = open_photo(open_page, labeler, photo)
    fitted = page.locator(".picture").get_attribute("viewBox") or ""
    page.keyboard.press("-")
    expect(page.locator(".picture")).not_to_have_attribute("viewBox", fitted)
    drag(page, (-30, 1000), (200, 1230))
    assert close(shown(page)[0], (0, 1000, 200, 200), 2)


def test_the_smallest_box_under_the_pointer_wins(photo: Project, labeler: User, open_page: Opener) -> None:
    page = open_photo(open_page, labeler, photo)
    drag(page, (300, 300), (400, 400))
    page.keyboard.press("Escape")
    drag(page, (100, 100), (900, 900))
    page.keyboard.press("m")
    page.keyboard.press("Escape")
    page.mouse.click(*at(page, 350, 350))
    page.keyboard.press("Delete")
    assert len(shown(page)) == 1
    assert close(shown(page)[0], (100, 100, 800, 800), 2)


def test_template_lock_hide_and_delete_all(photo: Project, labeler: User, open_page: Opener) -> None:
    page = open_photo(open_page, labeler, photo)
    drag(page, (200, 200), (300, 300))
    page.keyboard.press("t")
    page.mouse.click(*at(page, 800, 800))
    assert close(shown(page)[1], (750, 750, 100, 100), 2)
    page.keyboard.press("l")
    page.keyboard.press("m")
    page.mouse.click(*at(page, 250, 250))
    page.keyboard.press("Delete")
    assert len(shown(page)) == 2
    page.keyboard.press("l")
    page.keyboard.press("h")
    expect(page.locator(".boxes")).to_have_attribute("visibility", "hidden")
    page.keyboard.press("h")
    page.keyboard.press("Shift+Delete")
    assert shown(page) == []
    page.keyboard.press("z")
    assert len(shown(page)) == 2


def test_the_boxes_of_the_last_image_are_copied(photo: Project, labeler: User, open_page: Opener) -> None:
    page = open_photo(open_page, labeler, photo)
    drag(page, (200, 200), (300, 300))
    page.keyboard.press("Enter")
    next_photo(page)
    page.keyboard.press("c")
    expect(page.locator(".boxes .edge")).to_have_count(1)
    assert close(shown(page)[0], (200, 200, 100, 100), 2)


def test_no_objects_is_said_explicitly(photo: Project, labeler: User, open_page: Opener) -> None:
    page = open_photo(open_page, labeler, photo)
    page.keyboard.press("Enter")
    assert not LabelTask.objects.filter(status="labeled").exists()
    page.keyboard.press("n")
    page.keyboard.press("Enter")
    expect(page.locator(".progress")).to_contain_text("1 of 2")


def test_drafts_of_boxes_survive_a_reload(photo: Project, labeler: User, open_page: Opener) -> None:
    page = open_photo(open_page, labeler, photo)
    drag(page, (200, 200), (300, 300))
    page.reload()
    expect(page.locator(".boxes .edge")).to_have_count(1)


def test_a_box_on_a_turned_photo_sits_where_it_was_drawn(
    manager: User, labeler: User, tmp_path: Path, open_page: Opener
) -> None:
    folder = tmp_path / "turned"
    folder.mkdir()
    exif = Picture.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees
    Picture.new("RGB", (1200, 800), "navy").save(folder / "turned.jpg", exif=exif)
    project = make.project(manager, folder, "detection", ("ant",))
    page = open_photo(open_page, labeler, project)
    drag(page, (100, 1000), (700, 1190))
    page.keyboard.press("Enter")
    expect(page.locator(".empty")).to_be_visible()
    stored = Annotation.objects.get()
    assert (stored.image_width, stored.image_height) == (800, 1200)
    assert stored.box is not None and close(stored.box, (100, 1000, 600, 190), 1.5)


def test_one_finger_draws(photo: Project, labeler: User, open_page: Opener) -> None:
    page = open_photo(open_page, labeler, photo, has_touch=True, viewport={"width": 390, "height": 800})
    touch = page.context.new_cdp_session(page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]})

    send("touchStart", at(page, 400, 400))
    send("touchMove", at(page, 600, 600))
    send("touchMove", at(page, 800, 900))
    send("touchEnd")
    assert close(shown(page)[0], (400, 400, 400, 500), 6)
