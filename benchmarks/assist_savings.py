"""What assistance is worth: a simulated labeler works through real sets on the real site, with assistance off and on.

From the first image to the last, over the API, pages, queue, worker and models as `make run` starts them.

    python -m benchmarks.assist_savings [--data ../shared/data] [--sets cls_sign_digits cls_trashnet] [--weights DIR]

The labeler knows the truth and answers blank images by it, but confirms suggestions without looking: what is wrong in
them slips through. Actions are counted as a person's on the labeling pages: a blank image one key; a page of alike
images one key for all and one for each odd one; a prelabeled page one to confirm. "If careful" adds one key for each
wrong suggestion that a careful labeler would mend. Several labels: one key each, or one for all that have it picked;
a prelabeled page one to confirm, and one for each label to put or take off. Boxes, counted as in
assist/pipeline/boxes.py: two for the corners and one for the class, one to confirm a page (blank or not), one for a
false box or one of a wrong class to delete, two for one to adjust (IoU below 0.7; "strict": below 0.8). The labeler
waits while a training is due or under way.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from assist.pipeline.boxes import CONFIRM, Boxes, actions
from benchmarks.label_to_the_end import ROOT, SETS, Site, Truth, read_truth

# Seconds in which a training that is due begins, unless pages have to be done first; with boxes nothing has to.
SOON = {"multiclass": 4.0, "multilabel": 4.0, "detection": 60.0}
POLL = {"multiclass": 0.2, "multilabel": 0.2, "detection": 2.0}  # seconds between two looks at a run under way
FIRST = 120  # images, after which boxes are counted apart, as one detector trained on so many would be
STRICT = 0.8  # overlap of somebody who adjusts every box that is not as tight as that


@dataclass
class Tally:
    """What one pass over a set cost."""

    images: int = 0
    actions: float = 0
    careful: int = 0  # more actions that a careful labeler would have made
    confirmed: int = 0
    wrong: int = 0  # of the confirmed
    kinds: Counter[str] = field(default_factory=Counter)
    strict: float = 0  # actions of somebody who adjusts more boxes
    by_image: list[float] = field(default_factory=list)  # actions of each image with boxes, in the order of labeling
    waited: float = 0.0


class Labeler:
    """One person who works through a project."""

    def __init__(self, site: Site, key: str, project: int, truth: Truth, task_type: str, careful: bool) -> None:
        self.site, self.key, self.project = site, key, project
        self.truth, self.task_type, self.careful = truth, task_type, careful
        mine = next(p for p in get(site, key, "labeling/projects/")["results"] if p["id"] == project)
        self.ids = {label["name"]: label["id"] for label in mine["classes"]}
        self.tally = Tally()

    def work(self, assisted: bool) -> Tally:
        """Label until nothing is left."""
        while True:
            if assisted:
                self.wait_for_the_model()
            page = self.site.call(self.key, f"labeling/projects/{self.project}/claim/", {"count": 9})["page"]
            if page is None:
                return self.tally
            items = [self.answer(page, item) for item in page["items"]]
            self.count_page(page)
            self.site.call(self.key, f"labeling/pages/{page['id']}/submit/", {"items": items, "seconds": len(items)})

    def wait_for_the_model(self) -> None:
        """Wait while a run is under way, or due."""
        started = time.monotonic()
        while True:
            newest = get(self.site, self.key, f"projects/{self.project}/assist-runs/?page_size=1")["results"]
            busy = bool(newest) and newest[0]["state"] in ("queued", "running")
            if newest and newest[0]["state"] == "failed":
                sys.exit(f"{newest[0]['kind']} failed: {newest[0]['error']}")
            now = get(self.site, self.key, f"projects/{self.project}/progress/")
            next_one = now["next_training"]  # none when too little is left for a training to be worth it
            due = next_one and next_one["labels"] >= next_one["needed"] and sum(now["pending"].values())
            begun = newest or self.task_type == "detection"  # others are grouped before anybody labels
            if begun and not busy and not (due and time.monotonic() < started + SOON[self.task_type]):
                break
            time.sleep(POLL[self.task_type])
        self.tally.waited += time.monotonic() - started

    def names(self, item: dict[str, Any]) -> Any:
        """Return the truth of an item."""
        return self.truth[Path(item["image"]["path"]).name]

    def answer(self, page: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
        """Return what this labeler submits, and count what is suggested."""
        known = self.names(item)
        is_suggested = page["kind"] == "prelabeled"
        if self.task_type == "detection":
            return self.answer_boxes(item, known, is_suggested)
        wanted = sorted(self.ids[name] for name in known)
        if not is_suggested:
            return {"id": item["id"], "labels": wanted} if wanted else {"id": item["id"], "skip": "no_class"}
        said = sorted(label["label_class"] for label in item["prelabels"])
        self.tally.confirmed += 1
        if said != wanted:
            self.tally.wrong += 1
            if self.task_type == "multiclass":
                self.tally.careful += 1
            else:
                self.tally.careful += len(set(said) ^ set(wanted))
        if self.careful:
            return {"id": item["id"], "labels": wanted} if wanted else {"id": item["id"], "skip": "no_class"}
        return {"id": item["id"], "labels": said}

    def answer_boxes(self, item: dict[str, Any], known: Any, is_suggested: bool) -> dict[str, Any]:
        """Boxes are always mended: nobody confirms a page of boxes without looking."""
        boxes = [{"label_class": self.ids[name], "box": box} for name, box in known]
        true = as_boxes([(self.ids[name], box) for name, box in known])
        said = as_boxes([(label["label_class"], label["box"]) for label in item["prelabels"] or ()])
        said.scores = np.array([label["confidence"] for label in item["prelabels"] or ()], float)
        spent = actions(said, true)
        if is_suggested:
            self.tally.confirmed += 1
            self.tally.wrong += spent > CONFIRM
        self.tally.actions += spent
        self.tally.strict += actions(said, true, STRICT)
        self.tally.by_image.append(spent)
        if len(self.tally.by_image) % 20 == 0:  # a detector takes its time
            now = float(np.mean(self.tally.by_image[-20:]))
            print(f"{len(self.tally.by_image)} images, {now:.1f} actions for each of the last 20", file=sys.stderr)
        return {"id": item["id"], "boxes": boxes}

    def count_page(self, page: dict[str, Any]) -> None:
        """Count the actions of a page."""
        items = page["items"]
        self.tally.images += len(items)
        self.tally.kinds[page["kind"]] += len(items)
        if self.task_type == "detection":
            return  # counted image by image
        if page["kind"] == "prelabeled":
            self.tally.actions += 1
            return
        sets = [tuple(self.names(item)) for item in items]
        if page["kind"] == "manual":
            self.tally.actions += sum(max(len(labels), 1) for labels in sets)
        elif self.task_type == "multiclass":
            self.tally.actions += 1 + len(items) - Counter(sets).most_common(1)[0][1]
        else:
            self.tally.actions += set_actions(sets)


def set_actions(sets: list[tuple[str, ...]]) -> int:
    """Return the keys for a page of alike images with several labels each: for each label, all and then the odd ones,
    or one by one, whichever is less; the page starts with all of them picked."""
    total = 0
    for name in {name for labels in sets for name in labels}:
        having = sum(name in labels for labels in sets)
        total += min(having, 1 + len(sets) - having)
    return max(total, 1)


def as_boxes(labels: list[tuple[int, list[float]]]) -> Boxes:
    """Return classes and boxes as arrays."""
    return Boxes(np.array([box for _name, box in labels]), np.array([name for name, _box in labels]))


def get(site: Site, key: str, path: str) -> Any:
    """Ask the API."""
    request = urllib.request.Request(f"{site.url}/api/v1/{path}", headers={"Authorization": f"Token {key}"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def patch(site: Site, key: str, path: str, body: dict[str, Any]) -> Any:
    """Change something over the API."""
    request = urllib.request.Request(
        f"{site.url}/api/v1/{path}",
        data=json.dumps(body).encode(),
        method="PATCH",
        headers={"Authorization": f"Token {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def run_set(site: Site, key: str, folder: Path, assisted: bool, options: argparse.Namespace) -> dict[str, Any]:
    """Label one set to the end and return its row of the table."""
    task_type = SETS[folder.name.split("_")[0]]
    classes, truth = read_truth(folder)
    name = f"{folder.name} {'on' if assisted else 'off'} {time.time():.0f}"
    project = int(
        site.manage(
            "create_project", name, "--type", task_type, "--images", str(folder / "images"),
            "--classes", ",".join(classes), "--wait",
        )
    )  # fmt: skip
    if assisted:
        settings: dict[str, Any] = {"enabled": True, "device": options.device, "network": options.network}
        if options.fixed and task_type == "multilabel":
            settings["threshold"] = 0.0
        patch(site, key, f"projects/{project}/", {"assist": settings})
    careful = options.fixed and task_type == "multilabel"
    labeler = Labeler(site, key, project, truth, task_type, careful)
    started = time.monotonic()
    tally = labeler.work(assisted)
    wall = time.monotonic() - started
    found = get(site, key, f"projects/{project}/assist-runs/?page_size=100")["results"]
    trainings = [run for run in found if run["kind"] == "training"]
    return {
        "set": folder.name,
        "assist": ("fixed threshold" if careful else "on") if assisted else "off",
        "weights": trainings[0]["config"]["weights"] if trainings else "-",
        "images": tally.images,
        "actions an image": round((tally.actions + (tally.careful if careful else 0)) / tally.images, 3),
        "after the first 120": round(float(np.mean(tally.by_image[FIRST:])), 3) if tally.by_image else "-",
        "strict": round(tally.strict / tally.images, 3) if tally.by_image else "-",
        "if careful": round((tally.actions + tally.careful) / tally.images, 3),
        "prelabeled": round(tally.confirmed / tally.images, 3),
        "clustered": round(tally.kinds["clustered"] / tally.images, 3),
        "wrong of the confirmed": round(tally.wrong / tally.confirmed, 4) if tally.confirmed else 0.0,
        "trainings": len(trainings),
        "waited for models, s": round(tally.waited, 1),
        "wall time, s": round(wall, 1),
    }


def main() -> None:
    """Label the sets with and without, print the table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--sets", nargs="*", default=["cls_sign_digits", "cls_trashnet"])
    parser.add_argument("--weights", type=Path, help="a folder with pretrained weights (default: weights in --data)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--network", default="mobilenet_v2", help="mobilenet_v2 or resnet50, say")
    parser.add_argument("--fixed", action="store_true", help="several labels: a fixed threshold and careful labelers")
    parser.add_argument("--only-on", action="store_true", help="leave out the pass without assistance")
    parser.add_argument("--keep", type=Path, help="a folder for the site's data, which is kept")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"{options.data} is not there: give the folder with the sets as --data.")
    os.environ["ASSIST_WEIGHTS_DIR"] = str(options.weights or options.data / "weights")
    os.environ["ASSIST_DOWNLOAD"] = "0"
    os.environ["API_RATE"] = "1000000/min"
    with tempfile.TemporaryDirectory(prefix="labelsite-") as folder:
        site = Site(options.keep or Path(folder))
        try:
            key = site.person("boss", "manager")
            passes = [True] if options.only_on else [False, True]
            rows = [run_set(site, key, options.data / name, on, options) for name in options.sets for on in passes]
        finally:
            site.end()
    for name in rows[0]:
        print(f"{name:<28}" + "".join(f"{row[name]!s:>18}" for row in rows))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
