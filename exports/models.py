"""Exports, labeled datasets and imports: what was asked for, how far it is, and where it lies."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from exports import formats
from projects.models import Datastore, Person, Project
from projects.transitions import move


class Lost(Exception):
    """The work was cancelled, or given to another worker: this one stops."""


class Job(models.Model):
    """Something that a worker does for a project.

    ``queued -> running -> done | failed``; ``running -> queued`` when its worker was lost; ``queued | running ->
    failed`` when somebody cancels it. Whatever a worker writes, it writes under its token only.
    """

    class State(models.TextChoices):
        QUEUED = "queued", _("Waiting")
        RUNNING = "running", _("Running")
        DONE = "done", _("Done")
        FAILED = "failed", _("Failed")

    ACTIVE: ClassVar = (State.QUEUED, State.RUNNING)

    state = models.CharField(_("state"), max_length=10, choices=State, default=State.QUEUED)
    progress = models.FloatField(default=0.0)
    error = models.TextField(blank=True)
    token = models.CharField(max_length=36, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    heartbeat_at = models.DateTimeField(null=True, default=timezone.now)  # of a queued one: when a worker was told
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True)
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in self.ACTIVE

    def start(self) -> None:
        """Take it up. Raises WrongState if another worker has."""
        token = str(uuid.uuid4())
        changes = {"token": token, "attempts": F("attempts") + 1, "heartbeat_at": timezone.now()}
        move(self, "state", self.State.QUEUED, self.State.RUNNING, **changes)
        self.token = token

    def _mine(self) -> models.QuerySet[Any]:
        return type(self)._default_manager.filter(pk=self.pk, token=self.token, state=self.State.RUNNING)

    def say_alive(self) -> None:
        """Say that the worker is alive, if it is still this one's."""
        self._mine().update(heartbeat_at=timezone.now())

    def beat(self, progress: float, **facts: object) -> None:
        """Say that the worker is alive and how far it is. Raises Lost."""
        if not self._mine().update(progress=min(progress, 0.99), heartbeat_at=timezone.now(), **facts):
            raise Lost

    def finish(self, **facts: object) -> None:
        """It is done. Raises Lost."""
        if not self._mine().update(state=self.State.DONE, progress=1, ended_at=timezone.now(), **facts):
            raise Lost

    def fail(self, reason: str, **facts: object) -> None:
        """Say in words why it could not be done; nothing happens if it is another worker's by now."""
        self._mine().update(state=self.State.FAILED, error=reason, ended_at=timezone.now(), **facts)

    def cancel(self) -> None:
        """Stop it. Raises WrongState if it has ended."""
        move(
            self,
            "state",
            list(self.ACTIVE),
            self.State.FAILED,
            error=_now("Cancelled."),
            ended_at=timezone.now(),
        )

    def put_back(self) -> bool:
        """Let another worker have it; whether it was still this one's."""
        return bool(self._mine().update(state=self.State.QUEUED, token="", heartbeat_at=timezone.now()))


class ExportQuerySet(models.QuerySet["Export"]):
    """Access is part of the queryset."""

    def visible_to(self, user: Person) -> ExportQuerySet:
        """Exports of the projects that the user may export, and the user's own of projects that were deleted."""
        return self.filter(of_exportable_projects(user, "requested_by"))


def of_exportable_projects(user: Any, owner: str) -> Q:
    """Return the condition for what is the user's to take away; what is left of a deleted project is its maker's."""
    mine = Q(project__in=Project.objects.exportable_by(user))
    if user.is_authenticated and user.has_perm("projects.add_project"):
        left = Q(project__isnull=True)
        mine |= left if user.is_superuser else left & Q(**{owner: user.pk})
    return mine


class Export(Job):
    """One export (SPEC E).

    ``event`` is the last event that it speaks of and ``frozen`` what else could change later (the names of classes, the
    last image that had joined), so that it can be written again with the same content (E5). ``location``
    and ``sha256`` are those of the first of its ``files``: ``[{"name", "key", "bytes", "sha256"}, ..]``.
    """

    project = models.ForeignKey(Project, on_delete=models.SET_NULL, null=True, related_name="exports")
    project_name = models.CharField(max_length=100)
    format = models.CharField(_("format"), max_length=10, choices=formats.choices, default="coco")
    options = models.JSONField(_("options"), default=dict)
    rows = models.PositiveIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    location = models.CharField(max_length=1024, blank=True)
    datastore = models.ForeignKey(Datastore, on_delete=models.SET_NULL, null=True)
    files = models.JSONField(default=list)
    event = models.BigIntegerField(default=0)
    frozen = models.JSONField(default=dict)

    objects = ExportQuerySet.as_manager()

    class Meta:
        verbose_name = _("export")
        verbose_name_plural = _("exports")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "format"],
                condition=Q(state__in=["queued", "running"]),
                name="one_export_of_a_kind_at_a_time",
            ),
            models.CheckConstraint(condition=Q(progress__range=(0, 1)), name="export_progress_is_a_share"),
        ]

    def __str__(self) -> str:
        return f"{self.project_name} #{self.pk}"

    @property
    def n_bytes(self) -> int:
        """The size of its files together."""
        return sum(file["bytes"] for file in self.files)


class LabeledDatasetQuerySet(models.QuerySet["LabeledDataset"]):
    """Access is part of the queryset; a snapshot that is still being written is none yet."""

    def visible_to(self, user: Person) -> LabeledDatasetQuerySet:
        """Snapshots of the projects that the user may export, and the user's own of projects that were deleted."""
        written = self.filter(export__state=Export.State.DONE)
        return written.filter(of_exportable_projects(user, "export__requested_by")).select_related("export", "project")


class LabeledDataset(models.Model):
    """An immutable snapshot of a project's labels, ``NAME_DATE_TIME`` (SPEC E3); its files are those of its export.

    The row is made with the export, which so has its name for itself; it shows once the export is done.
    """

    project = models.ForeignKey(Project, on_delete=models.SET_NULL, null=True, related_name="labeled_datasets")
    export = models.OneToOneField(Export, on_delete=models.PROTECT, related_name="labeled_dataset")
    name = models.SlugField(max_length=100)
    version = models.CharField(max_length=15)  # DATE_TIME
    task_type = models.CharField(max_length=12, choices=Project.TaskType)
    created_at = models.DateTimeField(default=timezone.now)

    objects = LabeledDatasetQuerySet.as_manager()

    class Meta:
        verbose_name = _("labeled dataset")
        verbose_name_plural = _("labeled datasets")
        ordering = ["-created_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["name", "version"], name="unique_version_of_labeled_dataset")]

    def __str__(self) -> str:
        return f"{self.name}_{self.version}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write it once; a snapshot never changes."""
        if self.pk:
            raise TypeError("A labeled dataset never changes.")
        super().save(*args, **kwargs)

    @property
    def class_names(self) -> list[str]:
        """The classes, in their order when the snapshot was taken."""
        return [name for _pk, name in self.export.frozen["classes"]]


class LabelImport(Job):
    """Labels that come in from a file (docs/azure.md); ``report`` says what became of each of its images.

    The file lies in ``datastore`` under ``key`` until the import has ended.
    """

    class Kind(models.TextChoices):
        FINAL = "final", _("Labels")
        PRELABEL = "prelabel", _("Suggestions")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="label_imports")
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.FINAL)
    file_name = models.CharField(max_length=200)
    options = models.JSONField(default=dict)
    datastore = models.ForeignKey(Datastore, on_delete=models.SET_NULL, null=True)
    key = models.CharField(max_length=1024, blank=True)
    report = models.JSONField(default=dict)

    class Meta:
        verbose_name = _("import")
        verbose_name_plural = _("imports")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["project"], condition=Q(state__in=["queued", "running"]), name="one_import_at_a_time"
            ),
        ]

    def __str__(self) -> str:
        return self.file_name

    def keep(self, report: Any) -> None:
        """Keep how far it is, in the transaction that takes images in. Raises Lost."""
        if not self._mine().update(report=report.as_json(), heartbeat_at=timezone.now()):
            raise Lost
