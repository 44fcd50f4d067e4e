"""Boxes: which are shown, what they cost, how good they are (SPEC A5, A6)."""

import numpy as np
import pytest

from assist.pipeline import boxes
from assist.pipeline.boxes import Boxes

NONE = Boxes(np.zeros((0, 4)), np.zeros(0))


def at(*rows: tuple[float, float, int, float]) -> Boxes:
    """Return boxes of 10 x 10 from x, y, class, score."""
    return Boxes(
        np.array([[x, y, 10, 10] for x, y, _, _ in rows]),
        np.array([r[2] for r in rows]),
        np.array([r[3] for r in rows]),
    )


def test_actions_are_counted_as_people_act() -> None:
    truth = at((0, 0, 0, 1), (50, 0, 1, 1))
    assert boxes.actions(truth, truth) == 1  # confirm
    assert boxes.actions(NONE, truth) == 7  # and draw two
    assert boxes.actions(at((0, 0, 0, 1)), truth) == 4  # one is missing
    assert boxes.actions(at((0, 0, 0, 1), (50, 0, 1, 1), (80, 0, 1, 1)), truth) == 2  # one is false
    assert boxes.actions(at((2, 0, 0, 1), (50, 0, 1, 1)), truth) == 3  # one is loose: IoU 8 / 12
    assert boxes.actions(at((0, 0, 1, 1), (50, 0, 1, 1)), truth) == 5  # of the wrong class: delete and draw
    assert boxes.actions(at((0, 0, 0, 0.9), (1, 0, 0, 0.8), (50, 0, 1, 1)), truth) == 2  # twice the same object


def test_each_class_gets_the_threshold_that_costs_least() -> None:
    truth = [at((0, 0, 0, 1), (50, 0, 1, 1))] * 10
    sure = at((0, 0, 0, 0.9), (20, 20, 0, 0.5), (50, 0, 1, 0.3), (90, 90, 1, 0.1))
    found = boxes.thresholds_by_actions([sure] * 10, truth, 2)
    assert found.by_class == [0.9, 0.3]
    assert (found.actions, found.by_hand) == (1, 7)
    assert found.worthwhile
    useless = boxes.thresholds_by_actions([at((80, 80, 0, 0.9))] * 10, truth, 2)
    assert useless.by_class == [boxes.NEVER] * 2
    assert not useless.worthwhile and not len(useless.shown(sure))


def test_a_class_that_few_boxes_can_judge_borrows_from_all() -> None:
    """After 40 images eight are kept aside: a class that is rare in them must not stay unseen."""
    sure = at((0, 0, 0, 0.9), (20, 20, 0, 0.5), (50, 0, 0, 0.4), (90, 90, 0, 0.1))
    truth = [at((0, 0, 0, 1), (50, 0, 0, 1))] * 10
    found = boxes.thresholds_by_actions([sure] * 10, truth, 2)
    assert found.by_class == [0.4, 0.4]  # nobody drew the second class on these images
    once = boxes.thresholds_by_actions([*[sure] * 10, at((0, 0, 1, 0.2))], [*truth, NONE], 2)
    assert once.by_class == [0.4, 0.4]  # a single false box does not tell much
    often = boxes.thresholds_by_actions([*[sure] * 10, *[at((0, 0, 1, 0.5))] * 20], [*truth, *[NONE] * 20], 2)
    assert often.by_class == [0.4, boxes.NEVER] or often.by_class[1] > 0.5  # twenty do


def test_classes_that_exclude_each_other_have_one_box_a_spot_if_that_helps() -> None:
    both = at((0, 0, 0, 0.9), (1, 0, 1, 0.8))
    assert len(both.without_shared_spots()) == 1
    alone = boxes.thresholds_by_actions([both, at((0, 0, 1, 0.8))] * 5, [at((0, 0, 0, 1)), at((0, 0, 1, 1))] * 5, 2)
    assert alone.exclusive and alone.actions == 1
    apart = boxes.thresholds_by_actions([both] * 5, [at((0, 0, 0, 1), (1, 0, 1, 1))] * 5, 2)
    assert not apart.exclusive and apart.actions == 1


def test_bounds_resample_images() -> None:
    truth = [at((0, 0, 0, 1), (50, 0, 0, 1))] * 40
    shown = [at((0, 0, 0, 1), (50, 0, 0, 1))] * 30 + [at((0, 0, 0, 1), (80, 0, 0, 1))] * 10
    found = boxes.bounds(shown, truth, np.random.default_rng(1))
    assert found["precision"].value == pytest.approx(70 / 80)
    assert found["missed"].value == pytest.approx(10 / 80)
    assert found["iou"].value == 1
    assert 0.78 < found["precision"].bound < 0.84 and 0.16 < found["missed"].bound < 0.22
    nothing = boxes.bounds([NONE] * 3, truth[:3], np.random.default_rng(1))
    assert (nothing["precision"].value, nothing["missed"].value) == (0, 1)
    assert boxes.bounds([], [], np.random.default_rng(1))["missed"].bound == 1


def test_pycocotools_agrees_that_the_truth_is_right() -> None:
    truth = [at((0, 0, 0, 1), (50, 0, 1, 1)), NONE, at((5, 5, 1, 1))]
    found = boxes.evaluate(truth, truth, 3)
    assert found["map"] == pytest.approx(1) and found["ap50_by_class"] == [pytest.approx(1), pytest.approx(1), None]
    half = boxes.evaluate([at((0, 0, 0, 0.9)), NONE, NONE], truth, 3)
    assert half["ap50_by_class"] == [pytest.approx(1), 0, None]
    assert boxes.evaluate([NONE] * 3, truth, 3)["map"] == 0
    assert boxes.evaluate([NONE], [NONE], 2)["map"] is None


def test_boxes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="1 boxes, 2 classes"):
        Boxes(np.zeros((1, 4)), np.zeros(2))
