"""Detectors and fine-tuning learn, are kept without code, and refuse what is wrong (SPEC A3, A6)."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from assist.pipeline import backbones, detector, finetune
from assist.pipeline.backbones import Backbone, WrongWeights
from assist.pipeline.boxes import Boxes
from assist.pipeline.detector import Detector, Sample


@pytest.fixture(autouse=True)
def _no_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    torch.set_num_threads(1)
    torch.manual_seed(1)
    for name in (detector.FAST, detector.STRONG):
        small = dataclasses.replace(detector._KINDS[name], short=96, long=128)
        monkeypatch.setitem(detector._KINDS, name, small)


def scene(rng: np.random.Generator, boxes: int) -> Sample:
    picture = rng.integers(0, 60, (60, 90, 3), np.uint8)
    corners = np.column_stack([rng.integers(0, 60, boxes), rng.integers(0, 35, boxes), np.full((boxes, 2), 20)])
    for x, y, w, h in corners:
        picture[y : y + h, x : x + w] = 250
    return Sample(Image.fromarray(picture), Boxes(corners, np.zeros(boxes)))


def test_a_detector_trains_predicts_and_is_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    heard: list[float] = []
    samples = [scene(rng, count) for count in (1, 2, 0)]  # an image without objects is a sample too
    samples[1].truth.boxes[0, 2:] = 0  # a box without area is left out
    made = detector.train(samples, 2, progress=lambda done, _said: heard.append(done), steps=2, download=False)
    assert heard == [1.0]
    assert made.source == "none" and "no pretrained weights" in made.words
    made.save(tmp_path / "detector.pt")
    images = [samples[0].image, None, samples[1].image]
    again = list(Detector.load(tmp_path / "detector.pt").predict(images, batch_size=2))
    first = list(made.predict(images, batch_size=2))
    assert again[1] is None
    for one, two in zip(first, again, strict=True):
        if one is not None and two is not None:
            assert np.allclose(one.boxes, two.boxes)
            assert (one.boxes[:, :2] >= 0).all()
            assert (one.boxes[:, :2] + one.boxes[:, 2:] <= (90.01, 60.01)).all()
            assert set(one.classes) <= {0, 1}


def test_a_training_ends_after_its_time_and_the_next_one_goes_on_from_there(tmp_path: Path) -> None:
    samples = [scene(np.random.default_rng(1), 2)] * 2
    heard: list[float] = []
    made = detector.train(
        samples, 2, progress=lambda done, _said: heard.append(done), steps=1_000_000, download=False, seconds=1e-6
    )
    assert heard == [1.0]
    made.seen = [3, 7]
    made.save(tmp_path / "detector.pt")
    earlier = Detector.load(tmp_path / "detector.pt")
    assert earlier.seen == [3, 7]
    before = {key: value.clone() for key, value in earlier.model.state_dict().items()}
    again = detector.train(samples, 2, steps=1, download=False, earlier=earlier)
    after = again.model.state_dict()
    moved = [float((after[key] - value).abs().max()) for key, value in before.items() if key.endswith("conv.weight")]
    assert max(moved, default=0) < 0.01 and again.seen == [3, 7]  # one step away from there, not from anywhere


def test_the_strong_detector_trains_and_predicts_too(tmp_path: Path) -> None:
    samples = [scene(np.random.default_rng(1), count) for count in (2, 0)]
    made = detector.train(samples, 2, "cpu", detector.STRONG, steps=1, download=False)
    made.save(tmp_path / "detector.pt")
    (found,) = Detector.load(tmp_path / "detector.pt").predict([samples[0].image])
    assert found is not None and set(found.classes) <= {0, 1}
    assert detector.evaluate([found], [samples[0].truth], 2)["map"] is not None


def test_a_training_can_be_stopped() -> None:
    def stop(_done: float, _said: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        detector.train([scene(np.random.default_rng(1), 1)] * 2, 1, progress=stop, steps=1, download=False)
    with pytest.raises(ValueError, match="no image with boxes"):
        detector.train([], 1)


def test_weights_of_a_backbone_serve_a_detector(tmp_path: Path) -> None:
    model = backbones.bare("mobilenet_v2")
    torch.save(model.state_dict(), tmp_path / "mobilenet_v2.pth")
    made = detector.start("fcos_mobilenet_v2", 3, tmp_path, download=False)
    assert made.source == "local"
    key = "0.0.weight"
    assert torch.equal(detector._body(made.model).state_dict()[key], model.state_dict()[f"features.{key}"])
    torch.save(backbones.bare("resnet18").state_dict(), tmp_path / "mobilenet_v2.pth")
    with pytest.raises(WrongWeights, match="not weights of mobilenet_v2"):
        detector.start("fcos_mobilenet_v2", 3, tmp_path, download=False)


def test_weights_of_a_detector_serve_other_classes(tmp_path: Path) -> None:
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    coco = detector.build(name, 90)
    torch.save(coco.state_dict(), tmp_path / f"{name}-907ea3f9.pth")
    made = detector.start(name, 2, tmp_path, download=False)
    assert made.source == "local"
    key = "rpn.head.cls_logits.weight"
    assert torch.equal(made.model.state_dict()[key], coco.state_dict()[key])


def test_a_file_that_holds_no_detector_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"no")
    with pytest.raises(WrongWeights, match="cannot be read as a detector"):
        Detector.load(tmp_path / "x.pt")
    with pytest.raises(WrongWeights, match="There is no detector yolo"):
        detector.build("yolo", 1)


def test_fine_tuning_renews_embeddings_and_is_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = [Image.fromarray(rng.integers(0, 255, (30, 30, 3), np.uint8)) for _ in range(4)]
    backbone = Backbone.load("mobilenet_v2", None, download=False)
    tuned = finetune.finetune(backbone, images, np.array([0, 1, 0, 1]), steps=2)
    assert tuned.source == "finetuned" and tuned.digest != backbone.digest
    (before,), (after,) = (list(backbones.embed(network, images)) for network in (backbone, tuned))
    assert before.shape == after.shape and not np.allclose(before, after)
    tuned.save(tmp_path / "tuned.pt")
    again = Backbone.restore(tmp_path / "tuned.pt")
    assert (again.digest, again.words) == (tuned.digest, tuned.words)
    assert np.allclose(next(iter(backbones.embed(again, images))), after, rtol=1e-3, atol=1e-4)
    (tmp_path / "x.pt").write_bytes(b"no")
    with pytest.raises(WrongWeights, match="cannot be read as a network"):
        Backbone.restore(tmp_path / "x.pt")


def test_fine_tuning_learns_sets_of_labels_and_counts_what_it_gets() -> None:
    images = [Image.new("RGB", (8, 8), color) for color in ("red", "green")]
    backbone = Backbone.load("mobilenet_v2", None, download=False)
    backbone.source = "local"  # as if pretrained: the lower half stays
    tuned = finetune.finetune(backbone, images, np.array([[1, 0], [1, 1]]), steps=1)
    lower, upper = "features.2.conv.0.0.weight", "features.17.conv.0.0.weight"
    assert torch.equal(tuned.model.state_dict()[lower], backbone.model.state_dict()[lower])
    assert not torch.equal(tuned.model.state_dict()[upper], backbone.model.state_dict()[upper])
    statistics = "features.17.conv.0.1.running_mean"  # of a few images they would be worse than those of the weights
    assert torch.equal(tuned.model.state_dict()[statistics], backbone.model.state_dict()[statistics])
    with pytest.raises(ValueError, match="2 images and 3 labels"):
        finetune.finetune(backbone, images, np.array([0, 1, 1]))
