"""Exports and labeled datasets in the API (API.md, "Managers")."""

from __future__ import annotations

from typing import Any, cast

from django.contrib.auth.models import User
from django.http import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from exports import formats, jobs
from exports.downloads import download
from exports.models import Export, LabeledDataset
from projects.access import get_project_to_export
from projects.rest import ApiViewSet, Conflict
from projects.transitions import WrongState


class ExportOptionsSerializer(serializers.Serializer):
    """What one may choose; formats that lack an option say so."""

    coordinates = serializers.ChoiceField(choices=["pixel", "normalized"], default="pixel")
    approved_only = serializers.BooleanField(default=False)
    include_unlabeled = serializers.BooleanField(default=False)
    labelers = serializers.BooleanField(default=False)
    since = serializers.DateTimeField(
        required=False, allow_null=True, help_text="Labeled from then on; a date or a moment."
    )
    until = serializers.DateTimeField(
        required=False, allow_null=True, help_text="Labeled before then; a date means that whole day."
    )


@extend_schema_field(ExportOptionsSerializer)
class OptionsField(serializers.DictField):
    """Options, which exports.options checks."""


class ExportFileSerializer(serializers.Serializer):
    """One file of an export."""

    name = serializers.CharField()
    bytes = serializers.IntegerField()
    sha256 = serializers.CharField()
    url = serializers.CharField()


class ExportSerializer(serializers.ModelSerializer):
    """An export and how far it is; ``progress`` goes from 0 to 1."""

    files = serializers.SerializerMethodField()
    options = OptionsField()

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
            "files",
            "error",
            "created_at",
            "ended_at",
        ]

    @extend_schema_field(ExportFileSerializer(many=True))
    def get_files(self, export: Export) -> list[dict[str, Any]]:
        """The files with the addresses that they are downloaded from."""
        return files_data(export)


def files_data(export: Export) -> list[dict[str, Any]]:
    """Return an export's files as the API shows them."""
    url = reverse("api:export-download", args=[export.pk])
    return [
        {"name": file["name"], "bytes": file["bytes"], "sha256": file["sha256"], "url": f"{url}?file={file['name']}"}
        for file in export.files
    ]


class NewExportSerializer(serializers.Serializer):
    """What to export."""

    format = serializers.ChoiceField(choices=formats.choices(), default="coco")
    options = OptionsField(required=False, default=dict)


class ProjectExportViewSet(ApiViewSet):
    """The exports of a project."""

    serializer_class = ExportSerializer
    queryset = Export.objects.none()
    costly = frozenset({"create"})

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

    def get_queryset(self) -> Any:
        """Only those of projects that the caller may export."""
        return Export.objects.visible_to(self.request.user)

    def retrieve(self, request: Request, pk: str) -> Response:
        """How far the export is."""
        return Response(ExportSerializer(self._export(pk)).data)

    def _export(self, pk: str) -> Export:
        export: Export = get_object_or_404(self.get_queryset(), pk=pk)
        return export

    @extend_schema(request=None, responses=ExportSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Stop the export; 409 when it has ended."""
        export = self._export(pk)
        try:
            export.cancel()
        except WrongState:
            raise Conflict(_("The export has ended already.")) from None
        return Response(ExportSerializer(export).data)

    @extend_schema(
        parameters=[OpenApiParameter("file", str, description="The name of one of its files; by default the first.")],
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
    )
    @action(detail=True, methods=["get"])
    def download(self, request: Request, pk: str) -> HttpResponseBase:
        """A file of the export; ``Range`` is heeded."""
        return download(request, self._export(pk), request.query_params.get("file", ""))


class LabeledDatasetSerializer(serializers.ModelSerializer):
    """An immutable snapshot, with links to its files."""

    title = serializers.CharField(source="__str__", read_only=True)
    classes = serializers.ListField(child=serializers.CharField(), source="class_names", read_only=True)
    rows = serializers.IntegerField(source="export.rows", read_only=True)
    options = OptionsField(source="export.options", read_only=True)
    files = serializers.SerializerMethodField()

    class Meta:
        model = LabeledDataset
        fields = [
            "name",
            "version",
            "title",
            "project",
            "task_type",
            "classes",
            "rows",
            "options",
            "export",
            "files",
            "created_at",
        ]

    @extend_schema_field(ExportFileSerializer(many=True))
    def get_files(self, dataset: LabeledDataset) -> list[dict[str, Any]]:
        """The files with the addresses that they are downloaded from."""
        return files_data(dataset.export)


class LabeledDatasetViewSet(ApiViewSet):
    """The labeled datasets of the projects that the caller may export."""

    serializer_class = LabeledDatasetSerializer

    def get_queryset(self) -> Any:
        """Only those that the caller may take away."""
        return LabeledDataset.objects.visible_to(self.request.user)

    def list(self, request: Request) -> Response:
        """All of them, newest first."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(LabeledDatasetSerializer(page, many=True).data)

    @extend_schema(responses=LabeledDatasetSerializer)
    def retrieve(self, request: Request, name: str, version: str) -> Response:
        """One of them."""
        dataset = get_object_or_404(self.get_queryset(), name=name, version=version)
        return Response(LabeledDatasetSerializer(dataset).data)
