"""What a GPU does with the pipeline: embeddings, fine-tuning with mixed precision, training a detector.

    python -m benchmarks.gpu [--data ../shared/data] [--device cuda:0]

Needs torch, torchvision, scikit-learn and pycocotools, and neither the site nor its database.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from benchmarks import detect, featurize, real_sets  # first: it sets how threads wait

# isort: split
import numpy as np
import torch

from assist.pipeline import finetune, head
from assist.pipeline.backbones import Backbone, embed
from assist.pipeline.embeddings import Scaling


def accuracy(data: real_sets.RealSet, features: np.ndarray, stages: tuple[int, ...], train: np.ndarray) -> float:
    """Return the share of the other images that the head gets right."""
    x = Scaling.fit(features, stages).apply(features)
    rest = np.setdiff1d(np.arange(len(x)), train)
    fitted = head.fit(x[train], data.truth[train], len(data.names))
    return float((head.predict(fitted.scores(x[rest])) == data.truth[rest]).mean())


def tune(data: real_sets.RealSet, weights: Path, device: str, count: int) -> dict[str, Any]:
    """Fine-tune on some labels and compare with the head on the embeddings of the network as it was."""
    backbone = Backbone.load("mobilenet_v2", weights, download=False)
    images = [detect.load(file) for file in data.files]
    train = np.sort(np.random.default_rng(0).permutation(len(images))[:count])
    before = np.concatenate(list(embed(backbone, images, device, 256)))
    start = time.perf_counter()
    tuned = finetune.finetune(backbone, [images[number] for number in train], data.truth[train], device)
    seconds = time.perf_counter() - start
    after = np.concatenate(list(embed(tuned, images, device, 256)))
    return {
        "set": data.name,
        "labels": count,
        "head": accuracy(data, before, backbone.stages, train),
        "finetuned": accuracy(data, after, backbone.stages, train),
        "seconds": seconds,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=real_sets.DATA)
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--set", default="cls_trashnet")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--labels", type=int, nargs="+", default=[600])
    parser.add_argument("--boxes", nargs="*", default=["det_blood_cells", "det_playing_cards"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int)
    given = parser.parse_args()
    weights = given.data / "weights"
    name = torch.cuda.get_device_name(given.device) if given.device.startswith("cuda") else "CPU"
    print(f"{name}; torch {torch.__version__}", flush=True)
    data = real_sets.read(given.data / given.set)
    rates = featurize.compare(data.files[: given.images], weights, given.device, batch_size=128, rounds=2)
    print(json.dumps({"device": name, **rates}), flush=True)
    for count in given.labels:
        print(json.dumps({"device": name, **tune(data, weights, given.device, count)}), flush=True)
    for folder in given.boxes:
        for seed in range(given.seeds):
            found = detect.measure(
                given.data / folder, detect.detector.FAST, weights, given.device, 120, 24, seed, given.steps
            )
            print(json.dumps({"device": name, "seed": seed, **found}), flush=True)


if __name__ == "__main__":
    main()
