"""The API's description: OpenAPI 3 for programs, made once per process, with what holds for every call added."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import translation
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.renderers import OpenApiYamlRenderer

from projects.idempotency import MAX_KEY, PROBLEM
from projects.rest import ID

JSON_TYPES = ("application/json", "application/vnd.oai.openapi+json")
METHODS = ("get", "post", "put", "patch", "delete")
TEXTS = {"type": "array", "items": {"type": "string"}}
PROBLEM_SCHEMA = {
    "type": "object",
    "description": "What went wrong, in words (RFC 9457).",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "object", "additionalProperties": TEXTS, "description": "What is wrong, by field."},
    },
    "required": ["type", "title", "status", "detail", "errors"],
    "example": {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "This field is required.",
        "errors": {"name": ["This field is required."]},
    },
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": MAX_KEY, "pattern": "^[!-~]+$"},
    "description": "A text of your own for this call. Sent again with the same body, the answer is the same, and "
    "nothing is done twice.",
}
WORDS = {
    "400": "The call can't be read, or a value is wrong: `errors` says which.",
    "401": "No valid token, and no session.",
    "403": "Your role, or your token's scope, does not allow this.",
    "404": "There is nothing here, or nothing that you may see.",
    "409": "The present state does not allow this.",
    "413": "The body is too large.",
    "415": "The body is not of the type that this call takes.",
    "422": "The Idempotency-Key was used before, with another body.",
    "429": "Too many calls; `Retry-After` says in how many seconds to try again.",
    "503": "The site can't work now; `Retry-After` says in how many seconds to try again.",
}


class Schema(AutoSchema):
    """Keys are numbers, in whatever part of an address they stand."""

    def _resolve_path_parameters(self, variables: list[str]) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super()._resolve_path_parameters(variables)
        for parameter in parameters:
            if parameter["name"] in ("id", "project"):
                parameter["schema"] = ID
        return parameters


def add_what_always_holds(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Add to each call the problems that it may answer with, and to unsafe ones the Idempotency-Key."""
    result["components"]["schemas"]["Problem"] = PROBLEM_SCHEMA
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path, item in result["paths"].items():
        for method in METHODS:
            if method not in item:
                continue
            operation = item[method]
            is_unsafe = method != "get"
            if is_unsafe:
                operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
            codes = {"400", "401", "403", "429", "503"} | ({"404"} if "{" in path else set())
            codes |= {"409", "413", "422"} if is_unsafe else set()
            codes |= {"415"} if "requestBody" in operation else set()
            for code in sorted(codes - set(operation["responses"])):
                operation["responses"][code] = {"description": WORDS[code], "content": content}
    return result


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """Return the whole description."""
    with translation.override("en"):
        made: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return made


@lru_cache(maxsize=2)
def _written(as_json: bool) -> bytes:
    if as_json:
        return json.dumps(document(), indent=1).encode()
    return OpenApiYamlRenderer().render(document(), renderer_context={})


@require_safe
def schema(request: HttpRequest) -> HttpResponse:
    """The description as YAML, or as JSON for who accepts that."""
    accept = request.headers.get("Accept", "")
    as_json = request.GET.get("format") == "json" or any(kind in accept for kind in JSON_TYPES)
    kind = "application/vnd.oai.openapi+json" if as_json else "application/vnd.oai.openapi"
    response = HttpResponse(_written(as_json), content_type=kind)
    response["Vary"] = "Accept"
    return response
