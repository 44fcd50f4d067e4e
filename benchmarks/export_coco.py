"""Export big projects, and measure time and memory (DESIGN section 8; SPEC E).

    python benchmarks/export_coco.py [--images 50000 500000] [--boxes 5] [--formats coco] [--json FILE]

Each export is written by a process of its own, as a worker would, so that the memory is its own. Budget for COCO:
50,000 images in 6 s, 500,000 images with 2.5 million boxes in 60 s and 300 MB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from big_project import build, set_up, temporary_site  # noqa: E402

BUDGETS = {("coco", 50_000): 6.0, ("coco", 500_000): 60.0}  # seconds
BUDGET_MB = 300


def main() -> None:
    """Build projects, export them, print a table, and the same as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[50_000, 500_000])
    parser.add_argument("--boxes", type=int, default=5)
    parser.add_argument("--formats", nargs="+", default=["coco"])
    parser.add_argument("--json", type=Path, help="A file for the figures.")
    parser.add_argument("--export", nargs=2, metavar=("PROJECT", "FORMAT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.export:
        print(json.dumps(_export(int(options.export[0]), options.export[1])))
        return
    figures = []
    with temporary_site():
        for n_images in options.images:
            project = build(images=n_images, boxes=options.boxes, name=f"big {n_images}")
            for name in options.formats:
                figures.append(
                    {"images": n_images, "boxes": n_images * options.boxes, **export_in_a_process(project.pk, name)}
                )
                print(_line(figures[-1]), flush=True)
    print(json.dumps(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


def export_in_a_process(project: int, name: str) -> dict[str, Any]:
    """Export a project of the site that the environment names; return seconds and megabytes."""
    answer = subprocess.run(
        [sys.executable, __file__, "--export", str(project), name], check=True, capture_output=True, text=True
    )
    result: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return result


def _export(pk: int, name: str) -> dict[str, Any]:
    set_up()
    from django.db import transaction

    from exports import jobs
    from projects.models import Project

    project = Project.objects.get(pk=pk)
    jobs.WORKERS[jobs.Export] = "time.sleep"  # nobody else is to write it
    with transaction.atomic():
        export = jobs.enqueue(project, None, {}, name)
    started, cpu = time.perf_counter(), time.process_time()
    jobs.write(export.pk)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    export.refresh_from_db()
    if export.state != "done":
        raise SystemExit(export.error)
    return {
        "format": name,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "peak_mb": _peak_mb(),
        "file_mb": round(export.n_bytes / 1e6, 1),
    }


def _peak_mb() -> float:
    """Return the most memory that this program has held; getrusage would count what its parent held at the fork."""
    status = Path("/proc/self/status").read_text()
    return round(int(status.partition("VmHWM:")[2].split()[0]) / 1024, 1)


def _line(figure: dict[str, Any]) -> str:
    budget = BUDGETS.get((figure["format"], figure["images"]))
    held = (
        "" if budget is None else "held" if figure["seconds"] <= budget and figure["peak_mb"] <= BUDGET_MB else "MISSED"
    )
    return (
        f"{figure['format']:8} {figure['images']:>8,} images {figure['boxes']:>10,} boxes  {figure['seconds']:7.2f} s "
        f"({figure['cpu_seconds']:.2f} s of CPU)  {figure['peak_mb']:6.1f} MB  file {figure['file_mb']:7.1f} MB  {held}"
    )


if __name__ == "__main__":
    main()
