"""Errors of the API as problem details (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.core.exceptions import ValidationError as ModelValidationError
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler

CONTENT_TYPE = "application/problem+json"


def problem_details(exception: Exception, context: dict[str, Any]) -> Response | None:
    """Answer an exception with ``{type, title, status, detail, errors}``; None leaves it to Django."""
    if isinstance(exception, ModelValidationError):
        exception = ValidationError(
            exception.message_dict if hasattr(exception, "error_dict") else {"non_field_errors": exception.messages}
        )
    response = exception_handler(exception, context)
    if response is None:
        return None
    errors = _errors(exception) if isinstance(exception, ValidationError) else {}
    response.data = {
        "type": "about:blank",
        "title": HTTPStatus(response.status_code).phrase,
        "status": response.status_code,
        "detail": _detail(response.data, errors),
        "errors": errors,
    }
    response.content_type = CONTENT_TYPE
    return response


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
