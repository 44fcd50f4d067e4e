"""Make accounts for a benchmark's site, in one process of their own: a hundred take seconds, as only passwords cost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import django

ROOT = Path(__file__).parent.parent


def make_accounts(roles: Mapping[str, str], password: str, env: Mapping[str, str]) -> dict[str, str]:
    """Make accounts, given as names and roles; return their keys to the API."""
    env = {**env, "DJANGO_SETTINGS_MODULE": "labelsite.settings"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.accounts"],
        cwd=ROOT, env=env, input=json.dumps([dict(roles), password]), check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout))


def main() -> None:
    """Make those that standard input names, and print the keys."""
    django.setup()
    from django.contrib.auth.models import User

    from projects.access import set_role
    from projects.tokens import create_token

    roles, password = json.load(sys.stdin)
    keys = {}
    for name, role in roles.items():
        user = User.objects.create_user(name, password=password)
        set_role(user, role)
        keys[name] = create_token(user)[1]
    print(json.dumps(keys))


if __name__ == "__main__":
    main()
