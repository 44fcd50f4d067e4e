"""The managers' part of the API about labels: progress, images, review (API.md, "Managers")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django.contrib.auth.models import User
from django.http import Http404, HttpResponseBase
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from labeling import review
from labeling.api.images import (
    FILTERS,
    ImageDetailSerializer,
    ImageSerializer,
    history_of,
    with_api_addresses,
)
from labeling.images import ImageFilter, InvalidFilter, filtered_tasks, with_labels
from labeling.models import LabelTask
from labeling.pictures import get_image, original_response, preview_response
from labeling.progress import as_json
from projects import previews
from projects.access import get_project_to_review
from projects.models import Project
from projects.rest import ApiViewSet, Conflict, IdField, Unavailable
from projects.stores import StoreError

PREVIEWS = ("512", "2048", "full")


class PendingSerializer(serializers.Serializer):
    """What is still to be labeled: not yet in the queue, in it, on a labeler's page."""

    unqueued = serializers.IntegerField()
    queued = serializers.IntegerField()
    claimed = serializers.IntegerField()


class QueueSerializer(serializers.Serializer):
    """What is in the queue, by kind."""

    manual = serializers.IntegerField()
    clustered = serializers.IntegerField()
    prelabeled = serializers.IntegerField()


class NextTrainingSerializer(serializers.Serializer):
    """How many new labels there are, and how many the next training waits for."""

    labels = serializers.IntegerField()
    needed = serializers.IntegerField()


class ProgressSerializer(serializers.Serializer):
    """Where a project stands; ``labels`` has the number of labels by the id of their class."""

    total = serializers.IntegerField()
    labeled = serializers.IntegerField()
    skipped = serializers.IntegerField()
    needs_review = serializers.IntegerField()
    unreadable = serializers.IntegerField()
    missing = serializers.IntegerField()
    pending = PendingSerializer()
    queue = QueueSerializer()
    labels = serializers.DictField(child=serializers.IntegerField())
    next_training = NextTrainingSerializer(allow_null=True)
    refreshed_at = serializers.DateTimeField(allow_null=True)


class ImagesSerializer(serializers.Serializer):
    """Images by their ids: all or nothing."""

    images = serializers.ListField(child=IdField(), allow_empty=False, max_length=review.MAX_IDS)


class RejectedSerializer(serializers.Serializer):
    """How many images were rejected."""

    rejected = serializers.IntegerField()


class ApprovedSerializer(serializers.Serializer):
    """How many images were approved."""

    approved = serializers.IntegerField()


THREE_IMAGES = OpenApiExample("Three images", value={"images": [7, 8, 12]}, request_only=True)


class ProjectLabelingViewSet(ApiViewSet):
    """What becomes of a project's images."""

    serializer_class = ImagesSerializer

    def get_queryset(self) -> Any:
        """Only what the caller reviews."""
        return Project.objects.reviewable_by(self.request.user)

    @extend_schema(summary="See the progress", request=None, responses=ProgressSerializer)
    @action(detail=True, methods=["get"])
    def progress(self, request: Request, pk: str) -> Response:
        """Where the project stands: the parts add up to the total. At most some seconds old."""
        return Response(as_json(get_project_to_review(request.user, pk)))

    def _review(self, request: Request, pk: str, change: Callable[..., int], name: str) -> Response:
        project = get_project_to_review(request.user, pk)
        form = ImagesSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        try:
            n_changed = change(project, cast(User, request.user), form.validated_data["images"])
        except review.NotReviewable as error:
            raise Conflict(str(error)) from error
        return Response({name: n_changed})

    @extend_schema(
        summary="Reject labels", request=ImagesSerializer, responses=RejectedSerializer, examples=[THREE_IMAGES]
    )
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, pk: str) -> Response:
        """Take the labels off; the images return to the queue, and go to another labeler first. All or nothing."""
        return self._review(request, pk, review.reject, "rejected")

    @extend_schema(
        summary="Approve labels", request=ImagesSerializer, responses=ApprovedSerializer, examples=[THREE_IMAGES]
    )
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str) -> Response:
        """Mark the labels as reviewed and right. All or nothing."""
        return self._review(request, pk, review.approve, "approved")


class ProjectImageViewSet(ApiViewSet):
    """The images of a project, with their labels."""

    serializer_class = ImageSerializer
    queryset = LabelTask.objects.none()
    label_actions = frozenset({"file", "preview"})

    @extend_schema(summary="List images", parameters=FILTERS, responses=ImageSerializer(many=True))
    def list(self, request: Request, project: str) -> Response:
        """Images with their current labels, newest first."""
        row = get_project_to_review(request.user, project)
        try:
            tasks = filtered_tasks(row, ImageFilter.parse(request.query_params)).select_related("image", "labeler")
        except InvalidFilter as error:
            raise ValidationError(str(error)) from error
        found = with_labels(row, self.paginate_queryset(tasks) or [])
        return self.get_paginated_response([with_api_addresses(row, image) for image in found])

    def _task(self, project: Project, pk: str) -> LabelTask:
        task = LabelTask.objects.filter(project=project, image_id=int(pk)).select_related("image", "labeler").first()
        if task is None:
            raise Http404(_("There is no such image."))
        return task

    @extend_schema(summary="Get an image", responses=ImageDetailSerializer)
    def retrieve(self, request: Request, project: str, pk: str) -> Response:
        """One image with its labels, its history, and what was suggested."""
        row = get_project_to_review(request.user, project)
        task = self._task(row, pk)
        data = with_api_addresses(row, with_labels(row, [task])[0])
        return Response(data | {"history": history_of(task), "prediction": task.prelabels})

    @extend_schema(
        summary="Get the original", responses={(200, "application/octet-stream"): OpenApiTypes.BINARY, 302: None}
    )
    @action(detail=True, methods=["get"])
    def file(self, request: Request, project: str, pk: str) -> HttpResponseBase:
        """The original file, to be saved; what lies in a cloud is fetched there, by an address of some minutes."""
        return original_response(get_image(request.user, pk, project))

    @extend_schema(
        summary="Get a preview",
        parameters=[
            OpenApiParameter("size", str, enum=PREVIEWS, default="512", description="Pixels of the longer side."),
            OpenApiParameter("v", str, description="The version of the file; answers can be kept for ever."),
        ],
        responses={(200, "image/jpeg"): OpenApiTypes.BINARY},
    )
    @action(detail=True, methods=["get"])
    def preview(self, request: Request, project: str, pk: str) -> HttpResponseBase:
        """A re-encoded picture, upright; 404 with the reason when the image can't be read."""
        image = get_image(request.user, pk, project)
        size = request.query_params.get("size", "512")
        if size not in PREVIEWS:
            raise ValidationError({"size": [_("Choose 512, 2048 or full.")]})
        try:
            return preview_response(image, size)
        except previews.Unreadable as error:
            raise Http404(str(error)) from error
        except StoreError as error:
            raise Unavailable(str(error)) from error
