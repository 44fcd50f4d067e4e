"""Have many labelers at work on one large project, as their browsers would be, for a bounded time.

    python benchmarks/load.py [--images 500000] [--labelers 100] [--seconds 120] [--think 4]

When all have logged in, each looks at a page of nine with its previews for some seconds, submits it, and now and then
renews the lease or goes home; the programs among them use the API. Runs the site as ``make run`` does, in a temporary
folder or on the database that DATABASE_URL names, on this machine only. Prints p50, p95 and p99 of each kind of
request, errors and images a second, as a table and JSON; fails if an image was handed out twice.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.label_to_the_end import Site  # noqa: E402
from benchmarks.labeling_pages import Labeler, make_files  # noqa: E402

EVERY_NTH_IS_A_PROGRAM = 10
LOGINS_AT_ONCE = 4


class Log:
    """How long each kind of request took, and what went wrong."""

    def __init__(self) -> None:
        self.waits: dict[str, list[float]] = {}
        self.errors: Counter[str] = Counter()
        self.images: Counter[int] = Counter()
        self._lock = threading.Lock()

    def timed(self, kind: str, ask: Any, *args: Any) -> Any:
        """Do it and note how long it took; None if it failed."""
        started = time.perf_counter()
        try:
            answer = ask(*args)
        except Exception as error:
            with self._lock:
                self.errors[f"{kind}: {str(error)[:80]}"] += 1
            return None
        with self._lock:
            self.waits.setdefault(kind, []).append(1000 * (time.perf_counter() - started))
        return answer

    def handed_out(self, images: list[int]) -> None:
        """Note whose labels were stored."""
        with self._lock:
            self.images.update(images)

    def figures(self) -> dict[str, Any]:
        """Return the percentiles in ms by kind of request."""
        rows: dict[str, Any] = {}
        for kind, waits in sorted(self.waits.items()):
            ordered = sorted(waits)
            rows[kind] = {"n": len(ordered)} | {
                f"p{p} ms": round(ordered[min(int(len(ordered) * p / 100), len(ordered) - 1)], 1) for p in (50, 95, 99)
            }
        return rows


def work_in_browser(labeler: Labeler, log: Log, until: float, think: float, seed: int) -> None:
    """Label as a browser does."""
    chance = random.Random(seed)
    while time.monotonic() < until and labeler.data["page"]:
        page = labeler.data["page"]
        for item in page["items"]:
            log.timed("preview", labeler.fetch, item["image"]["preview_url"])
        time.sleep(think * chance.uniform(0.5, 1.5))
        if chance.random() < 0.1:
            log.timed("renew", labeler.post, labeler.data["urls"]["renew"], {})
        if chance.random() < 0.05:
            log.timed("home", labeler.get, "/label/")
        label = chance.choice(labeler.data["classes"])["id"]
        items = [{"id": item["id"], "labels": [label]} for item in page["items"]]
        fields = {"items": json.dumps(items), "seconds": f"{think}"}
        text = log.timed("submit with the next page", labeler.post, labeler.data["urls"]["submit"], fields)
        if text is not None:
            log.handed_out([item["image"]["id"] for item in page["items"]])
            labeler.data = labeler.read(text)


def work_by_api(site: Site, key: str, project: int, log: Log, until: float, think: float, seed: str) -> None:
    """Label as a program does."""
    chance = random.Random(seed)
    classes = site.ask(key, "labeling/projects/")["results"][0]["classes"]
    answer = log.timed("API: claim", site.call, key, f"labeling/projects/{project}/claim/", {"count": 9})
    page = answer and answer["page"]
    while time.monotonic() < until and page:
        time.sleep(think * chance.uniform(0.5, 1.5))
        items = [{"id": item["id"], "labels": [chance.choice(classes)["id"]]} for item in page["items"]]
        body = {"items": items, "seconds": think, "next": True}
        answer = log.timed("API: submit", site.call, key, f"labeling/pages/{page['id']}/submit/", body)
        if answer is None:
            return
        log.handed_out([item["image"]["id"] for item in page["items"]])
        page = answer["next"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500_000)
    parser.add_argument("--labelers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--think", type=float, default=4, help="seconds that a labeler looks at a page, on average")
    options = parser.parse_args()
    log = Log()
    with tempfile.TemporaryDirectory(prefix="labelsite-") as place:
        folder = Path(place)
        make_files(folder / "images", options.images)
        site = Site(folder / "data")
        try:
            site.person("boss", "manager")
            keys = site.people([f"labeler{n}" for n in range(options.labelers)], "labeler")
            project = site.manage(
                "create_project", "Load", "--type", "multiclass", "--images", str(folder / "images"),
                "--classes", "ant,bee,cat,dog", "--wait",
            )  # fmt: skip
            programs = list(keys)[::EVERY_NTH_IS_A_PROGRAM]
            with ThreadPoolExecutor(LOGINS_AT_ONCE) as pool:  # people come in one after the other in the morning
                browsers = list(
                    pool.map(
                        lambda name: log.timed("log in and first page", Labeler, site, name, project),
                        [name for name in keys if name not in programs],
                    )
                )
            until = time.monotonic() + options.seconds
            started = time.perf_counter()
            rest = (log, until, options.think)
            threads = [
                threading.Thread(target=work_in_browser, args=(labeler, *rest, number))
                for number, labeler in enumerate(browsers)
                if labeler is not None
            ]
            threads += [
                threading.Thread(target=work_by_api, args=(site, keys[name], int(project), *rest, name))
                for name in programs
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            took = time.perf_counter() - started
        finally:
            site.end()
    figures = {
        "images": options.images,
        "labelers": options.labelers,
        "images labeled": sum(log.images.values()),
        "images a second": round(sum(log.images.values()) / took, 1),
        "images twice": sum(n > 1 for n in log.images.values()),
        "errors": dict(log.errors),
    }
    for key, value in figures.items():
        print(f"{key:<28} {value}")
    for kind, row in log.figures().items():
        print(f"{kind:<28} " + "".join(f"{name}: {value:<12}" for name, value in row.items()))
    print(json.dumps(figures | {"requests": log.figures()}))
    if figures["images twice"] or log.errors:
        sys.exit("An image was handed out twice, or a request failed.")


if __name__ == "__main__":
    main()
