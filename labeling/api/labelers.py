"""The labelers' part of the API (API.md, "Labelers"): the same functions as the labeling pages."""

from __future__ import annotations

from typing import Any, cast

from django.contrib.auth.models import User
from django.urls import reverse
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from labeling import queue
from labeling.answers import InvalidAnswer
from labeling.api.images import BoxField, PictureSerializer, PrelabelSerializer, with_api_addresses
from labeling.doors import my_page
from labeling.models import Kind, LabelPage, SkipReason
from labeling.pages import classes_data, items_data, layout_for
from labeling.progress import progress
from labeling.queue import Lapsed, Paused
from labeling.submit import submit
from projects.access import get_project_to_label
from projects.models import Project
from projects.rest import ApiViewSet, Conflict, IdField


class ClassSerializer(serializers.Serializer):
    """A class that can be chosen, and its key."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    color = serializers.CharField()
    key = serializers.CharField(allow_blank=True)


class LabelerProjectSerializer(serializers.Serializer):
    """A project that the caller may label."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    task_type = serializers.ChoiceField(choices=Project.TaskType.choices)
    classes = ClassSerializer(many=True)
    remaining = serializers.IntegerField()
    instructions_url = serializers.CharField()


class GivenBoxSerializer(serializers.Serializer):
    """A class and a box: x, y, width, height in pixels of the image as displayed."""

    label_class = IdField()
    box = BoxField()


class PageImageSerializer(PictureSerializer):
    """An image on a page has been opened, so its size is known."""

    width = serializers.IntegerField()
    height = serializers.IntegerField()


class PageItemSerializer(serializers.Serializer):
    """One image of a page, by the id that its answer names."""

    id = serializers.IntegerField()
    image = PageImageSerializer()
    prelabels = PrelabelSerializer(many=True)
    confidence = serializers.FloatField(allow_null=True)


class PageSerializer(serializers.Serializer):
    """A page that is leased to the caller."""

    id = serializers.IntegerField()
    kind = serializers.ChoiceField(choices=Kind.choices)
    lease_expires_at = serializers.DateTimeField()
    items = PageItemSerializer(many=True)


class ClaimSerializer(serializers.Serializer):
    """What a claim asks for."""

    count = serializers.IntegerField(min_value=1, max_value=queue.MAX_COUNT, required=False)


class ClaimedSerializer(serializers.Serializer):
    """A page, or why there is none: "paused" or "empty"."""

    page = PageSerializer(allow_null=True)
    reason = serializers.ChoiceField(choices=["paused", "empty"], required=False)


class AnswerSerializer(serializers.Serializer):
    """An answer: labels, or boxes (none of them says "no objects"), or a reason to skip."""

    id = IdField()
    labels = serializers.ListField(child=IdField(), required=False)
    boxes = GivenBoxSerializer(many=True, required=False)
    skip = serializers.ChoiceField(choices=SkipReason.choices, required=False)
    note = serializers.CharField(required=False, allow_blank=True, max_length=500)


class SubmitSerializer(serializers.Serializer):
    """A page's answers; with ``next`` the next page comes back at once."""

    items = AnswerSerializer(many=True)
    seconds = serializers.FloatField(required=False, allow_null=True, min_value=0)
    next = serializers.BooleanField(required=False, default=False)


class SubmittedSerializer(serializers.Serializer):
    """How many answers are stored, and the next page."""

    submitted = serializers.IntegerField()
    next = PageSerializer(allow_null=True)


class RenewedSerializer(serializers.Serializer):
    """Until when the lease lasts now."""

    lease_expires_at = serializers.DateTimeField()


SIX_IMAGES = OpenApiExample("Six images", value={"count": 6}, request_only=True)
ANSWERS = [
    OpenApiExample(
        "Classes",
        value={"items": [{"id": 41, "labels": [3]}, {"id": 42, "skip": "unclear"}], "next": True},
        request_only=True,
    ),
    OpenApiExample(
        "Boxes",
        value={"items": [{"id": 41, "boxes": [{"label_class": 3, "box": [10, 20.5, 64, 48]}]}], "seconds": 12.5},
        request_only=True,
    ),
    OpenApiExample("No objects", value={"items": [{"id": 41, "boxes": []}]}, request_only=True),
]


def lapsed() -> Conflict:
    """The error for a page that is not, or no longer, the caller's: whether it is there at all can't be told."""
    return Conflict(_("This page isn't yours, or its lease has run out. Nothing was written; claim a new one."))


def paused() -> Conflict:
    """The error for a project that takes no labels now."""
    return Conflict(_("The project is not running. Nothing was written; submit again when it runs."))


def api_page(project: Project, page: LabelPage) -> dict[str, Any]:
    """Return a page in the shape of API.md."""
    items = [with_api_addresses(project, item) for item in items_data(project, page.on_screen, {})]
    for item in items:
        del item["answer"]
    return {"id": page.pk, "kind": page.kind, "lease_expires_at": page.expires_at, "items": items}


def _next_page(project: Project, user: User, count: int | None) -> tuple[dict[str, Any] | None, str]:
    try:
        page = queue.claim(project, user, count or layout_for(project, user))
    except Paused:
        return None, "paused"
    return (api_page(project, page), "") if page else (None, "empty")


class LabelingProjectViewSet(ApiViewSet):
    """Projects to label."""

    serializer_class = LabelerProjectSerializer
    label_actions = frozenset({"list", "claim"})

    def get_queryset(self) -> Any:
        """Only what the caller may label."""
        return Project.objects.labelable_by(self.request.user)

    @extend_schema(summary="List what I may label", responses=LabelerProjectSerializer(many=True))
    def list(self, request: Request) -> Response:
        """The projects that the caller may label."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response([self._project(project) for project in page or []])

    def _project(self, project: Project) -> dict[str, Any]:
        return {
            "id": project.pk,
            "name": project.name,
            "task_type": project.task_type,
            "classes": classes_data(project),
            "remaining": progress(project).left,
            "instructions_url": reverse("labeling:instructions", args=[project.pk]),
        }

    @extend_schema(summary="Claim a page", request=ClaimSerializer, responses=ClaimedSerializer, examples=[SIX_IMAGES])
    @action(detail=True, methods=["post"])
    def claim(self, request: Request, pk: str) -> Response:
        """Get the caller's unfinished page, or a new one."""
        project = get_project_to_label(request.user, pk)
        form = ClaimSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        page, reason = _next_page(project, cast(User, request.user), form.validated_data.get("count"))
        return Response({"page": page} if page else {"page": None, "reason": reason})


class LabelingPageViewSet(ApiViewSet):
    """The caller's pages."""

    serializer_class = PageSerializer
    label_actions = frozenset({"submit", "renew", "release"})

    def get_queryset(self) -> Any:
        """Only the caller's own."""
        return LabelPage.objects.filter(labeler=self.request.user.pk).select_related("project", "labeler")

    def _page(self, pk: str) -> LabelPage:
        page = my_page(cast(User, self.request.user), pk)
        if page is None:
            raise lapsed()
        return page

    @extend_schema(summary="Submit a page", request=SubmitSerializer, responses=SubmittedSerializer, examples=ANSWERS)
    @action(detail=True, methods=["post"])
    def submit(self, request: Request, pk: str) -> Response:
        """Store the answers of a page: all or nothing, and once however often it is sent."""
        page = self._page(pk)
        data = request.data if isinstance(request.data, dict) else {}
        try:
            done = submit(page, data.get("items"), data.get("seconds"))
        except InvalidAnswer as error:
            raise ValidationError({"items" if error.item is None else f"items.{error.item}": [str(error)]}) from error
        except Paused:
            raise paused() from None
        except Lapsed:
            raise lapsed() from None
        answer: dict[str, Any] = {"submitted": done.count, "next": None}
        if data.get("next"):
            answer["next"], _reason = _next_page(page.project, page.labeler, page.wanted)
        return Response(answer)

    @extend_schema(summary="Renew a lease", request=None, responses=RenewedSerializer)
    @action(detail=True, methods=["post"])
    def renew(self, request: Request, pk: str) -> Response:
        """Keep the page: its lease is counted from now."""
        page = self._page(pk)
        try:
            queue.renew(page)
        except Lapsed:
            raise lapsed() from None
        return Response({"lease_expires_at": page.expires_at})

    @extend_schema(summary="Release a page", request=None, responses={204: None})
    @action(detail=True, methods=["post"])
    def release(self, request: Request, pk: str) -> Response:
        """Give the page back."""
        page = self._page(pk)
        try:
            queue.release(page)
        except Lapsed:
            raise lapsed() from None
        return Response(status=204)
