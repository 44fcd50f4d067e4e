"""When something is to be done for a project, and what: the cycle that runs by itself (SPEC A3; docs/assist.md)."""

from __future__ import annotations

from dataclasses import dataclass

from django.core.cache import cache
from django.utils import timezone
from django.utils.translation import gettext as _
from django_q.tasks import async_task

from assist import runs
from assist.blind import blind_tasks, close_ledger, labeled_tasks, suggested_tasks
from assist.models import AssistRun
from assist.pipeline import policy
from labeling import suggestions
from labeling.models import PENDING, Kind, LabelTask
from projects.models import Image, Project

LOOK_SECONDS = 1
MIN_LABELS = 2


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a project stands between two trainings."""

    labels: int  # those that count towards the next training
    needed: int  # the number at which it starts
    suggested: int  # images with a model's suggestion that nobody has answered
    clustered: int  # images of clustered pages that nobody has answered
    left: int  # blank images without an answer

    @property
    def batch(self) -> int:
        """How many labels are missing to the next training."""
        return max(self.needed - self.labels, 0)


def is_certified(project: Project) -> bool:
    """Whether suggestions carry the promise: no fixed threshold was set, and the labels are not boxes."""
    return project.assist_threshold is None and not project.is_detection


def standing(project: Project) -> Standing:
    """Return where the project stands."""
    # A fixed threshold, and boxes, show suggestions on nearly every image: then every label counts.
    counted = blind_tasks(project) if is_certified(project) else labeled_tasks(project)
    labels = counted.count()
    pending = LabelTask.objects.in_project(project).filter(status__in=PENDING)
    return Standing(
        labels=labels,
        needed=labels_needed(project),
        suggested=suggested_tasks(project).filter(status__in=PENDING).count(),
        clustered=pending.filter(kind=Kind.CLUSTERED).count(),
        left=pending.exclude(kind=Kind.PRELABELED).count(),
    )


def has_too_few_left(project: Project, now: Standing) -> bool:
    """Whether so little is left to label that a training can't repay the time it takes: for boxes, minutes."""
    if is_certified(project):
        return not now.left
    least = policy.MIN_LEFT_BOXES * now.labels if project.is_detection else 1
    return now.left + now.suggested < least  # suggestions that nobody has on the screen give way to better ones


def labels_needed(project: Project) -> int:
    """Return how many labels the next training waits for: half as many again as the last one found."""
    last = last_training(project)
    found = last.config.get("counted", 0) if last is not None else 0
    growth = policy.GROWTH_BOXES if project.is_detection else policy.GROWTH
    return policy.next_training(found, project.assist_min_labels, growth) if found else project.assist_min_labels


def last_training(project: Project) -> AssistRun | None:
    """Return the newest training that was not cancelled; a failed one waits for more labels, too."""
    trainings = AssistRun.objects.filter(project=project, kind=AssistRun.Kind.TRAINING)
    return trainings.exclude(state=AssistRun.State.CANCELLED).first()


def newest_model(project: Project) -> AssistRun | None:
    """Return the newest training that came to an end well."""
    done = AssistRun.objects.filter(project=project, kind=AssistRun.Kind.TRAINING, state=AssistRun.State.DONE)
    return done.first()


def next_training_data(project: Project) -> dict[str, int] | None:
    """Return the labels so far and those needed, for the dashboard and the API (SPEC B3)."""
    if not project.assist_enabled:
        return None
    now = standing(project)
    if has_too_few_left(project, now):
        return None
    return {"labels": now.labels, "needed": now.needed}


def check_can_start(project: Project, kind: str) -> None:
    """Raise Refused, in words, if a run of this kind makes no sense now."""
    if not project.assist_enabled:
        raise runs.Refused(_("ML assisted labeling is off for this project. Switch it on first."))
    if project.state not in (Project.State.RUNNING, Project.State.PAUSED):
        raise runs.Refused(_("The project's images are not ready yet."))
    if AssistRun.objects.filter(project=project).active().exists():
        raise runs.Busy(runs.active_run(project))
    if kind == AssistRun.Kind.TRAINING:
        _check_training(project)
    elif kind == AssistRun.Kind.FEATURIZATION and project.is_detection:
        raise runs.Refused(_("Alike images share a page in classification only."))
    elif kind == AssistRun.Kind.INFERENCE and newest_model(project) is None:
        raise runs.Refused(_("There is no model yet. Train one first."))


def _check_training(project: Project) -> None:
    if labeled_tasks(project).count() < MIN_LABELS:
        raise runs.Refused(_("A model learns from labels, and there are none yet. Label some images first."))
    if is_certified(project):
        n = suggested_tasks(project).filter(status__in=PENDING).count()
        if n:
            words = _("%(n)d images with suggestions wait to be confirmed. Train again when they are done.")
            raise runs.Refused(words % {"n": n})


def due(project: Project) -> str:
    """Return the kind of run that is to be started now, or nothing."""
    if not project.assist_enabled or not project.is_running or runs.active_run(project):
        return ""
    now = standing(project)
    if has_too_few_left(project, now):
        return ""
    waits = (now.suggested and is_certified(project)) or now.clustered
    if now.labels >= now.needed and not waits:
        return AssistRun.Kind.TRAINING
    if not project.is_detection and _wants_features(project, now):
        return AssistRun.Kind.FEATURIZATION
    return ""


def _wants_features(project: Project, now: Standing) -> bool:
    """Whether images have joined that nobody has looked at yet, or the next batch is not on pages yet."""
    last = AssistRun.objects.filter(project=project, kind=AssistRun.Kind.FEATURIZATION).first()
    newest = Image.objects.filter(project=project).order_by("-pk").values_list("pk", flat=True).first() or 0
    if last is None:
        return True
    if last.config.get("newest", 0) < newest:
        return True  # also after a failure: more images are another try
    if last.state != AssistRun.State.DONE:
        return False
    if last.config.get("network") not in (None, project.assist_network):
        return True
    grouped = last.metrics.get("grouped_for") == now.needed
    return project.assist_clustering and not now.clustered and now.labels < now.needed and not grouped


def look(project_id: int) -> AssistRun | None:
    """Start what is due in a project; asked as often as you like."""
    project = Project.objects.get(pk=project_id)
    kind = due(project)
    if not kind:
        return None
    try:
        return runs.enqueue(project, kind)
    except runs.Refused:
        return None  # somebody was faster


def look_at_all() -> None:
    """Start what is due in every project; a schedule calls this."""
    running = Project.objects.filter(assist_enabled=True, state=Project.State.RUNNING)
    for pk in running.values_list("pk", flat=True):
        look(pk)


def look_soon(project: Project) -> None:
    """Have a worker look at the project, at most once a second."""
    if project.assist_enabled and cache.add(f"assist-look-{project.pk}", 1, timeout=LOOK_SECONDS):
        async_task("assist.cycle.look", project.pk)


def switch_off(project: Project) -> None:
    """Take back what models put into the queue, and end what is under way; the caller holds the project's lock.

    Pages on somebody's screen are left alone. The promise ends with the suggestions: a later one starts anew.
    """
    active = AssistRun.objects.filter(project=project).active()
    active.update(state=AssistRun.State.CANCELLED, ended_at=timezone.now(), error=_("assistance was switched off"))
    if take_back(project):
        close_ledger(project)


def take_back(project: Project) -> int:
    """Take suggestions and groups off what nobody has on the screen; return how many suggestions there were."""
    taken = suggestions.withdraw(suggested_tasks(project))
    suggestions.ungroup(project)
    return taken
