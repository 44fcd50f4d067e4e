"""A PostgreSQL of one's own: a cluster in a temporary folder, on a free port, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml


def find_program(name: str) -> str | None:
    """Return the newest PostgreSQL's program; Debian keeps it off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return str(found[-1]) if found else shutil.which(name)


def is_installed() -> bool:
    """Whether this machine has a PostgreSQL server."""
    return find_program("initdb") is not None and find_program("pg_ctl") is not None


def production_settings() -> dict[str, str]:
    """Return the settings that the sample of a production site gives its PostgreSQL."""
    compose = yaml.safe_load((Path(__file__).parent.parent / "deploy/compose.yaml").read_text())
    words = compose["services"]["database"]["command"].split()
    return dict(word.split("=", 1) for word in words if "=" in word)


@contextmanager
def cluster(**settings: str) -> Iterator[str]:
    """Start a cluster, with settings of the server, and yield the address of its database; end it afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="labelsite-postgresql-") as folder:
        as_user: list[str] = []
        if os.geteuid() == 0:  # PostgreSQL does not run as root
            Path(folder).chmod(0o755)
            os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
            as_user = ["runuser", "-u", "postgres", "--"]
        data, log = f"{folder}/data", f"{folder}/log"
        options = f"-p {port} -k {folder} -c fsync=off -c listen_addresses=127.0.0.1"
        options += "".join(f" -c {name}={value}" for name, value in settings.items())

        def control(program: str, *words: str) -> None:
            path = find_program(program)
            assert path is not None
            subprocess.run([*as_user, path, *words], check=True, cwd=folder, stdout=subprocess.DEVNULL)

        control("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        control("pg_ctl", "-D", data, "-w", "-l", log, "-o", options, "start")
        try:
            yield f"postgres://postgres@127.0.0.1:{port}/postgres"
        finally:
            control("pg_ctl", "-D", data, "-m", "immediate", "stop")
