"""Exports: what was asked for, how far it is, and where it lies."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from projects.models import Person, Project


class ExportQuerySet(models.QuerySet["Export"]):
    """Access is part of the queryset."""

    def visible_to(self, user: Person) -> ExportQuerySet:
        """Exports of the projects that the user may export."""
        return self.filter(project__in=Project.objects.exportable_by(user))


class Export(models.Model):
    """One export (SPEC E): ``queued -> running -> done | failed``; ``running -> queued`` when its worker was lost.

    ``event`` is the last event that it speaks of, so that it can be written again with the same content (E5).
    """

    class State(models.TextChoices):
        QUEUED = "queued", _("Waiting")
        RUNNING = "running", _("Running")
        DONE = "done", _("Done")
        FAILED = "failed", _("Failed")

    class Format(models.TextChoices):
        COCO = "coco", "COCO"

    project = models.ForeignKey(Project, on_delete=models.SET_NULL, null=True, related_name="exports")
    project_name = models.CharField(max_length=100)
    format = models.CharField(_("format"), max_length=10, choices=Format, default=Format.COCO)
    options = models.JSONField(_("options"), default=dict)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.QUEUED)
    progress = models.FloatField(default=0.0)
    rows = models.PositiveIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    location = models.CharField(max_length=1024, blank=True)
    error = models.TextField(blank=True)
    event = models.BigIntegerField(default=0)
    token = models.CharField(max_length=36, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    heartbeat_at = models.DateTimeField(null=True)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True)
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)

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
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in (self.State.QUEUED, self.State.RUNNING)
