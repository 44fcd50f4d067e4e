"""Suggestions on tasks (SPEC L6, A6, A8)."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import transaction

from labeling.answers import Label
from labeling.models import LabelTask
from labeling.pages import page_data
from labeling.suggestions import Suggestion, pack, suggest, withdraw
from projects.access import lock
from projects.models import Project
from tests import make


def test_suggested_images_come_first_and_are_filled_in(project: Project, labeler: User) -> None:
    cat, dog, _bird = make.class_ids(project)
    ids = list(LabelTask.objects.in_project(project).order_by("-rank").values_list("pk", flat=True)[:2])
    with transaction.atomic():
        lock(project)
        assert suggest(project, pack(Suggestion(pk, (Label(dog),), (0.9,), 0.9) for pk in ids)) == set(ids)
    page = page_data(project, labeler, make.page(project, labeler))["page"]
    assert page["kind"] == "prelabeled"
    assert {item["id"] for item in page["items"]} == set(ids)
    assert page["items"][0]["prelabels"] == [{"label_class": dog, "confidence": 0.9}]


def test_what_is_on_a_screen_is_left_alone(project: Project, labeler: User) -> None:
    cat = make.class_ids(project)[0]
    on_screen = make.page(project, labeler).tasks.values_list("pk", flat=True)
    everything = LabelTask.objects.in_project(project).values_list("pk", flat=True)
    with transaction.atomic():
        lock(project)
        filled = suggest(project, pack(Suggestion(pk, (Label(cat),)) for pk in everything))
        assert filled == set(everything) - set(on_screen) and len(filled) == 11
        assert withdraw(LabelTask.objects.in_project(project)) == 11
    assert not LabelTask.objects.filter(pk__in=on_screen).exclude(kind="manual").exists()
    assert not LabelTask.objects.filter(prelabels__isnull=False).exists()
