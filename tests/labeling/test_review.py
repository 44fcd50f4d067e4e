"""Approve, reject, correct, return and take out (SPEC V2, V3, L5)."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from labeling import queue, review
from labeling.models import Annotation, LabelEvent, LabelPage, LabelTask
from labeling.progress import count_progress
from labeling.submit import Reviewed, correct, submit
from projects.models import Project
from tests import make


@pytest.fixture
def page(project: Project, labeler: User) -> LabelPage:
    """A page of nine images that were labeled as cats."""
    made = make.page(project, labeler)
    submit(made, make.answers(made, labels=make.class_ids(project)[:1]))
    return made


def image_ids(page: LabelPage, count: int) -> list[int]:
    return list(page.tasks.order_by("place").values_list("image", flat=True)[:count])


def test_rejected_images_lose_their_labels_and_go_to_another_labeler_first(
    project: Project, page: LabelPage, manager: User, labeler: User, labeler2: User
) -> None:
    ids = image_ids(page, 2)
    assert review.reject(project, manager, ids) == 2
    assert Annotation.objects.current().count() == 7
    assert LabelEvent.objects.filter(action="rejected", by=manager).count() == 2
    mine = make.page(project, labeler, 100)
    assert not mine.tasks.filter(image__in=ids).exists()
    queue.release(mine)
    assert make.page(project, labeler2, 100).tasks.filter(image__in=ids).count() == 2


def test_what_only_i_had_comes_back_to_me_in_the_end(
    project: Project, page: LabelPage, manager: User, labeler: User
) -> None:
    review.reject(project, manager, image_ids(page, 1))
    submit(rest := make.page(project, labeler, 100), make.answers(rest, skip="unclear"))
    assert make.page(project, labeler).size == 1


def test_foreign_ids_are_refused_and_nothing_is_done(project: Project, page: LabelPage, manager: User) -> None:
    with pytest.raises(review.NotReviewable, match="not in this project"):
        review.reject(project, manager, [*image_ids(page, 2), 10**9])
    assert Annotation.objects.current().count() == 9


@pytest.mark.parametrize("ids", [[], ["x"], [True], list(range(10_001))])
def test_a_list_that_is_no_list_of_ids_is_refused(project: Project, manager: User, ids: list[object]) -> None:
    with pytest.raises(review.NotReviewable):
        review.approve(project, manager, ids)


def test_an_approved_page_can_not_be_corrected(project: Project, page: LabelPage, manager: User, labeler: User) -> None:
    dog = make.class_ids(project)[1]
    assert correct(page, make.answers(page, labels=[dog]), labeler).count == 9
    assert set(Annotation.objects.current().values_list("label_class", flat=True)) == {dog}
    review.approve(project, manager, image_ids(page, 9))
    with pytest.raises(Reviewed):
        correct(page, make.answers(page, labels=[dog]), labeler)


def test_a_correction_that_changes_nothing_leaves_no_trace(project: Project, page: LabelPage, labeler: User) -> None:
    assert correct(page, make.answers(page, labels=make.class_ids(project)[:1]), labeler).count == 0
    assert not LabelEvent.objects.filter(action="corrected").exists()


def test_skipped_images_are_returned_or_taken_out(project: Project, labeler: User, manager: User) -> None:
    page = make.page(project, labeler, 4)
    submit(page, make.answers(page, skip="other", note="upside down"))
    ids = image_ids(page, 4)
    review.remove_skipped(project, manager, ids[:1])
    review.return_skipped(project, manager, ids[1:])
    assert LabelTask.objects.get(image=ids[0]).status == "removed"
    assert count_progress(project).total == 19


def test_the_parts_of_the_progress_add_up(project: Project, page: LabelPage) -> None:
    counts = count_progress(project)
    assert counts.labeled == counts.n_labels == 9
    assert (
        counts.labeled + counts.skipped + counts.needs_review + counts.unreadable + counts.missing + counts.pending
        == 20
    )
