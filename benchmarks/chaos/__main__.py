"""Kill the site's processes at random while people work, then see whether anything was lost.

    python -m benchmarks.chaos [--minutes 10] [--database sqlite|postgresql] [--seed N] [--redis] [--json FILE]

Starts the real site in a temporary folder: on SQLite one gunicorn and its worker, as ``serve`` does; on PostgreSQL two
gunicorns of two processes each and three workers, one of them for GPUs. Labelers on the pages and over the API, and a
manager, are at work the whole time. Prints a table and JSON; fails, in words, if anything was lost or left half-done.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.chaos.people import Browser, Caller, Journal, Labeler, Manager, Program, make_project, picture
from benchmarks.chaos.processes import Killer, Site, database, verdict

PROJECTS = (("Assisted", "multiclass", 700), ("Boxes", "detection", 400), ("Taken in", "multilabel", 4000))
COPIES = 150  # images of the largest project that differ; the rest are links


def make_files(folder: Path, count: int, chance: random.Random) -> None:
    """Make the images of a project."""
    folder.mkdir()
    for number in range(count):
        path = folder / f"{number}.png"
        if number < COPIES or count < 1000:
            path.write_bytes(picture(number, chance))
        else:
            os.link(folder / f"{number % COPIES}.png", path)


def make_projects(boss: Caller, folder: Path, chance: random.Random) -> list[dict[str, Any]]:
    """Make the projects, and a dataset to upload to, and wait until they run."""
    stores = boss.api("GET", "datastores/")[1]["results"]
    default = next(store["id"] for store in stores if store["is_default"])
    uploads = boss.api("POST", "datasets/", {"name": "Uploads", "datastore": default, "pattern": "uploads/**"})[1]["id"]
    found = []
    for name, task_type, count in PROJECTS:
        more: dict[str, Any] = {}
        if name == "Assisted":
            more["assist"] = {"enabled": True, "min_labels": 40, "target_precision": 0.9, "device": "cpu"}
            more["incremental_refresh"] = True
        make_files(folder / name, count, chance)
        project = make_project(boss, name, task_type, folder / name, **more)
        found.append(project | {"uploads": uploads, "has_resets": name == "Boxes"})
    return found


def run(options: argparse.Namespace, folder: Path, url: str) -> dict[str, Any]:
    """Have it all happen, and return what came of it."""
    chance = random.Random(options.seed)
    is_postgresql = options.database == "postgresql"
    site = Site(
        folder,
        url,
        webs=2 if is_postgresql else 1,
        web_processes=2 if is_postgresql else 1,
        workers=["", "", "gpu"] if is_postgresql else ["", "gpu"],
        redis=options.redis,
    )
    try:
        return act(options, site, chance)
    finally:
        site.kill()


def act(options: argparse.Namespace, site: Site, chance: random.Random) -> dict[str, Any]:
    """Let people work and processes die; then look."""
    over = threading.Event()
    journal = Journal(site.folder)
    keys = site.people({"boss": "manager"} | {f"labeler{n}": "labeler" for n in range(options.labelers)})
    boss = Caller(site, "boss", keys.pop("boss"), random.Random(chance.random()), over)
    projects = make_projects(boss, site.folder, chance)
    people: list[Labeler | Manager] = [
        (Browser if number % 2 else Program)(
            site, name, key, random.Random(chance.random()), over,
            journal=journal, projects=projects, think=options.think,
        )
        for number, (name, key) in enumerate(keys.items())
    ]  # fmt: skip
    people.append(
        Manager(site, "boss", boss.key, random.Random(chance.random()), over,
                journal=journal, projects=projects)
    )  # fmt: skip
    failures: list[str] = []

    def guarded(person: Labeler | Manager) -> None:
        try:
            person.work()
        except Exception as error:
            failures.append(f"{person.name}: {error!r}")
            raise

    threads = [threading.Thread(target=guarded, args=[person]) for person in people]
    killer = Killer(site, options.seed, (options.pause * 0.4, options.pause * 1.6))
    started = time.monotonic()
    for thread in (*threads, killer):
        thread.start()
    zombies: set[str] = set()
    orphans: set[str] = set()
    while time.monotonic() - started < options.minutes * 60:
        time.sleep(2)
        if int(time.monotonic() - started) % 60 < 2:
            show(f"{journal.counts['submit']} pages, {sum(killer.kills.values())} kills, {dict(journal.counts)}")
    killer.is_over.set()
    killer.join()
    over.set()
    for thread in threads:
        thread.join()
    show("settling")
    site.wait()
    look_once_more(boss, journal, projects)
    stuck = verdict(site, "settle")["stuck"]
    show("checking")
    orphans.update(site.orphans())
    zombies.update(site.zombies())
    result = verdict(site, "check")
    restarts = {part.name: part.starts - 1 for part in site.parts}
    left = site.end()
    found: dict[str, list[str]] = {
        **result["found"],
        "jobs under way for ever": stuck,
        "people who could not go on": failures + [w for w in journal.refusals if w.endswith("gave up")],
        "processes without a parent": sorted(orphans),
        "zombies": sorted(zombies),
        "processes that did not stop": left,
    }
    return {
        "minutes": options.minutes,
        "database": options.database,
        "seed": options.seed,
        "kills": dict(sorted(killer.kills.items())),
        "restarts": restarts,
        "acknowledged": dict(sorted(journal.counts.items())),
        "refused": dict(sorted(journal.refusals.items())),
        **result["counts"],
        "lost": {name: words for name, words in found.items() if words},
        "checks": {name: len(words) for name, words in found.items()},
    }


def look_once_more(boss: Caller, journal: Journal, projects: list[dict[str, Any]]) -> None:
    """Have each project's folder looked at after the last change, and note that."""
    looked = []
    for project in projects:
        deadline = time.monotonic() + 400
        last = None
        while time.monotonic() < deadline:
            status, data = boss.api("POST", f"projects/{project['id']}/refresh/")
            if status == 202 and last is None:
                # One that was under way began before the last change; the one after it did not.
                last = data["id"]
            elif status == 202 and data["id"] != last:
                looked.append(project["id"])
                break
            time.sleep(2)
    journal.note("last look", projects=looked)


def show(words: str) -> None:
    """Say how far it is."""
    print(f"{time.strftime('%H:%M:%S')}  {words}", file=sys.stderr, flush=True)


def main() -> None:
    """Run, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--labelers", type=int, default=6)
    parser.add_argument("--think", type=float, default=3, help="seconds that a labeler looks at a page, on average")
    parser.add_argument("--pause", type=float, default=5, help="seconds between two kills, on average")
    parser.add_argument("--redis", action="store_true", help="Redis as the cache; it is killed as well.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, help="A folder for the site's files and log, which are kept.")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit("ended"))
    with tempfile.TemporaryDirectory(prefix="chaos-") as place:
        folder = options.keep or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        with database(options.database, folder) as url:
            result = run(options, folder, url)
    for name, value in result.items():
        if isinstance(value, dict):
            print(f"{name}:")
            for key, words in value.items():
                print(f"  {key:<44} {words}")
        else:
            print(f"{name:<46} {value}")
    print(json.dumps(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    if result["lost"]:
        sys.exit("Something was lost or left half-done: " + ", ".join(result["lost"]))


if __name__ == "__main__":
    main()
