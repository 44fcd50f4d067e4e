"""Is a GPU used as the site's user would use it? Real sets are labeled to the end, with a model on that device.

    python -m benchmarks.gpu_site [--data ../shared/data] [--sets cls_trashnet det_blood_cells] [--device cuda:0]

The site runs as docs/production.md has it: gunicorn, a worker, and `Q_CLUSTER_NAME=gpu manage.py qcluster`. A manager
chooses the device; a labeler who knows the truth answers over the API, and confirms suggestions as they are. Checked is
that the console offers the device, that all runs end well, on it, in the right worker, that a training of 1,000 labels
fine-tunes by itself on a GPU, that suggestions come of it, that no process but a run's holds the GPU, and that neither
web nor ordinary worker loads torch. It exits with 1 where one of these is not so.
"""

from __future__ import annotations

import argparse
import http.cookiejar
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections import defaultdict
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.assist_savings import Labeler, get, patch
from benchmarks.chaos.processes import Part, free_port, words_of
from benchmarks.label_to_the_end import PASSWORD, ROOT, SETS, START_SECONDS, Site, read_truth

FINE_TUNES_FROM = 1_000  # labels, on a GPU (docs/assist.md)
FIRST = {"multiclass": FINE_TUNES_FROM, "multilabel": FINE_TUNES_FROM, "detection": 40}  # labels before a training
# Of a run's metrics, and of those that have parts, what the table shows.
FIGURES = ["labels", "accuracy", "suggested", "grouped", "images", "boxes", "fit_seconds", "used", "threshold"]
PARTS = {
    "decision": ("coverage", "bound", "n", "k"),
    "detection": ("map", "ap50"),
    "thresholds": ("actions", "by_hand"),
}
EVERY = 0.5  # seconds between two looks at the processes


class ProductionSite(Site):
    """The site's processes, each started on its own, with all that they say in one file."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {**os.environ, "DEVELOPMENT": "1", "DATA_DIR": str(folder / "data")}
        self.log = folder / "site.log"
        self.manage("migrate", "--verbosity", "0")
        self.manage("collectstatic", "--noinput", "--verbosity", "0")
        web = [sys.executable, "-m", "gunicorn", "labelsite.wsgi", "--bind", f"127.0.0.1:{self.port}", "--threads", "8"]
        worker = [sys.executable, "manage.py", "qcluster"]
        self.parts = [
            Part("web", web, self.env, self.log),
            Part("worker", worker, self.env, self.log),
            Part("gpu-worker", worker, {**self.env, "Q_CLUSTER_NAME": "gpu"}, self.log),
        ]
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with suppress(OSError):
                urllib.request.urlopen(f"{self.url}/login/").close()
                return
            time.sleep(0.2)
        self.end()
        raise SystemExit(f"The site did not start: {self.log.read_text()[-2000:]}")

    def end(self) -> None:
        """Stop it as an operator would."""
        for part in self.parts:
            part.process.send_signal(signal.SIGTERM)
        for part in self.parts:
            with suppress(subprocess.TimeoutExpired):
                part.process.wait(timeout=20)
            part.kill()

    def offered(self, name: str, project: int) -> dict[str, str]:
        """Return the devices that the console offers to a manager who is logged in: ids and words."""
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        with browser.open(f"{self.url}/login/") as page:
            token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.read().decode())[0]
        form = urllib.parse.urlencode({"username": name, "password": PASSWORD, "csrfmiddlewaretoken": token})
        browser.open(f"{self.url}/login/", form.encode()).close()
        with browser.open(f"{self.url}/admin/projects/project/{project}/details/") as page:
            found = re.findall(r'<option value="(cpu|cuda:\d+)"[^>]*>([^<]+)', page.read().decode())
        return {device: " ".join(words.split()) for device, words in found}


class Watcher(threading.Thread):
    """Sees what the site's processes load and hold, from outside."""

    def __init__(self, parts: list[Part]) -> None:
        super().__init__(daemon=True)
        self.parts = parts
        self.with_torch: dict[str, int] = defaultdict(int)  # processes of a part that have loaded torch, not being runs
        self.with_gpu: dict[str, int] = defaultdict(int)  # the same of those that have opened a GPU
        self.carried_out_by: dict[int, str] = {}  # part by run
        self.opened_gpu: set[int] = set()  # runs
        self.gpu_mib: dict[int, int] = defaultdict(int)  # the most that a run had on the GPU
        self.is_over = threading.Event()
        self._seen: set[tuple[int, str]] = set()

    def run(self) -> None:
        """Look until told to stop."""
        while not self.is_over.wait(EVERY):
            held = memory_by_process()
            for part in self.parts:
                for pid in part.members():
                    self._look(part.name, pid, held)

    def _look(self, part: str, pid: int, held: dict[int, int]) -> None:
        found = re.search(r"run_assist (\d+)", words_of(pid))
        if found is None:
            self._count(self.with_torch, part, pid, "torch", has_torch)
            self._count(self.with_gpu, part, pid, "gpu", has_gpu)
            return
        run = int(found[1])
        self.carried_out_by[run] = part
        if has_gpu(pid):
            self.opened_gpu.add(run)
            self.gpu_mib[run] = max(self.gpu_mib[run], held.get(pid, 0))

    def _count(self, counts: dict[str, int], part: str, pid: int, what: str, has: Any) -> None:
        if (pid, what) not in self._seen and has(pid):
            self._seen.add((pid, what))
            counts[part] += 1


def has_torch(pid: int) -> bool:
    """Whether a process has loaded torch."""
    try:
        return "libtorch" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def has_gpu(pid: int) -> bool:
    """Whether a process has opened an NVIDIA GPU."""
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if re.fullmatch(r"/dev/nvidia\d+", str(link.readlink())):
                    return True
    return False


def memory_by_process() -> dict[int, int]:
    """Return MiB on the GPUs by process, as far as the driver says."""
    try:
        words = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
        done = subprocess.run(words, capture_output=True, text=True)
    except OSError:
        return {}
    rows = [line.split(",") for line in done.stdout.splitlines()]
    return {int(pid): int(mib) for pid, mib in rows if mib.strip().isdigit()}


def label(site: Site, key: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Label a set to the end with a model on the device; return what is known of its runs, and of its suggestions."""
    task_type = SETS[folder.name.split("_")[0]]
    classes, truth = read_truth(folder)
    words = ["create_project", folder.name, "--type", task_type, "--images", str(folder / "images")]
    project = int(site.manage(*words, "--classes", ",".join(classes), "--wait"))
    first = options.first or FIRST[task_type]
    patch(
        site,
        key,
        f"projects/{project}/",
        {"assist": {"enabled": True, "device": options.device, "min_labels": first}},
    )
    started = time.monotonic()
    labeler = Labeler(site, key, project, truth, task_type, careful=False)
    tally = labeler.work(assisted=True)
    seconds = time.monotonic() - started
    runs = get(site, key, f"projects/{project}/assist-runs/?page_size=100")["results"]
    worth: dict[str, Any] = {"of these wrong": tally.wrong}
    if task_type == "detection":
        spent = tally.by_image
        parts = {"actions an image before": spent[:first], "actions an image since": spent[first:]}
        worth = {words: round(sum(part) / max(len(part), 1), 1) for words, part in parts.items()}
    return {
        "set": folder.name,
        "project": project,
        "images": tally.images,
        "suggested": tally.confirmed,
        **worth,
        "actions an image": round(tally.actions / tally.images, 2),
        "seconds": round(seconds, 1),
        "waited for runs, s": round(tally.waited, 1),
        "runs": runs[::-1],
    }


def row_of(run: dict[str, Any], runs: dict[int, dict[str, Any]], seen: Watcher) -> dict[str, Any]:
    """Return a run's row of the table. A round is carried out in one process, that of its first run."""
    first = run
    while first["follows"] in runs and not seen.carried_out_by.get(first["id"]):
        first = runs[first["follows"]]
    times = [datetime.fromisoformat(run[name]) for name in ("started_at", "ended_at") if run[name]]
    metrics = run["metrics"]
    figures = {name: metrics[name] for name in FIGURES if name in metrics}
    if tuning := metrics.get("tuning"):
        figures["tuning"] = {name: value for name, value in tuning.items() if name != "curves"}
    for part, names in PARTS.items():
        found = metrics.get(part) or {}
        figures |= {name: round(found[name], 4) for name in names if isinstance(found.get(name), (int, float))}
    return {
        "kind": run["kind"],
        "state": run["state"],
        "device": run["device"],
        "by": seen.carried_out_by.get(first["id"], ""),
        "opened the GPU": first["id"] in seen.opened_gpu,
        "MiB on the GPU": seen.gpu_mib.get(first["id"], 0),
        "seconds": round((times[1] - times[0]).total_seconds(), 1) if len(times) == 2 else None,
        "figures": figures,
        "error": run["error"],
    }


def faults_of(rows: list[dict[str, Any]], sets: list[dict[str, Any]], seen: Watcher, device: str) -> list[str]:
    """Return what is not as it should be."""
    is_gpu = device != "cpu"
    worker = "gpu-worker" if is_gpu else "worker"
    faults = [f"{row['kind']}: {row['state']} {row['error']}" for row in rows if row["state"] != "done"]
    faults += [f"{row['kind']} was done by “{row['by']}”" for row in rows if row["by"] != worker]
    faults += [f"{row['kind']} was on {row['device']}" for row in rows if row["device"] != device]
    faults += [f"{row['kind']} never opened the GPU" for row in rows if is_gpu and not row["opened the GPU"]]
    faults += [f"{found['set']}: nothing was suggested" for found in sets if not found["suggested"]]
    for row in rows:
        n, is_tuned = row["figures"].get("labels", 0), "tuning" in row["figures"]
        is_training = row["kind"] == "training" and "accuracy" in row["figures"]
        if is_training and is_tuned != (is_gpu and n >= FINE_TUNES_FROM):
            faults.append(f"a training of {n} labels {'fine-tuned' if is_tuned else 'did not fine-tune'}")
    faults += [f"{n} processes of {part} loaded torch" for part, n in seen.with_torch.items()]
    faults += [f"{n} processes of {part} opened the GPU" for part, n in seen.with_gpu.items()]
    return faults


def show(rows: list[dict[str, Any]]) -> None:
    """Print rows of the table."""
    for row in rows:
        seconds, mib = row["seconds"] or 0, row["MiB on the GPU"]
        print(
            f"{row['set']:<16}{row['kind']:<14}{row['state']:<7}{row['device']:<7}{row['by']:<11}"
            f"{seconds:>7} s{mib:>7} MiB  {row['figures']} {row['error']}"
        )


def main() -> None:
    """Label the sets; print a table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--sets", nargs="*", default=["cls_trashnet", "det_blood_cells"])
    parser.add_argument("--weights", type=Path, help="a folder with pretrained weights (default: weights in --data)")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--first", type=int, help="labels before the first training (default: 1,000, boxes 40)")
    parser.add_argument("--log", type=Path, help="a file to which what the site's processes said is copied")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"{options.data} is not there: give the folder with the sets as --data.")
    os.environ["ASSIST_WEIGHTS_DIR"] = str((options.weights or options.data / "weights").resolve())
    os.environ |= {"ASSIST_DOWNLOAD": "0", "API_RATE": "1000000/min", "LOG_LEVEL": "WARNING"}
    sets: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="labelsite-") as folder:
        site = ProductionSite(Path(folder))
        seen = Watcher(site.parts)
        seen.start()
        try:
            key = site.person("boss", "manager")
            for name in options.sets:
                found = label(site, key, options.data / name, options)
                runs = {run["id"]: run for run in found.pop("runs")}
                done = [{"set": name, **row_of(run, runs, seen)} for run in runs.values()]
                show(done)
                print(found, flush=True)
                sets.append(found)
                rows += done
            offered = site.offered("boss", sets[0]["project"])
        finally:
            seen.is_over.set()
            site.end()
            if options.log:
                options.log.write_text(site.log.read_text())
    faults = faults_of(rows, sets, seen, options.device)
    if options.device not in offered:
        faults.append(f"the console offers {offered}")
    print(json.dumps({"offered": offered, "runs": rows, "sets": sets, "faults": faults}))
    if faults:
        sys.exit("Not as it should be: " + "; ".join(faults))


if __name__ == "__main__":
    main()
