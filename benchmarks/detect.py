"""Trains a detector on a set with boxes and says what it saves: actions an image, mAP, seconds.

    python -m benchmarks.detect [--data ../shared/data] [--sets det_blood_cells det_playing_cards] [--device cuda:0]

The first 120 images of a random order are labeled by hand; 96 of them are trained on, 24 kept aside to choose the
thresholds. What counts are the images after them: false box 1, missing box 3, loose box 2, and 1 to confirm.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from benchmarks import real_sets  # first: it sets how threads wait

# isort: split
import numpy as np
from PIL import Image

from assist.pipeline import boxes, detector
from assist.pipeline.boxes import Boxes


def read(folder: Path) -> tuple[list[Path], list[Boxes], list[str]]:
    """Read images/ and truth.json: files, their boxes, class names."""
    if not (folder / "truth.json").is_file():
        raise SystemExit(f"There is no set in {folder}: give the folder of the real sets with --data.")
    document = json.loads((folder / "truth.json").read_text())
    numbers = {category["id"]: place for place, category in enumerate(document["categories"])}
    rows: dict[int, list[tuple[list[float], int]]] = {image["id"]: [] for image in document["images"]}
    for annotation in document["annotations"]:
        rows[annotation["image_id"]].append((annotation["bbox"], numbers[annotation["category_id"]]))
    files = [folder / "images" / Path(image["file_name"]).name for image in document["images"]]
    truth = [Boxes(np.array([box for box, _ in row]), np.array([kind for _, kind in row])) for row in rows.values()]
    return files, truth, [category["name"] for category in document["categories"]]


def load(file: Path) -> Image.Image:
    """Decode an image."""
    with Image.open(file) as image:
        return image.convert("RGB")


def measure(
    folder: Path, name: str, weights: Path, device: str, labeled: int, kept: int, seed: int, steps: int | None
) -> dict[str, Any]:
    """Train on the labeled images, choose thresholds on those kept aside, and measure on the others."""
    files, truth, names = read(folder)
    order = np.random.default_rng(seed).permutation(len(files))
    judge, train, others = order[:kept], order[kept:labeled], order[labeled:]
    samples = [detector.Sample(load(files[number]), truth[number]) for number in train]
    start = time.perf_counter()
    made = detector.train(samples, len(names), device, name, weights, None, seed, steps, download=False)
    trained = time.perf_counter()
    found = [one for one in made.predict((load(files[i]) for i in [*judge, *others]), device) if one is not None]
    done = time.perf_counter()
    thresholds = detector.thresholds_by_actions(found[:kept], [truth[i] for i in judge], len(names))
    true = [truth[number] for number in others]
    shown = [thresholds.shown(one) for one in found[kept:]]
    spent = float(np.mean([boxes.actions(s, t) for s, t in zip(shown, true, strict=True)]))
    by_hand = float(np.mean([boxes.CONFIRM + boxes.MISSING * len(t) for t in true]))
    scores = detector.evaluate(found[kept:], true, len(names))
    return {
        "set": folder.name,
        "detector": name,
        "weights": made.words,
        "device": device,
        "trained_on": len(train),
        "by_hand": by_hand,
        "actions": spent,
        "share": spent / by_hand,
        "map": scores["map"],
        "ap50": scores["ap50"],
        "ap50_by_class": dict(zip(names, scores["ap50_by_class"], strict=True)),
        "thresholds": thresholds.as_dict(),
        "bounds": {
            key: (value.value, value.bound)
            for key, value in detector.bounds(shown, true, np.random.default_rng(seed)).items()
        },
        "train_seconds": trained - start,
        "images_a_second": len(found) / (done - trained),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=real_sets.DATA)
    parser.add_argument("--sets", nargs="+", default=["det_blood_cells", "det_playing_cards"])
    parser.add_argument("--weights", type=Path, help="folder of weights (default: weights/ in the data folder)")
    parser.add_argument("--detector", default=detector.FAST, choices=detector.NAMES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--labeled", type=int, default=120)
    parser.add_argument("--kept", type=int, default=24)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    results = []
    for name in given.sets:
        for seed in range(given.seeds):
            found = measure(
                given.data / name,
                given.detector,
                given.weights or given.data / "weights",
                given.device,
                given.labeled,
                given.kept,
                seed,
                given.steps,
            )
            results.append(found)
            print(
                f"{name}: {found['by_hand']:.1f} actions an image by hand, {found['actions']:.1f} with boxes shown "
                f"({found['share']:.2f}); mAP {found['map']:.3f}, AP50 {found['ap50']:.3f}; "
                f"trained in {found['train_seconds']:.0f} s, {found['images_a_second']:.1f} images/s",
                flush=True,
            )
    print(json.dumps(results))


if __name__ == "__main__":
    main()
