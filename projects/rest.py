"""What all views of the API share: cursor paging, idempotency keys, small building blocks."""

from __future__ import annotations

import hashlib
from typing import Any, cast

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import APIException
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from projects.models import IdempotentCall

UNSAFE_METHODS = ("POST", "PUT", "PATCH", "DELETE")


class Conflict(APIException):
    """The state of things does not allow it: 409."""

    status_code = 409
    default_detail = _("This can't be done in the present state.")
    default_code = "conflict"


class KeysetPagination(CursorPagination):
    """Cursor paging by id: as fast on the last page as on the first."""

    page_size = 100
    max_page_size = 1000
    page_size_query_param = "page_size"
    ordering = "-id"


class _Replay(APIException):
    """Carries the answer that was given before to the end of the request."""

    def __init__(self, call: IdempotentCall) -> None:
        super().__init__()
        self.call = call


class IdempotentMixin:
    """Unsafe calls accept ``Idempotency-Key``: the same key and body give the same answer once more (API.md).

    Calls that failed on the server's side, or that were throttled, may be tried again.
    """

    _call: IdempotentCall | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """After the caller is known: answer a call that was made before, or note that this one has begun."""
        super().initial(request, *args, **kwargs)  # type: ignore[misc]
        key = request.headers.get("Idempotency-Key", "")
        if not key or request.method not in UNSAFE_METHODS:
            return
        name = hashlib.sha256(f"{request.method} {request.get_full_path()} {key}".encode()).hexdigest()
        body = hashlib.sha256(b"" if request.content_type.startswith("multipart/") else request.body).hexdigest()
        user = cast(User, request.user)
        try:
            with transaction.atomic():
                self._call = IdempotentCall.objects.create(user=user, name=name, body=body)
        except IntegrityError:
            call = IdempotentCall.objects.get(user=user, name=name)
            if call.body != body:
                raise Conflict(_("This Idempotency-Key was used before, with another body.")) from None
            if call.status is None:
                raise Conflict(_("The first call with this Idempotency-Key is still under way.")) from None
            raise _Replay(call) from None

    def handle_exception(self, exception: Exception) -> Response:
        """Turn a replay into the answer that was given before."""
        if isinstance(exception, _Replay):
            return Response(exception.call.answer, status=exception.call.status)
        try:
            return super().handle_exception(exception)  # type: ignore[misc]
        except Exception:
            self._forget()
            raise

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """Keep the answer for a call that comes again."""
        response = super().finalize_response(request, response, *args, **kwargs)  # type: ignore[misc]
        if self._call is not None:
            if response.status_code >= 500 or response.status_code == 429:
                self._forget()
            else:
                self._call.status, self._call.answer = response.status_code, getattr(response, "data", None)
                self._call.save(update_fields=["status", "answer"])
        return response

    def _forget(self) -> None:
        if self._call is not None:
            self._call.delete()
            self._call = None


class ApiViewSet(IdempotentMixin, GenericViewSet):
    """The base of every view of the API."""

    pagination_class = KeysetPagination
