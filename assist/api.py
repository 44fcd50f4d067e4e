"""Runs in the API (API.md, "Managers")."""

from __future__ import annotations

from typing import Any, cast

from django.contrib.auth.models import User
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from assist import runs
from assist.models import AssistRun
from projects.access import get_project_to_manage, get_project_to_review
from projects.rest import ApiViewSet, Conflict
from projects.transitions import WrongState


class AssistRunSerializer(serializers.ModelSerializer):
    """A run: what it is, how far it is, and what it found; ``progress`` goes from 0 to 1."""

    class Meta:
        model = AssistRun
        fields = [
            "id",
            "project",
            "kind",
            "state",
            "progress",
            "step",
            "device",
            "seed",
            "config",
            "metrics",
            "error",
            "follows",
            "model",
            "attempts",
            "created_at",
            "started_at",
            "ended_at",
        ]


class NewRunSerializer(serializers.Serializer):
    """What to start; a training goes on to validation, inference and featurization by itself."""

    kind = serializers.ChoiceField(
        choices=[kind for kind in AssistRun.Kind.values if kind != AssistRun.Kind.VALIDATION],
        default=AssistRun.Kind.TRAINING,
    )


class ProjectAssistRunViewSet(ApiViewSet):
    """The runs of a project."""

    serializer_class = AssistRunSerializer
    queryset = AssistRun.objects.none()
    costly = frozenset({"create"})

    def list(self, request: Request, project: str) -> Response:
        """The project's runs, newest first."""
        row = get_project_to_review(request.user, project)
        page = self.paginate_queryset(AssistRun.objects.filter(project=row))
        return self.get_paginated_response(AssistRunSerializer(page, many=True).data)

    @extend_schema(request=NewRunSerializer, responses={201: AssistRunSerializer})
    def create(self, request: Request, project: str) -> Response:
        """Start a run now; 409 while one is under way, or when it makes no sense yet."""
        row = get_project_to_manage(request.user, project)
        form = NewRunSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        try:
            run = runs.enqueue(row, form.validated_data["kind"], cast(User, request.user))
        except runs.Refused as error:
            raise Conflict(str(error)) from error
        return Response(AssistRunSerializer(run).data, status=status.HTTP_201_CREATED)


class AssistRunViewSet(ApiViewSet):
    """One run."""

    serializer_class = AssistRunSerializer

    def get_queryset(self) -> Any:
        """Only those of projects whose dashboard the caller may open."""
        return AssistRun.objects.visible_to(self.request.user)

    def retrieve(self, request: Request, pk: str) -> Response:
        """How far the run is, and what it found."""
        return Response(AssistRunSerializer(get_object_or_404(self.get_queryset(), pk=pk)).data)

    @extend_schema(request=None, responses=AssistRunSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """End a run without a result; 409 when it has ended already."""
        run: AssistRun = get_object_or_404(AssistRun.objects.manageable_by(request.user), pk=pk)
        try:
            runs.cancel(run)
        except WrongState:
            raise Conflict(_("This run has ended already.")) from None
        return Response(AssistRunSerializer(run).data)
