"""schemathesis asks the running site everything that its schema allows, and much that it does not (SPEC H1).

As a manager and as a labeler, each call with ids that are there and ids that are not: no answer is a failure of the
server, and each is of a status, a type and a shape that the schema names. The seed is fixed: a failure comes again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.contrib.auth.models import User
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pytest_django.live_server_helper import LiveServer
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from exports.models import Export
from labeling.models import LabelTask
from labeling.submit import submit
from projects.models import Project
from projects.tokens import create_token
from tests import make

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 4  # of each kind, for each call and person
KEPT = {  # calls that would take the rest of the test its ground: asked with ids that are not there
    "projects_destroy",
    "datastores_destroy",
}


@pytest.fixture
def ids(project: Project, labeler: User) -> dict[str, int]:
    """Something behind each address: a project with labels, an open page, an export."""
    done = make.page(project, labeler, 3)
    submit(done, make.answers(done, labels=make.class_ids(project)[:1]))
    open_page = make.page(project, labeler, 3)
    image = LabelTask.objects.filter(page=done).values_list("image", flat=True)[0]
    export = Export.objects.create(project=project, project_name=project.name, format="coco", options={})
    return {
        "projects": project.pk,
        "images": image,
        "pages": open_page.pk,
        "exports": export.pk,
        "datasets": project.dataset_id,
        "datastores": project.dataset.datastore_id,
    }


def parameters(path: str, ids: dict[str, int]) -> dict[str, Any]:
    """Return what is there for the ids of an address."""
    parts = path.strip("/").split("/")
    return {
        part.strip("{}"): ids[parts[place - 1]]
        for place, part in enumerate(parts)
        if part in ("{id}", "{project}") and parts[place - 1] in ids
    }


def problems_of(operation: Any, ids: dict[str, int], key: str) -> Iterator[str]:
    """Yield what is wrong with the answers of one call."""
    found: list[str] = []
    known = {} if operation.definition.raw["operationId"] in KEPT else parameters(operation.path, ids)
    kinds = [operation.as_strategy(path_parameters=known)] if known else []
    kinds += [operation.as_strategy(), operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)]

    @seed(2026)
    @settings(
        max_examples=EXAMPLES * len(kinds),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(*kinds))
    def ask(case: Any) -> None:
        case.headers = {**(case.headers or {}), "Authorization": f"Token {key}"}
        response = case.call()
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as group:
            found.append("\n".join(str(error) for error in group.exceptions))

    ask()
    yield from found


@pytest.mark.parametrize("who", ["manager", "labeler"])
def test_every_answer_is_one_of_the_schema(
    live_server: LiveServer, manager: User, labeler: User, ids: dict[str, int], who: str
) -> None:
    _token, key = create_token({"manager": manager, "labeler": labeler}[who])
    schema = schemathesis.openapi.from_url(f"{live_server.url}/api/v1/schema/?format=json")
    wrong, n_calls = {}, 0
    for result in schema.get_all_operations():
        operation = result.ok()
        n_calls += 1
        if found := list(dict.fromkeys(problems_of(operation, ids, key))):
            wrong[f"{operation.method.upper()} {operation.path}"] = found[:2]
    assert n_calls >= 35
    assert not wrong, "\n\n".join(f"{call}\n" + "\n".join(found) for call, found in wrong.items())
