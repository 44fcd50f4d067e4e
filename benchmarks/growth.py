"""Print what must be fast at several sizes of a project side by side, so that growth shows (DESIGN section 8).

    python benchmarks/growth.py [--images 5000 50000 500000] [--databases sqlite postgresql] [--rounds 30] [--json FILE]

Each size has databases of its own, made and removed here: one in which a listing is registered and refreshed, and one
with a project of as many images with five boxes each, 96 % of them answered by a hundred labelers, and a second project
whose images all wait to be labeled. Marked with ! is what misses its budget; budgets are for 500,000 images, or for
that many labels. The largest size draws previews, too. The last line is the figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import big_project  # noqa: E402
import claim_and_submit  # noqa: E402
import console  # noqa: E402
import export_coco  # noqa: E402
import registration  # noqa: E402

if TYPE_CHECKING:
    from projects.models import Project

PAGES, CLAIMERS, PICTURES, LABELERS = 150, 50, 200, 100
SMALLEST = 9 * (PAGES + CLAIMERS)
YARDSTICK = "Python counts to ten million"  # how fast the machine is just now: others may use it, too
Figures = dict[str, float]


class Row(NamedTuple):
    """A line of the table."""

    name: str
    unit: str
    limit: dict[str, float]  # of each database
    is_floor: bool = False
    is_of_labels: bool = False  # the limit is for half a million labels, and more with more of them

    def allows(self, database: str, figures: Figures) -> bool:
        """Whether a figure keeps its budget."""
        limit = self.limit[database] * (max(figures["labels"] / 500_000, 1) if self.is_of_labels else 1)
        value = figures[self.name]
        return value >= limit if self.is_floor else value <= limit


def both(limit: float) -> dict[str, float]:
    """Return the same limit for both databases."""
    return {"sqlite": limit, "postgresql": limit}


ROWS = (
    Row(YARDSTICK, "s", both(math.inf)),
    Row("registered", "images/s", both(20_000), is_floor=True),
    Row("refreshed, nothing new", "keys/s", both(50_000), is_floor=True),
    Row("previews, of Pillow alone", "%", both(90), is_floor=True),
    Row("claim, p95", "ms", {"sqlite": 15, "postgresql": 10}),
    Row("submit with the next claim, p50", "ms", both(10)),
    Row("handed out twice to 50 at once", "images", both(0)),
    Row("dashboard, p95", "ms", both(150)),
    Row("dashboard, cache emptied, p95", "ms", both(150)),
    Row("Data tab, first page, p95", "ms", both(150)),
    Row("Data tab, page 1,000 or last, p95", "ms", both(150)),
    Row("Data tab, a class far back, p95", "ms", both(150)),
    Row("COCO export", "s", both(60)),
    Row("COCO export, memory", "MB", both(300)),
    Row("reset", "s", both(10), is_of_labels=True),
    Row("restore", "s", both(10), is_of_labels=True),
)


def measure(images: int, rounds: int) -> Figures:
    """Measure one size on the database that the environment names."""
    with big_project.temporary_site():
        from django.core.management import call_command

        from labeling.progress import count_progress

        call_command("collectstatic", interactive=False, verbosity=0)  # the web server looks for it when it starts
        from labelsite.wsgi import settle

        project = big_project.build(images, labeled=0.96, labelers=LABELERS)
        waiting = big_project.build(images, 1, name="waiting", task_type="multiclass", labeled=0.0, queued=images)
        settle()
        counting = claim_and_submit.timed(lambda: sum(1 for _ in range(10_000_000)))
        figures: Figures = {"images": images, "labels": count_progress(project).n_labels, YARDSTICK: counting}
        return figures | of_the_queue(waiting) | of_the_console(project, rounds) | of_everything(project)


def of_the_queue(project: Project) -> Figures:
    """Measure claims and submits."""
    from django.contrib.auth.models import User

    people = [User.objects.create_user(f"claimer{n}") for n in range(CLAIMERS)]
    claims, submits = claim_and_submit.label_pages(project, people[0], PAGES)
    _waits, handed = claim_and_submit.claim_at_once(project, people)
    together = sorted(sum(pair) for pair in zip(claims, submits, strict=True))
    return {
        "claim, p95": 1000 * sorted(claims)[int(0.95 * PAGES)],
        "submit with the next claim, p50": 1000 * together[PAGES // 2],
        "handed out twice to 50 at once": sum(n > 1 for n in Counter(handed).values()),
    }


def of_the_console(project: Project, rounds: int) -> Figures:
    """Measure the dashboard and pages of the Data tab."""
    from django.contrib.auth.models import User
    from django.core.cache import cache
    from django.test import Client

    from labeling import tallies
    from projects.models import LabelClass

    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.get(username="manager"), backend="labelsite.logins.Backend")

    def p95(path: str, first: Callable[[], Any] = lambda: None, **query: Any) -> float:
        def ask() -> None:
            assert client.get(f"/admin/projects/project/{project.pk}/{path}/", query).status_code == 200

        ask()
        return console.percentiles(ask, rounds, first)[1]

    tallies.renew_all()  # as a worker does every minute
    figures = {
        "dashboard, p95": p95("dashboard"),
        "dashboard, cache emptied, p95": p95("dashboard", cache.clear),
        "Data tab, first page, p95": p95("data"),
    }
    last = min(console.DEEP, project.tasks.count() // console.PAGE - 1)
    cursor = console.cursor_of_page(project, {}, last)
    figures["Data tab, page 1,000 or last, p95"] = p95("data", before=cursor)
    one_class = {"label_class": LabelClass.objects.filter(project=project).values_list("pk", flat=True)[0]}
    cursor = console.cursor_of_page(project, one_class, last // 4)
    figures["Data tab, a class far back, p95"] = p95("data", before=cursor, **one_class)
    return figures


def of_everything(project: Project) -> Figures:
    """Measure an export, and setting all labels aside and restoring them."""
    from labeling import class_changes
    from labeling.models import LabelEvent

    export = export_coco.export_in_a_process(project.pk, "coco")
    project.pause()
    reset = claim_and_submit.timed(lambda: class_changes.add_classes(project, None, ["new"], "restart_keep"))
    event = LabelEvent.objects.filter(project=project, action="reset").latest("pk")
    restore = claim_and_submit.timed(lambda: class_changes.undo(project, None, event.pk))
    return {
        "COCO export": export["seconds"],
        "COCO export, memory": export["peak_mb"],
        "reset": reset,
        "restore": restore,
    }


def in_a_process(images: int, database: str, rounds: int) -> Figures:
    """Measure one size in a process and on a database of its own."""
    with big_project.own_environment(database) as env:
        command = [sys.executable, __file__, "--one", "--images", str(images), "--rounds", str(rounds)]
        done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
        figures: Figures = json.loads(done.stdout.splitlines()[-1])
        return figures


def main() -> int:
    """Measure, and print the table; return 1 when the largest size misses a budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[5_000, 50_000, 500_000])
    parser.add_argument("--databases", nargs="+", choices=("sqlite", "postgresql"), default=["sqlite", "postgresql"])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path, help="A file for the figures.")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.images[0], options.rounds)))
        return 0
    if min(options.images) < SMALLEST:
        parser.error(f"A project has {SMALLEST:,} images at least: so many are labeled and claimed.")
    columns: dict[tuple[str, int], Figures] = {}
    for database in options.databases:
        for images in options.images:
            pictures = PICTURES if images == max(options.images) else 0
            found = registration.in_a_process(images, pictures, database)
            figures = {"registered": found["registered"], "refreshed, nothing new": found["refreshed"]}
            if pictures:
                figures["previews, of Pillow alone"] = 100 * found["previews"]
            columns[database, images] = figures | in_a_process(images, database, options.rounds)
            print(f"measured: {database}, {images:,} images", file=sys.stderr, flush=True)
    print(f"{'':44}" + "".join(f"{database + f' {images:,}':>20}" for database, images in columns))
    missed = []
    for row in ROWS:
        cells = ""
        for (database, images), figures in columns.items():
            if row.name not in figures:
                cells += f"{'':20}"
                continue
            is_kept = row.allows(database, figures)
            if not is_kept and images == max(options.images):
                missed.append(f"{row.name} ({database})")
            value = figures[row.name]
            digits = ",.0f" if value >= 100 else ".1f" if value >= 1 else ".2f"
            cells += f"{value:{digits}}{' ' if is_kept else '!'}".rjust(20)
        print(f"{row.name + ', ' + row.unit:44}{cells}")
    print(f"missed at the largest size: {', '.join(missed) or 'none'}")
    rounded = {key: {name: round(value, 2) for name, value in found.items()} for key, found in columns.items()}
    document = json.dumps([{"database": database, **figures} for (database, _n), figures in rounded.items()])
    print(document)
    if options.json:
        options.json.write_text(document)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
