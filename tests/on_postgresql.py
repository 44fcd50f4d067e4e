"""Run pytest on a real PostgreSQL, started and ended here.

    python -m tests.on_postgresql [pytest arguments]

Without PostgreSQL on the machine it says so and does nothing; on CI that is an error.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.postgresql import cluster, is_installed


def main() -> int:
    """Start the cluster, run the tests, end the cluster; return pytest's exit status."""
    if not is_installed():
        sys.stdout.write("PostgreSQL is not installed: the tests run on SQLite only.\n")
        return 1 if os.environ.get("CI") else 0
    with cluster(synchronous_commit="off", full_page_writes="off") as url:  # nothing here outlives the cluster
        command = [sys.executable, "-m", "pytest", *sys.argv[1:]]
        return subprocess.run(command, env={**os.environ, "DATABASE_URL": url}).returncode


if __name__ == "__main__":
    sys.exit(main())
