"""Tasks, pages, annotations and the events that made them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from projects.models import Image, LabelClass, Project
from projects.prepared import Prepared, PreparedUpdate, Slot

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class Kind(models.TextChoices):
    """How a task is handed out (SPEC A8)."""

    MANUAL = "manual", _("Manual")
    CLUSTERED = "clustered", _("Tasks clustered")
    PRELABELED = "prelabeled", _("Prelabeled")


PRIORITY = {Kind.PRELABELED: 0, Kind.CLUSTERED: 10, Kind.MANUAL: 20}


class Status(models.TextChoices):
    """Where a task stands; the docstring of LabelTask draws the arrows."""

    WAITING = "waiting", _("Not yet queued")
    QUEUED = "queued", _("In the queue")
    CLAIMED = "claimed", _("On a page")
    LABELED = "labeled", _("Labeled")
    APPROVED = "approved", _("Approved")
    NEEDS_REVIEW = "needs_review", _("Needs review")
    SKIPPED = "skipped", _("Skipped")
    UNREADABLE = "unreadable", _("Unreadable")
    MISSING = "missing", _("Missing")
    REMOVED = "removed", _("Taken out")


PENDING = (Status.WAITING, Status.QUEUED, Status.CLAIMED)
UNCLAIMED = (Status.WAITING, Status.QUEUED)
ANSWERED = (Status.LABELED, Status.APPROVED, Status.NEEDS_REVIEW)


class SkipReason(models.TextChoices):
    """Why a labeler skipped an image (SPEC L5)."""

    UNCLEAR = "unclear", _("Unclear")
    NO_CLASS = "no_class", _("No class fits")
    BROKEN = "broken", _("Broken image")
    OTHER = "other", _("Other")


class LabelTaskQuerySet(models.QuerySet["LabelTask"]):
    """The queue's vocabulary."""

    def in_project(self, project: Project) -> LabelTaskQuerySet:
        """Tasks of one project."""
        return self.filter(project=project)

    def queued(self) -> LabelTaskQuerySet:
        """Tasks that can be handed out, in the order in which they are."""
        return self.filter(status=Status.QUEUED).order_by("priority", "group", "rank", "id")

    def waiting(self) -> LabelTaskQuerySet:
        """Tasks that the feeder has not reached, in the order in which it takes them."""
        return self.filter(status=Status.WAITING).order_by("priority", "group", "rank", "id")

    def of_others(self, labeler: User | Slot) -> LabelTaskQuerySet:
        """Tasks whose last answer, if there is one, this labeler has not given."""
        return self.filter(Q(labeler__isnull=True) | ~Q(labeler=labeler))

    def on_page(self) -> LabelTaskQuerySet:
        """Tasks of a page in their order on it: as they came, and what came together in the queue's order."""
        return self.order_by("place", "priority", "group", "rank", "id")

    def put_back(self) -> None:
        """Queue again what is on a page; what changed there has to be opened again first, and what has gone leaves."""
        claimed = self.filter(status=Status.CLAIMED)
        claimed.filter(image__problem=Image.Problem.MISSING).update(status=Status.MISSING, page=None)
        claimed.filter(image__width__isnull=True).update(status=Status.WAITING, page=None)
        claimed.update(status=Status.QUEUED, page=None)

    def answered(self) -> LabelTaskQuerySet:
        """Tasks whose labels count."""
        return self.filter(status__in=ANSWERED)


class LabelPage(models.Model):
    """What one labeler has, or had, on the screen: ``open -> submitted | released | lapsed``.

    ``digest`` is that of the submitted answers, so that the same submit again gets the same answer.
    """

    class Status(models.TextChoices):
        OPEN = "open", _("On the screen")
        SUBMITTED = "submitted", _("Submitted")
        RELEASED = "released", _("Given back")
        LAPSED = "lapsed", _("Lapsed")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="pages")
    labeler = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="label_pages")
    status = models.CharField(max_length=10, choices=Status, default=Status.OPEN)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.MANUAL)
    claimed_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    submitted_at = models.DateTimeField(null=True, blank=True)
    seconds = models.FloatField(null=True, blank=True)
    wanted = models.PositiveSmallIntegerField(default=9)  # how many images were asked for
    size = models.PositiveSmallIntegerField(default=0)
    digest = models.CharField(max_length=64, blank=True)
    # Width and height of images, by task, whose file has changed since they came onto the screen.
    sizes = models.JSONField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("page")
        verbose_name_plural = _("pages")
        constraints = [
            models.UniqueConstraint(
                fields=["project", "labeler"], condition=Q(status="open"), name="one_open_page_per_labeler"
            ),
        ]
        indexes = [
            models.Index(fields=["expires_at"], condition=Q(status="open"), name="page_lease"),
            models.Index(fields=["project", "labeler", "-id"], name="page_of_labeler"),
        ]

    def __str__(self) -> str:
        return f"{self.project} #{self.pk}"

    @property
    def is_alive(self) -> bool:
        """Whether its lease still holds."""
        return self.status == self.Status.OPEN and self.expires_at > timezone.now()

    @cached_property
    def on_screen(self) -> list[LabelTask]:
        """The tasks that wait for an answer on it, with their images, in their order."""
        return self.read_tasks()

    def read_tasks(self) -> list[LabelTask]:
        """Read ``on_screen`` anew."""
        tasks = _tasks_of_page(page=self.pk)
        for task in tasks:
            task.page = self
        return tasks

    def hand_in(self, digest: str, seconds: float | None) -> bool:
        """``open -> submitted`` in one UPDATE; False when it is not open, or its lease has run out."""
        return bool(_hand_in(page=self.pk, now=timezone.now(), seconds=seconds, digest=digest))


_now = Slot("now", models.DateTimeField())
_hand_in = PreparedUpdate(
    lambda: LabelPage.objects.filter(pk=Slot("page"), status=LabelPage.Status.OPEN, expires_at__gt=_now),
    status=LabelPage.Status.SUBMITTED,
    submitted_at=_now,
    seconds=Slot("seconds"),
    digest=Slot("digest"),
)


class LabelTask(models.Model):
    """One image to be labeled by one person.

    ``waiting -> queued -> claimed -> labeled -> approved``; ``claimed -> skipped``;
    ``labeled | approved -> needs_review`` (the file changed); rejected, returned and reset tasks become queued
    or waiting again; ``waiting | queued | claimed -> unreadable | missing`` (from a page when it is given back) and
    back to waiting;
    ``skipped -> removed`` and back. Handed out in the order (priority, group, rank); rank is random, fixed when
    the image joins (SPEC A2). ``labeler`` and ``labeled_at`` tell of the present answer, or the last one;
    ``labeled_at`` is null again once a restart has set that aside.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="tasks", db_index=False)
    image = models.ForeignKey(Image, on_delete=models.CASCADE, related_name="tasks", db_index=False)
    status = models.CharField(max_length=12, choices=Status, default=Status.WAITING)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.MANUAL)
    priority = models.PositiveSmallIntegerField(default=PRIORITY[Kind.MANUAL])
    group = models.PositiveIntegerField(default=0)
    rank = models.PositiveIntegerField()
    page = models.ForeignKey(
        LabelPage, on_delete=models.SET_NULL, null=True, blank=True, related_name="tasks", db_index=False
    )
    place = models.PositiveSmallIntegerField(default=0)  # the same for those that came onto the page together
    prelabels = models.JSONField(null=True, blank=True)
    confidence = models.FloatField(null=True, blank=True)
    labeler = models.ForeignKey(  # looked for in a project only; who deletes a person can wait
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="label_tasks",
        db_index=False,
    )
    labeled_at = models.DateTimeField(null=True, blank=True)
    # What it was when the restart of this event set it aside; without one, the others say nothing.
    aside_by = models.BigIntegerField(null=True, blank=True, editable=False)
    aside_status = models.CharField(max_length=12, null=True, blank=True, editable=False)  # noqa: DJ001
    aside_kind = models.CharField(max_length=10, null=True, blank=True, editable=False)  # noqa: DJ001
    aside_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = LabelTaskQuerySet.as_manager()

    class Meta:
        verbose_name = _("task")
        verbose_name_plural = _("tasks")
        constraints = [
            models.CheckConstraint(
                condition=~Q(status="claimed") | Q(page__isnull=False), name="claimed_task_has_a_page"
            ),
            # A second labeler per image would be one more row: drop this then.
            models.UniqueConstraint(fields=["image"], name="one_task_per_image"),
        ]
        indexes = [
            models.Index(
                fields=["project", "priority", "group", "rank", "id"],
                condition=Q(status="queued"),
                name="task_queue",
            ),
            models.Index(
                fields=["project", "priority", "group", "rank", "id"],
                condition=Q(status="waiting"),
                name="task_waiting",
            ),
            models.Index(fields=["page"], condition=Q(page__isnull=False), name="task_page"),
            # The Data tab's lists (labeling/listing.py), and all that is counted. One index, not one for each filter:
            # whatever happens to a task is written into each, and the last two columns are read in passing.
            models.Index(fields=["project", "status", "labeled_at", "id", "kind", "labeler"], name="task_status"),
            models.Index(
                fields=["project", "confidence", "id"], condition=Q(confidence__isnull=False), name="task_confidence"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.image_id} in {self.project_id}"


_tasks_of_page = Prepared(
    lambda: LabelTask.objects.filter(page=Slot("page"), status=Status.CLAIMED).select_related("image").on_page()
)


class LabelEvent(models.Model):
    """Who did what to which task, when and how: append-only (SPEC N6).

    ``task`` is null for what was done to a whole project (a reset, a class merged). Event ids of one project grow in
    the order in which they were committed, as every writer holds the project row's lock: an export can speak of
    "all up to event E".
    """

    class Action(models.TextChoices):
        SUBMITTED = "submitted", _("labeled")
        SKIPPED = "skipped", _("skipped")
        CORRECTED = "corrected", _("corrected")
        REJECTED = "rejected", _("rejected")
        APPROVED = "approved", _("approved")
        RETURNED = "returned", _("returned to the queue")
        REMOVED = "removed", _("taken out")
        RESET = "reset", _("set the labels aside")
        RESTORED = "restored", _("restored")
        IMPORTED = "imported", _("imported")
        FLAGGED = "flagged", _("flagged for review")
        CLASS_ADDED = "class_added", _("added a class")
        CLASS_RENAMED = "class_renamed", _("renamed a class")
        CLASS_RETIRED = "class_retired", _("retired a class")
        CLASS_MERGED = "class_merged", _("merged a class")

    # Indexes begin with the project, the task and the person: they need none of their own.
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="events", db_index=False)
    task = models.ForeignKey(
        LabelTask, on_delete=models.CASCADE, null=True, blank=True, related_name="events", db_index=False
    )
    action = models.CharField(max_length=14, choices=Action)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, db_index=False)
    at = models.DateTimeField(default=timezone.now)
    kind = models.CharField(max_length=10, choices=Kind, blank=True)
    page = models.ForeignKey(LabelPage, on_delete=models.SET_NULL, null=True, blank=True, db_index=False)
    seconds = models.FloatField(null=True, blank=True)
    detail = models.JSONField(default=dict, blank=True)

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("history")
        indexes = [
            models.Index(fields=["task", "id"], name="event_of_task"),
            models.Index(fields=["page"], condition=Q(page__isnull=False), name="event_page"),
            models.Index(fields=["project", "action", "id"], name="event_of_project"),
            # The last event, at once: else PostgreSQL walks back over those of all projects to a quiet project's last.
            models.Index(fields=["project", "id"], name="event_last"),
            models.Index(fields=["project", "action", "at", "by"], name="event_of_day"),
            models.Index(fields=["by", "project", "action"], name="event_of_person"),
        ]

    def __str__(self) -> str:
        return f"{self.get_action_display()} {self.at:%Y-%m-%d %H:%M}"


class AnnotationQuerySet(models.QuerySet["Annotation"]):
    """Labels now, and labels then."""

    def unended(self) -> AnnotationQuerySet:
        """The labels of the last answers: those that stand, and those that a restart has set aside."""
        return self.filter(ended_by_event__isnull=True)

    def current(self, project: Project | None = None) -> AnnotationQuerySet:
        """The labels that stand; of one project's it takes less to tell."""
        if project is None:
            return self.unended().filter(created_by_event__gt=F("label_class__project__aside_up_to"))
        unended = self.unended()
        return unended.filter(created_by_event__gt=project.aside_up_to) if project.aside_up_to else unended

    def at_event(self, event_id: int, aside_up_to: int) -> AnnotationQuerySet:
        """The labels that stood right after an event, when those up to another one were set aside."""
        return self.filter(
            Q(ended_by_event__isnull=True) | Q(ended_by_event__gt=event_id),
            created_by_event__gt=aside_up_to,
            created_by_event__lte=event_id,
        )

    def of_tasks(self, task_ids: Iterable[int]) -> AnnotationQuerySet:
        """The labels of some tasks, in their order on the image."""
        return self.filter(task__in=task_ids).order_by("task_id", "place")


class Annotation(models.Model):
    """One label given by a person: a class and, in detection, a box.

    Never updated in place or deleted: it stands from ``created_by_event`` until ``ended_by_event``, but for the time
    in which the project's labels up to a later event than its first are set aside (``Project.aside_up_to``). Boxes are
    xywh in pixels of the image as displayed, origin top left; ``image_width`` and ``image_height`` are what was on the
    screen then, for the file may change later.
    """

    # The database doesn't check what a label points at, row by row: all are there before, and go after it, under the
    # project's lock. Nor does it keep an index of each: a label is found by its task, and its events' tasks are known.
    task = models.ForeignKey(
        LabelTask, on_delete=models.CASCADE, related_name="annotations", db_index=False, db_constraint=False
    )
    label_class = models.ForeignKey(
        LabelClass, on_delete=models.PROTECT, related_name="annotations", db_index=False, db_constraint=False
    )
    place = models.PositiveIntegerField()
    x = models.FloatField(null=True, blank=True)
    y = models.FloatField(null=True, blank=True)
    width = models.FloatField(null=True, blank=True)
    height = models.FloatField(null=True, blank=True)
    image_width = models.PositiveIntegerField(null=True, blank=True)
    image_height = models.PositiveIntegerField(null=True, blank=True)
    created_by_event = models.ForeignKey(
        LabelEvent, on_delete=models.CASCADE, related_name="created", db_index=False, db_constraint=False
    )
    ended_by_event = models.ForeignKey(
        LabelEvent,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="ended",
        db_index=False,
        db_constraint=False,
    )

    objects = AnnotationQuerySet.as_manager()

    class Meta:
        verbose_name = _("label")
        verbose_name_plural = _("labels")
        constraints = [
            # Two unended sets of one task would both have a label at place 0. Of all labels, not of the unended ones
            # alone: so a task's labels of any time are found by it, and it is the only such index.
            models.UniqueConstraint(
                "task", "place", Coalesce("ended_by_event", 0), name="one_current_annotation_set_per_task"
            ),
            models.CheckConstraint(
                condition=Q(x__isnull=True, y__isnull=True, width__isnull=True, height__isnull=True)
                | Q(
                    x__gte=0,
                    y__gte=0,
                    width__gt=0,
                    height__gt=0,
                    x__lte=F("image_width") - F("width"),
                    y__lte=F("image_height") - F("height"),
                ),
                name="box_inside_the_image",
            ),
        ]
        indexes = [
            # With the last two columns, of which the first is always null here, counting by class reads the index
            # alone, also while a restart has labels set aside.
            models.Index(
                fields=["label_class", "task", "ended_by_event", "created_by_event"],
                condition=Q(ended_by_event__isnull=True),
                name="annotation_class",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.label_class_id} on {self.task_id}"

    @property
    def box(self) -> tuple[float, float, float, float] | None:
        """The box as (x, y, width, height) in pixels, or None for a classification."""
        if self.x is None or self.y is None or self.width is None or self.height is None:
            return None
        return (self.x, self.y, self.width, self.height)


class ReviewJob(models.Model):
    """A review of very many images, done by a worker in one transaction: all of it or nothing (SPEC V2, N4).

    ``queued -> running -> done | failed | cancelled``; ``queued -> cancelled``; ``running -> queued`` when its worker
    was lost. ``query`` is the Data tab's filter; images labeled after ``seen_at`` are not touched, for nobody saw them.
    How far it is stands in the cache (labeling/review_jobs.py): its transaction shows nothing before its end.
    """

    class State(models.TextChoices):
        QUEUED = "queued", _("Waiting")
        RUNNING = "running", _("Running")
        DONE = "done", _("Done")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="review_jobs")
    action = models.CharField(max_length=10)
    query = models.JSONField(default=dict)
    seen_at = models.DateTimeField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    total = models.PositiveIntegerField(default=0)
    count = models.PositiveIntegerField(default=0)
    left = models.PositiveIntegerField(default=0)
    first_event = models.BigIntegerField(default=0)
    last_event = models.BigIntegerField(default=0)
    error = models.TextField(blank=True)
    token = models.CharField(max_length=36, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("review job")
        verbose_name_plural = _("review jobs")
        constraints = [
            models.UniqueConstraint(
                fields=["project"], condition=Q(state__in=["queued", "running"]), name="one_review_job_at_a_time"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.project}"

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in (self.State.QUEUED, self.State.RUNNING)


class Tally(models.Model):
    """What was counted of a project up to an event, for when the cache has lost it (labeling/tallies.py)."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, primary_key=True, related_name="tally")
    event = models.BigIntegerField()
    at = models.DateTimeField()
    labels_event = models.BigIntegerField()
    labels = models.JSONField(default=dict)
    labelers = models.JSONField(default=dict)
    tasks = models.JSONField(default=dict)

    class Meta:
        verbose_name = _("tally")
        verbose_name_plural = _("tallies")

    def __str__(self) -> str:
        return f"{self.project_id} at {self.event}"


class LabelerSettings(models.Model):
    """What a person chose on the labeling pages."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="labeler_settings")
    layout = models.PositiveSmallIntegerField(_("images per page"), default=9)

    class Meta:
        verbose_name = _("labeler's settings")
        verbose_name_plural = _("labelers' settings")
        constraints = [models.CheckConstraint(condition=Q(layout__in=[1, 4, 6, 9]), name="layout_is_1_4_6_or_9")]

    def __str__(self) -> str:
        return str(self.user)

    @classmethod
    def layout_of(cls, user: User) -> int:
        """The number of images that the person wants on a page."""
        return next((chosen.layout for chosen in _settings_of(user=user.pk)), 9)


_settings_of = Prepared(lambda: LabelerSettings.objects.filter(user=Slot("user")))
