"""What a model did and says: runs, predictions, and the facts that the promise rests on (docs/assist.md)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from labeling.models import LabelTask
from projects.models import Person, Project
from projects.transitions import move


class AssistRunQuerySet(models.QuerySet["AssistRun"]):
    """Access is part of the queryset."""

    def visible_to(self, user: Person) -> AssistRunQuerySet:
        """Runs of the projects whose dashboard the user may open."""
        return self.filter(project__in=Project.objects.reviewable_by(user))

    def manageable_by(self, user: Person) -> AssistRunQuerySet:
        """Runs of the projects that the user may configure."""
        return self.filter(project__in=Project.objects.manageable_by(user))

    def active(self) -> AssistRunQuerySet:
        """Runs that wait or are under way."""
        return self.filter(state__in=ACTIVE)

    def held_by(self, token: str) -> AssistRunQuerySet:
        """The run that one worker's attempt is at; its results count only while this finds it."""
        return self.filter(token=token, state=AssistRun.State.RUNNING)


class AssistRun(models.Model):
    """One training, validation, inference or featurization of a project (SPEC A, B4).

    ``queued -> running -> done | failed | cancelled``; ``queued -> cancelled``; ``running -> queued`` when its worker
    was lost. The row owns the truth, the queue only wakes a worker up: a worker writes under its ``token`` only, and
    what it publishes is written in the one transaction that ends the run. The runs of one round follow each other
    (``follows``): training, validation, inference, featurization.
    """

    class Kind(models.TextChoices):
        TRAINING = "training", _("Training")
        VALIDATION = "validation", _("Validation")
        INFERENCE = "inference", _("Inference")
        FEATURIZATION = "featurization", _("Featurization")

    class State(models.TextChoices):
        QUEUED = "queued", _("Waiting")
        RUNNING = "running", _("Running")
        DONE = "done", _("Completed")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="assist_runs")
    kind = models.CharField(_("kind"), max_length=14, choices=Kind)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.QUEUED)
    follows = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="followers")
    model = models.ForeignKey(  # the training whose model this run uses
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="uses"
    )
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    token = models.CharField(max_length=36, blank=True, db_index=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    progress = models.FloatField(default=0.0)
    step = models.CharField(max_length=200, blank=True)
    device = models.CharField(_("device"), max_length=20, blank=True)
    seed = models.PositiveIntegerField(default=0)
    config = models.JSONField(default=dict, blank=True)
    metrics = models.JSONField(default=dict, blank=True)
    artifacts = models.JSONField(default=dict, blank=True)  # names of files in the run's folder
    log = models.TextField(blank=True)
    error = models.TextField(blank=True)

    objects = AssistRunQuerySet.as_manager()

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["project"], condition=Q(state__in=["queued", "running"]), name="one_assist_run_at_a_time"
            ),
            models.CheckConstraint(condition=Q(progress__range=(0, 1)), name="assist_progress_is_a_share"),
        ]
        indexes = [models.Index(fields=["project", "kind", "-id"], name="assist_run_of_kind")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} #{self.pk}"

    @property
    def is_active(self) -> bool:
        """Whether it waits or is under way."""
        return self.state in ACTIVE

    @property
    def folder(self) -> Path:
        """Where its files lie; it may not be there yet."""
        return project_folder(self.project_id) / f"run-{self.pk}"

    def start(self, token: str) -> None:
        """Begin an attempt. Raises WrongState when another worker has begun, or the run was cancelled."""
        now = timezone.now()
        move(
            self,
            "state",
            self.State.QUEUED,
            self.State.RUNNING,
            token=token,
            attempts=models.F("attempts") + 1,
            started_at=now,
            heartbeat_at=now,
            progress=0,
            step="",
            error="",
        )

    def cancel(self) -> None:
        """End it without a result; a worker that is at it is told by its next beat. Raises WrongState."""
        move(self, "state", list(ACTIVE), self.State.CANCELLED, ended_at=timezone.now())


ACTIVE = (AssistRun.State.QUEUED, AssistRun.State.RUNNING)


class Prediction(models.Model):
    """What the model of a run says of one task: its labels, each with a confidence, apart from people's labels.

    ``labels`` has the shape of the API's ``prelabels``. ``margin`` is the leave-one-out score of the task's own label
    less the best other one, where the task had a label: below zero the model disagrees.
    """

    run = models.ForeignKey(AssistRun, on_delete=models.CASCADE, related_name="predictions")
    task = models.ForeignKey(LabelTask, on_delete=models.CASCADE, related_name="predictions")
    labels = models.JSONField()
    confidence = models.FloatField()
    margin = models.FloatField(null=True, blank=True)
    is_suggested = models.BooleanField(default=False)  # it was filled in on the task

    class Meta:
        verbose_name = _("prediction")
        verbose_name_plural = _("predictions")
        constraints = [models.UniqueConstraint(fields=["run", "task"], name="one_prediction_per_task_and_run")]
        indexes = [
            models.Index(fields=["task", "-run"], name="prediction_of_task"),
            models.Index(fields=["run", "margin"], condition=Q(margin__isnull=False), name="prediction_margin"),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} in run {self.run_id}"


class Ledger(models.Model):
    """One population of images about which a promise is made (docs/assist.md).

    Images that join, classes that change and suggestions that are taken back make another population: then a new
    ledger is opened, and only labels given after ``after_event`` judge a model for it.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="ledgers")
    opened_at = models.DateTimeField(default=timezone.now)
    after_event = models.BigIntegerField(default=0)
    population = models.JSONField(default=dict)  # what it was when the ledger was opened
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("ledger")
        verbose_name_plural = _("ledgers")
        constraints = [
            models.UniqueConstraint(
                fields=["project"], condition=Q(closed_at__isnull=True), name="one_open_ledger_per_project"
            )
        ]

    def __str__(self) -> str:
        return f"{self.project_id} from {self.opened_at:%Y-%m-%d %H:%M}"


class Departure(models.Model):
    """A task that lay above the threshold of a run, so that it left the pool of what is still to be judged.

    Those with ``is_suggested`` got the prediction filled in; the others stay blank: labeled before, or on somebody's
    screen just then, and they judge the model. Whether the prediction was right is computed from the task's labels as
    they are now, and never stored.
    """

    ledger = models.ForeignKey(Ledger, on_delete=models.CASCADE, related_name="departures")
    run = models.ForeignKey(AssistRun, on_delete=models.CASCADE, related_name="departures")
    task = models.ForeignKey(LabelTask, on_delete=models.CASCADE, related_name="departures")
    classes = models.JSONField()  # ids of the predicted classes, in order
    confidence = models.FloatField()
    is_suggested = models.BooleanField()

    class Meta:
        verbose_name = _("departure")
        verbose_name_plural = _("departures")
        constraints = [models.UniqueConstraint(fields=["ledger", "task"], name="a_task_leaves_once")]

    def __str__(self) -> str:
        return f"{self.task_id} in run {self.run_id}"


class Shard(models.Model):
    """A part of a large run that any worker may take: ``waiting -> running -> done``; lost ones wait again.

    ``first`` and ``last`` bound the image ids; the result is a file in the run's folder. ``network`` is the digest of
    what looks at them: one run may need two, one after the other, and nobody may take one for the other.
    """

    class State(models.TextChoices):
        WAITING = "waiting", _("Waiting")
        RUNNING = "running", _("Running")
        DONE = "done", _("Done")

    run = models.ForeignKey(AssistRun, on_delete=models.CASCADE, related_name="shards")
    network = models.CharField(max_length=64, default="")
    number = models.PositiveIntegerField()
    first = models.BigIntegerField()
    last = models.BigIntegerField()
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    token = models.CharField(max_length=36, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("shard")
        verbose_name_plural = _("shards")
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="unique_shard_number")]

    def __str__(self) -> str:
        return f"{self.run_id}.{self.number}"


def project_folder(project_id: int) -> Path:
    """Return where the models and embeddings of a project lie."""
    return Path(settings.DATA_DIR) / "assist" / str(project_id)


Report = Callable[[float, str], None]
Metrics = dict[str, Any]
