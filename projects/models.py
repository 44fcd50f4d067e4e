"""Datastores, datasets, projects, label classes, images and the record of their refreshes."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, Group, User
from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator, URLValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase

from projects import palette, secrets
from projects.datastores import check_place, check_secret
from projects.patterns import PatternError
from projects.patterns import parse as parse_pattern
from projects.prepared import Prepared, Slot
from projects.stores import Store, store_for
from projects.transitions import move

Person = AbstractBaseUser | AnonymousUser | User


def is_administrator(user: Person) -> bool:
    """Whether this is somebody who may do everything on the site."""
    return bool(getattr(user, "is_superuser", False)) and user.is_active


class DatastoreQuerySet(models.QuerySet["Datastore"]):
    """Whose datastores: a manager uses the own ones and those that the site's administrators made (SPEC R3)."""

    def usable_by(self, user: Person) -> DatastoreQuerySet:
        """Datastores in which the user may look for images."""
        if not user.is_authenticated or is_administrator(user):
            return self if user.is_authenticated else self.none()
        return self.filter(Q(created_by=user.pk) | Q(is_default=True) | Q(created_by__is_superuser=True))

    def editable_by(self, user: Person) -> DatastoreQuerySet:
        """Datastores that the user may change or delete."""
        if not user.is_authenticated or is_administrator(user):
            return self if user.is_authenticated else self.none()
        return self.filter(created_by=user.pk)


class Datastore(models.Model):
    """A place that holds images: a local folder or a bucket, with an optional prefix (SPEC D1)."""

    class Kind(models.TextChoices):
        LOCAL = "local", _("Local folder")
        AZURE = "azure", _("Azure Blob container")
        S3 = "s3", _("S3 bucket")
        GCS = "gcs", _("Google Cloud Storage bucket")

    name = models.CharField(_("name"), max_length=100, unique=True)
    kind = models.CharField(_("kind"), max_length=10, choices=Kind, default=Kind.LOCAL)
    container = models.CharField(
        _("container"), max_length=1000, help_text=_("The folder, container or bucket that holds the images.")
    )
    prefix = models.CharField(_("prefix"), max_length=500, blank=True)
    options = models.JSONField(_("options"), default=dict, blank=True)
    encrypted_secret = models.TextField(blank=True, editable=False)
    is_default = models.BooleanField(_("default"), default=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, editable=False
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = DatastoreQuerySet.as_manager()

    class Meta:
        verbose_name = _("datastore")
        verbose_name_plural = _("datastores")
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint("is_default", condition=Q(is_default=True), name="one_default_datastore")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def secret(self) -> str:
        """The decrypted secret; never shown, logged or sent to a browser."""
        return secrets.decrypt(self.encrypted_secret) if self.encrypted_secret else ""

    @secret.setter
    def secret(self, value: str) -> None:
        self.encrypted_secret = secrets.encrypt(value) if value else ""

    def clean(self) -> None:
        """Refuse a place that the site may not use, and a kept secret for another place."""
        check_place(self)
        stored = Datastore.objects.filter(pk=self.pk).first()
        is_given = stored is not None and stored.encrypted_secret != self.encrypted_secret
        check_secret(self, stored, is_given)

    def open(self) -> Store:
        """Return the store that lists, opens and writes this datastore's files."""
        return store_for(self)


class DatasetQuerySet(models.QuerySet["Dataset"]):
    """Whose datasets: as with datastores, and those of the projects that a manager shares in."""

    def usable_by(self, user: Person) -> DatasetQuerySet:
        """Datasets that the user may see and make projects of."""
        if not user.is_authenticated or is_administrator(user):
            return self if user.is_authenticated else self.none()
        shared = Project.objects.manageable_by(user).values("dataset")
        return self.filter(Q(created_by=user.pk) | Q(created_by__is_superuser=True) | Q(pk__in=shared))


class Dataset(models.Model):
    """The images of a datastore that a path pattern finds (SPEC D2)."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    datastore = models.ForeignKey(Datastore, on_delete=models.PROTECT, verbose_name=_("datastore"))
    pattern = models.CharField(_("path"), max_length=1000, blank=True)
    description = models.TextField(_("description"), blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, editable=False
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = DatasetQuerySet.as_manager()

    class Meta:
        verbose_name = _("dataset")
        verbose_name_plural = _("datasets")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse a malformed pattern, with the hint that shows the right form."""
        try:
            parse_pattern(self.pattern)
        except PatternError as error:
            raise ValidationError({"pattern": str(error)}) from error


class ProjectQuerySet(models.QuerySet["Project"]):
    """Who may see what is part of the queryset: forgetting the check means having no project."""

    def _granted(self, user: Person, right: str) -> ProjectQuerySet:
        if not user.is_authenticated or not user.is_active:
            return self.none()
        if is_administrator(user):
            return self
        return self.granted_to(user.pk, right)

    def granted_to(self, user: int | Slot, right: str) -> ProjectQuerySet:
        """Projects in which somebody was given a right, by name or by a group."""
        # As guardian's get_objects_for_user does, which takes longer to put the query together than it runs.
        own = ProjectUserPermission.objects.filter(user=user, permission__codename=right)
        shared = ProjectGroupPermission.objects.filter(group__user=user, permission__codename=right)
        return self.filter(Q(pk__in=own.values("content_object")) | Q(pk__in=shared.values("content_object")))

    def labelable_by(self, user: Person) -> ProjectQuerySet:
        """Projects in which the user may label."""
        return self._granted(user, "label_project")

    def reviewable_by(self, user: Person) -> ProjectQuerySet:
        """Projects whose dashboard and data tab the user may open."""
        return self._granted(user, "review_project")

    def manageable_by(self, user: Person) -> ProjectQuerySet:
        """Projects that the user may configure."""
        return self._granted(user, "manage_project")

    def exportable_by(self, user: Person) -> ProjectQuerySet:
        """Projects whose labels the user may take away."""
        return self._granted(user, "export_project")


class Project(models.Model):
    """A labeling project (SPEC P, S).

    ``initializing -> created -> running <-> paused``; ``initializing -> failed -> initializing`` (retry).
    """

    class TaskType(models.TextChoices):
        MULTICLASS = "multiclass", _("Image classification, one class per image")
        MULTILABEL = "multilabel", _("Image classification, several classes per image")
        DETECTION = "detection", _("Object detection, a box for each object")

    FIRST_TRAINING_BOXES = 40  # labels before the first training with boxes, where nobody chose: they say and save more

    class State(models.TextChoices):
        INITIALIZING = "initializing", _("Initializing")
        CREATED = "created", _("Created")
        RUNNING = "running", _("Running")
        PAUSED = "paused", _("Paused")
        FAILED = "failed", _("Failed")

    class Network(models.TextChoices):
        """What models are made of; assist/pipeline/backbones.py has them. Small and fast first."""

        MOBILENET_V2 = "mobilenet_v2", _("MobileNetV2 (small and fast)")
        RESNET18 = "resnet18", _("ResNet-18")
        EFFICIENTNET_B0 = "efficientnet_b0", _("EfficientNet-B0")
        RESNET50 = "resnet50", _("ResNet-50")
        CONVNEXT_TINY = "convnext_tiny", _("ConvNeXt-Tiny (large)")

    class Training(models.TextChoices):
        """What learns from the labels; assist/jobs/tuning.py says when fine-tuning pays by itself."""

        AUTOMATIC = "automatic", _("Head, and fine-tuning on a GPU")
        HEAD = "head", _("Head only (seconds)")
        FINE_TUNE = "fine-tune", _("Head and fine-tuning (slow on a CPU)")

    name = models.CharField(_("name"), max_length=100, unique=True)
    task_type = models.CharField(_("task type"), max_length=12, choices=TaskType)
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, verbose_name=_("dataset"))
    state = models.CharField(_("state"), max_length=12, choices=State, default=State.INITIALIZING, editable=False)
    failure = models.TextField(_("reason of the failure"), blank=True, editable=False)

    instructions_url = models.URLField(
        _("link to instructions"),
        max_length=500,
        blank=True,
        validators=[URLValidator(schemes=["http", "https"])],
    )
    instructions_text = models.TextField(_("instructions"), blank=True)

    incremental_refresh = models.BooleanField(_("incremental refresh"), default=False)
    next_refresh_at = models.DateTimeField(null=True, blank=True, editable=False)

    assist_enabled = models.BooleanField(_("ML assisted labeling"), default=False)
    assist_device = models.CharField(_("device"), max_length=20, blank=True)
    assist_target = models.FloatField(
        _("target precision"), default=0.95, validators=[MinValueValidator(0.5), MaxValueValidator(0.999)]
    )
    assist_threshold = models.FloatField(
        _("fixed threshold"),
        null=True,
        blank=True,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
    )
    assist_min_labels = models.PositiveIntegerField(
        _("labels before the first training"), default=100, validators=[MinValueValidator(10)]
    )
    assist_network = models.CharField(_("network"), max_length=20, choices=Network, default=Network.MOBILENET_V2)
    assist_training = models.CharField(_("training"), max_length=10, choices=Training, default=Training.AUTOMATIC)
    assist_clustering = models.BooleanField(_("alike images on one page"), default=True)

    # Labels up to this event are set aside: the last restart that stands (labeling/resets.py), 0 when there is none.
    aside_up_to = models.BigIntegerField(default=0, editable=False)

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, editable=False
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ProjectQuerySet.as_manager()

    class Meta:
        verbose_name = _("labeling project")
        verbose_name_plural = _("labeling projects")
        ordering = ["-created_at", "-id"]
        permissions = [
            ("manage_project", _("Can configure the project")),
            ("label_project", _("Can label in the project")),
            ("review_project", _("Can review the project's labels")),
            ("export_project", _("Can export the project's labels")),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(assist_threshold__isnull=True) | Q(assist_threshold__range=(0, 1)),
                name="assist_threshold_is_a_share",
            ),
        ]

    FROZEN = ("task_type", "dataset_id")  # SPEC S2: at every door, so here

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; the task type and the dataset can't change once the project has been made (SPEC S2)."""
        changed = [name for name, value in getattr(self, "_loaded", {}).items() if getattr(self, name) != value]
        if self.pk and changed:
            raise ValidationError(
                {name.removesuffix("_id"): _("This can't change once the project has been made.") for name in changed}
            )
        super().save(*args, **kwargs)
        self._loaded = {name: getattr(self, name) for name in self.FROZEN}

    def get_absolute_url(self) -> str:
        """The manager's page of the project."""
        return reverse("admin:projects_project_dashboard", args=[self.pk])

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Project:
        """Remember what may not change, to compare on save."""
        project = super().from_db(*args, **kwargs)
        project._loaded = {name: project.__dict__[name] for name in cls.FROZEN if name in project.__dict__}
        return project

    # State changes: each is one conditional UPDATE and raises WrongState when the state has moved on.

    def mark_created(self) -> None:
        """All images are registered."""
        move(self, "state", self.State.INITIALIZING, self.State.CREATED)

    def start(self) -> None:
        """Begin to hand out images; a new project does so by itself."""
        move(self, "state", self.State.CREATED, self.State.RUNNING)

    def pause(self) -> None:
        """Stop handing out images and taking labels; what is on screen stays there."""
        move(self, "state", self.State.RUNNING, self.State.PAUSED)

    def resume(self) -> None:
        """Go on after a pause."""
        move(self, "state", self.State.PAUSED, self.State.RUNNING)

    def fail(self, reason: str) -> None:
        """Say why the images could not be registered."""
        move(self, "state", self.State.INITIALIZING, self.State.FAILED, failure=reason)

    def retry(self) -> None:
        """Try again to register the images."""
        move(self, "state", self.State.FAILED, self.State.INITIALIZING, failure="")

    @property
    def is_running(self) -> bool:
        """Whether images are handed out and labels are taken."""
        return self.state == self.State.RUNNING

    @property
    def is_detection(self) -> bool:
        """Whether the labels are boxes."""
        return self.task_type == self.TaskType.DETECTION

    @cached_property
    def choosable_classes(self) -> list[LabelClass]:
        """The classes that can be chosen, read once for this instance; a lock gives a new one (projects/access.py)."""
        return _choosable(project=self.pk)


class ProjectUserPermission(UserObjectPermissionBase):
    """A right of one person in one project."""

    content_object = models.ForeignKey(Project, on_delete=models.CASCADE)

    class Meta(UserObjectPermissionBase.Meta):
        abstract = False


class ProjectGroupPermission(GroupObjectPermissionBase):
    """A right of one group in one project."""

    content_object = models.ForeignKey(Project, on_delete=models.CASCADE)

    class Meta(GroupObjectPermissionBase.Meta):
        abstract = False


class LabelClassQuerySet(models.QuerySet["LabelClass"]):
    """Classes in their order."""

    def current(self) -> LabelClassQuerySet:
        """The classes that can be chosen now: neither retired nor merged."""
        return self.filter(retired_at__isnull=True)


class LabelClass(models.Model):
    """A class of a project (SPEC C): its identity stays when its name changes."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="classes")
    name = models.CharField(_("name"), max_length=100)
    color = models.CharField(
        _("colour"), max_length=7, validators=[RegexValidator(r"^(c([1-9]|1[0-6])|#[0-9a-fA-F]{6})$")]
    )
    position = models.PositiveIntegerField(_("position"))
    retired_at = models.DateTimeField(null=True, blank=True, editable=False)
    merged_into = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, editable=False)

    objects = LabelClassQuerySet.as_manager()

    class Meta:
        verbose_name = _("label class")
        verbose_name_plural = _("label classes")
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(
                "project", Lower("name"), condition=Q(retired_at__isnull=True), name="unique_class_name"
            ),
            models.UniqueConstraint(
                fields=["project", "position"],
                condition=Q(retired_at__isnull=True),
                name="unique_class_position",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, with the next free colour of the palette when none was chosen."""
        self.color = self.color or palette.next_color(
            LabelClass.objects.filter(project=self.project_id).values_list("color", flat=True)
        )
        super().save(*args, **kwargs)


_choosable = Prepared(lambda: LabelClass.objects.current().filter(project=Slot("project")))


class Image(models.Model):
    """One file of one project: facts about the file only.

    ``width`` and ``height`` are pixels as displayed (EXIF orientation applied); null until first opened.
    """

    class Problem(models.TextChoices):
        NONE = "", _("none")
        UNREADABLE = "unreadable", _("Unreadable")
        MISSING = "missing", _("Missing")

    # The unique constraint's index begins with the project, so it needs none of its own; nor does a task its image.
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="images", db_index=False)
    path = models.CharField(_("path"), max_length=1024)
    size = models.BigIntegerField(_("bytes"), default=0)
    etag = models.CharField(max_length=100, blank=True)
    width = models.PositiveIntegerField(null=True, blank=True)
    height = models.PositiveIntegerField(null=True, blank=True)
    orientation = models.PositiveSmallIntegerField(default=1)
    problem = models.CharField(_("problem"), max_length=10, choices=Problem, default=Problem.NONE, blank=True)
    problem_detail = models.CharField(max_length=300, blank=True)
    changed_at = models.DateTimeField(_("content changed at"), null=True, blank=True)

    class Meta:
        verbose_name = _("image")
        verbose_name_plural = _("images")
        constraints = [
            models.UniqueConstraint(fields=["project", "path"], name="unique_image_path"),
            models.CheckConstraint(
                condition=Q(width__isnull=True, height__isnull=True) | Q(width__gt=0, height__gt=0),
                name="image_has_a_size",
            ),
        ]

    def __str__(self) -> str:
        return self.path

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]


class Refresh(models.Model):
    """One look at a dataset for new, changed and missing images (SPEC F2); the first one fills the project.

    ``queued -> running -> done | failed``; ``running -> queued`` when its worker was lost.
    """

    class State(models.TextChoices):
        QUEUED = "queued", _("Waiting")
        RUNNING = "running", _("Running")
        DONE = "done", _("Done")
        FAILED = "failed", _("Failed")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="refreshes")
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    token = models.CharField(max_length=36, blank=True)
    found = models.PositiveIntegerField(default=0)
    added = models.PositiveIntegerField(default=0)
    changed = models.PositiveIntegerField(default=0)
    missing = models.PositiveIntegerField(default=0)
    unreadable = models.PositiveIntegerField(default=0)
    left_out = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    # How far the listing is, so that a worker that takes over goes on there.
    bookmark = models.TextField(blank=True, editable=False)
    seen = models.BinaryField(null=True, editable=False)

    class Meta:
        verbose_name = _("refresh")
        verbose_name_plural = _("refreshes")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["project"], condition=Q(state__in=["queued", "running"]), name="one_refresh_at_a_time"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.project} {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in (self.State.QUEUED, self.State.RUNNING)


class ApiToken(models.Model):
    """A key to the API: only its digest is kept (ATTACKS 19)."""

    class Scope(models.TextChoices):
        READ = "read", _("Read only")
        LABEL = "label", _("Label")
        ALL = "all", _("Everything that its user may")

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(_("name"), max_length=100, blank=True)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    hint = models.CharField(_("begins with"), max_length=8, editable=False)
    scope = models.CharField(_("scope"), max_length=5, choices=Scope, default=Scope.ALL)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name or f"{self.hint}…"


class IdempotentCall(models.Model):
    """An unsafe API call that was made with an Idempotency-Key, and its answer; kept for a day."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    name = models.CharField(max_length=64)  # digest of method, address and key
    body = models.CharField(max_length=64)  # digest
    status = models.PositiveSmallIntegerField(null=True)
    answer = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    made_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="unique_idempotent_call")]

    def __str__(self) -> str:
        return self.name


MANAGERS, LABELERS, REVIEWERS = "Manager", "Labeler", "Reviewer"


def role_group(name: str) -> Group:
    """Return the group of a role; a migration made it."""
    return Group.objects.get(name=name)
