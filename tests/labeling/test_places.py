"""The places in the console's pages that apps above fill by answering signals (docs/architecture.md)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import F, QuerySet
from django.test import Client
from django.utils import timezone
from django.utils.safestring import mark_safe

from labeling import signals
from labeling.models import LabelTask
from projects.models import Project
from tests import make


def url(project: Project, tab: str) -> str:
    return f"/admin/projects/project/{project.pk}/{tab}/"


def choose(tasks: QuerySet[LabelTask]) -> QuerySet[LabelTask]:
    return tasks.filter(confidence__isnull=False).annotate(order_key=1 - F("confidence"))


@pytest.fixture
def model(project: Project) -> Iterator[Project]:
    """A stand-in for an app above that answers everything."""
    dog = make.class_ids(project)[1]
    view = signals.View("wrong", "Likely wrong", "The least likely labels first.", choose)
    said = signals.Suggestion([{"label_class": dog, "confidence": 0.93}], "Model #7", timezone.now())
    answers: list[tuple[Any, Any]] = [
        (signals.asking_for_training, mark_safe("<p>214 of 300</p>")),
        (signals.asking_for_worth, mark_safe('<section class="card w3">1 h 52 min</section>')),
        (signals.asking_for_cards, mark_safe('<section class="card w12">Training #7</section>')),
        (signals.asking_for_panel, "<b>escaped</b>"),
        (signals.asking_for_suggestion, said),
        (signals.asking_for_views, [view]),
        (signals.asking_for_next_training, {"labels": 214, "needed": 300}),
    ]
    receivers = [(signal, lambda answer=answer, **kwargs: answer) for signal, answer in answers]
    for signal, receiver in receivers:
        signal.connect(receiver, weak=False)
    yield project
    for signal, receiver in receivers:
        signal.disconnect(receiver)


@pytest.fixture
def visitor(manager: User) -> Client:
    client = Client()
    client.force_login(manager)
    return client


def test_the_dashboard_shows_what_another_app_puts_there(model: Project, visitor: Client) -> None:
    """SPEC B3, B4, A10."""
    text = visitor.get(url(model, "dashboard")).content.decode()
    assert "<p>214 of 300</p>" in text and "1 h 52 min" in text and "Training #7" in text
    progress = visitor.get(f"/api/v1/projects/{model.pk}/progress/").json()
    assert progress["next_training"] == {"labels": 214, "needed": 300}


def test_an_image_shows_what_the_model_says(model: Project, visitor: Client) -> None:
    """SPEC V1."""
    image = LabelTask.objects.first().image_id
    text = visitor.get(url(model, f"data/{image}")).content.decode()
    assert "Model #7" in text and "<b>dog</b> 93%" in text
    assert "&lt;b&gt;escaped" in text


def test_a_view_orders_the_images_and_is_cut_into_pages(
    model: Project, visitor: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SPEC V1: the order of a view holds over its pages, also where keys are equal."""
    monkeypatch.setattr("labeling.data_tab.PER_PAGE", 4)
    tasks = list(LabelTask.objects.order_by("pk"))
    for number, task in enumerate(tasks[:10]):
        LabelTask.objects.filter(pk=task.pk).update(confidence=0.9 - 0.1 * (number // 3))
    seen: list[int] = []
    address = "?view=wrong"
    while address:
        page = visitor.get(url(model, "data") + address)
        seen += [image["task"] for image in page.context["images"]]
        address = page.context["next_url"]
    ranked = sorted(tasks[:10], key=lambda task: (-(tasks.index(task) // 3), -task.pk))
    assert seen == [task.pk for task in ranked]


def test_images_are_filtered_by_confidence(project: Project, visitor: Client) -> None:
    """SPEC V1."""
    LabelTask.objects.filter(pk=LabelTask.objects.first().pk).update(confidence=0.7)
    found = visitor.get(url(project, "data"), {"confidence_from": "0.6", "confidence_to": "0.8"})
    assert len(found.context["images"]) == 1
    assert "is not a confidence" in visitor.get(url(project, "data"), {"confidence_to": "8"}).content.decode()
