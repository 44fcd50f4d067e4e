"""Every URL, with every method, as every role, against docs/doors.md (SPEC R2, R3; ATTACKS 2, 4, 7).

A new door without a rule fails, and says which line to add. ``WRITE_DOORS=1 pytest tests/test_doors.py`` writes the
lines; read the difference before you commit it, for each answer is a promise.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doors import ROLES, Asker, Door, Table, World, answers_of_all_doors, row, status_of

TO_ADD = """docs/doors.md has no rule for some doors. See that each answer is what SPEC R2 and R3 want, then add these
lines (or have them written: WRITE_DOORS=1 .venv/bin/python -m pytest tests/test_doors.py, and read the difference):

{}"""
PUBLIC = re.compile(r"/(login/|(admin/)?logout/|language/|api/v1/schema/.*|api/v1/docs/.*|healthz/?|)")
PASSED = re.compile(r"2\d\d|302|400|409|415|422")


@pytest.fixture(scope="module")
def table() -> Table:
    return Table.read()


@pytest.fixture
def asker(roles: None, tmp_path: Path) -> Asker:
    return Asker(World(tmp_path).build())


def test_every_door_answers_as_its_rule_says(asker: Asker, table: Table) -> None:
    found = dict(answers_of_all_doors(asker, table))
    if os.environ.get("WRITE_DOORS"):
        table.write({door: answers for door, answers in found.items() if not table.area(door.path)})
        table = Table.read()
    missing, wrong = [], []
    for door, answers in found.items():
        rule = table.rules.get(table.area(door.path) or door)
        if rule is None:
            missing.append(row(door, answers))
        else:
            wrong += [
                f"{door} as {role}: the rule says {rule[role]}, the answer is {answer}"
                for role, answer in answers.items()
                if answer != rule[role]
            ]
    gone = [str(door) for door in table.rules if door not in found and not door.path.endswith("**")]
    assert not wrong, "\n".join(wrong)
    assert not missing, TO_ADD.format("\n".join(missing))
    assert not gone, f"These doors are no more; take their lines out of docs/doors.md: {', '.join(gone)}"


def test_what_is_hidden_answers_like_what_is_not_there(asker: Asker, table: Table) -> None:
    """ATTACKS 7: the same status and the same body, whoever asks for somebody else's."""
    differences = []
    for door in table.rules:
        if not asker.world.names_a_row(door.path):
            continue
        for role in ("labeler elsewhere", "manager elsewhere", "labeler", "reviewer"):
            if PASSED.fullmatch(table.rules[door][role]) and table.rules[door][role] != "409":
                continue
            hidden, missing = (asker.ask(door, role, missing=flag) for flag in (False, True))
            if (status_of(hidden), _body(hidden)) != (status_of(missing), _body(missing)):
                differences.append(f"{door} as {role}")
    assert differences == []


def _body(response: object) -> str:
    """Return what was answered without what differs each time: the nonce, the form's token, ids of the address."""
    text = b"".join(response).decode(errors="replace")  # type: ignore[call-overload]
    text = re.sub(r'nonce="[^"]*"|"X-CSRFToken":"[^"]*"|name="csrfmiddlewaretoken" value="[^"]*"', "", text)
    return re.sub(r"\d+", "#", text)


def rules(table: Table, pattern: str) -> Iterator[tuple[Door, dict[str, str]]]:
    """Yield the rules whose "METHOD path" fits; there must be one, or the test means nothing."""
    found = [(door, answers) for door, answers in table.rules.items() if re.fullmatch(pattern, str(door))]
    assert found
    return iter(found)


def passing(table: Table, pattern: str, *roles: str) -> list[str]:
    """Return the doors, of those that fit, that let one of the roles pass."""
    return [f"{d} as {r}" for d, a in rules(table, pattern) for r in roles if PASSED.fullmatch(a[r])]


def test_no_answer_is_a_crash(table: Table) -> None:
    assert [str(door) for door, answers in table.rules.items() if any(a[0] == "5" for a in answers.values())] == []


def test_who_has_not_logged_in_passes_public_doors_only(table: Table) -> None:
    open_doors = passing(table, ".*", "anonymous")
    assert [door for door in open_doors if not PUBLIC.fullmatch(door.split()[1])] == []


def test_labelers_find_nothing_in_the_console(table: Table) -> None:
    assert passing(table, r".* /admin/.*", "labeler", "labeler elsewhere") == []


def test_nobody_passes_a_door_of_somebody_elses_project(table: Table) -> None:
    theirs = r".*/(projects?/\{(pk|project)\}|(label|images|exports|datastores?|datasets?)/\{).*"
    assert passing(table, theirs, "labeler elsewhere", "manager elsewhere") == []


def test_reviewers_neither_configure_nor_export(table: Table) -> None:
    words = "details|exports|delete|retry|add/|pause|resume|refresh|datastore|(?<!labeled-)dataset|labeled-datasets/."
    closed = rf".*({words}).*|(PATCH|DELETE|PUT) .*"
    assert passing(table, closed, "reviewer") == []


def test_people_and_queues_are_for_superusers_only(table: Table) -> None:
    assert passing(table, r".* /admin/(auth|django_q|axes)/.*", *ROLES[:-1]) == []
