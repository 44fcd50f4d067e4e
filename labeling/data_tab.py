"""The Data tab: a project's images with their labels, filtered, looked at closely, and reviewed (SPEC V)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import urlencode

import orjson
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django.views.decorators.vary import vary_on_headers

from labeling import review, review_jobs, signals
from labeling.answers import InvalidAnswer
from labeling.correcting import correction_data, left_to_correct
from labeling.current import skip_details
from labeling.images import ImageFilter, InvalidFilter, who_labeled, with_labels
from labeling.listing import SORTS, count, page_of
from labeling.models import ANSWERED, Annotation, Kind, LabelEvent, LabelTask, ReviewJob, SkipReason, Status
from labeling.resets import Restarts
from projects.access import get_project_to_review
from projects.frame import frame
from projects.models import LabelClass, Project

PER_PAGE = 48
SHOWN_CLASSES = 4  # of an image
FIELDS = (
    "status", "label_class", "labeler", "since", "until", "kind", "confidence_from", "confidence_to", "path",
)  # fmt: skip
CONFIDENCES = ("0.5", "0.6", "0.7", "0.8", "0.9", "0.95", "0.99")
JOB_SHOWN = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for: filters and a view, as text and as understood; ``error`` says what was not."""

    query: dict[str, str]
    wanted: ImageFilter
    view: signals.View | None
    views: list[signals.View]
    error: str = ""

    @classmethod
    def parse(cls, project: Project, query: QueryDict) -> Asked:
        """Read an address's query."""
        asked = {name: str(query[name]) for name in FIELDS if query.get(name)}
        if statuses := ",".join(filter(None, query.getlist("status"))):
            asked["status"] = statuses
        views = signals.ask_for_views(project)
        view = next((view for view in views if view.name == query.get("view")), None)
        if view is not None:
            asked["view"] = view.name
        elif (sort := str(query.get("sort", ""))) and sort in SORTS:
            asked["sort"] = sort
            if sort == "confidence" and not {"confidence_from", "confidence_to"} & set(asked):
                asked["confidence_from"] = "0"  # what no model has looked at has no place in this order
        try:
            return cls(asked, ImageFilter.parse(asked), view, views)
        except InvalidFilter as problem:
            return cls(asked, ImageFilter(), view, views, str(problem))

    @property
    def sort(self) -> str:
        """The order's name; "" is that of labeling."""
        return self.query.get("sort", "")

    def without(self, *names: str) -> str:
        """Return the query that leaves some fields out; an order by confidence goes with the filter by it."""
        if "confidence_from" in names and self.sort == "confidence":
            names = (*names, "sort")
        return "?" + urlencode({name: value for name, value in self.query.items() if name not in names})


@require_GET
@never_cache
@vary_on_headers("HX-Request")
def data(request: HttpRequest, pk: int) -> HttpResponse:
    """A page of images that the filter leaves, last labeled first unless another order is asked for.

    htmx asks for the grid again and again, and gets 204 when nothing has changed.
    """
    project = get_project_to_review(request.user, pk)
    asked = Asked.parse(project, request.GET)
    before = request.GET.get("before", "")
    tasks, cursor = page_of(project, asked.wanted, asked.view, before, PER_PAGE, asked.sort)
    shown = decorate(project, with_labels(project, tasks), asked.view, tasks)
    digest = _digest(shown)
    is_part = bool(request.headers.get("HX-Request"))
    if is_part and request.GET.get("seen") == digest:
        return HttpResponse(status=204)
    here = urlencode({**asked.query, **({"before": before} if before else {})})
    context: dict[str, Any] = {
        "images": shown,
        # Of all images but for their numbers: 48 addresses put together one by one take as long as a statement or two.
        "images_url": reverse("admin:projects_project_image", args=[project.pk, 0]).removesuffix("0/"),
        "digest": digest,
        "seen_at": timezone.now().isoformat(),
        "asked": asked.query,
        "view": asked.view,
        "before": before,
        "here": f"?{here}",
        "first_url": f"?{urlencode(asked.query)}",
        "next_url": f"?{urlencode({**asked.query, 'before': cursor})}" if cursor else "",
    }
    if is_part:
        return render(request, "admin/project/_data.html", {"project": project, **context})
    context |= {
        **_choices(project, asked),
        "views": asked.views,
        "error": asked.error,
        "job": last_job(project, request),
    }
    return render(request, "admin/project/data.html", frame(request, project, "data", **context))


def _choices(project: Project, asked: Asked) -> dict[str, Any]:
    """Return what the filters offer, and the addresses that take each of them off."""
    statuses = asked.wanted.statuses
    return {
        "statuses": [(value, words, value in statuses) for value, words in Status.choices],
        "n_statuses": len(statuses),
        "kinds": Kind.choices,
        "classes": LabelClass.objects.filter(project=project).order_by("retired_at", "position"),
        "people": who_labeled(project),
        "confidences": CONFIDENCES,
        "sorts": SORTS.items(),
        "is_narrowed": bool(set(asked.query) - {"sort"}),
        "off": {
            "path": asked.without("path"),
            "status": asked.without("status"),
            "label_class": asked.without("label_class"),
            "labeler": asked.without("labeler"),
            "kind": asked.without("kind"),
            "date": asked.without("since", "until"),
            "confidence": asked.without("confidence_from", "confidence_to"),
        },
    }


def _digest(shown: list[dict[str, Any]]) -> str:
    """Return a text that changes when the pictures, labels or states of a page do."""
    parts = [
        (image["id"], image["status"], image["confidence"], [(x["label_class"], x.get("box")) for x in image["labels"]])
        for image in shown
    ]
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:16]


@require_GET
@never_cache
def how_many(request: HttpRequest, pk: int) -> HttpResponse:
    """How many images the filter leaves: asked for by the page once it is there, as counting may take its time."""
    project = get_project_to_review(request.user, pk)
    asked = Asked.parse(project, request.GET)
    n_images = count(project, asked.wanted, asked.view)
    return render(request, "admin/project/_count.html", {"n_images": n_images})


def decorate(
    project: Project,
    images: list[dict[str, Any]],
    view: signals.View | None = None,
    tasks: list[LabelTask] | None = None,
) -> list[dict[str, Any]]:
    """Add to images what their pictures need: each label with its class, and the words of the state."""
    classes = {label_class.pk: label_class for label_class in LabelClass.objects.filter(project=project)}
    words = dict(Status.choices)
    reasons = dict(SkipReason.choices)
    skips = {
        task: (reasons.get(reason, reason), note)
        for task, (reason, note) in skip_details(i["task"] for i in images if i["status"] == Status.SKIPPED).items()
    }
    chips = {pk: _chip(label_class) for pk, label_class in classes.items()}
    for number, image in enumerate(images):
        for label in image["labels"]:
            label["class"] = classes[label["label_class"]]
        image["rects"] = _rects(image["labels"])
        image["status_words"] = words[image["status"]]
        image["name"] = image["image"]["path"].rpartition("/")[2]
        image["is_answered"] = image["status"] in ANSWERED
        seen = {label["label_class"]: label["class"] for label in image["labels"]}
        image["shown_classes"] = list(seen.values())[:SHOWN_CLASSES]
        image["n_more_classes"] = max(len(seen) - SHOWN_CLASSES, 0)
        image["chips"] = mark_safe("".join(chips[pk] for pk in list(seen)[:SHOWN_CLASSES]))
        image["words"] = ", ".join(
            (image["image"]["path"], str(image["status_words"]), *(shown.name for shown in image["shown_classes"]))
        )
        image["skip_words"], image["skip_note"] = skips.get(image["task"], ("", ""))
        if view is not None and view.show_key is not None and tasks is not None:
            image["key_words"] = view.show_key(tasks[number].order_key)  # type: ignore[attr-defined]
    return images


def _chip(label_class: LabelClass) -> SafeString:
    """Return a class as it stands on a picture: written once for all pictures of a page."""
    return format_html(
        '<span class="chip is-set {0}" data-color="{0}"><span class="clip">{1}</span></span>',
        label_class.color,
        label_class.name,
    )


def _rects(labels: list[dict[str, Any]]) -> SafeString:
    """Return the boxes as SVG; not by a template, as a page has hundreds of them."""
    rects = []
    for label in labels:
        if label.get("box"):
            x, y, width, height = map(float, label["box"])
            color, name = escape(label["class"].color), escape(label["class"].name)
            rects.append(
                f'<rect class="ls-box {color}" data-color="{color}" x="{x:.2f}" y="{y:.2f}" width="{width:.2f}"'
                f' height="{height:.2f}"><title>{name}</title></rect>'
            )
    return mark_safe("".join(rects))  # numbers, and texts that were escaped


@require_GET
@never_cache
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
        "history": history_of(task, classes),
        "can_correct": task.status in review.CORRECTABLE,
    }
    return render(request, "admin/project/_image.html", context)


LOOKS = {
    LabelEvent.Action.APPROVED: ("approved", "good"),
    LabelEvent.Action.REJECTED: ("reject", ""),
    LabelEvent.Action.SKIPPED: ("skip", ""),
    LabelEvent.Action.RETURNED: ("back-to-queue", ""),
    LabelEvent.Action.RESTORED: ("undo", ""),
    LabelEvent.Action.REMOVED: ("bin", ""),
    LabelEvent.Action.IMPORTED: ("upload", ""),
    LabelEvent.Action.FLAGGED: ("warn", ""),
    LabelEvent.Action.RESET: ("undo", ""),
}


def history_of(task: LabelTask, classes: Mapping[int, LabelClass]) -> list[dict[str, Any]]:
    """Return what happened to an image, newest first: who, what, when, how, and the labels it gave or ended."""
    labels = Annotation.objects.filter(task=task).order_by("place").values_list(
        "created_by_event", "ended_by_event", "label_class"
    )  # fmt: skip
    given: dict[int, dict[str, int]] = {}
    ended: dict[int, dict[str, int]] = {}
    restarts = Restarts(task.project)
    for began, end, label_class in labels:
        name = classes[label_class].name
        for event_id in {began, end or began, *restarts.events}:
            stood = restarts.stood(event_id - 1, began, end)
            if stood != restarts.stood(event_id, began, end):
                counts = (ended if stood else given).setdefault(event_id, {})
                counts[name] = counts.get(name, 0) + 1
    found = list(LabelEvent.objects.filter(task=task).select_related("by"))
    # Of what was done to the whole project, that which touched this image.
    others = set(given) | set(ended)
    found += LabelEvent.objects.filter(pk__in=others, task__isnull=True).select_related("by")
    reasons = {**dict(SkipReason.choices), "changed": _("the file changed")}
    rows = []
    for event in sorted(found, key=lambda event: -event.pk):
        sign, look = LOOKS.get(LabelEvent.Action(event.action), ("edit", ""))
        rows.append(
            {
                "event": event,
                "sign": sign,
                "look": look,
                "given": given.get(event.pk, {}),
                "ended": {} if given.get(event.pk) else ended.get(event.pk, {}),
                "reason": reasons.get(event.detail.get("reason", ""), event.detail.get("reason", "")),
            }
        )
    return rows


WORDS: dict[str, Callable[[int], str]] = {
    "approve": lambda n: ngettext("Approved %(n)s image.", "Approved %(n)s images.", n),
    "reject": lambda n: ngettext(
        "Rejected %(n)s image; it is back in the queue.", "Rejected %(n)s images; they are back in the queue.", n
    ),
    "return": lambda n: ngettext("%(n)s image is back in the queue.", "%(n)s images are back in the queue.", n),
    "remove": lambda n: ngettext("Took out %(n)s image.", "Took out %(n)s images.", n),
    review_jobs.WITHDRAW: lambda n: ngettext(
        "Withdrew the labels of %(n)s image; it is back in the queue.",
        "Withdrew the labels of %(n)s images; they are back in the queue.",
        n,
    ),
    "undo": lambda n: ngettext("Undone for %(n)s image.", "Undone for %(n)s images.", n),
}
LEFT = gettext_lazy("%(n)s others were left as they are.")


def told(action: str, n_done: int, n_left: int = 0) -> str:
    """Return in words what was done, and to how many it was not."""
    words = WORDS[action](n_done) % {"n": f"{n_done:,}"}
    return f"{words} {LEFT % {'n': f'{n_left:,}'}}" if n_left else words


@require_POST
def act(request: HttpRequest, pk: int) -> HttpResponse:
    """Review the chosen images, or all that match the filter: in one transaction, by a worker if they are very many."""
    project = get_project_to_review(request.user, pk)
    name = request.POST.get("action", "")
    if name not in review.ACTS:
        raise Http404(_("There is no such action."))
    try:
        if request.POST.get("all"):
            done = _act_on_all(request, project, review.ACTS[name])
        else:
            ids = [int(value) for value in request.POST.getlist("images") if value.isascii() and value.isdigit()]
            done = review.review(project, cast(User, request.user), review.ACTS[name], ids)
    except (review.NotReviewable, InvalidFilter) as error:
        return _say(request, project, str(error), is_bad=True)
    if done is None:
        return _say(request, project, _("A worker has begun; you can go on meanwhile."))
    undo_of = (done.first, done.last) if done.count else None
    return _say(request, project, told(name, done.count, done.left), undo_of=undo_of)


def _act_on_all(request: HttpRequest, project: Project, act: review.Act) -> review.Done | None:
    """Review all that matched when the page was made; None when a worker does it."""
    seen_at = _moment(request.POST.get("seen_at", ""))
    asked = Asked.parse(project, QueryDict(request.POST.get("here", "").removeprefix("?")))
    if seen_at is None or asked.error:
        raise review.NotReviewable(asked.error or _("Load the page again, and choose once more."))
    user = cast(User, request.user)
    tasks = review_jobs.selected(project, asked.query, seen_at)
    n_images = tasks.count()
    if not n_images:
        raise review.NotReviewable(_("No image matches any more."))
    if n_images > review.MAX_IDS:
        review_jobs.enqueue(project, user, act.name, asked.query, seen_at, n_images)
        return None
    return review.review_all(project, user, act, tasks)


def _moment(text: str) -> datetime | None:
    try:
        moment = parse_datetime(text)
    except ValueError:
        return None
    return moment if moment and timezone.is_aware(moment) else None


@require_POST
def undo(request: HttpRequest, pk: int) -> HttpResponse:
    """Take back what I just did, as far as nobody went on with it."""
    project = get_project_to_review(request.user, pk)
    first, last = request.POST.get("first", ""), request.POST.get("last", "")
    if not all(text.isascii() and text.isdigit() and len(text) < 19 for text in (first, last)):
        return _say(request, project, _("There is nothing to undo."), is_bad=True)
    user = cast(User, request.user)
    try:
        n_images = review.count_undoable(project, user, int(first), int(last))
        # What a worker did is taken back by one, and stands in the list of what was done.
        jobs = ReviewJob.objects.filter(project=project, first_event=int(first), last_event=int(last))
        if n_images > review.MAX_IDS or jobs.exists():
            query = {"first": int(first), "last": int(last)}
            review_jobs.enqueue(project, user, "undo", query, timezone.now(), n_images)
            return _say(request, project, _("A worker has begun; you can go on meanwhile."))
        done = review.undo(project, user, int(first), int(last))
    except review.NotReviewable as error:
        return _say(request, project, str(error), is_bad=True)
    return _say(request, project, told("undo", done.count, done.left))


def last_job(project: Project, request: HttpRequest) -> dict[str, Any] | None:
    """Return the review that a worker is at, or ended a moment ago, for _job.html."""
    job = ReviewJob.objects.filter(project=project).order_by("-pk").first()
    if job is None or not (job.is_active or (job.ended_at and job.ended_at > timezone.now() - JOB_SHOWN)):
        return None
    is_mine = job.by_id == request.user.pk and job.action != "undo"
    return {
        "row": job,
        "percent": review_jobs.progress_of(job),
        "words": told(job.action, job.count, job.left) if job.state == ReviewJob.State.DONE else "",
        "can_undo": job.state == ReviewJob.State.DONE and bool(job.count) and is_mine,
    }


@require_GET
@never_cache
def job(request: HttpRequest, pk: int) -> HttpResponse:
    """How far a worker is with a review of very many images."""
    project = get_project_to_review(request.user, pk)
    found = last_job(project, request)
    response = render(request, "admin/project/_job.html", {"project": project, "job": found})
    if request.GET.get("active") and not (found and found["row"].is_active):
        response["HX-Trigger"] = "data-changed"
    return response


@require_POST
def cancel_job(request: HttpRequest, pk: int, job: int) -> HttpResponse:
    """Stop a review of very many images."""
    project = get_project_to_review(request.user, pk)
    review_jobs.cancel(get_object_or_404(ReviewJob, pk=job, project=project))
    return _say(request, project, _("It stops after its present step; nothing will have been changed."))


@require_http_methods(["GET", "POST"])
@never_cache
def correct(request: HttpRequest, pk: int) -> HttpResponse:
    """The labelers' own page, filled with images that a reviewer corrects, page after page (SPEC V2)."""
    project = get_project_to_review(request.user, pk)
    user = cast(User, request.user)
    images = [int(text) for text in request.GET.get("images", "").split(",") if text.isascii() and text.isdigit()]
    here = request.GET.get("here", "")
    if request.method == "POST":
        problem: review.NotReviewable | InvalidAnswer | None = None
        try:
            review.correct(project, user, _items(request.POST))
        except (review.NotReviewable, InvalidAnswer) as error:
            problem = error
        if not request.headers.get("HX-Request"):  # one image, by a form of its own
            return _say(request, project, str(problem or _("Corrected, and approved.")), is_bad=bool(problem))
        if problem:
            item = getattr(problem, "item", None)
            return JsonResponse({"code": "invalid", "detail": str(problem), "item": item}, status=400)
    tasks = left_to_correct(project, images[: review.MAX_IDS])
    if not tasks and request.method == "GET":
        messages.error(request, _("Only labeled or skipped images can be corrected."))
        return redirect(_back_url(project, here))
    page = correction_data(project, user, tasks, _back_url(project, here), here)
    template = "labeling/_page.html" if request.headers.get("HX-Request") else "labeling/page.html"
    return render(request, template, {"data": page})


def _items(form: QueryDict) -> object:
    """Return the answers of the labelers' page, or of a form that names one task and its classes."""
    if "items" not in form:
        labels = [int(value) for value in form.getlist("labels") if value.isascii() and value.isdigit()]
        task = form.get("task", "")
        return [{"id": int(task) if task.isascii() and task.isdigit() else 0, "labels": labels}]
    try:
        return json.loads(str(form["items"]))
    except ValueError:
        raise InvalidAnswer(_("The answers could not be read.")) from None


def _say(
    request: HttpRequest,
    project: Project,
    words: str,
    *,
    is_bad: bool = False,
    undo_of: tuple[int, int] | None = None,
) -> HttpResponse:
    """Answer an action: htmx shows the words beside an Undo and refreshes what changed; else the page comes again."""
    if request.headers.get("HX-Request"):
        said = {"text": words, "bad": is_bad, "undo": undo_of}
        triggers = {"data-said": said, "data-changed": {}}
        return HttpResponse(status=204, headers={"HX-Trigger": json.dumps(triggers)})
    (messages.error if is_bad else messages.success)(request, words)
    return redirect(_back_url(project, request.POST.get("here", "")))


def _back_url(project: Project, here: str) -> str:
    """Return where the images were chosen: only the query comes from outside, so it can't lead elsewhere."""
    return reverse("admin:projects_project_data", args=[project.pk]) + (here if here.startswith("?") else "")
