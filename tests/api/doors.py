"""How the tests knock at the API: as somebody, with a key."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client

from projects.tokens import create_token

JSON = "application/json"
PROBLEM = {"type", "title", "status", "detail", "errors"}


def client(user: User, scope: str = "all") -> Client:
    """Return a client with a key of the person's."""
    _token, key = create_token(user, scope=scope)
    return Client(headers={"authorization": f"Token {key}"})


def assert_problem(answer: HttpResponse, status: int, words: str = "") -> None:
    """Assert that the answer is a problem in the shape of API.md."""
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json"), answer.content
    problem = answer.json()
    assert set(problem) == PROBLEM
    assert problem["status"] == status
    assert problem["detail"]
    assert words in problem["detail"], problem["detail"]
