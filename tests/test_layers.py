"""Imports go one way, and torch stays where it is needed (DESIGN section 1)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ["projects", "labeling", "assist", "exports", "labelsite"]


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("layer", LAYERS)
def test_it_imports_from_below_only(layer: str) -> None:
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    files = list((ROOT / layer).rglob("*.py"))
    assert files
    assert {str(path): found for path in files if (found := imports(path) & above)} == {}


def test_torch_stays_in_the_pipeline() -> None:
    wrong = [
        str(path)
        for layer in LAYERS
        for path in (ROOT / layer).rglob("*.py")
        if {"torch", "torchvision"} & imports(path) and "pipeline" not in path.parts
    ]
    assert wrong == []
