"""Import labels into a big project, and measure time and memory (SPEC E; docs/azure.md).

    python benchmarks/import_labels.py [--images 20000] [--boxes 5]

One project of the same images is exported as Azure writes it, and taken in by another one without labels.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from big_project import build, temporary_site  # noqa: E402


def main() -> None:
    """Build, export, import, and print figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--boxes", type=int, default=5)
    options = parser.parse_args()
    with temporary_site():
        labeled = build(images=options.images, boxes=options.boxes, name="labeled")
        empty = build(images=options.images, boxes=options.boxes, name="empty", labeled=0.0)
        from exports import jobs
        from exports.importing.jobs import run_here
        from exports.importing.taking import Choices

        jobs.WORKERS[jobs.Export] = "time.sleep"  # nobody else is to write it
        export = jobs.enqueue(labeled, None, {"coordinates": "normalized"}, "coco")
        jobs.write(export.pk)
        export.refresh_from_db()
        path = Path(jobs.datastore_of(export).container) / export.location
        started, cpu = time.perf_counter(), time.process_time()
        row = run_here(empty, None, path, "final", Choices())
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        if row.error or row.report["imported"] != options.images:
            raise SystemExit(row.error or f"Only {row.report['imported']} images were taken.")
    status = Path("/proc/self/status").read_text()
    peak_mb = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    figures = {"images": options.images, "boxes": options.images * options.boxes, "seconds": round(seconds, 1)}
    print(json.dumps({**figures, "cpu_seconds": round(cpu, 1), "peak_mb": round(peak_mb)}))


if __name__ == "__main__":
    main()
