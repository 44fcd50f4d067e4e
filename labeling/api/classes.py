"""The classes of a project in the API (API.md, "Managers"; SPEC C3, C4)."""

from __future__ import annotations

from typing import Any, cast

from django.contrib.auth.models import User
from django.http import Http404
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from labeling import class_changes
from labeling.class_changes import ClassInUse, Existing, NotPaused
from projects.access import get_project_to_manage, get_project_to_review
from projects.models import LabelClass, Project
from projects.rest import ApiViewSet, Conflict, IdField


class LabelClassSerializer(serializers.ModelSerializer):
    """A class of a project; ``labels`` are those that stand. A retired class can't be chosen any more."""

    retired = serializers.SerializerMethodField()
    labels = serializers.IntegerField(read_only=True)

    class Meta:
        model = LabelClass
        fields = ["id", "name", "color", "position", "retired", "merged_into", "labels"]

    def get_retired(self, label_class: LabelClass) -> bool:
        """Whether it can't be chosen any more."""
        return label_class.retired_at is not None


class NewClassesSerializer(serializers.Serializer):
    """Classes to add, and what becomes of the labels that there are."""

    names = serializers.ListField(child=serializers.CharField(max_length=100), allow_empty=False, max_length=1000)
    existing = serializers.ChoiceField(choices=Existing.choices, default=Existing.CONTINUE)


class ClassChangeSerializer(serializers.Serializer):
    """What may change in a class: its name and colour at any time; the rest while the project is paused."""

    name = serializers.CharField(max_length=100, required=False)
    color = serializers.RegexField(r"^(c([1-9]|1[0-6])|#[0-9a-fA-F]{6})$", required=False)
    retired = serializers.BooleanField(required=False)
    merged_into = IdField(required=False)


class ProjectClassViewSet(ApiViewSet):
    """The classes of a project."""

    serializer_class = LabelClassSerializer
    queryset = LabelClass.objects.none()
    lookup_value_regex = r"\d+"
    http_method_names = ["get", "post", "patch", "delete", "head", "options"]

    def _rows(self, project: Project) -> Any:
        return class_changes.with_counts(project, LabelClass.objects.filter(project=project)).order_by("-id")

    def _row(self, project: Project, pk: str) -> LabelClass:
        row = self._rows(project).filter(pk=int(pk)).first() if len(pk) < 19 else None
        if row is None:
            raise Http404(_("There is no such class."))
        return row

    @extend_schema(responses=LabelClassSerializer(many=True))
    def list(self, request: Request, project: str) -> Response:
        """The project's classes, retired ones too."""
        rows = self.paginate_queryset(self._rows(get_project_to_review(request.user, project)))
        return self.get_paginated_response(LabelClassSerializer(rows, many=True).data)

    @extend_schema(request=NewClassesSerializer, responses={201: LabelClassSerializer(many=True)})
    def create(self, request: Request, project: str) -> Response:
        """Add classes while the project is paused, and go on or start over (SPEC C4)."""
        row = get_project_to_manage(request.user, project)
        form = NewClassesSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        try:
            added = class_changes.add_classes(row, cast(User, request.user), **form.validated_data)
        except NotPaused as error:
            raise Conflict(str(error)) from error
        rows = self._rows(row).filter(pk__in=[label_class.pk for label_class in added]).order_by("position")
        return Response(LabelClassSerializer(rows, many=True).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=ClassChangeSerializer, responses=LabelClassSerializer)
    def partial_update(self, request: Request, project: str, pk: str) -> Response:
        """Rename, colour, retire, bring back or merge a class."""
        row = get_project_to_manage(request.user, project)
        label_class = self._row(row, pk)
        form = ClassChangeSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        try:
            class_changes.change(row, cast(User, request.user), label_class.pk, **form.validated_data)
        except NotPaused as error:
            raise Conflict(str(error)) from error
        return Response(LabelClassSerializer(self._row(row, pk)).data)

    def destroy(self, request: Request, project: str, pk: str) -> Response:
        """Delete a class of which there has never been a label; 409 for others, which can be retired."""
        row = get_project_to_manage(request.user, project)
        label_class = self._row(row, pk)
        try:
            class_changes.delete_class(row, cast(User, request.user), label_class.pk)
        except (NotPaused, ClassInUse) as error:
            raise Conflict(str(error)) from error
        return Response(status=status.HTTP_204_NO_CONTENT)
