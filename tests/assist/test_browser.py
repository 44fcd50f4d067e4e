"""Pages that a model prepared, in a real browser (SPEC L6; docs/assist.md counts these keys)."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from labeling import suggestions
from labeling.answers import Label
from labeling.models import Annotation, LabelTask
from labeling.suggestions import Suggestion
from projects.models import Project
from tests import make
from tests.conftest import listens


def test_one_key_answers_alike_images_and_one_each_odd_one_and_one_confirms(
    project: Project, labeler: User, open_page: Callable[..., Page]
) -> None:
    """Clustered: a key for all, a key on the odd one without selecting it. Prelabeled: Enter, and a key to mend one."""
    cat, dog, bird = make.class_ids(project)
    ids = list(LabelTask.objects.order_by("rank").values_list("pk", flat=True))
    suggestions.group_pages(project, [ids[:9]])
    suggestions.suggest(project, suggestions.pack(Suggestion(pk, (Label(bird),), (0.9,), 0.9) for pk in ids[9:18]))
    page = open_page(labeler, f"/label/{project.pk}/")

    expect(page.locator(".pill.model")).to_be_visible()
    expect(page.locator(".tile .chip.is-hint")).to_have_count(9)
    page.locator(".tile").nth(4).hover()
    page.mouse.move(*middle(page, 4))
    page.keyboard.press("1")
    expect(page.locator(".tile .chip.is-hint")).to_have_count(8)
    page.keyboard.press("Enter")

    expect(page.locator(".pill.group")).to_be_visible()
    listens(page)
    page.keyboard.press("2")
    expect(page.locator(".tile .chip.is-set")).to_have_count(9)
    page.mouse.move(*middle(page, 2))
    page.mouse.move(*middle(page, 6))
    page.keyboard.press("1")
    expect(page.locator(".tile").nth(6)).to_contain_text("cat")
    page.keyboard.press("Enter")
    expect(page.locator(".progress")).to_contain_text("18 of")

    def given(tasks: list[int]) -> list[int]:
        current = Annotation.objects.current().filter(task__in=tasks)
        return sorted(current.values_list("label_class", flat=True))

    assert given(ids[9:18]) == [cat] + [bird] * 8
    assert given(ids[:9]) == [cat] + [dog] * 8


def middle(page: Page, index: int) -> tuple[float, float]:
    """Return the middle of a tile on the screen."""
    box = page.locator(".tile").nth(index).bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
