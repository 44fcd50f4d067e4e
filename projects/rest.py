"""What all views of the API share: strict addresses, paging, throttles, idempotency keys."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.exceptions import (
    APIException,
    AuthenticationFailed,
    NotAuthenticated,
    ValidationError,
)
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.viewsets import GenericViewSet

from projects.idempotency import IdempotentMixin
from projects.paging import KeysetPagination
from projects.throttles import JobThrottle

MAX_ID = 10**18 - 1
ID = {"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ID}  # what the schema says of ids
PAGING = frozenset({"cursor", "page_size"})
SECRETS = frozenset({"token", "key", "api_key", "apikey", "access_token", "auth", "authorization", "password"})


class Conflict(APIException):
    """The state of things does not allow it: 409."""

    status_code = 409
    default_detail = gettext_lazy("This can't be done in the present state.")
    default_code = "conflict"


class Unavailable(APIException):
    """Something that the site needs can't be reached: 503, to be tried again."""

    status_code = 503
    wait = 10  # seconds, for Retry-After


class IdField(serializers.IntegerField):
    """The id of a row."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"min_value": 1, "max_value": MAX_ID, **kwargs})


class ApiViewSet(IdempotentMixin, GenericViewSet):
    """The base of every view of the API.

    Query parameters are those that the schema names (``@extend_schema(parameters=...)``), and no other: what a caller
    misspells, or tries, is refused and not passed over. ``costly`` names the actions that start long work;
    ``label_actions`` those that a token may call which can only label.
    """

    pagination_class = KeysetPagination
    lookup_value_regex = "[0-9]{1,18}"
    costly: frozenset[str] = frozenset()
    label_actions: frozenset[str] = frozenset()

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Say and read all times in UTC, whatever the site's zone is."""
        with timezone.override(UTC):
            return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Check caller, rates and parameters before anything is done."""
        try:
            super().initial(request, *args, **kwargs)
        except (AuthenticationFailed, NotAuthenticated):
            self.check_throttles(request)  # guessing counts too
            raise

    def check_permissions(self, request: Request) -> None:
        """Who may call comes first; then whether the address is one that the schema knows."""
        super().check_permissions(request)
        unknown = set(request.query_params) - self._parameters()
        if unknown & SECRETS:
            words = _("A key does not belong into an address, where logs keep it. Send it as “Authorization: Token …”.")
            raise ValidationError({name: [words] for name in sorted(unknown & SECRETS)})
        if unknown:
            raise ValidationError({name: [_("There is no such parameter here.")] for name in sorted(unknown)})

    def _parameters(self) -> frozenset[str]:
        """Return the query parameters that the schema names for this action."""
        handler = getattr(self, self.action or "", None)
        if handler is None:
            return frozenset()
        names = set(PAGING if self.action == "list" else ())
        if schema_class := getattr(handler, "kwargs", {}).get("schema"):
            schema = schema_class()
            schema.view, schema.method = self, self.request.method
            parameters = schema.get_override_parameters()
            names |= {p.name for p in parameters if isinstance(p, OpenApiParameter) and p.location == "query"}
        return frozenset(names)

    def get_throttles(self) -> list[BaseThrottle]:
        """Calls that start long work have a lower rate."""
        throttles = super().get_throttles()
        return [*throttles, JobThrottle()] if self.action in self.costly else throttles
