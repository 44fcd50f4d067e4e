"""What labeling tells and asks the apps above it: that labels were given, and what to show in places of its pages.

Labeling never names those apps (imports go one way); without an answer the places stay empty. A receiver that has
nothing to say returns None. See docs/architecture.md, "Places that other apps fill".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.dispatch import Signal
from django.http import HttpRequest
from django.utils.safestring import SafeString

from labeling.models import LabelTask
from projects.models import Project

# Sent inside the transaction that stored a page's answers. Arguments: project.
labels_given = Signal()
# Sent inside the transaction that withdrew one person's labels of some time. Arguments: project.
labels_withdrawn = Signal()

# Asks for HTML (a SafeString, made by render_to_string) on the dashboard. Arguments: request, project.
# In the card "Task queue", below its numbers: the bar towards the next training (SPEC B3).
asking_for_training = Signal()
# In the third column, below the pace: a card of its own, ``<section class="card w3">`` (SPEC A10).
asking_for_worth = Signal()
# Below everything: cards of any width, such as ``<section class="card w12">`` (SPEC B4).
asking_for_cards = Signal()
# Asks for a dict of labelers' ids and the share (0 to 1) of their labels that a model would have given too.
# Arguments: project.
asking_for_backed = Signal()
# Asks for ``{"labels": n, "needed": m}``: how far it is to the next training. Arguments: project.
asking_for_next_training = Signal()

# Asks for a Suggestion: what the newest model says about one image. Arguments: task.
asking_for_suggestion = Signal()
# Asks for a list of Views of the Data tab. Arguments: project.
asking_for_views = Signal()
# Asks for HTML in the side panel of one image, below what the model says. Arguments: request, project, task.
asking_for_panel = Signal()


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What a model says about an image; the side panel draws it (SPEC V1).

    ``labels`` have the shape of ``LabelTask.prelabels``: ``{"label_class": id, "confidence": 0..1 or None, "box"?:
    [x, y, width, height]}``. ``source`` names the model in words ("Model #7"), ``note`` says more ("above 0.87"),
    ``url`` leads to its run.
    """

    labels: list[dict[str, Any]]
    source: str
    at: datetime
    note: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """A view of the Data tab: images chosen and ordered by more than a filter, such as "Likely wrong labels".

    ``choose`` takes the tasks that the filters leave and returns those to show, annotated with a number ``order_key``:
    the highest comes first, and the pages are cut by it. ``name`` stands in the address; ``hint`` is a sentence for
    people; ``show_key`` turns the number into words for a thumbnail's corner.
    """

    name: str
    words: str
    hint: str
    choose: Callable[[QuerySet[LabelTask]], QuerySet[LabelTask]]
    show_key: Callable[[float], str] | None = None


def _answers(signal: Signal, **arguments: Any) -> list[Any]:
    """Return what the receivers answered, where it is more than nothing."""
    answers: list[tuple[Any, Any]] = signal.send(sender=None, **arguments)
    return [answer for _receiver, answer in answers if answer]


def ask_for_html(signal: Signal, request: HttpRequest, **arguments: Any) -> list[SafeString]:
    """Return the pieces of HTML that the receivers have to show."""
    return _answers(signal, request=request, **arguments)


def ask_for_backed(project: Project) -> dict[int, float]:
    """Return labelers' shares of labels that a model backs, as far as anybody knows."""
    return {pk: share for shares in _answers(asking_for_backed, project=project) for pk, share in shares.items()}


def ask_for_next_training(project: Project) -> dict[str, int] | None:
    """Return how far it is to the next training; None without assistance."""
    return next(iter(_answers(asking_for_next_training, project=project)), None)


def ask_for_suggestion(task: LabelTask) -> Suggestion | None:
    """Return what a model says about the task's image, or None."""
    return next(iter(_answers(asking_for_suggestion, task=task)), None)


def ask_for_views(project: Project) -> list[View]:
    """Return the views that there are beside "all images"."""
    return [view for views in _answers(asking_for_views, project=project) for view in views]
