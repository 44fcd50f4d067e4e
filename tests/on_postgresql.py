"""Run pytest on a real PostgreSQL, started and ended here.

    python -m tests.on_postgresql [pytest arguments]

Without PostgreSQL on the machine it says so and does nothing; on CI that is an error.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.postgresql import cluster, is_installed

# All tests run here, too, but those that take long and ask nothing of the database: what a browser draws, what
# a cloud's protocol says, how networks learn. They run when they are named.
LEFT_OUT = [
    "tests/assist/test_backbones.py",
    "tests/assist/test_detector.py",
    "tests/labeling/test_browser_boxes.py",
    "tests/labeling/test_browser_grid.py",
    "tests/labeling/test_hands.py",
    "tests/projects/test_browser_details.py",
    "tests/projects/test_clouds.py",
    "tests/projects/test_pictures.py",
    "tests/test_accessibility.py",
]


def main() -> int:
    """Start the cluster, run the tests, end the cluster; return pytest's exit status."""
    if not is_installed():
        sys.stdout.write("PostgreSQL is not installed: the tests run on SQLite only.\n")
        return 1 if os.environ.get("CI") else 0
    with cluster(synchronous_commit="off", full_page_writes="off") as url:  # nothing here outlives the cluster
        is_named = any(word.startswith("tests") for word in sys.argv[1:])
        left_out = [] if is_named else [f"--ignore={file}" for file in LEFT_OUT]
        command = [sys.executable, "-m", "pytest", *left_out, *sys.argv[1:]]
        return subprocess.run(command, env={**os.environ, "DATABASE_URL": url}).returncode


if __name__ == "__main__":
    sys.exit(main())
