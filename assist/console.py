"""The console's pages about models: the list of runs, a page for each, and the buttons (SPEC B4)."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.models import User
from django.contrib.humanize.templatetags.humanize import intcomma
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.defaultfilters import floatformat
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_GET, require_POST

from assist import charts, runs
from assist.models import AssistRun, Prediction
from assist.words import tuning_in_words
from labeling.images import with_labels
from labeling.models import LabelTask
from projects.access import get_project_to_manage, get_project_to_review
from projects.frame import frame
from projects.models import LabelClass, Project
from projects.transitions import WrongState

SHOWN = 100
SAMPLES = 12
CELL_SAMPLES = 60
LOOKS = {
    AssistRun.State.QUEUED: ("", "clock"),
    AssistRun.State.RUNNING: ("group", "clock"),
    AssistRun.State.DONE: ("good", "check"),
    AssistRun.State.FAILED: ("bad", "warn"),
    AssistRun.State.CANCELLED: ("", "close"),
}
PARAMETERS = (
    ("network", gettext_lazy("Network")),
    ("weights_words", gettext_lazy("Weights")),
    ("counted", gettext_lazy("Labels at the start")),
    ("target", gettext_lazy("Target")),
    ("fixed", gettext_lazy("Fixed threshold")),
    ("threshold", gettext_lazy("Threshold")),
)


def result(run: AssistRun) -> str:
    """Return what came of a run in a few words, for a list."""
    found = run.metrics
    if run.state == AssistRun.State.FAILED:
        return run.error
    if run.state == AssistRun.State.RUNNING:
        return run.step
    if run.state != AssistRun.State.DONE:
        return ""
    if run.kind == AssistRun.Kind.TRAINING:
        if "boxes" in found:
            return _("%(n)d images, %(m)d boxes") % {"n": found["labels"], "m": found["boxes"]}
        words = _("%(n)d labels, right on %(p).1f %%")
        return words % {"n": found.get("labels", 0), "p": 100 * (found.get("accuracy") or 0)}
    if run.kind == AssistRun.Kind.VALIDATION:
        return short_verdict(found)
    if run.kind == AssistRun.Kind.INFERENCE:
        n = found.get("suggested", 0)
        return ngettext("%(n)d image prelabeled", "%(n)d images prelabeled", n) % {"n": n}
    n = found.get("grouped", 0)
    return ngettext("%(n)d image on shared pages", "%(n)d images on shared pages", n) % {"n": n}


def short_verdict(found: dict[str, Any]) -> str:
    """Return the same in a few words."""
    if "thresholds" in found:
        chosen = found["thresholds"]
        return _("%(a).1f actions an image, %(b).1f by hand") % {"a": chosen["actions"], "b": chosen["by_hand"]}
    decision = found.get("decision") or {}
    if found.get("is_fixed"):
        words = _("%(k)d of %(n)d wrong above the fixed threshold")
        return words % {"k": decision.get("k", 0), "n": decision.get("n", 0)}
    if found.get("used"):
        words = _("at most %(b).1f %% wrong, covers %(u).0f %%")
        return words % {"b": 100 * decision["bound"], "u": 100 * decision["coverage"]}
    needed = found.get("needed")
    if not needed:
        return _("wrong too often")
    return ngettext("about %(n)d more label needed", "about %(n)d more labels needed", needed) % {"n": needed}


def verdict(run: AssistRun) -> str:
    """Return the sentence that says whether a model is in use, and why."""
    found = run.metrics
    if "thresholds" in found:
        return verdict_on_boxes(found)
    decision = found.get("decision") or {}
    coverage = 100 * (decision.get("coverage") or 0)
    if found.get("is_fixed"):
        n, k = decision["n"], decision["k"]
        if not n:
            return _("In use above the fixed threshold. Nobody has labeled such images blank, so its error is unknown.")
        words = _(
            "In use above the fixed threshold of %(c).2f, without a promise: %(k)d of %(n)d judged images are wrong "
            "(%(p).1f %%, at most %(b).1f %% with 95 %% confidence). It covers about %(u).0f %% of the images."
        )
        bound = 100 * decision["bound"]
        return words % {"c": found["threshold"], "k": k, "n": n, "p": 100 * k / n, "b": bound, "u": coverage}
    if found.get("used"):
        words = _(
            "In use. At most %(b).1f %% of all confirmed suggestions are wrong, with 95 %% confidence, even if nobody "
            "looks. That covers about %(u).0f %% of the images that are left."
        )
        return words % {"b": 100 * decision["bound"], "u": coverage}
    needed = found.get("needed")
    if needed:
        words = ngettext(
            "Not used: it is not sure enough yet. About %(n)d more label is needed.",
            "Not used: it is not sure enough yet. About %(n)d more labels are needed.",
            needed,
        )
        return words % {"n": needed}
    return _("Not used: it is wrong too often, and more labels alone will not do. Clustering goes on.")


def verdict_on_boxes(found: dict[str, Any]) -> str:
    """Return the sentence for a detector."""
    chosen, measured = found["thresholds"], found["measured"]
    figures = {
        "a": chosen["actions"],
        "b": chosen["by_hand"],
        "p": 100 * measured["precision"]["value"],
        "q": 100 * measured["precision"]["bound"],
        "m": 100 * measured["missed"]["value"],
        "n": 100 * measured["missed"]["bound"],
    }
    if not found["used"]:
        words = _("Not used: its boxes would cost %(a).1f actions an image, drawing by hand costs %(b).1f.")
        return words % figures
    words = _(
        "In use: %(a).1f actions an image instead of %(b).1f by hand. %(p).0f %% of its boxes are right (at least "
        "%(q).0f %% with 95 %% confidence), %(m).0f %% of the objects are missed (at most %(n).0f %%)."
    )
    return words % figures


def rows(project: Project, count: int) -> list[dict[str, Any]]:
    """Return the newest runs with their looks."""
    return [row_of(run) for run in AssistRun.objects.filter(project=project)[:count]]


def row_of(run: AssistRun) -> dict[str, Any]:
    """Return a run with what a line of a table shows of it."""
    look, sign = LOOKS[AssistRun.State(run.state)]
    words = run.get_state_display()
    if run.kind == AssistRun.Kind.VALIDATION and run.state == AssistRun.State.DONE and not run.metrics.get("used"):
        look, sign, words = "warn", "warn", _("Not used")
    seconds = (run.ended_at - run.started_at).total_seconds() if run.ended_at and run.started_at else None
    return {"run": run, "look": look, "sign": sign, "words": words, "result": result(run), "seconds": seconds}


@require_GET
def run_list(request: HttpRequest, pk: int) -> HttpResponse:
    """The project's runs, newest first."""
    project = get_project_to_review(request.user, pk)
    return render(request, "admin/assist/runs.html", frame(request, project, "dashboard", rows=rows(project, SHOWN)))


@require_GET
def run_page(request: HttpRequest, pk: int, run: int) -> HttpResponse:
    """A run; htmx asks again for its inner part while it is under way."""
    project = get_project_to_review(request.user, pk)
    row = get_object_or_404(
        AssistRun.objects.select_related("model", "follows", "requested_by"), pk=run, project=project
    )
    classes = {c.pk: c for c in LabelClass.objects.filter(project=project)}
    context = {**row_of(row), **_details(request, project, row, classes)}
    if request.headers.get("HX-Request"):
        can_manage = request.user.has_perm("projects.manage_project", project)
        return render(request, "admin/assist/_run.html", {"project": project, "can_manage": can_manage, **context})
    return render(request, "admin/assist/run.html", frame(request, project, "dashboard", **context))


def _details(request: HttpRequest, project: Project, run: AssistRun, classes: dict[int, LabelClass]) -> dict[str, Any]:
    found = run.metrics
    is_verdict = run.kind == AssistRun.Kind.VALIDATION and run.state == AssistRun.State.DONE
    return {
        "verdict": verdict(run) if is_verdict else "",
        "figures": figures(run),
        "chart": charts.precision_and_coverage(found, run.config.get("target") or project.assist_target),
        "recall": charts.precision_recall(found, classes),
        "losses": charts.losses(found),
        "right": charts.right_while_training(found),
        "tuning": tuning_in_words(found["tuning"]) if "tuning" in found else "",
        "matrix": charts.confusion(found, classes),
        "per_class": class_rows(found, classes),
        "rounds": charts.over_rounds(accuracies(project, run)) if run.kind == AssistRun.Kind.TRAINING else None,
        "parameters": parameters(run),
        "chain": AssistRun.objects.filter(project=project, token=run.token).order_by("pk") if run.token else [],
        **samples(request, project, run, classes),
    }


def percents(share: float, digits: int = 0) -> str:
    """Return a share as percents, in the reader's way of writing numbers."""
    return f"{floatformat(100 * share, digits)}%"


def figures(run: AssistRun) -> list[tuple[Any, str, str]]:
    """Return the large figures of a run: what, how much, and of what."""
    found = run.metrics
    shown: list[tuple[Any, str, str]] = []
    if "thresholds" in found:
        measured, whole = found["measured"], found["detection"]
        shown.append((_("mAP"), floatformat(whole["map"] or 0, 2), _("AP50 %(a).2f") % {"a": whole["ap50"] or 0}))
        for name, key in ((_("Right boxes"), "precision"), (_("Missed objects"), "missed"), (_("Mean overlap"), "iou")):
            limit = _("at most %(b).0f %%") if key == "missed" else _("at least %(b).0f %%")
            words = limit % {"b": 100 * measured[key]["bound"]}
            shown.append((name, percents(measured[key]["value"]), words))
    elif "boxes" in found and run.kind == AssistRun.Kind.TRAINING:
        aside = _("%(n)d more kept aside to judge it") % {"n": found["aside"]}
        shown.append((_("Images"), intcomma(found["labels"] - found["aside"]), aside))
        shown.append((_("Boxes"), intcomma(found["boxes"]), _("drawn by people")))
    elif run.kind == AssistRun.Kind.TRAINING and found:
        shown.append(
            (
                _("Labels"),
                intcomma(found["labels"]),
                _("%(n)d of them confirmed suggestions") % {"n": found["confirmed"]},
            )
        )
        shown.append((_("Right"), percents(found["accuracy"], 1), _("each judged by the model without it")))
    elif run.kind == AssistRun.Kind.VALIDATION and found:
        if found.get("accuracy") is not None:
            of = ngettext("of %(n)d blind label", "of %(n)d blind labels", found["judges"]) % {"n": found["judges"]}
            shown.append((_("Right"), percents(found["accuracy"], 1), of))
        decision = found["decision"]
        if found.get("threshold") is not None:
            shown.append(
                (_("Threshold"), floatformat(found["threshold"], 2), _("of the score’s lead over the next class"))
            )
            words = _("%(k)d of %(n)d wrong") % {"k": decision["k"], "n": decision["n"]}
            shown.append((_("Wrong at most"), percents(decision["bound"], 1), words))
            shown.append((_("Coverage"), percents(decision["coverage"]), _("of the images that are left")))
    if run.kind == AssistRun.Kind.INFERENCE and found:
        shown.append(
            (_("Prelabeled"), intcomma(found.get("suggested", 0)), _("of %(n)d images") % {"n": found["unlabeled"]})
        )
        if "boxes" in found:
            shown.append((_("Boxes"), intcomma(found["boxes"]), _("filled in")))
        else:
            shown.append((_("Pages"), intcomma(found.get("pages", 0)), _("of one class each")))
    if run.kind == AssistRun.Kind.FEATURIZATION and found:
        shown.append((_("Images"), intcomma(found.get("images", 0)), _("looked at so far")))
        shown.append((_("On shared pages"), intcomma(found.get("grouped", 0)), _("the next ones in the queue")))
    if run.ended_at and run.started_at:
        seconds = (run.ended_at - run.started_at).total_seconds()
        words = _("%(n).0f s") if seconds < 120 else _("%(n).0f min")
        amount = words % {"n": seconds if seconds < 120 else seconds / 60}
        shown.append((_("Took"), amount, _("%(device)s, seed %(seed)d") % {"device": run.device, "seed": run.seed}))
    return shown


def parameters(run: AssistRun) -> list[tuple[Any, Any]]:
    """Return what a run worked with."""
    known: list[tuple[Any, Any]] = [
        (words, _amount(name, run.config[name])) for name, words in PARAMETERS if run.config.get(name) not in (None, "")
    ]
    if run.metrics.get("temperature"):
        known.append((_("Calibration"), _("temperature %(t).3f") % {"t": run.metrics["temperature"]}))
    if run.metrics.get("calibration_error") is not None:
        known.append((_("Calibration error"), floatformat(run.metrics["calibration_error"], 3)))
    known.append((_("Device"), run.device))
    known.append((_("Seed"), run.seed))
    if run.requested_by:
        known.append((_("Started by"), run.requested_by.get_full_name() or run.requested_by.username))
    else:
        known.append((_("Started by"), _("itself, as labels grew")))
    return known


def _amount(name: str, value: Any) -> Any:
    """Return a parameter for people."""
    if name == "target":
        return f"{100 * value:g}%"
    return f"{value:.3f}" if isinstance(value, float) else value


def class_rows(found: dict[str, Any], classes: dict[int, LabelClass]) -> list[dict[str, Any]]:
    """Return precision and recall of each class."""
    shown = []
    for row in found.get("per_class") or []:
        if isinstance(row, dict) and row["label_class"] in classes:
            shown.append(
                {
                    "label_class": classes[row["label_class"]],
                    "people": row["people"],
                    "precision": 100 * row["both"] / row["model"] if row["model"] else None,
                    "recall": 100 * row["both"] / row["people"] if row["people"] else None,
                }
            )
    return shown


def accuracies(project: Project, run: AssistRun) -> list[tuple[str, float]]:
    """Return the accuracy of the trainings up to this one."""
    done = AssistRun.objects.filter(
        project=project, kind=AssistRun.Kind.TRAINING, state=AssistRun.State.DONE, pk__lte=run.pk
    )
    return [
        (_("%(n)d labels") % {"n": found["labels"]}, found["accuracy"])
        for found in reversed(done.values_list("metrics", flat=True)[:30])
        if found.get("accuracy") is not None
    ]


def samples(request: HttpRequest, project: Project, run: AssistRun, classes: dict[int, LabelClass]) -> dict[str, Any]:
    """Return images on which the model is wrong and right; or those of one cell of the matrix."""
    found = Prediction.objects.filter(run=run, run__state=AssistRun.State.DONE)
    if run.kind == AssistRun.Kind.INFERENCE:
        return {"right_samples": pictures(project, list(found.order_by("-confidence")[:SAMPLES]), classes)}
    if run.kind != AssistRun.Kind.VALIDATION:
        return {}
    label, said = request.GET.get("label", ""), request.GET.get("said", "")
    if all(value.isascii() and value.isdigit() and len(value) < 19 for value in (label, said)):
        cell = found.filter(
            labels__0__label_class=int(said),
            task__annotations__label_class=int(label),
            task__annotations__ended_by_event__isnull=True,
            task__annotations__created_by_event__gt=project.aside_up_to,
        )
        shown = pictures(project, list(cell.order_by("margin")[:CELL_SAMPLES]), classes)
        names = {"label": classes.get(int(label)), "said": classes.get(int(said))}
        return {"cell_samples": shown, "cell": names}
    return {
        "wrong_samples": pictures(project, list(found.filter(margin__lt=0).order_by("margin")[:SAMPLES]), classes),
        "right_samples": pictures(project, list(found.filter(margin__gte=0).order_by("-margin")[:SAMPLES]), classes),
    }


def pictures(project: Project, found: list[Prediction], classes: dict[int, LabelClass]) -> list[dict[str, Any]]:
    """Return images with people's labels and the model's beside them."""
    tasks = {
        task.pk: task
        for task in LabelTask.objects.filter(pk__in=[p.task_id for p in found]).select_related("image", "labeler")
    }
    shown = {image["task"]: image for image in with_labels(project, tasks.values())}
    return [
        {
            "image": shown[prediction.task_id]["image"],
            "id": shown[prediction.task_id]["id"],
            "people": _names(shown[prediction.task_id]["labels"], classes),
            "model": _names(prediction.labels, classes),
            "confidence": 100 * prediction.confidence,
        }
        for prediction in found
        if prediction.task_id in shown
    ]


def _names(labels: list[dict[str, Any]], classes: dict[int, LabelClass]) -> list[LabelClass]:
    ids = list(dict.fromkeys(label["label_class"] for label in labels))
    return [classes[pk] for pk in ids if pk in classes][:3]


@require_GET
def run_log(request: HttpRequest, pk: int, run: int) -> HttpResponse:
    """The log as a file."""
    project = get_project_to_review(request.user, pk)
    row = get_object_or_404(AssistRun, pk=run, project=project)
    response = HttpResponse(row.log, content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="run-{row.pk}.log"'
    return response


@require_POST
def train(request: HttpRequest, pk: int) -> HttpResponse:
    """Train now."""
    project = get_project_to_manage(request.user, pk)
    try:
        run = runs.enqueue(project, AssistRun.Kind.TRAINING, cast(User, request.user))
    except runs.Refused as refusal:
        messages.error(request, str(refusal))
        return redirect("admin:projects_project_dashboard", project.pk)
    return redirect("admin:projects_project_run", project.pk, run.pk)


@require_POST
def cancel(request: HttpRequest, pk: int, run: int) -> HttpResponse:
    """End a run without a result."""
    project = get_project_to_manage(request.user, pk)
    row = get_object_or_404(AssistRun, pk=run, project=project)
    try:
        runs.cancel(row)
    except WrongState:
        messages.info(request, _("This run has ended already."))
    return redirect("admin:projects_project_run", project.pk, row.pk)


@require_POST
def retry(request: HttpRequest, pk: int, run: int) -> HttpResponse:
    """Ask once more for what a run was asked for."""
    project = get_project_to_manage(request.user, pk)
    row = get_object_or_404(AssistRun, pk=run, project=project)
    try:
        again = runs.retry(row, cast(User, request.user))
    except runs.Refused as refusal:
        messages.error(request, str(refusal))
        return redirect("admin:projects_project_run", project.pk, row.pk)
    return redirect("admin:projects_project_run", project.pk, again.pk)
