"""The Data tab: a project's images with their labels, filtered, looked at closely, and reviewed (SPEC V)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.models import User
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from labeling import review, signals
from labeling.answers import InvalidAnswer
from labeling.images import ImageFilter, InvalidFilter, filtered_tasks, with_labels
from labeling.models import ANSWERED, Kind, LabelEvent, LabelTask, Status
from projects.access import get_project_to_review
from projects.frame import frame
from projects.models import LabelClass, Project

PER_PAGE = 48
FIELDS = (
    "status", "label_class", "labeler", "since", "until", "kind", "confidence_from", "confidence_to", "path",
)  # fmt: skip


@require_http_methods(["GET"])
def data(request: HttpRequest, pk: int) -> HttpResponse:
    """A page of images that the filter leaves; `before` is the key of the last task of the page before."""
    project = get_project_to_review(request.user, pk)
    asked = {name: request.GET[name] for name in FIELDS if request.GET.get(name)}
    error = ""
    try:
        wanted = ImageFilter.parse(asked)
    except InvalidFilter as problem:
        wanted, error = ImageFilter(), str(problem)
    views = signals.ask_for_views(project)
    view = next((view for view in views if view.name == request.GET.get("view")), None)
    if view is not None:
        asked["view"] = view.name
    before = request.GET.get("before", "")
    found = page_of(filtered_tasks(project, wanted), view, before)
    shown = with_labels(project, found[:PER_PAGE])
    context = {
        "images": decorate(project, shown),
        "asked": asked,
        "error": error,
        "has_before": bool(before),
        "first_url": f"?{urlencode(asked)}",
        "next_url": f"?{urlencode({**asked, 'before': cursor(found[PER_PAGE - 1])})}" if len(found) > PER_PAGE else "",
        "here": f"?{urlencode({**asked, **({'before': before} if before else {})})}",
        "views": views,
        "view": view,
        "statuses": Status.choices,
        "kinds": Kind.choices,
        "classes": LabelClass.objects.filter(project=project),
        "people": User.objects.filter(Exists(LabelTask.objects.filter(project=project, labeler=OuterRef("pk")))),
    }
    return render(request, "admin/project/data.html", frame(request, project, "data", **context))


def page_of(tasks: QuerySet[LabelTask], view: signals.View | None, before: str) -> list[LabelTask]:
    """Return one page of tasks, and one more if there is a next page; ``before`` is a cursor() of the page before."""
    key, _comma, pk = before.rpartition(",")
    if view is not None:
        # order_key is there by the view's promise, not by the model.
        tasks = view.choose(tasks).order_by("-order_key", "-id")  # type: ignore[misc]
    if pk.isascii() and pk.isdigit() and len(pk) < 19:
        if view is None:
            tasks = tasks.filter(pk__lt=int(pk))
        elif (number := _number(key)) is not None:
            later = Q(order_key__lt=number) | Q(order_key=number, pk__lt=int(pk))
            tasks = tasks.filter(later)
    return list(tasks[: PER_PAGE + 1])


def cursor(task: LabelTask) -> str:
    """Return the key of a task in its list: the next page begins after it."""
    key = getattr(task, "order_key", None)
    return str(task.pk) if key is None else f"{key!r},{task.pk}"


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def decorate(project: Project, images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to images what their pictures need: each label with its class, and the words of the state."""
    classes = {label_class.pk: label_class for label_class in LabelClass.objects.filter(project=project)}
    words = dict(Status.choices)
    for image in images:
        for label in image["labels"]:
            label["class"] = classes[label["label_class"]]
        image["status_words"] = words[image["status"]]
        image["is_answered"] = image["status"] in ANSWERED
        seen = {label["class"].pk: label["class"] for label in image["labels"]}
        image["shown_classes"] = list(seen.values())[:4]
    return images


@require_GET
def panel(request: HttpRequest, pk: int, image: int) -> HttpResponse:
    """One image closely: its labels, what was suggested, and its history."""
    project = get_project_to_review(request.user, pk)
    task = LabelTask.objects.filter(project=project, image=image).select_related("image", "labeler").first()
    if task is None:
        raise Http404(_("There is no such image."))
    (shown,) = decorate(project, with_labels(project, [task]))
    classes = {label_class.pk: label_class for label_class in LabelClass.objects.filter(project=project)}
    suggestion = signals.ask_for_suggestion(task)
    context = {
        "project": project,
        "image": shown,
        "task": task,
        "suggestion": suggestion,
        "suggested": [
            {**label, "class": classes[label["label_class"]]}
            for label in (suggestion.labels if suggestion else ())
            if label["label_class"] in classes
        ],
        "places": signals.ask_for_html(signals.asking_for_panel, request, project=project, task=task),
        "history": LabelEvent.objects.filter(task=task).select_related("by").order_by("-pk"),
        "classes": [label_class for label_class in classes.values() if label_class.retired_at is None],
        "given": {label["label_class"] for label in shown["labels"]},
    }
    return render(request, "admin/project/_image.html", context)


ACTIONS: dict[str, tuple[Callable[..., int], Callable[[int], str]]] = {
    "approve": (review.approve, lambda n: ngettext("Approved %(n)d image.", "Approved %(n)d images.", n)),
    "reject": (
        review.reject,
        lambda n: ngettext(
            "Rejected %(n)d image; it is back in the queue.", "Rejected %(n)d images; they are back in the queue.", n
        ),
    ),
    "return": (
        review.return_skipped,
        lambda n: ngettext("%(n)d image is back in the queue.", "%(n)d images are back in the queue.", n),
    ),
    "remove": (review.remove_skipped, lambda n: ngettext("Took out %(n)d image.", "Took out %(n)d images.", n)),
}


@require_POST
def act(request: HttpRequest, pk: int) -> HttpResponse:
    """Review the chosen images: all of them or none."""
    project = get_project_to_review(request.user, pk)
    action = ACTIONS.get(request.POST.get("action", ""))
    if action is None:
        raise Http404(_("There is no such action."))
    change, words = action
    ids = [int(value) for value in request.POST.getlist("images") if value.isascii() and value.isdigit()]
    try:
        n_changed = change(project, cast(User, request.user), ids)
    except review.NotReviewable as error:
        messages.error(request, str(error))
    else:
        messages.success(request, words(n_changed) % {"n": n_changed})
    return _back(request, project)


@require_POST
def correct(request: HttpRequest, pk: int) -> HttpResponse:
    """Replace an image's classes by the chosen ones (classification)."""
    project = get_project_to_review(request.user, pk)
    task = request.POST.get("task", "")
    labels = [int(value) for value in request.POST.getlist("labels") if value.isascii() and value.isdigit()]
    item = {"id": int(task) if task.isascii() and task.isdigit() else 0, "labels": labels}
    try:
        review.correct(project, cast(User, request.user), [item])
    except (review.NotReviewable, InvalidAnswer) as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("Corrected, and approved."))
    return _back(request, project)


def _back(request: HttpRequest, project: Project) -> HttpResponse:
    """Go back to where the images were chosen: only the query comes from the form, so it can't lead elsewhere."""
    here = request.POST.get("here", "")
    url = reverse("admin:projects_project_data", args=[project.pk])
    return redirect(url + (here if here.startswith("?") else ""))
