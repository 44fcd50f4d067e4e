"""Keep the site at mixed work for an hour and watch whether memory, handles and files stay flat.

    python benchmarks/soak.py [--minutes 60] [--warm-up 10] [--every 30] [--json FILE]

Runs the site as ``make run`` does (web and worker), in a temporary folder or on the database that DATABASE_URL names.
Labelers classify and draw boxes over HTTP, a program labels over the API, a manager watches the dashboard and the Data
tab, rejects, exports, downloads, uploads and refreshes, and a model is trained now and then. Every ``--every`` seconds
the memory (RSS, and PSS, which shares out what processes share), open file handles and threads of each of the site's
processes are noted, with the database's size and the temporary files. What is said of growth is the median slope
(Theil-Sen) after the warm-up, before which the queue's workers are replaced once, as they are after 200 jobs. There are
so many images that the database is larger than what SQLite keeps of it for each thread from the beginning on: else its
caches would grow with it. Prints a table and JSON; ends with 1 when something grows or a request failed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image as Picture
from scipy.stats import theilslopes

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.label_to_the_end import Site  # noqa: E402
from benchmarks.labeling_pages import Labeler, Visitor, make_files  # noqa: E402
from benchmarks.load import Log  # noqa: E402

# Growth over the whole time after the warm-up that still counts as flat.
FLAT_SHARE = 0.05
FLAT_LEAST = {"rss": 4.0, "pss": 4.0, "handles": 2.0, "threads": 2.0, "processes": 2.0, "wal": 8.0, "temp files": 2.0}
COLORS = {"red": (210, 50, 50), "green": (50, 180, 60), "blue": (60, 70, 210)}
FORMATS = ("coco", "csv", "dataset")
BOX_FORMATS = (*FORMATS, "yolo", "voc")
CLOCK = os.sysconf("SC_CLK_TCK")
Sample = dict[str, dict[str, float]]


def colored_files(folder: Path, count: int) -> None:
    """Make images whose color says their class, so that a model has something to learn."""
    folder.mkdir(parents=True)
    chance = random.Random(3)
    for number in range(count):
        name = list(COLORS)[number % 3]
        color = tuple(min(max(part + chance.randint(-45, 45), 0), 255) for part in COLORS[name])
        Picture.new("RGB", (160, 120), color).save(folder / f"{number:05}-{name}.jpg")


def picture(chance: random.Random) -> bytes:
    """Return a new picture's file."""
    file = BytesIO()
    Picture.effect_noise((320, 240), chance.uniform(20, 90)).save(file, "JPEG")
    return file.getvalue()


class Watch:
    """The site's processes, as Linux shows them."""

    def __init__(self, site: Site, data_dir: Path, temp_dir: Path) -> None:
        self.root = site.process.pid
        self.data_dir = data_dir
        self.temp_dir = temp_dir
        self.cpu: dict[int, list[float]] = {}

    def processes(self) -> dict[int, str]:
        """Return the site's processes, each with its part: what is below the queue's workers comes and goes."""
        children: dict[int, list[int]] = defaultdict(list)
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    after_name = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                children[int(after_name[1])].append(int(entry.name))
        found = {self.root: "serve"}
        for child in children[self.root]:
            below = children[child]
            if b"gunicorn" in self._read(child, "cmdline"):
                found |= {child: "web: master"} | dict.fromkeys(below, "web: server")
                helpers = [pk for server in below for pk in children[server]]
                found |= dict.fromkeys(helpers, "short-lived")
                continue
            found |= {child: "queue: main"} | dict.fromkeys(below, "queue: guard")
            workers = [pk for guard in below for pk in children[guard]]
            found |= dict.fromkeys(workers, "queue: workers")
            rest = [pk for worker in workers for pk in children[worker]]
            while rest:
                found |= dict.fromkeys(rest, "short-lived")
                rest = [pk for parent in rest for pk in children[parent]]
        return found

    @staticmethod
    def _read(pk: int, name: str) -> bytes:
        try:
            return (Path("/proc") / str(pk) / name).read_bytes()
        except OSError:  # it has just ended
            return b""

    def _numbers(self, pk: int, name: str) -> dict[str, float]:
        rows = (line.split(b":") for line in self._read(pk, name).splitlines() if b":" in line)
        return {key.decode(): float(value.split()[0]) for key, value in rows if value.split()[:1] and
                value.split()[0].isdigit()}  # fmt: skip

    def sample(self) -> Sample:
        """Return what each part of the site takes now."""
        parts: Sample = defaultdict(lambda: defaultdict(float))
        for pk, part in self.processes().items():
            status = self._numbers(pk, "status")
            try:
                n_handles = len(os.listdir(f"/proc/{pk}/fd"))  # noqa: PTH208
            except OSError:
                continue
            fields = self._read(pk, "stat").rpartition(b")")[2].split()
            if fields:
                self.cpu.setdefault(pk, []).append((int(fields[11]) + int(fields[12])) / CLOCK)
            for name in (part, "all"):
                row = parts[name]
                row["rss"] += status.get("VmRSS", 0) / 1024
                row["pss"] += self._numbers(pk, "smaps_rollup").get("Pss", 0) / 1024
                row["handles"] += n_handles
                row["threads"] += status.get("Threads", 0)
                row["processes"] += 1
        for path in self.data_dir.glob("*.sqlite3*"):
            name = "wal" if path.name.endswith("-wal") else "database"
            parts["files"][name] += path.stat().st_size / 2**20
        parts["files"]["temp files"] = sum(len(names) for _folder, _folders, names in os.walk(self.temp_dir))
        return {part: dict(row) for part, row in parts.items()}


class Work:
    """The people at work, until the time is over; all that fails is noted."""

    def __init__(self, site: Site, log: Log, until: float) -> None:
        self.site, self.log, self.until = site, log, until
        self.threads: list[threading.Thread] = []

    def start(self, work: Callable[..., None], *args: Any) -> None:
        """Begin one person's work."""

        def guarded() -> None:
            try:
                work(*args)
            except Exception as error:
                self.log.errors[f"{work.__name__}: {str(error)[:120]}"] += 1

        self.threads.append(threading.Thread(target=guarded))
        self.threads[-1].start()

    def pause(self, seconds: float) -> bool:
        """Wait, and say whether there is time left."""
        time.sleep(max(min(seconds, self.until - time.monotonic()), 0))
        return time.monotonic() < self.until

    def label(self, name: str, project: str, think: float, answer: Callable[[dict[str, Any], Any], Any]) -> None:
        """Label in a browser's way: the page, its previews, a while, the answers; look again when nothing is left."""
        labeler = Labeler(self.site, name, project)
        chance = random.Random(name)
        while self.pause(think * chance.uniform(0.5, 1.5)):
            page = labeler.data["page"]
            if page is None:
                labeler.data = labeler.read(self.log.timed("look again", labeler.get, f"/label/{project}/") or "")
                continue
            labeler.get("/label/")
            for item in page["items"]:
                self.log.timed("preview", labeler.fetch, item["image"]["preview_url"])
            if chance.random() < 0.2:
                self.log.timed("renew", labeler.post, labeler.data["urls"]["renew"], {})
            items = [answer(item, labeler.data["classes"]) for item in page["items"]]
            fields = {"items": json.dumps(items), "seconds": f"{think}"}
            text = self.log.timed("submit", labeler.post, labeler.data["urls"]["submit"], fields)
            if text is None:
                text = labeler.get(f"/label/{project}/")
            else:
                self.log.handed_out([item["image"]["id"] for item in page["items"]])
            labeler.data = labeler.read(text)

    def label_by_api(self, key: str, project: int, think: float) -> None:
        """Label as a program does."""
        (mine,) = [p for p in self.site.ask(key, "labeling/projects/")["results"] if p["id"] == project]
        while self.pause(think):
            claim = f"labeling/projects/{project}/claim/"
            page = (self.log.timed("API: claim", self.site.call, key, claim, {"count": 9}) or {}).get("page")
            if page:
                body = {"items": [color_of(item, mine["classes"]) for item in page["items"]], "seconds": think}
                self.log.timed("API: submit", self.site.call, key, f"labeling/pages/{page['id']}/submit/", body)

    def watch(self, projects: list[str]) -> None:
        """Have the console open: what its pages ask for by themselves, and a look at images."""
        boss = Visitor(self.site, "boss")
        chance = random.Random(7)
        while self.pause(5):
            base = f"/admin/projects/project/{chance.choice(projects)}"
            self.log.timed("dashboard", boss.get, f"{base}/dashboard/")
            if chance.random() < 0.5:
                query = chance.choice(("", "?status=labeled", "?path=12", "?status=skipped", "?kind=prelabeled"))
                text = self.log.timed("Data tab", boss.get, f"{base}/data/{query}") or ""
                if ids := [part.partition('"')[0] for part in text.split('id="image-')[1:]]:
                    self.log.timed("image", boss.get, f"{base}/data/{chance.choice(ids)}/")
            if chance.random() < 0.2:
                self.log.timed("projects", boss.get, "/admin/projects/project/")
                self.log.timed("health", boss.get, "/readyz")

    def review(self, key: str, projects: list[str]) -> None:
        """Reject some images now and then."""
        chance = random.Random(11)
        while self.pause(30):
            project = chance.choice(projects)
            found = self.log.timed("API: images", self.site.ask, key, f"projects/{project}/images/?status=labeled")
            ids = [image["id"] for image in (found or {}).get("results", [])][:5]
            if ids:
                self.log.timed("API: reject", self.site.call, key, f"projects/{project}/reject/", {"images": ids})

    def export(self, key: str, boxes: str, others: list[str]) -> None:
        """Export and download, one format of one project after the other."""
        turns = [(boxes, form) for form in BOX_FORMATS] + [(one, form) for form in FORMATS for one in others]
        for project, form in itertools.cycle(turns):
            if not self.pause(75):
                return
            made = self.log.timed(
                "API: export", self.site.call, key, f"projects/{project}/exports/", {"format": form}
            )  # fmt: skip
            while made and made["state"] in ("queued", "running") and self.pause(2):
                made = self.log.timed("API: export's state", self.site.ask, key, f"exports/{made['id']}/")
            if made and made["state"] == "done":
                self.log.timed("API: download", self.fetch, key, f"exports/{made['id']}/download/")
            elif made and made["state"] == "failed":
                self.log.errors[f"export {form}: {made.get('error')}"] += 1

    def upload(self, key: str, dataset: int, project: int) -> None:
        """Upload some images and have them join."""
        chance = random.Random(13)
        number = 0
        while self.pause(60):
            number += 1
            names = [f"{number:04}-{one}.jpg" for one in range(4)]
            self.log.timed("API: upload", self.send, key, f"datasets/{dataset}/files/", names, chance)
            self.log.timed("API: refresh", self.site.call, key, f"projects/{project}/refresh/", {})

    def train(self, key: str, project: int, every: float) -> None:
        """Ask for a training; one that is under way is as good."""
        while self.pause(every):
            runs = self.log.timed("API: runs", self.site.ask, key, f"projects/{project}/assist-runs/")
            if runs and not any(run["state"] in ("queued", "running") for run in runs["results"]):
                try:
                    self.site.call(key, f"projects/{project}/assist-runs/", {})
                except urllib.error.HTTPError as error:
                    if error.code != 409:  # one began meanwhile, or too few labels yet
                        raise

    def fetch(self, key: str, path: str) -> int:
        """Download a file, and return its size."""
        request = urllib.request.Request(
            f"{self.site.url}/api/v1/{path}", headers={"Authorization": f"Token {key}"}
        )  # fmt: skip
        with urllib.request.urlopen(request) as answer:
            return len(answer.read())

    def send(self, key: str, path: str, names: list[str], chance: random.Random) -> None:
        """Upload pictures by these names."""
        edge = "a-boundary-of-the-soak"
        body = b"".join(
            f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
            + picture(chance)
            + b"\r\n"
            for name in names
        )
        headers = {"Authorization": f"Token {key}", "Content-Type": f"multipart/form-data; boundary={edge}"}
        request = urllib.request.Request(
            f"{self.site.url}/api/v1/{path}", data=body + f"--{edge}--\r\n".encode(), headers=headers
        )
        with urllib.request.urlopen(request) as answer:
            answer.read()


def renew_workers(site: Site, watch: Watch) -> None:
    """Have every worker replaced once, as happens after its 200th job; these take so long that each gets some.

    The first workers are forked one after the other; later ones while all others are there, and so they inherit the
    guard's pipes to those: some handles more, which would look like growth, and no more with the next ones.
    """

    def workers() -> set[int]:
        return {pk for pk, part in watch.processes().items() if part == "queue: workers"}

    first = workers()
    while len(first - workers()) < int(os.environ.get("WORKERS", "2")):
        site.manage(
            "shell", "--no-imports", "--command",
            "from django_q.tasks import async_task\nfor _ in range(200): async_task('time.sleep', 0.05)",
        )  # fmt: skip
        wait = "import time\nfrom django_q.brokers import get_broker\nwhile get_broker().queue_size(): time.sleep(0.2)"
        site.manage("shell", "--no-imports", "--command", wait)


def any_class(item: dict[str, Any], classes: list[dict[str, Any]]) -> dict[str, Any]:
    """Answer somehow; a few are skipped."""
    if item["image"]["id"] % 50 == 0:
        return {"id": item["id"], "skip": "unclear"}
    return {"id": item["id"], "labels": [classes[item["image"]["id"] % len(classes)]["id"]]}


def color_of(item: dict[str, Any], classes: list[dict[str, Any]]) -> dict[str, Any]:
    """Answer what the file's name says."""
    name = Path(item["image"]["path"]).stem.rpartition("-")[2]
    return {"id": item["id"], "labels": [label["id"] for label in classes if label["name"] == name]}


def some_boxes(item: dict[str, Any], classes: list[dict[str, Any]]) -> dict[str, Any]:
    """Draw up to twelve boxes."""
    chance = random.Random(item["id"])
    width, height = item["image"]["width"], item["image"]["height"]
    boxes = []
    for _ in range(chance.randrange(12)):
        x, y = chance.uniform(0, width - 30), chance.uniform(0, height - 30)
        box = [round(x, 1), round(y, 1), 20.5, 24.0]
        boxes.append({"label_class": chance.choice(classes)["id"], "box": box})
    return {"id": item["id"], "boxes": boxes}


def growth(samples: list[tuple[float, Sample]], part: str, name: str) -> tuple[float, float, float] | None:
    """Return where it began and ended by the fitted line, and the most; None where there is nothing to fit."""
    points = [(at, sample[part][name]) for at, sample in samples if name in sample.get(part, {})]
    if len(points) < 3:
        return None
    times, values = [at for at, _value in points], [value for _at, value in points]
    slope, at_zero = (float(number) for number in theilslopes(values, times)[:2])
    return at_zero + slope * times[0], at_zero + slope * times[-1], max(values)


def verdicts(samples: list[tuple[float, Sample]]) -> list[dict[str, Any]]:
    """Return a row for each part and each thing that it takes; what should be flat says whether it is."""
    rows = []
    parts = sorted({part for _at, sample in samples for part in sample})
    for part in parts:
        for name in ("rss", "pss", "handles", "threads", "processes", "wal", "database", "temp files"):
            found = growth(samples, part, name)
            if found is None:
                continue
            first, last, most = found
            # What comes and goes is judged by its number alone, what is stored not at all; a process's share of what
            # it has in common with others grows when one of those ends.
            judged = name not in ("database", "pss") and (part not in ("short-lived", "all") or name == "processes")
            grown = last - first
            is_flat = grown <= max(FLAT_SHARE * first, FLAT_LEAST[name]) if judged else None
            row = {"part": part, "what": name, "first": first, "last": last, "most": most, "grown": grown}
            rows.append({key: round(value, 2) if isinstance(value, float) else value for key, value in row.items()})
            rows[-1]["flat"] = is_flat
    return rows


def main() -> None:
    """Work, watch, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--warm-up", type=float, default=10, help="minutes that are not judged")
    parser.add_argument("--every", type=float, default=30, help="seconds between two looks")
    parser.add_argument("--images", type=int, default=40_000, help="images to classify")
    parser.add_argument("--train-every", type=float, default=480, help="seconds between trainings")
    parser.add_argument("--think", type=float, default=12, help="seconds that a labeler looks at a page, on average")
    parser.add_argument("--json", type=Path, help="where to write all samples")
    options = parser.parse_args()
    log = Log()
    samples: list[tuple[float, Sample]] = []
    with tempfile.TemporaryDirectory(prefix="labelsite-") as place:
        folder = Path(place)
        make_files(folder / "images", options.images)
        colored_files(folder / "colors", 1500)
        (folder / "tmp").mkdir()
        os.environ["TMPDIR"] = str(folder / "tmp")  # the site's, so that what it leaves there is seen
        site = Site(folder / "data")
        try:
            boss = site.person("boss", "manager")
            keys = site.people([f"labeler{n}" for n in range(6)], "labeler")
            names = list(keys)
            made = [
                site.manage(
                    "create_project", name, "--type", kind, "--images", str(folder / images),
                    "--classes", classes, "--wait", *more,
                )
                for name, kind, images, classes, more in (
                    ("Classes", "multiclass", "images", "ant,bee,cat,dog", ()),
                    ("Boxes", "detection", "images/0000", "ant,bee", ()),
                    ("Colors", "multiclass", "colors", ",".join(COLORS), ("--assist",)),
                )
            ]  # fmt: skip
            (store,) = [one for one in site.ask(boss, "datastores/")["results"] if one["is_default"]]
            dataset = site.call(boss, "datasets/", {"name": "up", "datastore": store["id"], "pattern": "up/**"})
            watch = Watch(site, folder / "data", folder / "tmp")
            renew_workers(site, watch)
            work = Work(site, log, time.monotonic() + 60 * options.minutes)
            work.send(boss, f"datasets/{dataset['id']}/files/", ["first.jpg"], random.Random(1))
            body = {
                "name": "Uploads", "task_type": "multiclass", "dataset": dataset["id"],
                "classes": [{"name": "ant"}, {"name": "bee"}], "incremental_refresh": True,
            }  # fmt: skip
            uploads = site.call(boss, "projects/", body)["id"]
            classes, boxes, colors = made
            work.start(work.watch, [*made, str(uploads)])
            for name in names[:3]:
                work.start(work.label, name, classes, options.think, any_class)
            work.start(work.label, names[3], boxes, options.think, some_boxes)
            work.start(work.label, names[4], colors, 3 * options.think, color_of)
            work.start(work.label_by_api, keys[names[5]], int(colors), 6 * options.think)
            work.start(work.label, names[5], str(uploads), 5 * options.think, any_class)
            work.start(work.review, boss, [classes, boxes])
            work.start(work.export, boss, boxes, [classes, colors])
            work.start(work.upload, boss, dataset["id"], uploads)
            work.start(work.train, boss, int(colors), options.train_every)
            started = time.monotonic()
            while work.pause(options.every):
                samples.append(((time.monotonic() - started) / 60, watch.sample()))
                if options.json:
                    options.json.write_text(json.dumps({"samples": samples, "errors": log.errors}))
            for thread in work.threads:
                thread.join()
            runs = site.ask(boss, f"projects/{colors}/assist-runs/")["results"]
            state = site.ask(boss, f"projects/{colors}/progress/")
        finally:
            site.end()
    rows = verdicts([(at, sample) for at, sample in samples if at > options.warm_up])
    print(f"{'part':<16}{'what':<12}{'first':>10}{'last':>10}{'most':>10}{'grown':>10}  flat")
    for row in rows:
        numbers = "".join(f"{row[name]:>10.1f}" for name in ("first", "last", "most", "grown"))
        print(f"{row['part']:<16}{row['what']:<12}{numbers}  {'' if row['flat'] is None else row['flat']}")
    busy = sum(seen[-1] - seen[0] for seen in watch.cpu.values())
    figures = {
        "minutes": options.minutes,
        "images labeled": sum(log.images.values()),
        "share of one core, long-lived processes": round(busy / (60 * (samples[-1][0] - samples[0][0])), 3),
        "runs of models": [f"{run['kind']}: {run['state']}" for run in runs],
        "progress of the assisted project": state,
        "errors": dict(log.errors),
    }
    for name, value in figures.items():
        print(f"{name:<40} {value}")
    for kind, row in log.figures().items():
        print(f"{kind:<40} " + "".join(f"{name}: {value:<12}" for name, value in row.items()))
    document = {**figures, "growth": rows, "requests": log.figures()}
    print(json.dumps(document))
    if options.json:
        options.json.write_text(json.dumps({**document, "samples": samples}))
    if log.errors or any(row["flat"] is False for row in rows):
        sys.exit("Something grew, or a request failed.")


if __name__ == "__main__":
    main()
