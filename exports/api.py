"""Exports in the API (API.md, "Managers")."""

from __future__ import annotations

from typing import Any, cast

from django.contrib.auth.models import User
from django.http import FileResponse, Http404
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from exports import jobs
from exports.models import Export
from projects.access import get_project_to_export
from projects.rest import ApiViewSet, Conflict
from projects.stores import StoreError


class ExportSerializer(serializers.ModelSerializer):
    """An export and how far it is; ``progress`` goes from 0 to 1."""

    class Meta:
        model = Export
        fields = [
            "id",
            "project",
            "format",
            "options",
            "state",
            "progress",
            "rows",
            "sha256",
            "location",
            "error",
            "created_at",
            "ended_at",
        ]


class NewExportSerializer(serializers.Serializer):
    """What to export."""

    format = serializers.ChoiceField(choices=Export.Format.choices, default=Export.Format.COCO)
    options = serializers.DictField(required=False, default=dict)


class ProjectExportViewSet(ApiViewSet):
    """The exports of a project."""

    serializer_class = ExportSerializer
    queryset = Export.objects.none()

    def list(self, request: Request, project: str) -> Response:
        """The project's exports, newest first."""
        row = get_project_to_export(request.user, project)
        page = self.paginate_queryset(Export.objects.filter(project=row))
        return self.get_paginated_response(ExportSerializer(page, many=True).data)

    @extend_schema(request=NewExportSerializer, responses={202: ExportSerializer})
    def create(self, request: Request, project: str) -> Response:
        """Have an export written; 409 while one of the same format is under way."""
        row = get_project_to_export(request.user, project)
        form = NewExportSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        data = form.validated_data
        try:
            export = jobs.enqueue(row, cast(User, request.user), data["options"], data["format"])
        except jobs.Busy as error:
            raise Conflict(str(error)) from error
        return Response(ExportSerializer(export).data, status=status.HTTP_202_ACCEPTED)


class ExportViewSet(ApiViewSet):
    """One export."""

    serializer_class = ExportSerializer
    lookup_value_regex = r"\d+"

    def get_queryset(self) -> Any:
        """Only those of projects that the caller may export."""
        return Export.objects.visible_to(self.request.user)

    def retrieve(self, request: Request, pk: str) -> Response:
        """How far the export is."""
        return Response(ExportSerializer(get_object_or_404(self.get_queryset(), pk=pk)).data)

    @extend_schema(responses={(200, "application/json"): OpenApiTypes.BINARY})
    @action(detail=True, methods=["get"])
    def download(self, request: Request, pk: str) -> FileResponse:
        """The file."""
        return download(get_object_or_404(self.get_queryset(), pk=pk))


def download(export: Export) -> FileResponse:
    """Return the finished export as a file to be saved; 404 while there is none."""
    if export.state != Export.State.DONE:
        raise Http404(_("This export is not done yet."))
    try:
        file = jobs.open_file(export)
    except StoreError as error:
        raise Http404(str(error)) from error
    name = f"{export.location.rsplit('/', 1)[-1]}"
    return FileResponse(file, as_attachment=True, filename=name, content_type="application/json")
