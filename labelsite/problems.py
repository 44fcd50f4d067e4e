"""Errors of the API as problem details (RFC 9457), wherever they arise."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.exceptions import ValidationError as ModelValidationError
from django.db import IntegrityError
from django.http import HttpRequest, JsonResponse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import APIException, ParseError, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler

from projects.idempotency import PROBLEM
from projects.rest import Conflict

API = "/api/"


class TooLarge(APIException):
    """The body is larger than the site takes: 413."""

    status_code = 413


def problem(status: int, detail: str, errors: dict[str, list[str]] | None = None) -> dict[str, Any]:
    """Return a problem in the shape of API.md."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "errors": errors or {},
    }


def problem_response(status: int, detail: str) -> JsonResponse:
    """Return a problem from outside of the API's views."""
    return JsonResponse(problem(status, detail), status=status, content_type=PROBLEM)


@csrf_exempt
def no_such_address(request: HttpRequest, path: str = "") -> JsonResponse:
    """Answer for every address below the API's that is none."""
    return problem_response(404, _("There is no such address. Every address of the API ends with “/”."))


def problem_details(exception: Exception, context: dict[str, Any]) -> Response | None:
    """Answer an exception with ``{type, title, status, detail, errors}``; None leaves it to Django."""
    exception = _translated(exception)
    response = exception_handler(exception, context)
    if response is None:
        return None
    errors = _errors(exception) if isinstance(exception, ValidationError) else {}
    response.data = problem(response.status_code, _detail(response.data, errors), errors)
    response.content_type = PROBLEM
    return response


def _translated(exception: Exception) -> Exception:
    """Return what Django and the database say as what the API knows."""
    if isinstance(exception, ModelValidationError):
        return ValidationError(
            exception.message_dict if hasattr(exception, "error_dict") else {"non_field_errors": exception.messages}
        )
    if isinstance(exception, RequestDataTooBig):
        return TooLarge(_("The body is larger than this site takes. Send it in parts."))
    if isinstance(exception, SuspiciousOperation):
        return ParseError(_("The request can't be read."))
    if isinstance(exception, IntegrityError):  # checked before it was written, and somebody was faster
        return Conflict(_("Somebody else has changed this meanwhile. Look at it, and try again."))
    return exception


def _errors(exception: ValidationError) -> dict[str, list[str]]:
    detail = exception.detail
    if isinstance(detail, list):
        return {"non_field_errors": [str(message) for message in detail]}
    return {field: _texts(messages) for field, messages in detail.items()}


def _texts(messages: Any) -> list[str]:
    """Return all the sentences below a field, nested serializers included."""
    if isinstance(messages, dict):
        return [text for value in messages.values() for text in _texts(value)]
    if isinstance(messages, list):
        return [text for value in messages for text in _texts(value)]
    return [str(messages)]


def _detail(data: Any, errors: dict[str, list[str]]) -> str:
    if errors:
        return " ".join(text for texts in errors.values() for text in texts)
    return str(data.get("detail", "")) if isinstance(data, dict) else str(data)
