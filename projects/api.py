"""The managers' part of the API about datastores, datasets and projects (API.md, "Managers")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Prefetch, ProtectedError, prefetch_related_objects
from django.http import Http404
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import mixins, permissions, serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from projects import devices, examples
from projects import refresh as refreshing
from projects.access import get_project_to_manage, lock
from projects.assist_settings import change_assist
from projects.creation import create_project
from projects.models import Dataset, DatasetQuerySet, Datastore, DatastoreQuerySet, LabelClass, Project, Refresh
from projects.patterns import PatternError
from projects.patterns import parse as parse_pattern
from projects.rest import ApiViewSet, Conflict, IdField
from projects.stores import StoreError
from projects.transitions import WrongState
from projects.uploads import receive

MAX_CLASSES = 1000


class IsManager(permissions.DjangoModelPermissions):
    """Managers' calls ask for the model permissions of the Manager group, reading included."""

    perms_map = {
        **permissions.DjangoModelPermissions.perms_map,
        "GET": ["%(app_label)s.view_%(model_name)s"],
        "HEAD": ["%(app_label)s.view_%(model_name)s"],
    }


class DatastoreSerializer(serializers.ModelSerializer):
    """A place that holds images; its secret can be written and never read."""

    secret = serializers.CharField(write_only=True, required=False, allow_blank=True, max_length=100_000)
    options = serializers.DictField(required=False)

    class Meta:
        model = Datastore
        fields = [
            "id",
            "name",
            "kind",
            "container",
            "prefix",
            "options",
            "secret",
            "is_default",
            "created_at",
        ]
        read_only_fields = ["is_default", "created_at"]

    def save(self, **kwargs: Any) -> Datastore:
        """Save with the model's own checks."""
        datastore = self.instance or Datastore()
        secret = self.validated_data.pop("secret", None)
        for name, value in {**self.validated_data, **kwargs}.items():
            setattr(datastore, name, value)
        if secret is not None:
            datastore.secret = secret
        datastore.full_clean()
        datastore.save()
        self.instance = datastore
        return datastore


class DatastoreTestSerializer(serializers.Serializer):
    """Whether a datastore can be reached, in words."""

    ok = serializers.BooleanField()
    detail = serializers.CharField()


@extend_schema_view(
    list=extend_schema(summary="List datastores"),
    retrieve=extend_schema(summary="Get a datastore"),
    create=extend_schema(summary="Add a datastore", examples=examples.NEW_DATASTORE),
    partial_update=extend_schema(summary="Change a datastore", examples=examples.DATASTORE_CHANGE),
    destroy=extend_schema(summary="Delete a datastore"),
)
class DatastoreViewSet(
    mixins.ListModelMixin,
    mixins.CreateModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    mixins.DestroyModelMixin,
    ApiViewSet,
):
    """Datastores: places that hold images."""

    queryset = Datastore.objects.all()
    serializer_class = DatastoreSerializer
    permission_classes = [IsManager]
    http_method_names = ["get", "post", "patch", "delete", "head", "options"]
    costly = frozenset({"test"})

    def get_queryset(self) -> Any:
        """Only what the caller may use (SPEC R3)."""
        return Datastore.objects.usable_by(self.request.user)

    def perform_create(self, serializer: Any) -> None:
        """Remember who made it."""
        serializer.save(created_by=self.request.user)

    def perform_update(self, serializer: Any) -> None:
        """Change it, if it is the caller's own."""
        self._demand_own(serializer.instance)
        serializer.save()

    def _demand_own(self, datastore: Datastore) -> None:
        if not Datastore.objects.editable_by(self.request.user).filter(pk=datastore.pk).exists():
            raise PermissionDenied(_("This datastore is the site's. An administrator can change it."))

    def perform_destroy(self, instance: Datastore) -> None:
        """Delete it, unless something stands on it."""
        self._demand_own(instance)
        if instance.is_default:
            raise Conflict(_("The default datastore can't be deleted: uploads and exports go there."))
        try:
            instance.delete()
        except ProtectedError:
            raise Conflict(_("Datasets use this datastore. Delete them first.")) from None

    @extend_schema(summary="Test a datastore", request=None, responses=DatastoreTestSerializer)
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str) -> Response:
        """Try whether the datastore can be reached, and say what is wrong."""
        try:
            self.get_object().open().check()
        except StoreError as error:
            return Response({"ok": False, "detail": str(error)})
        return Response({"ok": True, "detail": _("The datastore can be reached.")})


class UsableField(serializers.PrimaryKeyRelatedField):
    """The id of a datastore or dataset that the caller may use; another's is as one that is not there."""

    def get_queryset(self) -> Any:
        """Narrow the rows to the caller's."""
        request = self.context.get("request")
        rows = cast(DatastoreQuerySet | DatasetQuerySet, super().get_queryset())
        return rows.usable_by(request.user) if request else rows.none()


class DatasetSerializer(serializers.ModelSerializer):
    """The images that a pattern finds in a datastore."""

    datastore = UsableField(queryset=Datastore.objects.all())

    class Meta:
        model = Dataset
        fields = ["id", "name", "datastore", "pattern", "description", "created_at"]
        read_only_fields = ["created_at"]

    def validate_pattern(self, pattern: str) -> str:
        """Refuse a malformed pattern, with the right form."""
        try:
            parse_pattern(pattern)
        except PatternError as error:
            raise serializers.ValidationError(str(error)) from error
        return pattern


class RefusedFileSerializer(serializers.Serializer):
    """A file that was not taken, and why."""

    name = serializers.CharField()
    reason = serializers.CharField()


class UploadReportSerializer(serializers.Serializer):
    """What became of uploaded files."""

    stored = serializers.ListField(child=serializers.CharField())
    kept = serializers.ListField(child=serializers.CharField())
    refused = RefusedFileSerializer(many=True)


@extend_schema_view(
    list=extend_schema(summary="List datasets"),
    retrieve=extend_schema(summary="Get a dataset"),
    create=extend_schema(summary="Add a dataset", examples=examples.NEW_DATASET),
)
class DatasetViewSet(mixins.ListModelMixin, mixins.CreateModelMixin, mixins.RetrieveModelMixin, ApiViewSet):
    """Datasets: the images that a pattern finds in a datastore."""

    queryset = Dataset.objects.all()
    serializer_class = DatasetSerializer
    permission_classes = [IsManager]
    costly = frozenset({"files"})

    def get_queryset(self) -> Any:
        """Only what the caller may use (SPEC R3)."""
        return Dataset.objects.usable_by(self.request.user)

    def perform_create(self, serializer: Any) -> None:
        """Remember who made it."""
        serializer.save(created_by=self.request.user)

    @extend_schema(
        summary="Upload images",
        request={
            "multipart/form-data": {
                "type": "object",
                "properties": {
                    "files": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1},
                    "overwrite": {"type": "boolean"},
                },
                "required": ["files"],
            }
        },
        responses={201: UploadReportSerializer},
    )
    @action(detail=True, methods=["post"], parser_classes=[MultiPartParser])
    def files(self, request: Request, pk: str) -> Response:
        """Upload images, or zips, into the dataset's folder; names that are there stay unless ``overwrite``."""
        dataset = self.get_object()
        uploads = [(file.name, file) for file in request.FILES.getlist("files")]
        if not uploads:
            raise serializers.ValidationError({"files": [_("Send at least one file, as “files”.")]})
        overwrite = str(request.POST.get("overwrite", "")).lower() in ("1", "true", "on")
        folder = parse_pattern(dataset.pattern).head
        try:
            report = receive(dataset.datastore.open(), folder, uploads, overwrite=overwrite)
        except StoreError as error:
            raise Conflict(str(error)) from error
        refused = [{"name": name, "reason": reason} for name, reason in report.refused]
        answer = {"stored": report.stored, "kept": report.kept, "refused": refused}
        return Response(answer, status=status.HTTP_201_CREATED)


class NewClassSerializer(serializers.Serializer):
    """A class to be made."""

    name = serializers.CharField(max_length=100)
    color = serializers.RegexField(r"^(c([1-9]|1[0-6])|#[0-9a-fA-F]{6})$", required=False)


class InstructionsSerializer(serializers.Serializer):
    """Where the instructions are, or what they say (Markdown)."""

    url = serializers.URLField(required=False, allow_blank=True, max_length=500)
    text = serializers.CharField(required=False, allow_blank=True, max_length=100_000)


class AssistSerializer(serializers.Serializer):
    """ML assisted labeling of a project."""

    enabled = serializers.BooleanField(required=False)
    device = serializers.CharField(required=False, allow_blank=True, max_length=20)
    target_precision = serializers.FloatField(required=False, min_value=0.5, max_value=0.999)
    min_labels = serializers.IntegerField(required=False, min_value=10, max_value=1_000_000)
    threshold = serializers.FloatField(required=False, allow_null=True, min_value=0, max_value=1)
    network = serializers.ChoiceField(choices=Project.Network.choices, required=False)
    training = serializers.ChoiceField(choices=Project.Training.choices, required=False)
    clustering = serializers.BooleanField(required=False)

    def validate_device(self, device: str) -> str:
        """Only what the console offers, too: a run on another one would quietly be given the first of these."""
        offered = [name for name, _words in devices.choices()]
        if device and device not in offered:
            words = _("There is no %(device)s; this site offers %(offered)s.")
            raise serializers.ValidationError(words % {"device": device, "offered": ", ".join(offered)})
        return device


class NewProjectSerializer(serializers.Serializer):
    """A project to be made."""

    name = serializers.CharField(max_length=100)
    task_type = serializers.ChoiceField(choices=Project.TaskType.choices)
    dataset = UsableField(queryset=Dataset.objects.all())
    classes = NewClassSerializer(many=True, allow_empty=False, max_length=MAX_CLASSES)  # type: ignore[call-arg]
    instructions = InstructionsSerializer(required=False)
    incremental_refresh = serializers.BooleanField(required=False, default=False)
    assist = AssistSerializer(required=False)


class ProjectChangeSerializer(serializers.Serializer):
    """What may change in a project; ``task_type`` and ``dataset`` may not."""

    name = serializers.CharField(max_length=100, required=False)
    task_type = serializers.CharField(required=False)
    dataset = IdField(required=False)
    instructions = InstructionsSerializer(required=False)
    incremental_refresh = serializers.BooleanField(required=False)
    assist = AssistSerializer(required=False)


class ProjectClassSerializer(serializers.ModelSerializer):
    """A class that can be chosen."""

    class Meta:
        model = LabelClass
        fields = ["id", "name", "color"]


class ProjectInstructionsSerializer(serializers.Serializer):
    """Where the instructions are, and what they say (Markdown)."""

    url = serializers.CharField(source="instructions_url")
    text = serializers.CharField(source="instructions_text")


class ProjectAssistSerializer(serializers.Serializer):
    """The settings of ML assisted labeling."""

    enabled = serializers.BooleanField(source="assist_enabled")
    device = serializers.CharField(source="assist_device")
    target_precision = serializers.FloatField(source="assist_target")
    min_labels = serializers.IntegerField(source="assist_min_labels")
    threshold = serializers.FloatField(source="assist_threshold", allow_null=True)
    training = serializers.ChoiceField(source="assist_training", choices=Project.Training.choices)


class ProjectSerializer(serializers.ModelSerializer):
    """A project as it stands."""

    classes = ProjectClassSerializer(source="current_classes", many=True)
    instructions = ProjectInstructionsSerializer(source="*")
    assist = ProjectAssistSerializer(source="*")

    class Meta:
        model = Project
        fields = [
            "id",
            "name",
            "task_type",
            "dataset",
            "state",
            "failure",
            "classes",
            "instructions",
            "incremental_refresh",
            "assist",
            "created_at",
        ]


CURRENT_CLASSES = Prefetch("classes", queryset=LabelClass.objects.current(), to_attr="current_classes")


def as_json(project: Project) -> dict[str, Any]:
    """Return the project in the shape of API.md."""
    prefetch_related_objects([project], CURRENT_CLASSES)
    return dict(ProjectSerializer(project).data)


class RefreshSerializer(serializers.ModelSerializer):
    """A look at the dataset for new, changed and missing images."""

    class Meta:
        model = Refresh
        fields = [
            "id",
            "state",
            "created_at",
            "started_at",
            "ended_at",
            "found",
            "added",
            "changed",
            "missing",
            "unreadable",
            "left_out",
            "error",
        ]


class ProjectPermission(permissions.BasePermission):
    """Making a project asks for the Manager's permission; everything else is part of the queryset."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether the caller may try."""
        return view.action != "create" or cast(User, request.user).has_perm("projects.add_project")


class ProjectViewSet(ApiViewSet):
    """Labeling projects."""

    serializer_class = ProjectSerializer
    permission_classes = [permissions.IsAuthenticated, ProjectPermission]
    http_method_names = ["get", "post", "patch", "delete", "head", "options"]
    costly = frozenset({"create", "refresh"})

    def get_queryset(self) -> Any:
        """Only what the caller manages or reviews."""
        user = self.request.user
        projects = Project.objects.manageable_by(user) | Project.objects.reviewable_by(user)
        return projects.distinct().prefetch_related(CURRENT_CLASSES)

    @extend_schema(summary="List projects")
    def list(self, request: Request) -> Response:
        """The projects that the caller manages or reviews, newest first."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(ProjectSerializer(page, many=True).data)

    @extend_schema(summary="Get a project")
    def retrieve(self, request: Request, pk: str) -> Response:
        """One project."""
        project = self.get_queryset().filter(pk=pk).first()
        if project is None:
            raise Http404(_("There is no such project."))
        return Response(ProjectSerializer(project).data)

    @extend_schema(
        summary="Make a project",
        request=NewProjectSerializer,
        responses={201: ProjectSerializer},
        examples=examples.NEW_PROJECT,
    )
    def create(self, request: Request) -> Response:
        """Make a project: it initializes, then starts by itself."""
        form = NewProjectSerializer(data=request.data, context={"request": request})
        form.is_valid(raise_exception=True)
        data = form.validated_data
        instructions = data.get("instructions", {})
        project = create_project(
            name=data["name"],
            task_type=data["task_type"],
            dataset=data["dataset"],
            classes=[(item["name"], item.get("color")) for item in data["classes"]],
            created_by=cast(User, request.user),
            instructions_url=instructions.get("url", ""),
            instructions_text=instructions.get("text", ""),
            incremental_refresh=data["incremental_refresh"],
            assist=data.get("assist"),
        )
        return Response(as_json(project), status=status.HTTP_201_CREATED)

    @extend_schema(
        summary="Change a project",
        request=ProjectChangeSerializer,
        responses=ProjectSerializer,
        examples=examples.PROJECT_CHANGE,
    )
    @transaction.atomic
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change what may change; 409 for the task type and the dataset (SPEC S2)."""
        project = lock(get_project_to_manage(request.user, pk))
        form = ProjectChangeSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        data = form.validated_data
        if data.get("task_type", project.task_type) != project.task_type:
            raise Conflict(_("The task type can't change once the project has been made."))
        if data.get("dataset", project.dataset_id) != project.dataset_id:
            raise Conflict(_("The dataset can't change once the project has been made."))
        instructions = data.get("instructions", {})
        changes = {name: data[name] for name in ("name", "incremental_refresh") if name in data}
        changes |= {f"instructions_{name}": value for name, value in instructions.items()}
        if "incremental_refresh" in changes:
            changes["next_refresh_at"] = None  # it is reckoned anew
        for name, value in changes.items():
            setattr(project, name, value)
        project.full_clean()
        project.save(update_fields=list(changes))
        if data.get("assist"):
            project = change_assist(project, data["assist"])
        return Response(as_json(project))

    @extend_schema(summary="Delete a project")
    def destroy(self, request: Request, pk: str) -> Response:
        """Delete the project and its labels; its exports stay."""
        from projects.deletion import delete_project  # its receivers are apps above

        delete_project(get_project_to_manage(request.user, pk))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _change_state(self, pk: str, change: Callable[[Project], None], refusal: str) -> Response:
        project = get_project_to_manage(self.request.user, pk)
        try:
            with transaction.atomic():
                change(project)
        except WrongState:
            raise Conflict(refusal) from None
        return Response(as_json(project))

    @extend_schema(summary="Pause a project", request=None, responses=ProjectSerializer)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        """Stop handing out images and taking labels."""
        return self._change_state(pk, Project.pause, _("Only a running project can be paused."))

    @extend_schema(summary="Resume a project", request=None, responses=ProjectSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """Go on after a pause."""
        return self._change_state(pk, Project.resume, _("Only a paused project can be resumed."))

    @extend_schema(summary="Look for new images", request=None, responses={202: RefreshSerializer})
    @action(detail=True, methods=["post"])
    def refresh(self, request: Request, pk: str) -> Response:
        """Look for new, changed and missing images now."""
        project = get_project_to_manage(request.user, pk)
        start = refreshing.retry if project.state == Project.State.FAILED else refreshing.enqueue
        try:
            record = start(project)
        except WrongState:
            raise Conflict(_("The project has been started again already.")) from None
        return Response(RefreshSerializer(record).data, status=status.HTTP_202_ACCEPTED)
