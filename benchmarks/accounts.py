"""Make accounts, as the commands do but all in one process: `python -m benchmarks.accounts ROLE NAME ...`.

Reads the password from standard input and prints the keys to the API, by name, as JSON.
"""

from __future__ import annotations

import io
import json
import os
import sys

import django


def main() -> None:
    """Make the accounts."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "labelsite.settings")
    django.setup()
    from django.core.management import call_command

    role, *names = sys.argv[1:]
    password = sys.stdin.read()
    keys = {}
    for name in names:
        sys.stdin = io.StringIO(password)
        call_command("create_user", name, role=role, password_stdin=True, stdout=io.StringIO())
        told = io.StringIO()
        call_command("create_token", name, stdout=told)
        keys[name] = told.getvalue().split()[-1]
    print(json.dumps(keys))


if __name__ == "__main__":
    main()
