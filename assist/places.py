"""What models say on pages that are not theirs: the dashboard, the image panel, the Data tab."""

from __future__ import annotations

import math
from typing import Any

from django.core.cache import cache
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.dispatch import receiver
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from assist import console, cycle, runs
from assist.models import AssistRun, Prediction
from assist.worth import backed, judging_run, worth
from labeling import signals
from labeling.models import Kind, LabelTask, Status
from projects.models import LabelClass, Project

SHOWN = 8
KEPT_SECONDS = 4
LIKELY_WRONG = "likely-wrong"
SUSPICIOUS_SHARE = 0.1


@receiver(signals.asking_for_next_training)
def next_training(project: Project, **kwargs: Any) -> dict[str, int] | None:
    """Say how far it is to the next training (SPEC B3)."""
    return cycle.next_training_data(project)


@receiver(signals.asking_for_training)
def training_bar(request: HttpRequest, project: Project, **kwargs: Any) -> SafeString | None:
    """Show the bar to the next training, or the run under way."""
    if not project.assist_enabled:
        return None
    # The dashboard asks every few seconds, and counting takes its time in a large project.
    key = f"assist-standing-{project.pk}"
    now: cycle.Standing | None = cache.get(key)
    if now is None:
        now = cycle.standing(project)
        cache.set(key, now, KEPT_SECONDS)
    context = {
        "project": project,
        "run": runs.active_run(project),
        "next": now,
        "percent": min(100.0, 100 * now.labels / max(now.needed, 1)),
        "hint": hint(project, now),
        "can_manage": request.user.has_perm("projects.manage_project", project),
    }
    return render_to_string("admin/assist/_training.html", context, request)


def hint(project: Project, now: cycle.Standing) -> str:
    """Say what the next training waits for."""
    if now.suggested and cycle.is_certified(project):
        n = now.suggested
        words = ngettext(
            "%(n)d suggestion waits to be confirmed first", "%(n)d suggestions wait to be confirmed first", n
        )
        return words % {"n": n}
    if cycle.has_too_few_left(project, now):
        return _("Nothing is left that a model could help with.")
    if now.labels >= now.needed and now.clustered:
        return _("once the pages of alike images are done")
    if now.labels >= now.needed:
        return _("starts within a minute")
    return _("by itself, with labels given to blank images") if cycle.is_certified(project) else _("by itself")


@receiver(signals.asking_for_worth)
def worth_card(request: HttpRequest, project: Project, **kwargs: Any) -> SafeString | None:
    """Show what assistance was worth (SPEC A10)."""
    if not project.assist_enabled:
        return None
    found = worth(project)
    classes = LabelClass.objects.in_bulk(list(found.per_class))
    per_class = [(classes[pk], n, 100 * same / n) for pk, (n, same) in found.per_class.items() if pk in classes and n]
    signs = ((Kind.MANUAL, "hand"), (Kind.CLUSTERED, "group"), (Kind.PRELABELED, "spark"))
    context = {
        "worth": found,
        "saved": in_hours(found.saved_seconds) if found.saved_seconds and found.saved_seconds > 0 else "",
        "kinds": [(sign, kind.label, found.seconds.get(kind)) for kind, sign in signs],
        "per_class": sorted(per_class, key=lambda row: row[0].position),
    }
    return render_to_string("admin/assist/_worth.html", context, request)


def in_hours(seconds: float) -> str:
    """Return a time in hours and minutes."""
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return _("%(h)d h %(m)d min") % {"h": hours, "m": minutes}
    return _("%(m)d min") % {"m": minutes} if minutes else _("%(s)d s") % {"s": round(seconds)}


@receiver(signals.asking_for_cards)
def experiments(request: HttpRequest, project: Project, **kwargs: Any) -> SafeString | None:
    """Show the newest runs (SPEC B4)."""
    rows = console.rows(project, SHOWN)
    if not rows and not project.assist_enabled:
        return None
    return render_to_string("admin/assist/_experiments.html", {"project": project, "rows": rows}, request)


@receiver(signals.asking_for_backed)
def backed_labels(project: Project, **kwargs: Any) -> dict[int, float]:
    """Say how many of each labeler's labels the newest model backs."""
    return backed(project) if project.assist_enabled else {}


@receiver(signals.asking_for_suggestion)
def newest_prediction(task: LabelTask, **kwargs: Any) -> signals.Suggestion | None:
    """Say what the newest model that looked at the image thinks of it (SPEC V1)."""
    published = Prediction.objects.filter(task=task, run__state=AssistRun.State.DONE)
    found = published.select_related("run").order_by("-run").first()
    if found is None:
        return None
    note = _("filled in") if found.is_suggested else ""
    if found.margin is not None and found.margin < 0:
        note = _("it disagrees with the label")
    return signals.Suggestion(
        found.labels,
        str(found.run),
        found.run.ended_at or found.run.created_at,
        note,
        reverse("admin:projects_project_run", args=[task.project_id, found.run_id]),
    )


@receiver(signals.asking_for_panel)
def keep_or_mend(request: HttpRequest, project: Project, task: LabelTask, **kwargs: Any) -> SafeString | None:
    """Offer to keep a label that the model doubts, or to take the model's; the one press that settles it."""
    run = judging_run(project)
    if run is None or task.status not in (Status.LABELED, Status.NEEDS_REVIEW) or project.is_detection:
        return None
    found = Prediction.objects.filter(run=run, task=task, margin__lt=0).first()
    if found is None:
        return None
    context = {"project": project, "task": task, "said": [label["label_class"] for label in found.labels]}
    return render_to_string("admin/assist/_keep_or_mend.html", context, request)


@receiver(signals.asking_for_views)
def likely_wrong(project: Project, **kwargs: Any) -> list[signals.View]:
    """Offer the labels that the newest model doubts most, each judged by it without them (docs/assist.md)."""
    run = judging_run(project)
    if run is None or not project.assist_enabled:
        return []
    judged = Prediction.objects.filter(run=run, margin__isnull=False)
    count = judged.count()
    n_shown = max(judged.filter(margin__lt=0).count(), math.ceil(SUSPICIOUS_SHARE * count))
    cut = judged.order_by("margin").values_list("margin", flat=True)[max(min(n_shown, count) - 1, 0) :].first()

    def choose(tasks: QuerySet[LabelTask]) -> QuerySet[LabelTask]:
        margin = judged.filter(task=OuterRef("pk"), margin__lte=cut).values("margin")[:1]
        doubted = tasks.filter(status__in=(Status.LABELED, Status.NEEDS_REVIEW))  # an approved one was looked at
        return doubted.annotate(margin=Subquery(margin)).filter(margin__isnull=False).annotate(order_key=-F("margin"))

    return [
        signals.View(
            name=LIKELY_WRONG,
            words=_("Likely wrong labels"),
            hint=_(
                "Labels that the model would not have given, the most doubtful first. K keeps, M takes the model’s."
            ),
            choose=choose,
            show_key=lambda key: f"{-key:+.2f}",
        )
    ]
