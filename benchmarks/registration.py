"""Register a listing, look at it again when nothing is new, and draw previews; beside what the library does alone.

    python benchmarks/registration.py [--images 5000 50000 500000] [--pictures 200] [--database sqlite|postgresql]

Each size has a database of its own, made and removed here. The listing comes from memory, in pages of 1,000 as clouds
give them: what is measured is what the site makes of it. Previews are compared turn by turn, by the clock and by the
processor's time, which does not depend on what else the machine does. The last line is the figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
FLOORS = {"registered": 20_000, "refreshed": 50_000, "previews": 0.9, "previews_cpu": 0.9}
TURNS = 9


class Listing:
    """A store that lists so many images, from memory."""

    def __init__(self, count: int) -> None:
        from projects.stores import Entry

        self.entries = [
            Entry(f"camera-{n // 10_000:02}/2026-11/{n:07}.jpg", 60_000 + n % 1000, f"{n:032x}") for n in range(count)
        ]

    def pages(self, prefix: str = "", after: str = "", page_size: int = 5000) -> Iterator[Any]:
        """Yield the entries in pages."""
        from projects.stores import Page

        for start in range(0, len(self.entries), 1000):
            page = self.entries[start : start + 1000]
            yield Page(page, page[-1].key)


def measure(images: int, pictures: int) -> dict[str, float]:
    """Measure one size on the database that the environment names."""
    from benchmarks.big_project import set_up

    set_up()
    from django.conf import settings
    from django.contrib.auth.models import User

    from projects import refresh
    from projects.models import Dataset, Datastore, Image, Project, Refresh

    settings.MAX_IMAGES_PER_PROJECT = max(images, 500_000)
    manager = User.objects.create_user("manager")
    store = Datastore.objects.create(name="listing", container="/nowhere")
    dataset = Dataset.objects.create(name="listing", datastore=store, pattern="**/*.*")
    project = Project.objects.create(name="big", task_type="multiclass", dataset=dataset, created_by=manager)
    listing = Listing(images)
    Datastore.open = lambda self: listing  # type: ignore[assignment, return-value]

    def run() -> float:
        row = Refresh.objects.create(project=project)
        start, cpu = time.perf_counter(), time.process_time()
        refresh.run(row.pk)
        seconds = time.perf_counter() - start
        figures["cpu_share"] = min(figures["cpu_share"], (time.process_time() - cpu) / seconds)
        row.refresh_from_db()
        assert row.state == "done", row.error
        return images / seconds

    figures: dict[str, float] = {"images": images, "cpu_share": 1.0}
    figures["registered"], figures["refreshed"] = run(), run()
    assert Image.objects.count() == images
    if pictures:
        figures |= previews(pictures)
    return figures


def previews(count: int) -> dict[str, float]:
    """Return how fast previews are drawn, and with how little processor time, as shares of what Pillow does alone.

    Bare and ours take turns of a second or so, and what is returned are the medians over the turns: on a machine that
    others use too, both are slowed alike.
    """
    from concurrent.futures import ProcessPoolExecutor

    from projects.previews import prepare
    from projects.stores import LocalStore

    with tempfile.TemporaryDirectory() as name, ProcessPoolExecutor() as pool:
        files = make_photos(Path(name), count)
        store = LocalStore(name)
        list(pool.map(draw, files[:8]))  # the imports
        list(prepare(store, 0, [(0, "0000.jpg", ""), (1, "0001.jpg", "")], (512,)))
        walls, cpus = [], []
        for turn in range(TURNS):
            entries = [(n, Path(file).name, str(turn)) for n, file in enumerate(files)]
            bare = Turn.of(lambda: list(pool.map(draw, files, chunksize=4)))
            ours = Turn.of(lambda entries=entries: list(prepare(store, 1, entries, (512,))))  # type: ignore[misc]
            walls.append(bare.wall / ours.wall)
            cpus.append(bare.cpu / ours.cpu)
    return {"previews": statistics.median(walls), "previews_cpu": statistics.median(cpus)}


@dataclass
class Turn:
    """What some work took: seconds, and the processor's seconds in this process and all below it."""

    wall: float
    cpu: float

    @classmethod
    def of(cls, work: Callable[[], object]) -> Turn:
        """Do the work."""
        start, cpu = time.perf_counter(), processor_seconds()
        work()
        return cls(time.perf_counter() - start, processor_seconds() - cpu)


def processor_seconds() -> float:
    """Return the processor's seconds that this process and those below it have taken, ended ones included."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            fields = path.read_text().rpartition(")")[2].split()
            pid = int(path.parent.name)
            parents[pid], ticks[pid] = int(fields[1]), sum(int(field) for field in fields[11:15])
    ours = {os.getpid()}
    while below := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= below
    return sum(ticks[pid] for pid in ours) / os.sysconf("SC_CLK_TCK")


def make_photos(folder: Path, count: int) -> list[str]:
    """Make photos of 1600 × 1200 pixels, and return their paths."""
    import numpy as np
    from PIL import Image as Picture

    noise = np.random.default_rng(1)
    for number in range(count):
        small = noise.integers(0, 255, (30, 40, 3), dtype=np.uint8)
        Picture.fromarray(small).resize((1600, 1200), Picture.Resampling.BICUBIC).save(folder / f"{number:04}.jpg")
    return sorted(str(path) for path in folder.glob("*.jpg"))


def draw(path: str) -> None:
    """Make a preview with the library alone, of the same size and quality."""
    from PIL import Image as Picture
    from PIL import ImageOps

    with Picture.open(path) as picture:
        picture.draft("RGB", (512, 512))
        picture.load()
        turned = ImageOps.exif_transpose(picture)
        turned.thumbnail((512, 512), Picture.Resampling.LANCZOS, reducing_gap=2.0)
        turned.convert("RGB").save(f"{path}.preview", "JPEG", quality=88)


def main() -> None:
    """Measure each size in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[5_000, 50_000, 500_000])
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.images[0], options.pictures)))
        return
    print(f"{options.database:>9}  {'registered/s':>12}  {'refreshed/s':>12}  {'previews':>9}  {'(cpu)':>6}")
    rows = []
    for number, images in enumerate(options.images):
        pictures = options.pictures if number == len(options.images) - 1 else 0
        rows.append(in_a_process(images, pictures, options.database))
        row = rows[-1]
        share = f"{row['previews']:9.0%}  {row['previews_cpu']:6.0%}" if pictures else ""
        print(f"{images:9,}  {row['registered']:12,.0f}  {row['refreshed']:12,.0f}  {share}", flush=True)
    missed = [name for name, floor in FLOORS.items() if rows[-1].get(name, floor) < floor]
    print(f"budgets: {', '.join(f'{name} >= {floor:,}' for name, floor in FLOORS.items())}")
    print(f"missed: {', '.join(missed) or 'none'}")
    print(json.dumps({"database": options.database, "rows": rows}))


def in_a_process(images: int, pictures: int, database: str) -> dict[str, float]:
    """Measure one size in a process and database of its own."""
    from benchmarks.big_project import own_environment

    with own_environment(database) as env:
        command = [sys.executable, __file__, "--one", "--images", str(images), "--pictures", str(pictures)]
        done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
        row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return row


if __name__ == "__main__":
    main()
