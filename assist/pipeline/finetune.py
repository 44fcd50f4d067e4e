"""Fine-tuning: the upper half of a network learns from the project's own labels, on a GPU or when asked.

The head on embeddings alone is as accurate with a few hundred labels. A fine-tuned network has seen its images, so only
labels of images that it was not trained on say how good it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from assist.pipeline.backbones import INPUT, Backbone, bare, prepare, to_input

MOST = 8_000  # images that a training sees; they lie in memory
BATCH = 32
EPOCHS = 20
STEPS = (200, 4_000)
RATE = 1e-3
BODY_RATE = 0.1  # of it, for the pretrained layers
EVERY = 10  # steps from one report to the next
LARGER = 256  # images are kept so large, for crops
FROZEN = {
    "mobilenet_v2": [f"features.{number}." for number in range(8)],
    "resnet18": ["conv1.", "bn1.", "layer1.", "layer2."],
    "resnet50": ["conv1.", "bn1.", "layer1.", "layer2."],
    "efficientnet_b0": [f"features.{number}." for number in range(4)],
    "convnext_tiny": [f"features.{number}." for number in range(4)],
}
Progress = Callable[[float, dict[str, float]], None]


class NoMemory(Exception):
    """There is too little memory, and of what, in words."""


def finetune(
    backbone: Backbone,
    images: Iterable[Image.Image | None],
    labels: np.ndarray,
    device: str = "cpu",
    progress: Progress | None = None,
    seed: int = 0,
    steps: int | None = None,
) -> Backbone:
    """Return a network whose upper half has learned the labels: classes (n,), or (n, labels) of 0 and 1.

    An image that is None, as it can't be read, is left out. `progress` hears how far it is, with loss and accuracy, and
    may raise to stop it. The network given is left alone. Raises NoMemory, in words.
    """
    try:
        return _finetune(backbone, images, labels, device, progress, seed, steps)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise NoMemory(f"too little memory on {device} ({error})") from error


def _finetune(
    backbone: Backbone,
    images: Iterable[Image.Image | None],
    labels: np.ndarray,
    device: str,
    progress: Progress | None,
    seed: int,
    steps: int | None,
) -> Backbone:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    pictures, chosen = _open(images, len(labels), rng)
    targets = torch.from_numpy(np.asarray(labels)[chosen])
    if len(pictures) < 2:
        raise ValueError(f"{len(pictures)} images can be read: there must be two at least")
    where = torch.device(device)
    fast = where.type == "cuda"
    model = bare(backbone.name)
    model.load_state_dict(backbone.model.state_dict())
    model.to(where).to(memory_format=torch.channels_last)
    several = targets.ndim == 2
    head = nn.Linear(_out(model, where), targets.shape[1] if several else int(targets.max()) + 1).to(where)
    _freeze(model, backbone.name, pretrained=backbone.source != "none")
    total = steps or int(np.clip(EPOCHS * len(pictures) / BATCH, *STEPS))
    body = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        [{"params": body, "lr": RATE * BODY_RATE}, {"params": head.parameters(), "lr": RATE}], weight_decay=0.01
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [RATE * BODY_RATE, RATE], total_steps=total, pct_start=0.2
    )
    scaler = torch.amp.GradScaler(where.type, enabled=fast)
    for step, batch in enumerate(_batches(len(pictures), total, rng), start=1):
        given = _augment(to_input(pictures[batch], where), rng)
        wanted = targets[batch].to(where)
        with torch.autocast(where.type, torch.float16, enabled=fast):
            logits = head(functional.dropout(model(given).flatten(1), 0.2)).float()
        if several:
            loss = functional.binary_cross_entropy_with_logits(logits, wanted.float())
            right = ((logits > 0) == wanted.bool()).all(1).float().mean()
        else:
            loss = functional.cross_entropy(logits, wanted, label_smoothing=0.05)
            right = (logits.argmax(1) == wanted).float().mean()
        if not torch.isfinite(loss) and not fast:
            raise FloatingPointError("the fine-tuning went astray: its loss is no longer a number")
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        if progress is not None and (step % EVERY == 0 or step in (1, total)):
            progress(step / total, {"loss": float(loss.detach()), "accuracy": float(right)})
    model.cpu().eval()
    words = f"fine-tuned on {len(pictures)} labels, from {backbone.words}"
    return Backbone(backbone.name, model, "finetuned", _digest(model), words, backbone.stages)


def _open(images: Iterable[Image.Image | None], count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return images as arrays, some at random where there are very many, and which of them these are."""
    wanted = set(rng.choice(count, min(count, MOST), replace=False).tolist())
    pictures = np.empty((len(wanted), LARGER, LARGER, 3), np.uint8)  # once: a list and its stack would be twice as much
    chosen: list[int] = []
    n_images = 0
    for number, image in enumerate(images):
        n_images += 1
        if number in wanted and image is not None:
            pictures[len(chosen)] = prepare(image, LARGER)
            chosen.append(number)
    if n_images != count:
        raise ValueError(f"{n_images} images and {count} labels: there must be as many")
    return pictures[: len(chosen)], np.array(chosen, np.int64)


def _freeze(model: nn.Module, name: str, pretrained: bool) -> None:
    """Let only the upper half learn, and keep the normalisation of pretrained weights: all learns where none are."""
    model.train()
    if not pretrained:
        return
    for key, parameter in model.named_parameters():
        parameter.requires_grad = not key.startswith(tuple(FROZEN[name]))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def _out(model: nn.Module, where: torch.device) -> int:
    """Return how many numbers the network's last layer gives."""
    with torch.inference_mode():
        width = model(torch.zeros(1, 3, 64, 64, device=where)).flatten(1).shape[1]
    return int(width)


def _batches(count: int, steps: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    size = min(BATCH, count)
    order = np.zeros(0, int)
    for _step in range(steps):
        if len(order) < size:
            order = rng.permutation(count)
        yield order[:size]
        order = order[size:]


def _augment(batch: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Return a crop of each image, moved, mirrored, and a little brighter or darker, at the network's size."""
    n = len(batch)
    zoom = np.sqrt(rng.uniform(0.5, 1.0, n))
    stretch = np.exp(rng.uniform(-0.15, 0.15, n))
    turn = np.zeros((n, 2, 3), np.float32)
    turn[:, 0, 0] = np.minimum(zoom * stretch, 1) * rng.choice([-1, 1], n)
    turn[:, 1, 1] = np.minimum(zoom / stretch, 1)
    turn[:, 0, 2] = rng.uniform(-1, 1, n) * (1 - np.abs(turn[:, 0, 0]))
    turn[:, 1, 2] = rng.uniform(-1, 1, n) * (1 - turn[:, 1, 1])
    grid = functional.affine_grid(torch.from_numpy(turn).to(batch.device), [n, 3, INPUT, INPUT], align_corners=False)
    seen = functional.grid_sample(batch, grid, align_corners=False, padding_mode="border")
    light = torch.from_numpy(rng.uniform(-0.3, 0.3, (n, 1, 1, 1)).astype(np.float32)).to(batch.device)
    contrast = torch.from_numpy(rng.uniform(0.8, 1.2, (n, 1, 1, 1)).astype(np.float32)).to(batch.device)
    return (seen * contrast + light).contiguous(memory_format=torch.channels_last)


def _digest(model: nn.Module) -> str:
    found = hashlib.sha256()
    for key, value in model.state_dict().items():
        found.update(key.encode())
        found.update(value.numpy().tobytes())
    return found.hexdigest()
