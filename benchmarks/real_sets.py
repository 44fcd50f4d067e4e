"""The real image sets that benchmarks run on, and their embeddings, computed once."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before numpy and torch: threads that wait must not burn the cores

import numpy as np
from PIL import Image

from assist.pipeline.embeddings import Scaling

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"


@dataclass
class RealSet:
    """A set with its truth: class numbers, or for multi-label sets (n, labels) of 0 and 1."""

    name: str
    files: list[Path]
    names: list[str]
    truth: np.ndarray


def read(folder: Path) -> RealSet:
    """Read a classification set: images/ and truth.csv."""
    if not (folder / "truth.csv").is_file():
        raise SystemExit(f"There is no set in {folder}: give the folder of the real sets with --data.")
    with (folder / "truth.csv").open() as file:
        rows = sorted(list(csv.reader(file))[1:])
    sets = [set(row[1].split("|")) - {""} for row in rows]
    names = sorted(set().union(*sets))
    files = [folder / "images" / Path(row[0]).name for row in rows]
    hot = np.array([[name in found for name in names] for found in sets]).astype(int)
    return RealSet(folder.name, files, names, hot if folder.name.startswith("ml_") else hot.argmax(1))


def features(data: RealSet, weights_dir: Path | None, backbone_name: str, cache: Path) -> tuple[np.ndarray, str]:
    """Return embeddings (n, width) and in words which weights they are of; kept in a cache folder."""
    import torch

    from assist.pipeline.backbones import Backbone, embed

    backbone = Backbone.load(backbone_name, weights_dir, download=False)
    file = cache / f"{data.name}-{backbone_name}-{backbone.digest[:12]}.npy"
    if not file.exists():
        torch.set_num_threads(os.cpu_count() or 1)
        print(f"Embedding {len(data.files)} images of {data.name} ..", flush=True)
        found = np.concatenate(list(embed(backbone, (Image.open(path) for path in data.files), "cpu", 32)))
        cache.mkdir(parents=True, exist_ok=True)
        np.save(file, found)
    raw = np.load(file)
    return Scaling.fit(raw, backbone.stages).apply(raw), f"{backbone_name}, {backbone.words}"
