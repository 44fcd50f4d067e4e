"""How fast are embeddings, next to the bare loop of torchvision: decode, resize, forward?

    python -m benchmarks.featurize [--data ../shared/data] [--set cls_trashnet] [--images 512] [--device cpu]

Both read the same files, decode and resize them with Pillow, and run the same network; the bare loop keeps the last
layer's output. They take turns, so that a busy machine slows both alike; the goal is 90 % of the bare loop.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import real_sets  # first: it sets how threads wait

# isort: split
import numpy as np
import torch
from PIL import Image
from torchvision import models
from torchvision.transforms import functional

from assist.pipeline.backbones import INPUT, MEAN, STD, Backbone, embed


def bare(backbone: Backbone, files: list[Path], device: str, batch_size: int) -> int:
    """Run the bare loop."""
    model = models.mobilenet_v2(weights=None)
    model.load_state_dict(backbone.model.state_dict(), strict=False)
    model.classifier = torch.nn.Identity()
    model.eval().to(device).to(memory_format=torch.channels_last)
    done = 0
    with torch.inference_mode():
        for start in range(0, len(files), batch_size):
            batch = []
            for file in files[start : start + batch_size]:
                with Image.open(file) as image:
                    small = image.convert("RGB").resize((INPUT, INPUT), Image.Resampling.BILINEAR)
                batch.append(functional.normalize(functional.to_tensor(small), list(MEAN), list(STD)))
            given = torch.stack(batch).to(device).to(memory_format=torch.channels_last)
            done += len(model(given).cpu())
    return done


def ours(backbone: Backbone, files: list[Path], device: str, batch_size: int) -> int:
    """Run the site's function."""
    return sum(len(part) for part in embed(backbone, (Image.open(file) for file in files), device, batch_size))


def rate(run: Callable[..., int], *given: object) -> float:
    """Return images a second."""
    start = time.perf_counter()
    return run(*given) / (time.perf_counter() - start)


def compare(
    files: list[Path], weights: Path, device: str = "cpu", batch_size: int = 32, rounds: int = 3
) -> dict[str, float]:
    """Return images a second of both, the median of some rounds, and their ratio."""
    backbone = Backbone.load("mobilenet_v2", weights, download=False)
    for run in (bare, ours):
        run(backbone, files[: 2 * batch_size], device, batch_size)
    rates = [[rate(run, backbone, files, device, batch_size) for run in (bare, ours)] for _round in range(rounds)]
    loop, site = np.median(np.array(rates), axis=0)
    return {"bare": float(loop), "site": float(site), "ratio": float(np.median([b / a for a, b in rates]))}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=real_sets.DATA)
    parser.add_argument("--set", default="cls_trashnet")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    data = real_sets.read(given.data / given.set)
    found = compare(data.files[: given.images], given.data / "weights", given.device, given.batch, given.rounds)
    print(f"bare loop {found['bare']:.1f} images/s, site {found['site']:.1f} images/s: {found['ratio']:.0%}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
