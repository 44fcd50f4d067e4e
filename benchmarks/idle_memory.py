"""Measure the memory that the site takes while nobody uses it: web server, worker, and what watches them.

    python benchmarks/idle_memory.py [--after 30 90]

Runs the site as ``make run`` does, with the demo, in a temporary folder, and looks at all its processes so many seconds
after it answers. What is counted is PSS: memory that processes share is shared out among them. By the second look the
programs that opened the demo's images have ended. Prints a table and JSON; ends with 1 above the budget, or when the
web server has loaded torch.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.label_to_the_end import Site  # noqa: E402
from benchmarks.soak import Watch  # noqa: E402

BUDGET_MIB = 300


def look(watch: Watch, seconds: float) -> dict[str, Any]:
    """Return what each part of the site takes now, in MiB."""
    parts = watch.sample()
    parts.pop("files")
    servers = [pk for pk, part in watch.processes().items() if part == "web: server"]
    return {
        "seconds": seconds,
        "torch in the web server": any("torch" in Path(f"/proc/{pk}/maps").read_text() for pk in servers),
        "parts": {part: {name: row[name] for name in ("processes", "rss", "pss")} for part, row in parts.items()},
    }


def main() -> None:
    """Look, print the tables and the JSON, and fail above the budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--after", type=float, nargs="+", default=[30, 90])
    options = parser.parse_args()
    looks = []
    with tempfile.TemporaryDirectory(prefix="labelsite-") as folder:
        site = Site(Path(folder), "--demo")
        try:
            watch = Watch(site, Path(folder), Path(folder))
            started = time.monotonic()
            for seconds in sorted(options.after):
                time.sleep(max(started + seconds - time.monotonic(), 0))
                looks.append(look(watch, seconds))
        finally:
            site.end()
    for seen in looks:
        print(f"after {seen['seconds']:.0f} s{'':<10}{'processes':>10}{'RSS, MiB':>10}{'PSS, MiB':>10}")
        for part, row in sorted(seen["parts"].items(), key=lambda item: item[1]["pss"]):
            print(f"{part:<20}{row['processes']:>10.0f}{row['rss']:>10.1f}{row['pss']:>10.1f}")
    print(json.dumps(looks))
    if any(seen["torch in the web server"] or seen["parts"]["all"]["pss"] > BUDGET_MIB for seen in looks):
        sys.exit(f"More than {BUDGET_MIB} MiB, or torch in the web server.")


if __name__ == "__main__":
    main()
