"""Detectors of torchvision: trained on the boxes that people drew, from the best weights that are there."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision import models, tv_tensors
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.fcos import FCOS, FCOSHead
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
from torchvision.transforms import v2

from assist.pipeline import weights
from assist.pipeline.boxes import Boxes, bounds, evaluate, thresholds_by_actions
from assist.pipeline.weights import WrongWeights

__all__ = [
    "FAST",
    "NAMES",
    "STRONG",
    "Boxes",
    "Detector",
    "Sample",
    "bounds",
    "evaluate",
    "thresholds_by_actions",
    "train",
]

MOST = 6_000  # images that a training sees; they lie in memory, made small
MOST_BOXES = 300  # found in one image
LEAST_SCORE = 0.02
BODY_RATE = 0.2  # of the head's, for the pretrained body: its weights are good already
# A CPU makes many small steps: 600 of two images taught playing cards to a mAP of 0.53, 300 of four to one of 0.35.
CPU_BATCH = 2
RISE = 0.15  # of the training
EVERY = 10  # steps from one report to the next
Progress = Callable[[float, dict[str, float]], None]


@dataclass(frozen=True)
class _Kind:
    """How a detector is made and trained."""

    short: int  # side of the image as the network sees it
    long: int
    batch: int  # on a GPU
    steps: int  # of training on a CPU
    gpu_steps: int
    rate: float
    pretrained: models.WeightsEnum | None  # on COCO
    backbone: tuple[str, models.WeightsEnum]  # else a backbone's, on ImageNet


_KINDS = {
    "fcos_mobilenet_v2": _Kind(
        320, 448, 8, 800, 800, 2e-3, None, ("mobilenet_v2", models.MobileNet_V2_Weights.IMAGENET1K_V2)
    ),
    "fasterrcnn_mobilenet_v3_large_320_fpn": _Kind(
        320,
        640,
        8,
        400,
        800,
        1e-3,
        detection.FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.COCO_V1,
        ("mobilenet_v3_large", models.MobileNet_V3_Large_Weights.IMAGENET1K_V1),
    ),
    "fasterrcnn_resnet50_fpn_v2": _Kind(
        640,
        1024,
        4,
        300,
        1200,
        3e-4,
        detection.FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
        ("resnet50", models.ResNet50_Weights.IMAGENET1K_V2),
    ),
}
_FROZEN = {  # the body's first layers
    "fcos_mobilenet_v2": tuple(f"{number}." for number in range(7)),
    "fasterrcnn_mobilenet_v3_large_320_fpn": tuple(f"{number}." for number in range(7)),
    "fasterrcnn_resnet50_fpn_v2": ("conv1.", "bn1.", "layer1."),
}
NAMES = tuple(_KINDS)
FAST = "fcos_mobilenet_v2"
STRONG = "fasterrcnn_resnet50_fpn_v2"


@dataclass
class Sample:
    """An image with its boxes."""

    image: Image.Image
    truth: Boxes


@dataclass
class Detector:
    """A trained detector."""

    name: str
    model: nn.Module
    n_classes: int
    source: str  # "torchvision", "local" or "none"
    words: str
    seen: list[int] = field(default_factory=list)  # what it was ever trained on, in the caller's numbers

    def predict(
        self, images: Iterable[Image.Image | None], device: str = "cpu", batch_size: int = 8
    ) -> Iterator[Boxes | None]:
        """Yield the boxes of images in their order, all above a very low score; None for an image that is None."""
        where = torch.device(device)
        kind = _KINDS[self.name]
        self.model.to(where).to(memory_format=torch.channels_last).eval()
        source = iter(images)
        while batch := list(islice(source, batch_size)):
            seen = [image for image in batch if image is not None]
            small = [_small(image, kind) for image in seen]
            with torch.inference_mode(), torch.autocast(where.type, torch.float16, enabled=where.type == "cuda"):
                given = [torch.from_numpy(array).to(where).permute(2, 0, 1).float() / 255 for array in small]
                found = self.model(given) if given else []
            first = _first_class(self.name)
            results = iter(
                _boxes(one, image, array, first) for one, image, array in zip(found, seen, small, strict=True)
            )
            for image in batch:
                yield None if image is None else next(results)

    def save(self, file: Path) -> None:
        """Write the detector as tensors."""
        state = {key: value.cpu() for key, value in self.model.state_dict().items()}
        kept = {key: getattr(self, key) for key in ("name", "n_classes", "source", "words", "seen")}
        weights.write({**kept, "state": state}, file)

    @classmethod
    def load(cls, file: Path) -> Detector:
        """Read a detector; nothing in the file is ever run."""
        try:
            found: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            made = cls(
                found["name"],
                build(found["name"], found["n_classes"]),
                found["n_classes"],
                found["source"],
                found["words"],
                found.get("seen", []),
            )
            weights.fill(made.model, found["state"], made.name)
        except WrongWeights:
            raise
        except Exception as error:
            raise WrongWeights(f"{file.name} cannot be read as a detector: {error}") from error
        made.model.eval()
        return made


def build(name: str, n_classes: int) -> nn.Module:
    """Return a detector with random weights, for classes 0 .. n_classes - 1."""
    if name not in _KINDS:
        raise WrongWeights(f"There is no detector {name}; there are {', '.join(NAMES)}.")
    kind = _KINDS[name]
    sizes: dict[str, Any] = {"min_size": kind.short, "max_size": kind.long}
    found: dict[str, Any] = {"box_score_thresh": LEAST_SCORE, "box_detections_per_img": MOST_BOXES}
    none: dict[str, Any] = {"weights": None, "weights_backbone": None}
    if name == "fcos_mobilenet_v2":
        return _fcos(n_classes, sizes)
    if name == "fasterrcnn_mobilenet_v3_large_320_fpn":
        return detection.fasterrcnn_mobilenet_v3_large_320_fpn(num_classes=n_classes + 1, **none, **sizes, **found)
    return detection.fasterrcnn_resnet50_fpn_v2(num_classes=n_classes + 1, **none, **sizes, **found)


def _fcos(n_classes: int, sizes: dict[str, Any]) -> nn.Module:
    """Return FCOS on MobileNetV2: a narrow pyramid and short heads, so that a CPU trains it in minutes."""
    width = 96
    features = models.mobilenet_v2(weights=None).features[:18]
    pyramid = BackboneWithFPN(features, {"6": "0", "13": "1", "17": "2"}, [32, 96, 320], width, LastLevelMaxPool())
    head = FCOSHead(width, 1, n_classes, num_convs=2)
    anchors = AnchorGenerator(((8,), (16,), (32,), (64,)), ((1.0,),) * 4)
    return FCOS(
        pyramid,
        n_classes,
        anchor_generator=anchors,
        head=head,
        score_thresh=LEAST_SCORE,
        nms_thresh=0.5,
        detections_per_img=MOST_BOXES,
        topk_candidates=600,
        **sizes,
    )


def _first_class(name: str) -> int:
    return 0 if name == "fcos_mobilenet_v2" else 1  # the others keep 0 for what is no object


def start(name: str, n_classes: int, weights_dir: Path | None, download: bool = True) -> Detector:
    """Return an untrained detector on the best weights there are: a detector's on COCO, a backbone's, or none."""
    model = build(name, n_classes)
    kind = _KINDS[name]
    reasons = []
    wanted = [(name, kind.pretrained, model)] if kind.pretrained else []
    wanted.append((kind.backbone[0], kind.backbone[1], _body(model)))
    for called, enum, part in wanted:
        assert enum is not None
        try:
            if file := weights.local_file(called, weights_dir):
                found, source, words = weights.read(file), "local", f"weights of the file {file.name}"
            else:
                found, _file = weights.from_torchvision(enum, download)
                source, words = "torchvision", f"torchvision's {enum}"
        except (OSError, RuntimeError) as error:
            reasons.append(str(error))
            continue
        _fill_alike(part, found, called)
        return Detector(name, model, n_classes, source, words)
    return Detector(
        name, model, n_classes, "none", f"no pretrained weights ({'; '.join(reasons)}): it starts from nothing"
    )


def _body(model: nn.Module) -> nn.Module:
    backbone = model.get_submodule("backbone")
    return backbone.get_submodule("body") if isinstance(backbone, BackboneWithFPN) else backbone


def _fill_alike(part: nn.Module, found: dict[str, torch.Tensor], name: str) -> None:
    """Load the tensors that fit: all but the last layers, whose shapes follow the classes."""
    own = part.state_dict()
    known = (
        {key.removeprefix("features."): value for key, value in found.items()} if not set(own) & set(found) else found
    )
    known = {key: value for key, value in known.items() if key in own and own[key].shape == value.shape}
    if len(known) < 0.5 * len([key for key in own if not key.endswith("num_batches_tracked")]):
        raise WrongWeights(f"These are not weights of {name}: only {len(known)} of its {len(own)} tensors fit.")
    part.load_state_dict(known, strict=False)


def _small(image: Image.Image, kind: _Kind) -> np.ndarray:
    """Return an image as large as the network sees it, uint8 (height, width, 3)."""
    image = image if image.mode == "RGB" else image.convert("RGB")
    factor = min(kind.short / min(image.size), kind.long / max(image.size))
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.array(image)


def _boxes(found: dict[str, torch.Tensor], image: Image.Image, small: np.ndarray, first: int) -> Boxes:
    """Return what the network found, in pixels of the image and inside it."""
    scale = np.array([image.width / small.shape[1], image.height / small.shape[0]] * 2)
    corners = found["boxes"].float().cpu().numpy().astype(np.float64) * scale
    corners = np.clip(corners, 0, np.array([image.width, image.height] * 2))
    boxes = np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
    labels = found["labels"].cpu().numpy() - first
    return Boxes(boxes, labels, found["scores"].float().cpu().numpy()).take(np.flatnonzero(boxes[:, 2:].min(1) >= 1))


def _augment(is_short: bool) -> v2.Transform:
    """Return random crops and light; nothing is mirrored: a mirrored letter or card is another one.

    A short training sees each image a few times only, and learns more from images that are nearly as they are.
    """
    light, zoomed, zoom, cropped, least = (0.2, 0.2, 1.25, 0.3, 0.7) if is_short else (0.3, 0.3, 1.6, 0.5, 0.5)
    return v2.Compose(
        [
            v2.RandomApply([v2.ColorJitter(brightness=light, contrast=light, saturation=light)], 0.5),
            v2.RandomApply([v2.RandomZoomOut(fill=124, side_range=(1.0, zoom))], zoomed),
            v2.RandomApply([v2.RandomIoUCrop(min_scale=least)], cropped),
            v2.SanitizeBoundingBoxes(min_size=2),
        ]
    )


def train(
    samples: Sequence[Sample],
    n_classes: int,
    device: str = "cpu",
    name: str = FAST,
    weights_dir: Path | None = None,
    progress: Progress | None = None,
    seed: int = 0,
    steps: int | None = None,
    download: bool = True,
    seconds: float = math.inf,
    earlier: Detector | None = None,
) -> Detector:
    """Train a detector on images with boxes; `progress` hears how far it is and the loss, and may raise to stop it.

    It ends after so many steps or seconds, whichever comes first, and learns ever more slowly towards that end. It goes
    on from an earlier detector of the same kind and classes, where there is one.
    """
    if not samples:
        raise ValueError("there is no image with boxes to train on")
    where, kind = torch.device(device), _KINDS.get(name) or _KINDS[FAST]
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    detector = earlier or start(name, n_classes, weights_dir, download)
    chosen = rng.choice(len(samples), min(len(samples), MOST), replace=False)
    shrunk = [_shrink(samples[number], kind, _first_class(name)) for number in chosen]
    model = detector.model.to(where).to(memory_format=torch.channels_last)
    model.train()
    if detector.source != "none":
        _keep_pretrained(detector)
    is_gpu = where.type == "cuda"
    total = steps or (kind.gpu_steps if is_gpu else kind.steps)
    groups = _groups(model, kind.rate)
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-3)
    rates = [group["lr"] for group in groups]
    begun, done = time.monotonic(), 0.0
    scaler = torch.amp.GradScaler(where.type, enabled=where.type == "cuda")
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.98))
    augment = _augment(is_short=not is_gpu)
    for step, batch in enumerate(_endless(len(shrunk), kind.batch if is_gpu else CPU_BATCH, total, rng), start=1):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * _pace(done)
        images, targets = zip(*(augment(*shrunk[number]) for number in batch), strict=True)
        given = [image.to(where).float() / 255 for image in images]
        wanted = [
            {"boxes": t["boxes"].to(where).float().reshape(-1, 4), "labels": t["labels"].to(where)} for t in targets
        ]
        with torch.autocast(where.type, torch.float16, enabled=where.type == "cuda"):
            losses = model(given, wanted)
            loss = torch.stack([value.float() for value in losses.values()]).sum()
        if not torch.isfinite(loss) and not scaler.is_enabled():
            raise FloatingPointError("the training went astray: its loss is no longer a number")
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        scaler.step(optimizer)
        scaler.update()
        average.update_parameters(model)
        done = min(1.0, max(step / total, (time.monotonic() - begun) / seconds))
        if progress is not None and (step % EVERY == 0 or done == 1):
            progress(done, {"loss": float(loss.detach())})
        if done == 1:
            break
    detector.model = average.module.cpu().eval()
    return detector


def _pace(done: float) -> float:
    """Return the share of the full rate: it rises over the first part of the training, then falls to nothing."""
    if done < RISE:
        return 0.04 + 0.48 * (1 - math.cos(math.pi * done / RISE))
    return 0.5 * (1 + math.cos(math.pi * (done - RISE) / (1 - RISE)))


def _shrink(sample: Sample, kind: _Kind, first: int) -> tuple[tv_tensors.Image, dict[str, Any]]:
    """Return an image and its boxes as large as the network sees them; boxes without area are left out."""
    small = _small(sample.image, kind)
    height, width = small.shape[:2]
    corners = sample.truth.boxes.copy()
    corners[:, 2:] += corners[:, :2]
    corners *= np.array([width / sample.image.width, height / sample.image.height] * 2)
    corners = np.clip(corners, 0, np.array([width, height] * 2))
    kept = np.flatnonzero((corners[:, 2:] - corners[:, :2]).min(1) >= 1)
    boxes = tv_tensors.BoundingBoxes(
        torch.from_numpy(corners[kept].astype(np.float32)), format="XYXY", canvas_size=(height, width)
    )
    labels = torch.from_numpy(sample.truth.classes[kept] + first)
    return tv_tensors.Image(torch.from_numpy(small).permute(2, 0, 1)), {"boxes": boxes, "labels": labels}


def _keep_pretrained(detector: Detector) -> None:
    """Keep the first layers of pretrained weights as they are, and all normalisation: a few images would spoil it."""
    for module in detector.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    for key, parameter in _body(detector.model).named_parameters():
        if key.startswith(_FROZEN[detector.name]):
            parameter.requires_grad = False


def _groups(model: nn.Module, rate: float) -> list[dict[str, Any]]:
    """Let the pretrained body learn more slowly than the head."""
    body = {id(parameter) for parameter in _body(model).parameters()}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [one for one in parameters if id(one) not in body], "lr": rate},
        {"params": [one for one in parameters if id(one) in body], "lr": rate * BODY_RATE},
    ]


def _endless(count: int, batch: int, steps: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield batches: all images in random order, again and again; a batch is never of one image alone."""
    batch = max(2, min(batch, count))
    order = np.zeros(0, int)
    for _step in range(steps):
        while len(order) < batch:
            order = np.append(order, rng.permutation(count))
        yield order[:batch]
        order = order[batch:]
