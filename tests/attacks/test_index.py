"""The index of attacks names tests that exist, for each number."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
N_ATTACKS = 28


def test_each_attack_has_its_tests() -> None:
    rows = re.findall(r"^\| (\d+) \| .+? \| (.+) \|$", (ROOT / "docs" / "attacks.md").read_text(), re.MULTILINE)
    assert [int(number) for number, _tests in rows] == list(range(1, N_ATTACKS + 1))
    named = [pair for _number, tests in rows for pair in re.findall(r"`([\w/.]+)::(\w+)`", tests)]
    there = {
        (file, node.name)
        for file in {file for file, _name in named}
        for node in ast.parse((ROOT / file).read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    assert sorted(set(named) - there) == []
    assert all("`" in tests for _number, tests in rows)
