"""The API's pages for people: every call with what it takes, what it answers, and a line to try it with."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from labelsite.schema import METHODS, document

DEPTH = 6  # of samples: nothing of the API nests deeper
SAMPLES = {
    "date-time": "2026-11-26T09:30:00Z",
    "date": "2026-11-26",
    "uri": "https://example.org/how-to-label",
    "binary": "(a file)",
}
TITLES = {
    "datastores": "Datastores",
    "datasets": "Datasets",
    "projects": "Projects",
    "exports": "Exports",
    "labeling": "Labeling",
}


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter of an address, or a field of a body."""

    name: str
    kind: str
    is_required: bool
    words: str
    place: str = "body"


@dataclass(frozen=True, slots=True)
class Call:
    """One call, ready to be shown."""

    id: str
    method: str
    path: str
    title: str
    words: str
    fields: list[Field]
    example: str
    curl: str
    status: str
    answer: str
    problems: list[tuple[str, str]]


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with its references and parts put together."""
    if "$ref" in schema:
        return _resolved(document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    parts = schema.get("allOf") or schema.get("oneOf") or schema.get("anyOf")
    if parts:
        whole: dict[str, Any] = {k: v for k, v in schema.items() if k not in ("allOf", "oneOf", "anyOf")}
        return {**_resolved(parts[0]), **whole}
    return schema


def sample(schema: dict[str, Any], depth: int = DEPTH) -> Any:
    """Return a value that fits the schema and looks like one of the API's."""
    schema = _resolved(schema)
    for name in ("example", "default"):
        if name in schema:
            return schema[name]
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object" if "properties" in schema else "")
    if kind == "object" and depth:
        return {name: sample(value, depth - 1) for name, value in schema.get("properties", {}).items()}
    if kind == "array" and depth:
        return [sample(schema.get("items", {}), depth - 1)] * min(max(schema.get("minItems", 1), 1), 4)
    return {"integer": 1, "number": 0.5, "boolean": True, "string": SAMPLES.get(schema.get("format", ""), "text")}.get(
        kind
    )


def _kind(schema: dict[str, Any]) -> str:
    schema = _resolved(schema)
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"] if value not in ("", None))
    if schema.get("type") == "array":
        return f"[{_kind(schema.get('items', {}))}, …]"
    return str(schema.get("format") if schema.get("format") in SAMPLES else schema.get("type", "object"))


def _fields(operation: dict[str, Any], body: dict[str, Any] | None) -> list[Field]:
    fields = [
        Field(p["name"], _kind(p.get("schema", {})), p.get("required", False), p.get("description", ""), p["in"])
        for p in operation.get("parameters", [])
        if p["in"] in ("path", "query")
    ]
    if body:
        schema = _resolved(body["schema"])
        needed = schema.get("required", [])
        fields += [
            Field(name, _kind(value), name in needed, _resolved(value).get("description", ""))
            for name, value in schema.get("properties", {}).items()
        ]
    return fields


def _examples(body: dict[str, Any] | None) -> Any:
    if not body:
        return None
    given = [example["value"] for example in body.get("examples", {}).values()]
    return given[0] if given else sample(body["schema"])


def _curl(method: str, path: str, kind: str, example: Any) -> str:
    words = [f"curl{'' if method == 'get' else f' -X {method.upper()}'} $SITE{path}"]
    words.append('-H "Authorization: Token $TOKEN"')
    if kind.startswith("multipart/"):
        words += ["-F files=@image.jpg"]
    elif example is not None:
        words += ['-H "Content-Type: application/json"', f"-d '{json.dumps(example, indent=2)}'"]
    return " \\\n  ".join(words)


def _call(path: str, method: str, operation: dict[str, Any]) -> Call:
    content = operation.get("requestBody", {}).get("content", {})
    kind = next(iter(content), "")
    body = content.get(kind)
    example = _examples(body)
    status = next(code for code in operation["responses"] if code.startswith("2"))
    answers = operation["responses"][status].get("content", {})
    answer_kind, answer = next(iter(answers.items()), ("", dict[str, Any]()))
    shown = ""
    if answer_kind == "application/json":
        shown = json.dumps(sample(answer.get("schema", {})), indent=2)
    elif answer_kind:
        shown = f"({answer_kind})"
    return Call(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        title=operation.get("summary") or re.split("[.;]", operation.get("description", ""))[0] or path,
        words=operation.get("description", ""),
        fields=_fields(operation, body),
        example=json.dumps(example, indent=2) if example is not None and kind == "application/json" else "",
        curl=_curl(method, path, kind, example),
        status=status,
        answer=shown,
        problems=[(code, r["description"]) for code, r in sorted(operation["responses"].items()) if code >= "4"],
    )


@lru_cache(maxsize=1)
def groups() -> list[tuple[str, str, list[Call]]]:
    """Return the calls by what they are about: (id, title, calls)."""
    found: dict[str, list[Call]] = {}
    for path, item in document()["paths"].items():
        for method in METHODS:
            if method in item:
                tag = item[method].get("tags", [""])[0]
                found.setdefault(tag, []).append(_call(path, method, item[method]))
    order = {name: place for place, name in enumerate(TITLES)}
    return [
        (tag, TITLES.get(tag, tag.replace("-", " ").capitalize()), calls)
        for tag, calls in sorted(found.items(), key=lambda pair: (order.get(pair[0], len(order)), pair[0]))
    ]


@require_safe
def pages(request: HttpRequest) -> HttpResponse:
    """Every call on one page, which needs no script."""
    return render(request, "api/pages.html", {"groups": groups(), "about": document()["info"]["description"]})
