"""The managers' part of the API about labels: progress, images, review (API.md, "Managers")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django.contrib.auth.models import User
from django.http import FileResponse, Http404, HttpResponseBase
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from labeling import review
from labeling.images import ImageFilter, InvalidFilter, filtered_tasks, with_labels
from labeling.models import LabelEvent, LabelTask
from labeling.pages import preview_url
from labeling.progress import as_json
from projects.access import get_project_to_review
from projects.models import Image, Project
from projects.rest import ApiViewSet, Conflict
from projects.stores import StoreError

URL_SECONDS = 300


class ImagesSerializer(serializers.Serializer):
    """Images by their ids: all or nothing."""

    images = serializers.ListField(child=serializers.IntegerField(), allow_empty=False, max_length=review.MAX_IDS)


class ProjectLabelingViewSet(ApiViewSet):
    """What becomes of a project's images."""

    serializer_class = ImagesSerializer
    lookup_value_regex = r"\d+"

    def get_queryset(self) -> Any:
        """Only what the caller reviews."""
        return Project.objects.reviewable_by(self.request.user)

    @extend_schema(request=None, responses=OpenApiTypes.OBJECT)
    @action(detail=True, methods=["get"])
    def progress(self, request: Request, pk: str) -> Response:
        """Where the project stands: the parts add up to the total."""
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

    @extend_schema(request=ImagesSerializer, responses=OpenApiTypes.OBJECT)
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, pk: str) -> Response:
        """Take the labels off; the images return to the queue."""
        return self._review(request, pk, review.reject, "rejected")

    @extend_schema(request=ImagesSerializer, responses=OpenApiTypes.OBJECT)
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str) -> Response:
        """Mark the labels as reviewed and right."""
        return self._review(request, pk, review.approve, "approved")


FILTERS = [
    OpenApiParameter(name, str)
    for name in (
        "status",
        "label_class",
        "labeler",
        "since",
        "until",
        "kind",
        "confidence_from",
        "confidence_to",
        "path",
    )
]


class ProjectImageViewSet(ApiViewSet):
    """The images of a project, with their labels."""

    serializer_class = ImagesSerializer
    lookup_value_regex = r"\d+"
    queryset = LabelTask.objects.none()

    @extend_schema(parameters=FILTERS, responses=OpenApiTypes.OBJECT)
    def list(self, request: Request, project: str) -> Response:
        """Images with their current labels."""
        row = get_project_to_review(request.user, project)
        try:
            tasks = filtered_tasks(row, ImageFilter.parse(request.query_params))
        except InvalidFilter as error:
            raise ValidationError(str(error)) from error
        return self.get_paginated_response(with_labels(row, self.paginate_queryset(tasks) or []))

    def _task(self, project: Project, pk: str) -> LabelTask:
        task = LabelTask.objects.filter(project=project, image_id=int(pk)).select_related("image", "labeler").first()
        if task is None:
            raise Http404(_("There is no such image."))
        return task

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def retrieve(self, request: Request, project: str, pk: str) -> Response:
        """One image with its labels, history and suggestion."""
        row = get_project_to_review(request.user, project)
        task = self._task(row, pk)
        events = LabelEvent.objects.filter(task=task).select_related("by").order_by("pk")
        data = with_labels(row, [task])[0]
        data["history"] = [
            {
                "action": event.action,
                "by": event.by.username if event.by else None,
                "at": event.at,
                "kind": event.kind,
                "seconds": event.seconds,
                "detail": event.detail,
            }
            for event in events
        ]
        data["prediction"] = task.prelabels
        return Response(data)

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    @action(detail=True, methods=["get"])
    def file(self, request: Request, project: str, pk: str) -> HttpResponseBase:
        """The original file, to be saved: a browser never shows it as a page.

        What lies in a cloud is fetched from there, by an address that works for some minutes.
        """
        projects = Project.objects.labelable_by(request.user) | Project.objects.reviewable_by(request.user)
        image = (
            Image.objects.filter(pk=pk, project__in=projects, project_id=project)
            .select_related("project__dataset__datastore")
            .first()
        )
        if image is None:
            raise Http404(_("There is no such image."))
        try:
            store = image.project.dataset.datastore.open()
            if url := store.url(image.path, URL_SECONDS):
                return redirect(url)
            content = store.open(image.path)
        except StoreError as error:
            raise Http404(str(error)) from error
        response = FileResponse(
            content, as_attachment=True, filename=image.name, content_type="application/octet-stream"
        )
        response["Content-Security-Policy"] = "default-src 'none'; sandbox"
        return response

    @extend_schema(parameters=[OpenApiParameter("size", str)], responses={302: None})
    @action(detail=True, methods=["get"])
    def preview(self, request: Request, project: str, pk: str) -> HttpResponseBase:
        """A re-encoded picture: 512 or 2048 pixels on its longer side, or "full"."""
        row = get_project_to_review(request.user, project)
        size = request.query_params.get("size", "512")
        if size not in ("512", "2048", "full"):
            raise ValidationError({"size": [_("Choose 512, 2048 or full.")]})
        return redirect(preview_url(self._task(row, pk).image, size))
