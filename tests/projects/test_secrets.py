"""Secrets of datastores are encrypted at rest (SPEC D1, attack 15)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from projects.secrets import SecretLost, decrypt, encrypt

ROOT = Path(__file__).parent.parent.parent


def test_it_returns_what_was_encrypted() -> None:
    assert decrypt(encrypt("pässword\n")) == "pässword\n"
    assert decrypt(encrypt("")) == ""


def test_it_shows_nothing_of_the_secret_and_never_the_same_text_twice() -> None:
    first, second = encrypt("hunter2"), encrypt("hunter2")
    assert "hunter2" not in first
    assert first != second


def test_it_says_what_to_do_when_the_key_has_changed(settings) -> None:
    encrypted = encrypt("hunter2")
    settings.SECRET_KEY = "another key, as after a lost configuration"
    with pytest.raises(SecretLost, match="Enter the secret again"):
        decrypt(encrypted)


def test_it_still_reads_what_the_former_key_encrypted(settings) -> None:
    encrypted = encrypt("hunter2")
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a new key"
    assert decrypt(encrypted) == "hunter2"


def test_an_operator_names_the_former_keys(settings, tmp_path: Path) -> None:
    encrypted = encrypt("hunter2")
    said = {"SECRET_KEY": "new", "SECRET_KEY_FALLBACKS": f"older,{settings.SECRET_KEY}", "DATA_DIR": str(tmp_path)}
    program = f"import django; django.setup(); from projects.secrets import decrypt; print(decrypt({encrypted!r}))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **said, "DJANGO_SETTINGS_MODULE": "labelsite.settings"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "hunter2\n", done.stderr


@pytest.mark.parametrize("text", ["", "nonsense", "gAAAAA", "é"])
def test_it_refuses_what_was_never_encrypted(text: str) -> None:
    with pytest.raises(SecretLost):
        decrypt(text)
