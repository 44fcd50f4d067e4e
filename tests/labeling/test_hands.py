"""Every kind of labeling page by keyboard alone, by touch alone, and as people set their system up (SPEC L7).

Each kind is labeled from the start to the stored answer. On the way: every stop of Tab shows the focus and has a name,
and the last one leads out again; nothing needs a mouse, a network of animations, colors, or more than 640 pixels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from labeling import feeder
from labeling.answers import Label
from labeling.models import Annotation, Kind, LabelTask
from labeling.submit import submit
from labeling.suggestions import Suggestion, pack, suggest
from projects.models import Project
from tests import make
from tests.labeling.test_browser_boxes import at, shown

Opener = Callable[..., Page]
KINDS = ("multiclass", "multilabel", "detection", "clustered", "prelabeled", "correct")
PHONE: dict[str, object] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
# What has the focus: its name, whether a ring shows, and whether it can be seen.
FOCUS = """() => {
  const element = document.activeElement
  if (!element || element === document.body) return null
  const style = getComputedStyle(element)
  const box = element.getBoundingClientRect()
  const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1
  const words = element.labels ? [...element.labels].map((label) => label.textContent) : []
  const by = (element.getAttribute('aria-labelledby') || '').split(' ').map((id) => document.getElementById(id))
  const name = [element.ariaLabel, ...by.map((e) => e?.textContent), ...words, element.title, element.textContent]
  return { html: element.outerHTML.slice(0, 120), ring, name: name.filter(Boolean).join(' ').trim(),
    seen: box.width > 0 && box.height > 0 }
}"""


@dataclass(frozen=True)
class Made:
    """A page of a kind: where it is, for whom, and what it should store."""

    kind: str
    project: Project
    user: User
    path: str

    @property
    def is_boxes(self) -> bool:
        return self.kind == "detection"


@pytest.fixture
def made(request: pytest.FixtureRequest, manager: User, labeler: User, tmp_path: Path) -> Made:
    """A project with one open page of the kind that the test names."""
    kind = request.param
    task_type = kind if kind in ("multilabel", "detection") else "multiclass"
    size = (1600, 1200) if kind == "detection" else (64, 48)
    project = make.project(manager, make.pictures(tmp_path / "images", 4, size), task_type)
    path = f"/label/{project.pk}/"
    first, *_others = make.class_ids(project)
    feeder.feed(project.pk)
    if kind == "clustered":
        LabelTask.objects.update(kind=Kind.CLUSTERED, priority=10, group=1)
    if kind == "prelabeled":
        ids = LabelTask.objects.values_list("pk", flat=True)
        suggest(project, pack(Suggestion(pk, (Label(first),), (0.9,), 0.9) for pk in ids))
    if kind == "correct":
        page = make.page(project, labeler, 4)
        submit(page, make.answers(page, labels=[first]))
        images = ",".join(str(pk) for pk in LabelTask.objects.values_list("image", flat=True))
        path = f"/admin/projects/project/{project.pk}/data/correct/?images={images}"
        return Made(kind, project, manager, path)
    return Made(kind, project, labeler, path)


def expect_stored(page: Page, made: Made) -> None:
    """Wait for the answers in the database: four images, or the first one of the boxes."""
    event = {"correct": "corrected"}.get(made.kind, "submitted")
    count = 1 if made.is_boxes else 4
    answered = LabelTask.objects.filter(project=made.project, events__action=event).distinct()
    for _try in range(200):
        if answered.count() == count:
            break
        page.wait_for_timeout(100)
    assert answered.count() == count
    _first, second, *_others = make.class_ids(made.project)
    given = set(Annotation.objects.current().filter(task__in=answered).values_list("label_class", flat=True))
    assert second in given


@pytest.mark.parametrize("made", KINDS, indirect=True)
def test_by_keyboard_alone(made: Made, open_page: Opener) -> None:
    page = open_page(made.user, made.path)
    stops: list[str] = []
    wrong: list[object] = []
    for _press in range(60):
        page.keyboard.press("Tab")
        focus = page.evaluate(FOCUS)
        if focus is None or focus["html"] in stops:
            break
        stops.append(focus["html"])
        if not (focus["ring"] and focus["name"] and focus["seen"]):
            wrong.append(focus)
    else:
        pytest.fail(f"Tab does not come round: {stops[-3:]}")
    assert wrong == [] and len(stops) > 5
    assert any("submit" in stop for stop in stops)
    page.reload()
    page.wait_for_selector("#page:not([aria-busy])")
    if made.is_boxes:
        expect(page.locator(".picture")).to_have_attribute("viewBox", re.compile(r"\d"))
        for key in ("2", "r", "ArrowRight", "Enter", *["Shift+ArrowRight", "Shift+ArrowDown"] * 4, "Enter"):
            page.keyboard.press(key)
        assert len(shown(page)) == 1
    else:
        expect(page.locator(".tile").first).to_be_focused()
        if page.locator(".tile.is-on").count() < 4:
            page.keyboard.press("a")
        page.keyboard.press("2")
        expect(page.locator(".tile .chip.is-set")).to_have_count(4)
    page.keyboard.press("Enter")
    expect_stored(page, made)


@pytest.mark.parametrize("made", KINDS, indirect=True)
def test_by_touch_alone(made: Made, open_page: Opener) -> None:
    page = open_page(made.user, made.path, **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    second = page.locator(".cls").nth(1)
    if made.is_boxes:
        expect(page.locator(".picture")).to_have_attribute("viewBox", re.compile(r"\d"))
        second.tap()
        finger = page.context.new_cdp_session(page)

        def stroke(*places: tuple[float, float]) -> None:
            kinds = ["touchStart", *["touchMove"] * (len(places) - 1)]
            for kind, (x, y) in zip(kinds, [at(page, *place) for place in places], strict=True):
                finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
            page.wait_for_timeout(200)  # a finger that rests flings nothing, which would eat the next tap
            finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

        stroke((200, 200), (500, 400), (800, 700))
        ((left, top, _width, _height),) = shown(page)
        page.locator("[data-tool=move]").tap()
        expect(page.locator("[data-tool=move]")).to_have_attribute("aria-pressed", "true")
        stroke((500, 450), (600, 500), (700, 550))
        ((moved_left, moved_top, _width, _height),) = shown(page)
        assert abs(moved_left - left - 200) < 12 and abs(moved_top - top - 100) < 12
    else:
        if made.kind == "clustered" and page.locator(".tile.is-on").count() == 4:
            second.tap()
        else:
            for index in range(4):
                page.locator(".tile").nth(index).tap()
            second.tap()
        expect(page.locator(".tile .chip.is-set")).to_have_count(4)
    page.locator("[data-act=submit]").tap()
    expect_stored(page, made)


SURFACE = """(selector) => [...document.querySelectorAll(selector)].map((element) => {
  const part = (pseudo) => { const s = getComputedStyle(element, pseudo); return [s.borderTopColor, s.borderTopStyle] }
  const own = getComputedStyle(element)
  return JSON.stringify([own.backgroundColor, own.borderTopColor, part('::before'), part('::after')])
})"""
MOVING = """() => [...document.querySelectorAll('body *')].filter((element) => {
  const style = getComputedStyle(element)
  const long = (text) => text.split(',').some((part) => parseFloat(part) > 0)
  return (style.animationName !== 'none' && long(style.animationDuration)) || long(style.transitionDuration)
}).map((element) => element.outerHTML.slice(0, 80))"""
CUT_OFF = """() => [...document.querySelectorAll('.topbar *, .dock *, .cls, .tile, .tool')].filter((element) => {
  const box = element.getBoundingClientRect()
  const isShown = box.width && getComputedStyle(element).visibility === 'visible'
  return isShown && (box.left < -1 || box.right > innerWidth + 1)
}).map((element) => element.outerHTML.slice(0, 80))"""


@pytest.mark.parametrize("made", ["multiclass", "prelabeled", "detection"], indirect=True)
def test_forced_colors_and_reduced_motion(made: Made, open_page: Opener) -> None:
    """What is chosen, pointed at, labeled and suggested can be told apart; nothing moves."""
    page = open_page(made.user, made.path, forced_colors="active", reduced_motion="reduce")
    assert page.evaluate("matchMedia('(forced-colors: active)').matches")
    assert page.evaluate(MOVING) == []
    if made.is_boxes:
        chosen, other = page.evaluate(SURFACE, "[data-tool=draw], [data-tool=move]")
        assert chosen != other
        expect(page.locator(".picture")).to_have_attribute("viewBox", re.compile(r"\d"))
        for corner in ((100, 100), (500, 400)):
            page.mouse.click(*at(page, *corner))
        assert len(shown(page)) == 1
        assert page.locator(".boxes .edge").first.evaluate("e => getComputedStyle(e).stroke") != "none"
        return
    looks = page.evaluate(SURFACE, ".tile")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page.locator(".tile.is-on")).to_have_count(1)
    picked, plain = page.evaluate(SURFACE, ".tile.is-on, .tile:not(.is-on, .is-aim)")[:2]
    assert picked != plain and len(looks) == 4
    ticks = page.locator(".tile .tick .ico").evaluate_all("all => all.map((e) => getComputedStyle(e).visibility)")
    assert ticks.count("visible") == 1
    page.keyboard.press("1")
    own = page.locator(".tile .chip.is-set").first
    assert own.evaluate("e => getComputedStyle(e).backgroundColor") != page.evaluate(
        "getComputedStyle(document.body).backgroundColor"
    )
    if made.kind == "prelabeled":
        expect(page.locator(".tile .chip.is-hint")).to_have_count(3)
        assert page.locator(".tile .chip.is-hint").first.evaluate("e => getComputedStyle(e).borderTopStyle") == "dashed"
    assert page.evaluate(MOVING) == []


@pytest.mark.parametrize("made", ["multiclass", "detection"], indirect=True)
def test_at_twice_the_size_nothing_is_cut_off(made: Made, open_page: Opener) -> None:
    page = open_page(made.user, made.path, viewport={"width": 640, "height": 400}, device_scale_factor=2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 640
    assert page.evaluate(CUT_OFF) == []
    for control in ("[data-act=submit]", ".cls >> nth=2", "[data-act=skip]"):
        page.locator(control).scroll_into_view_if_needed()
        expect(page.locator(control)).to_be_in_viewport(ratio=0.95)


@pytest.mark.parametrize("made", ["prelabeled", "detection"], indirect=True)
def test_what_a_screen_reader_is_told(made: Made, open_page: Opener) -> None:
    """Places, labels and whether they are suggested; the boxes are a list beside the canvas."""
    page = open_page(made.user, made.path)
    if made.is_boxes:
        expect(page.locator(".picture")).to_have_attribute("viewBox", re.compile(r"\d"))
        for corner in ((100, 100), (500, 400)):
            page.mouse.click(*at(page, *corner))
        expect(page.get_by_role("list", name="Boxes").get_by_role("listitem")).to_have_count(1)
        expect(page.get_by_role("toolbar", name="Drawing tools").get_by_role("button").first).to_be_visible()
    else:
        sheet = page.get_by_role("listbox", name="Images of this page")
        first = sheet.get_by_role("option", name=re.compile("Image 1 of 4"))
        expect(first).to_have_accessible_name(re.compile("suggested: cat"))
        page.keyboard.press("2")
        expect(first).to_have_accessible_name(re.compile("dog"))
    expect(page.get_by_role("button", name=re.compile("Submit|Confirm"))).to_be_visible()
    expect(page.locator("[role=status]").first).to_be_attached()
    assert json.dumps(page.locator("main").aria_snapshot()) != '""'
