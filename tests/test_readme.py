"""The README names every setting and every command."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SETTINGS = re.findall(r'env\.\w+\(\s*"(\w+)"', (ROOT / "labelsite/settings.py").read_text())
COMMANDS = sorted(path.stem for path in ROOT.glob("*/management/commands/[a-z]*.py"))


@pytest.mark.parametrize("name", sorted({*SETTINGS, "DATABASE_URL"}))
def test_it_names_the_setting(name: str) -> None:
    assert f"`{name}`" in README


@pytest.mark.parametrize("name", COMMANDS)
def test_it_names_the_command(name: str) -> None:
    assert f"`{name}" in README
