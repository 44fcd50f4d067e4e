"""The pages of classification in a real browser (SPEC L1 to L10)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from labeling.models import Annotation, LabelEvent, LabelPage, LabelTask
from projects.models import Project
from tests import make
from tests.conftest import listens

Opener = Callable[..., Page]


def tiles(page: Page, state: str = "") -> int:
    return page.locator(f"#page .tile{state}").count()


def submitted(project: Project) -> int:
    return LabelEvent.objects.filter(project=project, action="submitted").count()


def next_page(page: Page, labeled: int) -> None:
    """Wait for the page that comes after so many answers, and until its modules listen."""
    expect(page.locator(".progress")).to_contain_text(f"{labeled} of")
    listens(page)


def test_a_page_is_labeled_by_keyboard_alone(project: Project, labeler: User, open_page: Opener) -> None:
    page = open_page(labeler, "/label/")
    page.keyboard.press("Enter")
    expect(page.locator("#page .tile")).to_have_count(9)
    listens(page)
    page.keyboard.press("a")
    page.keyboard.press("2")
    expect(page.locator("[data-status]")).to_contain_text("9")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    next_page(page, 9)
    cat, dog, _bird = make.class_ids(project)
    classes = Annotation.objects.current().values_list("label_class", flat=True)
    assert sorted(classes) == [cat] + [dog] * 8


def test_a_page_is_labeled_by_mouse_alone(project: Project, labeler: User, open_page: Opener) -> None:
    page = open_page(labeler, f"/label/{project.pk}/")
    for index in range(9):
        page.locator(".tile").nth(index).click()
    page.locator(".cls", has_text="bird").click()
    page.locator("[data-act=submit]").click()
    next_page(page, 9)
    assert submitted(project) == 9


def test_submit_says_what_is_missing_and_stores_nothing(project: Project, labeler: User, open_page: Opener) -> None:
    page = open_page(labeler, f"/label/{project.pk}/")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator(".tile.is-missing")).to_have_count(8)
    assert submitted(project) == 0


def test_a_draft_survives_a_reload(project: Project, labeler: User, open_page: Opener) -> None:
    page = open_page(labeler, f"/label/{project.pk}/")
    page.keyboard.press("a")
    page.keyboard.press("1")
    page.reload()
    expect(page.locator(".tile .chip.is-set")).to_have_count(9)
    page.keyboard.press("Enter")
    next_page(page, 9)


def test_without_a_network_the_work_is_kept_and_sent_later(project: Project, labeler: User, open_page: Opener) -> None:
    page = open_page(labeler, f"/label/{project.pk}/")
    expect(page.locator(".tile")).to_have_count(9)
    page.keyboard.press("a")
    page.keyboard.press("1")
    page.context.set_offline(True)
    page.keyboard.press("Enter")
    expect(page.locator("[data-message]")).to_be_visible()
    assert submitted(project) == 0
    page.context.set_offline(False)
    next_page(page, 9)
    assert submitted(project) == 9


def test_a_paused_project_keeps_the_page(project: Project, labeler: User, open_page: Opener) -> None:
    page = open_page(labeler, f"/label/{project.pk}/")
    expect(page.locator(".tile")).to_have_count(9)
    project.pause()
    page.keyboard.press("a")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("[data-message]")).to_contain_text(re.compile("pause", re.IGNORECASE))
    expect(page.locator(".tile .chip.is-set")).to_have_count(9)
    assert submitted(project) == 0


def test_a_lapsed_page_is_told_and_nothing_is_overwritten(project: Project, labeler: User, open_page: Opener) -> None:
    page = open_page(labeler, f"/label/{project.pk}/")
    expect(page.locator(".tile")).to_have_count(9)
    LabelPage.objects.update(status="lapsed")
    LabelTask.objects.filter(status="claimed").update(status="queued", page=None)
    page.keyboard.press("a")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("#lapsed")).to_be_visible()
    assert submitted(project) == 0


def test_another_layout_keeps_the_work(project: Project, labeler: User, open_page: Opener) -> None:
    page = open_page(labeler, f"/label/{project.pk}/")
    page.locator(".tile").nth(8).click()
    page.keyboard.press("3")
    page.locator(".rail [data-layout='4']").click()
    expect(page.locator("#page .tile")).to_have_count(4)
    expect(page.locator(".tile .chip.is-set")).to_have_count(1)


def test_with_one_image_a_digit_answers_and_moves_on(project: Project, labeler: User, open_page: Opener) -> None:
    page = open_page(labeler, f"/label/{project.pk}/")
    page.locator(".rail [data-layout='1']").click()
    expect(page.locator("#page .tile")).to_have_count(1)
    listens(page)
    page.keyboard.press("2")
    next_page(page, 1)
    page.keyboard.press("z")
    expect(page.locator(".tile .chip.is-set")).to_contain_text("dog")
    page.keyboard.press("1")
    expect(page.locator(".tile .chip.is-set")).to_have_count(0)
    assert Annotation.objects.current().get().label_class.name == "cat"


def test_the_last_page_can_be_corrected(project: Project, labeler: User, open_page: Opener) -> None:
    page = open_page(labeler, f"/label/{project.pk}/")
    page.keyboard.press("a")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    next_page(page, 9)
    page.keyboard.press("p")
    expect(page.locator(".tile .chip.is-set")).to_have_count(9)
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    expect(page.locator(".tile .chip.is-set")).to_have_count(0)
    assert LabelEvent.objects.filter(action="corrected").count() == 1


def test_an_image_is_skipped_with_a_reason(project: Project, labeler: User, open_page: Opener) -> None:
    page = open_page(labeler, f"/label/{project.pk}/")
    page.keyboard.press("a")
    page.keyboard.press("s")
    page.locator("#skip [data-reason=broken]").click()
    expect(page.locator("#skip")).to_be_hidden()
    expect(page.locator("[data-status]")).to_contain_text("9")
    page.keyboard.press("Enter")
    expect(page.locator(".tile.is-on")).to_have_count(0)
    expect(page.locator(".progress")).to_contain_text("11 left")
    assert LabelEvent.objects.filter(action="skipped", detail__reason="broken").count() == 9


def test_several_classes_per_image(manager: User, labeler: User, tmp_path: Path, open_page: Opener) -> None:
    project = make.project(manager, make.pictures(tmp_path / "multi", 4), "multilabel")
    page = open_page(labeler, f"/label/{project.pk}/")
    page.keyboard.press("a")
    page.keyboard.press("1")
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    expect(page.locator(".empty")).to_be_visible()
    assert Annotation.objects.current().count() == 8


def test_a_class_named_like_a_script_is_inert(manager: User, labeler: User, tmp_path: Path, open_page: Opener) -> None:
    name = "<script>alert(1)</script>"
    project = make.project(manager, make.pictures(tmp_path / "x", 1), classes=(name, "=cmd()"))
    page = open_page(labeler, f"/label/{project.pk}/")
    page.on("dialog", lambda dialog: dialog.dismiss())
    expect(page.locator(".cls").first).to_contain_text(name)
    page.keyboard.press("1")
    expect(page.locator(".tile .chip")).to_contain_text(name)


def test_nothing_moves_when_the_next_page_comes(project: Project, labeler: User, open_page: Opener) -> None:
    page = open_page(labeler, f"/label/{project.pk}/")
    page.evaluate(
        "window.moved = 0; new PerformanceObserver((list) => { for (const e of list.getEntries())"
        " window.moved += e.value }).observe({type: 'layout-shift'})"
    )
    page.keyboard.press("a")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    next_page(page, 9)
    assert page.evaluate("window.moved") < 0.001  # the words in the dock change their width


def test_on_a_phone_nothing_scrolls_sideways(project: Project, labeler: User, open_page: Opener) -> None:
    for width in (320, 390):
        page = open_page(labeler, f"/label/{project.pk}/", viewport={"width": width, "height": 800}, has_touch=True)
        page.locator(".tile").first.tap()
        page.locator(".cls").first.tap()
        expect(page.locator(".tile .chip.is-set")).not_to_have_count(0)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
