"""The API describes itself (SPEC H1): completely, without warnings, and for people too."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from projects.models import Project
from tests.api.doors import assert_problem, client

CALLS = """
GET datastores/ | POST datastores/ | GET datastores/{id}/ | PATCH datastores/{id}/ | DELETE datastores/{id}/
POST datastores/{id}/test/ | GET datasets/ | POST datasets/ | GET datasets/{id}/ | POST datasets/{id}/files/
GET projects/ | POST projects/ | GET projects/{id}/ | PATCH projects/{id}/ | DELETE projects/{id}/
POST projects/{id}/pause/ | POST projects/{id}/resume/ | POST projects/{id}/refresh/ | GET projects/{id}/progress/
GET projects/{project}/images/ | GET projects/{project}/images/{id}/ | GET projects/{project}/images/{id}/file/
GET projects/{project}/images/{id}/preview/ | POST projects/{id}/reject/ | POST projects/{id}/approve/
GET projects/{project}/classes/ | POST projects/{project}/classes/ | PATCH projects/{project}/classes/{id}/
DELETE projects/{project}/classes/{id}/ | GET projects/{project}/exports/
POST projects/{project}/exports/ | GET exports/{id}/ | GET exports/{id}/download/
GET labeling/projects/ | POST labeling/projects/{id}/claim/ | POST labeling/pages/{id}/submit/
POST labeling/pages/{id}/renew/ | POST labeling/pages/{id}/release/
"""  # API.md's tables


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    answer = Client(headers={"accept": "application/json"}).get("/api/v1/schema/")
    assert answer["Content-Type"] == "application/vnd.oai.openapi+json"
    found: dict[str, Any] = json.loads(answer.content)
    return found


def test_it_validates_without_a_warning() -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, file="/dev/null")


def test_it_is_yaml_unless_asked_otherwise() -> None:
    assert Client().get("/api/v1/schema/").content.startswith(b"openapi: 3.0.3")


def test_it_has_every_call_of_the_contract(schema: dict[str, Any]) -> None:
    found = {f"{m.upper()} {path.removeprefix('/api/v1/')}" for path, item in schema["paths"].items() for m in item}
    assert {call.strip() for call in CALLS.replace("\n", "|").split("|") if call.strip()} <= found


def test_every_call_says_how_it_fails(schema: dict[str, Any]) -> None:
    for path, item in schema["paths"].items():
        for method, call in item.items():
            codes = set(call["responses"])
            assert {"400", "401", "403", "429", "503"} <= codes, (method, path)
            assert method == "get" or any(p["name"] == "Idempotency-Key" for p in call["parameters"]), (method, path)
            assert any(code.startswith("2") for code in codes), (method, path)
            assert call.get("summary") or call.get("description"), (method, path)


def test_what_it_does_not_name_is_refused(manager: User, project: Project) -> None:
    """ATTACKS 3: filters and orders are those of the schema; the answer is the same for a hit and a miss."""
    api = client(manager)
    lists = [
        "projects/",
        "datastores/",
        "datasets/",
        f"projects/{project.pk}/images/",
        f"projects/{project.pk}/exports/",
    ]
    for path in [*lists, "labeling/projects/", f"projects/{project.pk}/", f"projects/{project.pk}/progress/"]:
        for query in (
            "created_by__password__startswith=md5",
            "created_by__password__startswith=zzz",
            "owner__username=manager",
            "ordering=created_by__password",
            "ordering=-id",
            "search=x",
            "format=api",
        ):
            answer = api.get(f"/api/v1/{path}?{query}")
            assert_problem(answer, 400, "no such parameter")
    hit, miss = (
        api.get(f"/api/v1/projects/?created_by__password__startswith={start}").content for start in ("md5", "zzz")
    )
    assert hit == miss


def test_its_pages_show_every_call_to_people(schema: dict[str, Any]) -> None:
    answer = Client().get("/api/v1/docs/")
    text = answer.content.decode()
    for item in schema["paths"].values():
        for call in item.values():
            assert f'id="{call["operationId"]}"' in text
    assert "curl -X POST $SITE/api/v1/projects/" in text
    assert "<script" not in text
    assert "'unsafe" not in answer["Content-Security-Policy"]
