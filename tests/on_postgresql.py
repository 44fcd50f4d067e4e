"""Run the tests of what the database decides on a real PostgreSQL, started and ended here.

    python -m tests.on_postgresql [pytest arguments]

Without PostgreSQL on the machine it says so and does nothing; on CI that is an error.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.postgresql import cluster, is_installed

TESTS = [
    "tests/labeling/test_concurrency.py",
    "tests/labeling/test_storm.py",
    "tests/labeling/test_submit.py",
    "tests/labeling/test_class_changes.py",
    "tests/labeling/test_data_tab.py",
    "tests/exports/test_coco.py",
]


def main() -> int:
    """Start the cluster, run the tests, end the cluster; return pytest's exit status."""
    if not is_installed():
        sys.stdout.write("PostgreSQL is not installed: its tests are left out.\n")
        return 1 if os.environ.get("CI") else 0
    with cluster() as url:
        command = [sys.executable, "-m", "pytest", *(sys.argv[1:] or TESTS)]
        return subprocess.run(command, env={**os.environ, "DATABASE_URL": url}).returncode


if __name__ == "__main__":
    sys.exit(main())
