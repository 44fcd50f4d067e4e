"""The demo (SPEC N1)."""

import numpy as np
from django.core.management import call_command

from labelsite.demo import PAPER, scene
from projects.models import Image, Project


def test_it_makes_three_running_projects_and_can_be_repeated(roles: None, capsys) -> None:
    call_command("demo")
    first = capsys.readouterr().out
    call_command("demo")
    assert capsys.readouterr().out == first
    assert set(Project.objects.values_list("task_type", "state")) == {
        ("multiclass", "running"),
        ("multilabel", "running"),
        ("detection", "running"),
    }
    assert Image.objects.count() == 600 + 120 + 60


def test_the_boxes_of_a_scene_hold_all_its_ink() -> None:
    pixels, truth = scene(3)
    assert truth
    outside = pixels.copy()
    for _digit, (x, y, width, height) in truth:
        outside[y : y + height, x : x + width] = PAPER
    assert (np.asarray(outside) >= PAPER - 41).all()
