"""Networks that turn an image into numbers: torchvision's, cut at their last fully connected layer.

An image's features are the averages of the last three stages, not of the last layer alone: the inner ones know more
about texture and shape, and come with the same forward pass.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision import models

from assist.pipeline import weights
from assist.pipeline.weights import WrongWeights

__all__ = ["NAMES", "Backbone", "WrongWeights", "check_weights", "devices", "embed", "prepare"]

INPUT = 224
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class _Network:
    """How a network of torchvision is made, and where its last three stages end."""

    make: Callable[..., nn.Module]
    weights: models.WeightsEnum
    stages: tuple[str, str, str]
    widths: tuple[int, int, int]
    last: str  # what its last fully connected layer's tensors begin with


_NETWORKS = {
    "mobilenet_v2": _Network(
        models.mobilenet_v2,
        models.MobileNet_V2_Weights.IMAGENET1K_V2,
        ("features.13", "features.16", "features.18"),
        (96, 160, 1280),
        "classifier.",
    ),
    "resnet18": _Network(
        models.resnet18,
        models.ResNet18_Weights.IMAGENET1K_V1,
        ("layer2", "layer3", "layer4"),
        (128, 256, 512),
        "fc.",
    ),
    "resnet50": _Network(
        models.resnet50,
        models.ResNet50_Weights.IMAGENET1K_V2,
        ("layer2", "layer3", "layer4"),
        (512, 1024, 2048),
        "fc.",
    ),
    "efficientnet_b0": _Network(
        models.efficientnet_b0,
        models.EfficientNet_B0_Weights.IMAGENET1K_V1,
        ("features.5", "features.6", "features.8"),
        (112, 192, 1280),
        "classifier.",
    ),
    "convnext_tiny": _Network(
        models.convnext_tiny,
        models.ConvNeXt_Tiny_Weights.IMAGENET1K_V1,
        ("features.3", "features.5", "features.7"),
        (192, 384, 768),
        "classifier.",
    ),
}
NAMES = tuple(_NETWORKS)


@dataclass
class Backbone:
    """A network without its last layer, and where its weights come from."""

    name: str
    model: nn.Module
    source: str  # "torchvision", "local" or "none" (also "finetuned")
    digest: str  # tells its embeddings from those of other weights
    words: str  # the same for people
    stages: tuple[int, ...] = field(default=())

    @property
    def width(self) -> int:
        """Return how many numbers an image becomes."""
        return sum(self.stages)

    @classmethod
    def load(cls, name: str, weights_dir: Path | None, download: bool = True) -> Backbone:
        """Return a network with the weights of a local file, of torchvision, or, said plainly, none."""
        model = bare(name)
        network = _NETWORKS[name]
        if file := weights.local_file(name, weights_dir):
            weights.fill(model, weights.read(file), name, skip=(network.last,))
            return cls(name, model, "local", weights.sha256(file), f"weights of the file {file.name}", network.widths)
        try:
            found, file = weights.from_torchvision(network.weights, download)
        except (OSError, RuntimeError) as error:  # no internet, no such file, or one that is damaged
            return cls(
                name,
                model,
                "none",
                f"none-{name}",
                f"no pretrained weights ({error}): the network knows nothing yet and needs many more labels",
                network.widths,
            )
        weights.fill(model, found, name, skip=(network.last,))
        return cls(name, model, "torchvision", weights.sha256(file), f"torchvision's {network.weights}", network.widths)

    def save(self, file: Path) -> None:
        """Write the network as tensors, such as one that was fine-tuned."""
        kept = {"name": self.name, "source": self.source, "digest": self.digest, "words": self.words}
        weights.write({**kept, "state": self.model.state_dict()}, file)

    @classmethod
    def restore(cls, file: Path) -> Backbone:
        """Read a network that `save` wrote; nothing in the file is ever run."""
        try:
            found: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            model = bare(found["name"])
            weights.fill(model, found["state"], found["name"])
            return cls(
                found["name"],
                model,
                found["source"],
                found["digest"],
                found["words"],
                _NETWORKS[found["name"]].widths,
            )
        except WrongWeights:
            raise
        except Exception as error:
            raise WrongWeights(f"{file.name} cannot be read as a network: {error}") from error


def bare(name: str) -> nn.Module:
    """Return a network without its last layer and with weights that are random, but the same each time."""
    if name not in _NETWORKS:
        raise WrongWeights(f"There is no network {name}; there are {', '.join(NAMES)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _NETWORKS[name].make(weights=None)
    setattr(model, _NETWORKS[name].last.rstrip("."), nn.Identity())
    return model.eval()


def check_weights(file: Path, name: str) -> str:
    """Return the digest of a file that holds weights of this network; raise WrongWeights in words if it does not."""
    weights.fill(bare(name), weights.read(file), name, skip=(_NETWORKS[name].last,))
    return weights.sha256(file)


def devices() -> list[tuple[str, str]]:
    """Return what this process may compute on, as (id, words), the fastest first."""
    found = [
        (f"cuda:{number}", f"{torch.cuda.get_device_name(number)}, {_gib(number)} GiB")
        for number in range(torch.cuda.device_count())
    ]
    if torch.backends.mps.is_available():
        found.append(("mps", "Apple GPU"))
    return [*found, ("cpu", f"CPU, {os.cpu_count()} cores")]


def _gib(number: int) -> int:
    return round(torch.cuda.get_device_properties(number).total_memory / 2**30)


def pooled(backbone: Backbone, images: torch.Tensor) -> torch.Tensor:
    """Return the averages of the last three stages, side by side, for images of (n, 3, height, width)."""
    found: list[torch.Tensor] = []

    def keep(_module: nn.Module, _given: object, output: torch.Tensor) -> None:
        found.append(output.mean((2, 3)).float())

    modules = [backbone.model.get_submodule(stage) for stage in _NETWORKS[backbone.name].stages]
    hooks = [module.register_forward_hook(keep) for module in modules]
    try:
        backbone.model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(found, dim=1)


def prepare(image: Image.Image, size: int = INPUT) -> np.ndarray:
    """Return an image as the network sees it, squeezed to a square: nothing is cut off. uint8 (size, size, 3)."""
    if image.mode != "RGB":
        image = image.convert("RGB")
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(image)


def to_input(images: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return prepared images as a batch of the network's input on a device."""
    batch = torch.from_numpy(images).to(device, non_blocking=True).permute(0, 3, 1, 2)  # channels last in memory
    mean = torch.tensor(MEAN, device=device).view(1, 3, 1, 1) * 255
    std = torch.tensor(STD, device=device).view(1, 3, 1, 1) * 255
    return (batch.float() - mean) / std


def embed(
    backbone: Backbone, images: Iterable[Image.Image | None], device: str = "cpu", batch_size: int = 32
) -> Iterator[np.ndarray]:
    """Yield the features of images in order, float32 (n, width) a batch; an image that is None gives a row of NaN.

    Images are decoded and resized by threads while the network works on those before.
    """
    where = torch.device(device)
    backbone.model.eval().to(where).to(memory_format=torch.channels_last)
    fast = where.type == "cuda"
    for batch in _batches(images, batch_size, threads=(os.cpu_count() or 1) if fast else 1):
        seen = [number for number, image in enumerate(batch) if image is not None]
        features = np.full((len(batch), backbone.width), np.nan, np.float32)
        if seen:
            given = np.stack([image for image in batch if image is not None])
            with torch.inference_mode(), torch.autocast(where.type, torch.float16, enabled=fast):
                features[seen] = pooled(backbone, to_input(given, where)).cpu().numpy()
        yield features


def _prepare(image: Image.Image | None) -> np.ndarray | None:
    try:
        return None if image is None else prepare(image)
    except (OSError, ValueError, SyntaxError):  # Pillow's words for a broken file
        return None


def _batches(images: Iterable[Image.Image | None], size: int, threads: int) -> Iterator[list[np.ndarray | None]]:
    """Yield prepared images in batches, some of them ahead of who asks."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[np.ndarray | None]] = deque()
        batch: list[np.ndarray | None] = []
        source = iter(images)
        more = True
        while more or waiting:
            while more and len(waiting) < 2 * size:
                try:
                    waiting.append(pool.submit(_prepare, next(source)))
                except StopIteration:
                    more = False
            if waiting:
                batch.append(waiting.popleft().result())
            if batch and (len(batch) == size or not waiting):
                yield batch
                batch = []
