"""Label real sets to the end, through the pages and the API at once, export them, and compare with their truth.

One labeler works in a real browser, the others over the API, on the site as `make run` starts it. Expected: every label
and every box (to within half a pixel), no image twice, none lost.

    python benchmarks/label_to_the_end.py [--data ../shared/data] [--sets cls_sign_digits ml_aquarium det_blood_cells]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.request
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.accounts import make_accounts  # noqa: E402

SETS = {"cls": "multiclass", "ml": "multilabel", "det": "detection"}
N_API_LABELERS = 3
START_SECONDS = 300  # on a busy machine
PASSWORD = "a password for the run"
Truth = dict[str, Any]


def read_truth(folder: Path) -> tuple[list[str], Truth]:
    """Return the class names, and per file name its classes, or its boxes [(class, [x, y, w, h]), ..]."""
    if folder.name.startswith("det"):
        document = json.loads((folder / "truth.json").read_text())
        names = {category["id"]: category["name"] for category in document["categories"]}
        files = {image["id"]: image for image in document["images"]}
        boxes: Truth = {Path(image["file_name"]).name: [] for image in files.values()}
        for annotation in document["annotations"]:
            image = files[annotation["image_id"]]
            boxes[Path(image["file_name"]).name].append(
                (names[annotation["category_id"]], inside(annotation["bbox"], image))
            )
        used = sorted({name for found in boxes.values() for name, _box in found})
        return used, boxes
    with (folder / "truth.csv").open() as file:
        rows = list(csv.reader(file))[1:]
    truth = {Path(row[0]).name: [label for label in row[1].split("|") if label] for row in rows}
    return sorted({label for labels in truth.values() for label in labels}), truth


def inside(box: list[float], image: dict[str, Any]) -> list[float]:
    """Return the part of a box that is in the image: no editor draws beyond."""
    x, y = max(box[0], 0.0), max(box[1], 0.0)
    right, bottom = min(box[0] + box[2], image["width"]), min(box[1] + box[3], image["height"])
    return [x, y, right - x, bottom - y]


class Site:
    """The site on a free port, with data of its own; ``options`` are more of `serve`'s."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {**os.environ, "DEVELOPMENT": "1", "DATA_DIR": str(data_dir), "LOG_LEVEL": "WARNING"}
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "serve", "--port", str(self.port), *options],
            cwd=ROOT,
            env=self.env,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/login/").close()
                return
            except OSError:
                time.sleep(0.2)
        self.end()
        raise SystemExit("The site did not start.")

    def manage(self, *words: str) -> str:
        """Run a command and return the last line that it prints."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words], cwd=ROOT, env=self.env, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}: {done.stderr}")
        return (done.stdout.splitlines() or [""])[-1]

    def people(self, names: Iterable[str], role: str) -> dict[str, str]:
        """Make accounts and return their keys to the API."""
        return make_accounts(dict.fromkeys(names, role), PASSWORD, self.env)

    def person(self, name: str, role: str) -> str:
        """Make an account and return a key to the API."""
        return self.people([name], role)[name]

    def ask(self, key: str, path: str) -> Any:
        """Read from the API."""
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", headers={"Authorization": f"Token {key}"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def call(self, key: str, path: str, body: dict[str, Any]) -> Any:
        """Call the API."""
        request = urllib.request.Request(
            f"{self.url}/api/v1/{path}",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Token {key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def end(self) -> None:
        """Stop the site."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def answer_of(item: dict[str, Any], truth: Truth, ids: dict[str, int], task_type: str) -> dict[str, Any]:
    """Return what the truth says of an image, as the API takes it; no label at all is a skip."""
    known = truth[Path(item["image"]["path"]).name]
    if task_type == "detection":
        return {"id": item["id"], "boxes": [{"label_class": ids[name], "box": box} for name, box in known]}
    if not known:
        return {"id": item["id"], "skip": "no_class"}
    return {"id": item["id"], "labels": [ids[name] for name in known]}


def label_by_api(site: Site, key: str, project: int, truth: Truth, task_type: str, done: list[str]) -> None:
    """Work as one labeler until nothing is left."""
    (mine,) = [p for p in site.ask(key, "labeling/projects/")["results"] if p["id"] == project]
    ids = {label["name"]: label["id"] for label in mine["classes"]}
    page = site.call(key, f"labeling/projects/{project}/claim/", {})["page"]
    while page:
        items = [answer_of(item, truth, ids, task_type) for item in page["items"]]
        answer = site.call(key, f"labeling/pages/{page['id']}/submit/", {"items": items, "seconds": 1, "next": True})
        done += [item["image"]["path"] for item in page["items"]]
        page = answer["next"]


def label_in_browser(site: Site, name: str, project: int, truth: Truth, task_type: str, done: list[str]) -> None:
    """Work as one labeler with mouse and keys until the page says that nothing is left."""
    from playwright.sync_api import TimeoutError as PlaywrightTimeoutError  # others take the site from here only
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{site.url}/login/?next=/label/{project}/")
        page.fill("[name=username]", name)
        page.fill("[name=password]", PASSWORD)
        page.keyboard.press("Enter")
        while True:
            page.wait_for_selector("#page:not([aria-busy])")
            data = json.loads(page.inner_text("#page-data") or page.locator("#page-data").text_content() or "{}")
            if data["page"] is None:
                break
            keys = {label["name"]: label["key"] for label in data["classes"]}
            if task_type == "detection":
                draw(page, data["page"]["items"][0], truth, keys)
            else:
                choose(page, data["page"]["items"], truth, keys)
            done += [item["image"]["path"] for item in data["page"]["items"]]
            page.keyboard.press("Enter")
            try:
                page.wait_for_function(
                    "id => JSON.parse(document.querySelector('#page-data').textContent).page?.id !== id",
                    arg=data["page"]["id"],
                    timeout=60_000,
                )
            except PlaywrightTimeoutError:
                raise AssertionError(f"The page stayed: {page.locator('.dock').inner_text()!r}") from None
        browser.close()


def choose(page: Page, items: list[dict[str, Any]], truth: Truth, keys: dict[str, str]) -> None:
    """Press the keys of each image's classes; the focus goes from image to image."""
    page.locator(".tile").first.focus()
    for index, item in enumerate(items):
        page.locator(".tile").nth(index).focus()
        labels = truth[Path(item["image"]["path"]).name]
        for label in labels:
            press(page, keys, label)
        if not labels:
            page.keyboard.press("s")
            page.locator("#skip [data-reason=no_class]").click()


def press(page: Page, keys: dict[str, str], label: str) -> None:
    """Choose a class by its key; the tenth and later ones have none, and are pressed in the list."""
    if keys[label]:
        page.keyboard.press(keys[label])
    else:
        page.locator(f'.cls .clip[title="{label}"]').click()


def draw(page: Page, item: dict[str, Any], truth: Truth, keys: dict[str, str]) -> None:
    """Draw the image's boxes by the mouse, at most half a screen pixel off."""
    boxes = truth[Path(item["image"]["path"]).name]
    if not boxes:
        page.keyboard.press("n")
    for name, (x, y, width, height) in boxes:
        page.keyboard.press("r")
        press(page, keys, name)
        corners = page.evaluate(
            """(points) => { const m = document.querySelector('.picture').getScreenCTM();
            return points.map(([x, y]) => { const p = new DOMPoint(x, y).matrixTransform(m); return [p.x, p.y] }) }""",
            [[x, y], [x + width, y + height]],
        )
        page.mouse.move(*corners[0])
        page.mouse.down()
        page.mouse.move(*corners[1], steps=2)
        page.mouse.up()


def compare(document: dict[str, Any], truth: Truth) -> dict[str, Any]:
    """Return how the export differs from the truth."""
    names = {category["id"]: category["name"] for category in document["categories"]}
    files = {image["id"]: Path(image["file_name"]).name for image in document["images"]}
    found: Truth = {file: [] for file in files.values()}
    for annotation in document["annotations"]:
        found[files[annotation["image_id"]]].append((names[annotation["category_id"]], annotation.get("bbox")))
    wanted = {file: labels for file, labels in truth.items() if labels or isinstance(labels, list)}
    worst, n_wrong, n_labels = 0.0, 0, 0
    for file, labels in found.items():
        pairs = sorted((label, None) if isinstance(label, str) else (label[0], label[1]) for label in wanted[file])
        n_labels += len(pairs)
        given = sorted(labels)
        if [name for name, _box in pairs] != [name for name, _box in given]:
            n_wrong += 1
            continue
        worst = max([worst, *(offset(box, labels, name) for name, box in pairs if box)])
    return {
        "images in the export": len(found),
        "images twice": len(document["images"]) - len(found),
        "labels": n_labels,
        "images with wrong labels": n_wrong,
        "largest box offset, pixels": round(worst, 3),
    }


def offset(box: list[float], labels: list[Any], name: str) -> float:
    """Return how far the nearest box of the class is off, at its worst edge."""

    def edges(b: list[float]) -> list[float]:
        return [b[0], b[1], b[0] + b[2], b[1] + b[3]]

    return min(
        max(abs(p - q) for p, q in zip(edges(box), edges(other), strict=True))
        for other_name, other in labels
        if other_name == name
    )


def run_set(site: Site, folder: Path, keys: dict[str, str]) -> dict[str, Any]:
    """Label one set to the end and return its row of the table."""
    task_type = SETS[folder.name.split("_")[0]]
    classes, truth = read_truth(folder)
    project = int(
        site.manage(
            "create_project", folder.name, "--type", task_type, "--images", str(folder / "images"),
            "--classes", ",".join(classes), "--wait",
        )
    )  # fmt: skip
    done: dict[str, list[str]] = {name: [] for name in keys}
    failures: list[BaseException] = []

    def guarded(work: Any, *args: Any) -> None:
        try:
            work(*args)
        except BaseException as error:
            traceback.print_exc()
            failures.append(error)

    started = time.monotonic()
    threads = []
    for number, (name, key) in enumerate(keys.items()):
        if number == 0:
            args = (label_in_browser, site, name, project, truth, task_type, done[name])
        else:
            args = (label_by_api, site, key, project, truth, task_type, done[name])
        threads.append(threading.Thread(target=guarded, args=args))
    threads[0].start()
    time.sleep(20)  # let the browser have a page or more of its own before the programs empty the queue
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    seconds = time.monotonic() - started
    path = site.manage("export_labels", folder.name)
    seen = Counter(image for images in done.values() for image in images)
    skipped = sum(not labels for labels in truth.values()) if task_type != "detection" else 0
    row = compare(json.loads(Path(path).read_text()), truth)
    return {
        "set": folder.name,
        "images": len(truth),
        "by browser": len(next(iter(done.values()))),
        "handed out twice": sum(n > 1 for n in seen.values()),
        "lost": len(truth) - skipped - row["images in the export"],
        **row,
        "images a second": round(len(truth) / seconds, 1),
    }


def main() -> None:
    """Label the sets, print the table and the JSON, and fail if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--sets", nargs="*", default=["cls_sign_digits", "ml_aquarium", "det_blood_cells"])
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"{options.data} is not there: give the folder with the sets as --data.")
    with tempfile.TemporaryDirectory(prefix="labelsite-") as folder:
        site = Site(Path(folder))
        try:
            site.person("boss", "manager")
            keys = site.people([f"labeler{n}" for n in range(N_API_LABELERS + 1)], "labeler")
            rows = [run_set(site, options.data / name, keys) for name in options.sets]
        finally:
            site.end()
    for name in rows[0]:
        print(f"{name:<28}" + "".join(f"{row[name]!s:>20}" for row in rows))
    print(json.dumps(rows))
    wrong = [
        row
        for row in rows
        if row["images with wrong labels"] or row["lost"] or row["handed out twice"] or row["images twice"]
        or row["largest box offset, pixels"] > 0.5
    ]  # fmt: skip
    if wrong:
        sys.exit("The export differs from the truth.")


if __name__ == "__main__":
    main()
