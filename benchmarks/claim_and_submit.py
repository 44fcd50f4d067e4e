"""Register a project of N images, refresh it, then claim and submit pages; prints a table and JSON.

    python benchmarks/claim_and_submit.py [--images 500000] [--pages 300] [--claimers 50]

Runs on SQLite in a temporary folder, or on the database that DATABASE_URL names (which must be empty).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from projects.models import Project

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))


def percentiles(seconds: list[float]) -> str:
    """Return p50 and p95 in milliseconds."""
    ordered = sorted(1000 * value for value in seconds)
    return f"p50 {statistics.median(ordered):.1f} ms, p95 {ordered[int(len(ordered) * 0.95)]:.1f} ms"


def make_files(folder: Path, count: int) -> None:
    """Make empty files, 1,000 to a folder: registering never opens them."""
    for start in range(0, count, 1000):
        part = folder / f"{start // 1000:04}"
        part.mkdir(parents=True)
        for number in range(start, min(start + 1000, count)):
            (part / f"{number:06}.jpg").touch()


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds that the work took."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def label_pages(project: Project, labeler: User, pages: int) -> tuple[list[float], list[float]]:
    """Claim and submit pages of nine, one after the other; return the seconds of each claim and each submit."""
    from labeling import queue
    from labeling.submit import submit
    from projects.models import LabelClass

    label = LabelClass.objects.filter(project=project).values_list("pk", flat=True)[0]
    claims, submits = [], []
    for _number in range(pages):
        started = time.perf_counter()
        page = queue.claim(project, labeler, 9)
        claims.append(time.perf_counter() - started)
        assert page is not None
        items = [{"id": pk, "labels": [label]} for pk in page.tasks.values_list("pk", flat=True)]
        started = time.perf_counter()
        submit(page, items, 9.0)
        submits.append(time.perf_counter() - started)
    return claims, submits


def claim_at_once(project: Project, labelers: list[User]) -> tuple[list[float], list[int]]:
    """Have everybody claim a page of nine at the same time; return the seconds of each, and what was handed out."""
    from django.db import connection

    from labeling import queue

    handed: list[int] = []
    waits: list[float] = []

    def work(labeler: User) -> None:
        started = time.perf_counter()
        page = queue.claim(project, labeler, 9)
        waits.append(time.perf_counter() - started)
        if page is not None:
            handed.extend(page.tasks.values_list("pk", flat=True))
        connection.close()

    threads = [threading.Thread(target=work, args=(labeler,)) for labeler in labelers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return waits, handed


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the figures by name."""
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.db import connection

    from labeling.models import LabelTask
    from labeling.progress import count_progress
    from projects import refresh
    from projects.access import set_role
    from projects.creation import create_project
    from projects.models import Dataset, Datastore, Image, Refresh

    call_command("migrate", verbosity=0)
    make_files(folder / "images", options.images)
    owner = User.objects.create_user("owner")
    set_role(owner, "manager")
    store = Datastore.objects.create(name="files", container=str(folder / "images"))
    dataset = Dataset.objects.create(name="files", datastore=store, pattern="**/*.*")
    project = create_project(
        name="bench", task_type="multiclass", dataset=dataset, classes=[("a", None), ("b", None)], created_by=owner
    )
    figures: dict[str, Any] = {"database": connection.vendor, "images": options.images}
    seconds = timed(lambda: refresh.run(Refresh.objects.get().pk))
    figures["register, images a second"] = round(options.images / seconds)
    again = refresh.enqueue(project)
    seconds = timed(lambda: refresh.run(again.pk))
    figures["refresh with nothing new, keys a second"] = round(options.images / seconds)

    Image.objects.update(width=640, height=480)  # as if the feeder had opened them
    LabelTask.objects.update(status="queued")
    project.refresh_from_db()
    claims, submits = label_pages(project, owner, options.pages)
    figures["claim of 9"] = percentiles(claims)
    figures["submit of 9"] = percentiles(submits)
    figures["submit with the next claim"] = percentiles([sum(pair) for pair in zip(claims, submits, strict=True)])
    figures["progress counted"] = percentiles([timed(lambda: count_progress(project)) for _ in range(20)])

    labelers = [User.objects.create_user(f"labeler{n}") for n in range(options.claimers)]
    waits, handed = claim_at_once(project, labelers)
    figures[f"{options.claimers} claimers at once"] = percentiles(waits)
    figures["images handed out twice"] = sum(n > 1 for n in Counter(handed).values())
    figures["images handed out"] = len(handed)
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500_000)
    parser.add_argument("--pages", type=int, default=300)
    parser.add_argument("--claimers", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="labelsite-") as name:
        os.environ.update(
            DJANGO_SETTINGS_MODULE="labelsite.settings", DEVELOPMENT="1", DATA_DIR=f"{name}/data", LOG_LEVEL="ERROR"
        )
        import django

        django.setup()
        figures = measure(options, Path(name))
    for key, value in figures.items():
        print(f"{key:<42} {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
