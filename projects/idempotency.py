"""Unsafe calls of the API accept ``Idempotency-Key``: the same key and body give the same answer once more (API.md)."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any, cast

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from projects.models import IdempotentCall

UNSAFE_METHODS = ("POST", "PUT", "PATCH", "DELETE")
PROBLEM = "application/problem+json"
MAX_KEY = 255
KEPT = timedelta(days=1)
LOST_AFTER = timedelta(minutes=2)  # a call that has no answer by then: its process was killed


class KeyUsed(APIException):
    """The key stands for another call: 422."""

    status_code = 422
    default_detail = gettext_lazy("This Idempotency-Key was used before, with another body.")
    default_code = "key_used"


class KeyInUse(APIException):
    """The first call with the key has not been answered yet: 409."""

    status_code = 409
    default_detail = gettext_lazy("The first call with this Idempotency-Key is still under way.")
    default_code = "key_in_use"


class _Replay(APIException):
    """Carries the answer that was given before to the end of the request."""

    def __init__(self, call: IdempotentCall) -> None:
        super().__init__()
        self.call = call


def _digest_of_body(request: Request, parsers: Any) -> str:
    """Return a fingerprint of the body; of a form with files, that of its fields and files, whatever its boundary."""
    if not (request.content_type or "").startswith("multipart/"):
        return hashlib.sha256(request.body).hexdigest()
    digest = hashlib.sha256()
    if MultiPartParser in parsers:
        for name, values in sorted(request.POST.lists()):
            digest.update(repr((name, values)).encode())
        for name, files in sorted(request.FILES.lists()):
            for file in files:
                digest.update(repr((name, file.name, file.size)).encode())
                for chunk in file.chunks():
                    digest.update(chunk)
                file.seek(0)
    return digest.hexdigest()


def _take_over(call: IdempotentCall) -> bool:
    """Begin a call anew whose process was killed before it could answer; of those who try at once one may."""
    now = timezone.now()
    lost = IdempotentCall.objects.filter(pk=call.pk, status=None, made_at__lt=now - LOST_AFTER)
    return bool(lost.update(made_at=now))


class IdempotentMixin:
    """Keeps the answers of calls that name a key. Calls that failed on the server's side, or that were throttled, may
    be tried again."""

    parser_classes: Any
    _call: IdempotentCall | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """After the caller is known: answer a call that was made before, or note that this one has begun."""
        super().initial(request, *args, **kwargs)  # type: ignore[misc]
        key = request.headers.get("Idempotency-Key", "")
        if not key or request.method not in UNSAFE_METHODS:
            return
        if len(key) > MAX_KEY:
            words = _("An Idempotency-Key has at most %(n)d characters.") % {"n": MAX_KEY}
            raise ValidationError({"Idempotency-Key": [words]})
        name = hashlib.sha256(f"{request.method} {request.get_full_path()} {key}".encode()).hexdigest()
        body = _digest_of_body(request, self.parser_classes)
        user = cast(User, request.user)
        try:
            with transaction.atomic():
                self._call = IdempotentCall.objects.create(user=user, name=name, body=body)
        except IntegrityError:
            call = IdempotentCall.objects.filter(user=user, name=name).first()
            if call is None:
                raise KeyInUse from None
            if call.body != body:
                raise KeyUsed from None
            if call.status is not None:
                raise _Replay(call) from None
            if not _take_over(call):
                raise KeyInUse from None
            self._call = call

    def handle_exception(self, exception: Exception) -> Response:
        """Turn a replay into the answer that was given before."""
        if isinstance(exception, _Replay):
            status = exception.call.status or 200
            return Response(exception.call.answer, status=status, content_type=PROBLEM if status >= 400 else None)
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


def forget_old_calls() -> int:
    """Delete the calls of more than a day ago; a schedule calls this. Return how many there were."""
    return IdempotentCall.objects.filter(made_at__lt=timezone.now() - KEPT).delete()[0]
