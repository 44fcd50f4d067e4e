"""Lost networks, sessions and second tabs: nothing is lost, nothing counts twice, and the labeler is told (SPEC L8)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, Route, expect

from labeling.models import Annotation, LabelEvent, LabelPage
from projects.models import Project
from tests import make
from tests.conftest import listens

Opener = Callable[..., Page]
SUBMITS = "**/label/pages/*/submit/"


def submitted(project: Project) -> int:
    return LabelEvent.objects.filter(project=project, action="submitted").count()


def label_all(page: Page) -> None:
    page.keyboard.press("a")
    page.keyboard.press("1")
    expect(page.locator(".tile .chip.is-set")).to_have_count(9)


def next_page(page: Page, labeled: int) -> None:
    expect(page.locator(".progress")).to_contain_text(f"{labeled} of")
    listens(page)


def test_an_answer_that_gets_lost_on_the_way_back_counts_once(
    project: Project, labeler: User, open_page: Opener
) -> None:
    page = open_page(labeler, f"/label/{project.pk}/")
    lost: list[int] = []

    def lose_the_first(route: Route) -> None:
        if lost:
            route.continue_()
            return
        lost.append(route.fetch().status)  # the server has stored it, the browser never hears of it
        route.abort()

    page.route(SUBMITS, lose_the_first)
    label_all(page)
    page.keyboard.press("Enter")
    next_page(page, 9)
    assert lost == [200]
    assert submitted(project) == 9
    assert LabelPage.objects.filter(status="submitted").count() == 1


def test_a_server_that_is_being_restarted_is_waited_for(project: Project, labeler: User, open_page: Opener) -> None:
    page = open_page(labeler, f"/label/{project.pk}/")
    page.route(SUBMITS, lambda route: route.fulfill(status=502, body="Bad gateway"))
    label_all(page)
    page.keyboard.press("Enter")
    expect(page.locator("[data-message]")).to_be_visible()
    assert submitted(project) == 0
    page.unroute(SUBMITS)
    next_page(page, 9)
    assert submitted(project) == 9


def test_an_expired_session_asks_to_log_in_and_keeps_the_work(
    project: Project, labeler: User, open_page: Opener
) -> None:
    page = open_page(labeler, f"/label/{project.pk}/")
    label_all(page)
    page.context.clear_cookies(name="sessionid")
    page.keyboard.press("Enter")
    dialog = page.locator("dialog[open]")
    expect(dialog).to_be_visible()
    assert submitted(project) == 0
    dialog.locator("[name=username]").fill(labeler.username)
    dialog.locator("[name=password]").fill("correct horse battery")
    dialog.locator("[name=password]").press("Enter")
    next_page(page, 9)
    assert submitted(project) == 9


def test_a_second_tab_shows_the_same_page_and_learns_that_it_is_stored(
    project: Project, labeler: User, open_page: Opener
) -> None:
    page = open_page(labeler, f"/label/{project.pk}/")
    other = page.context.new_page()
    other.goto(page.url)
    listens(other)
    ids = "JSON.parse(document.querySelector('#page-data').textContent).page.id"
    assert page.evaluate(ids) == other.evaluate(ids)
    page.bring_to_front()
    label_all(page)
    page.keyboard.press("Enter")
    next_page(page, 9)
    next_page(other, 9)
    assert submitted(project) == 9
    assert LabelPage.objects.filter(labeler=labeler).count() == 2


def test_back_and_forward_lose_nothing(project: Project, labeler: User, open_page: Opener) -> None:
    page = open_page(labeler, "/label/")
    page.goto(f"/label/{project.pk}/")
    listens(page)
    label_all(page)
    page.go_back()
    expect(page.locator("h1")).to_contain_text("My projects")
    page.go_forward()
    expect(page.locator(".tile .chip.is-set")).to_have_count(9)
    page.keyboard.press("Enter")
    next_page(page, 9)
    page.go_back()
    page.go_forward()
    listens(page)
    expect(page.locator(".progress")).to_contain_text("9 of")
    assert submitted(project) == 9


def test_a_double_click_on_submit_counts_once(project: Project, labeler: User, open_page: Opener) -> None:
    page = open_page(labeler, f"/label/{project.pk}/")
    label_all(page)
    page.locator("[data-act=submit]").dblclick()
    next_page(page, 9)
    assert submitted(project) == 9
    expect(page.locator(".tile .chip.is-set")).to_have_count(0)


def test_a_reload_in_the_middle_of_drawing_leaves_the_boxes_that_were_done(
    boxes: Project, labeler: User, open_page: Opener
) -> None:
    page = open_page(labeler, f"/label/{boxes.pk}/")
    expect(page.locator(".picture image")).to_be_visible()
    area = page.locator(".picture").bounding_box()
    assert area is not None
    middle = (area["x"] + area["width"] / 2, area["y"] + area["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 100, middle[1] + 80)
    page.mouse.up()
    expect(page.locator(".boxes .edge")).to_have_count(1)
    page.mouse.move(middle[0] - 150, middle[1] - 150)
    page.mouse.down()
    page.mouse.move(middle[0] - 60, middle[1] - 60)
    page.reload()
    listens(page)
    page.mouse.up()
    expect(page.locator(".boxes .edge")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator(".progress")).to_contain_text("1 of")
    assert Annotation.objects.current().count() == 1


@pytest.mark.parametrize("moment", ["before", "during"])
def test_a_network_that_goes_before_or_during_a_submit(
    manager: User, labeler: User, tmp_path: Path, open_page: Opener, moment: str
) -> None:
    project = make.project(manager, make.pictures(tmp_path / "images", 9))
    page = open_page(labeler, f"/label/{project.pk}/")
    cut: list[Route] = []
    if moment == "during":  # long before the key: until the page hears of it, what it asks passes by
        page.route(SUBMITS, lambda route: (cut.append(route), route.abort("connectionreset")))
    label_all(page)
    if moment == "before":
        page.context.set_offline(True)
        page.keyboard.press("Enter")
        expect(page.locator("[data-message]")).to_be_visible()
        page.context.set_offline(False)
    else:
        page.keyboard.press("Enter")
        expect(page.locator("[data-message]")).to_be_visible()
        page.unroute(SUBMITS)
        assert cut
    expect(page.locator(".empty")).to_be_visible()
    assert submitted(project) == 9
