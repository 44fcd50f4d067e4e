"""Run the tests of the queue on a real PostgreSQL: a cluster of its own in a temporary folder, started and ended here.

    python -m tests.on_postgresql [pytest arguments]

Without PostgreSQL on the machine it says so and does nothing; on CI that is an error.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = [
    "tests/labeling/test_concurrency.py",
    "tests/labeling/test_submit.py",
    "tests/labeling/test_class_changes.py",
    "tests/exports/test_coco.py",
]


def find_program(name: str) -> str | None:
    """Return the newest PostgreSQL's program; Debian keeps it off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return str(found[-1]) if found else shutil.which(name)


def main() -> int:
    """Start the cluster, run the tests, end the cluster; return pytest's exit status."""
    initdb, postgres_ctl = find_program("initdb"), find_program("pg_ctl")
    if initdb is None or postgres_ctl is None:
        sys.stdout.write("PostgreSQL is not installed: its tests are left out.\n")
        return 1 if os.environ.get("CI") else 0
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

        def control(*words: str) -> None:
            subprocess.run([*as_user, *words], check=True, cwd=folder, stdout=subprocess.DEVNULL)

        control(initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        control(postgres_ctl, "-D", data, "-w", "-l", log, "-o", options, "start")
        try:
            url = f"postgres://postgres@127.0.0.1:{port}/postgres"
            command = [sys.executable, "-m", "pytest", *(sys.argv[1:] or TESTS)]
            return subprocess.run(command, env={**os.environ, "DATABASE_URL": url}).returncode
        finally:
            control(postgres_ctl, "-D", data, "-m", "immediate", "stop")


if __name__ == "__main__":
    sys.exit(main())
