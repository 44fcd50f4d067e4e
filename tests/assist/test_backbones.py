"""Networks and their weights (SPEC A3): local, or none said plainly; wrong ones refused in words."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from assist.pipeline import backbones
from assist.pipeline.backbones import Backbone, WrongWeights
from assist.pipeline.embeddings import Scaling


@pytest.fixture(autouse=True)
def _no_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    torch.set_num_threads(1)


def pictures(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(1)
    return [Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)) for _ in range(count)]


@pytest.mark.parametrize("name", backbones.NAMES)
def test_every_network_embeds_by_its_last_three_stages(name: str) -> None:
    backbone = Backbone.load(name, None, download=False)
    (features,) = backbones.embed(backbone, pictures(1), "cpu", 2)
    assert features.shape == (1, backbone.width) and features.dtype == np.float32
    assert np.isfinite(features).all() and features.std() > 0


def test_without_weights_it_says_so_and_still_embeds_the_same_each_time() -> None:
    first = Backbone.load("mobilenet_v2", None, download=False)
    assert first.source == "none" and "no pretrained weights" in first.words
    again = Backbone.load("mobilenet_v2", None, download=False)
    images = pictures(3)
    one, two = (np.concatenate(list(backbones.embed(made, images, "cpu", 2))) for made in (first, again))
    assert np.array_equal(one, two) and first.digest == again.digest


def test_images_that_cannot_be_read_keep_their_place(tmp_path: Path) -> None:
    good, other = pictures(2)
    (tmp_path / "cut.jpg").write_bytes(b"")
    good.save(tmp_path / "cut.jpg")
    os.truncate(tmp_path / "cut.jpg", 700)
    batches = list(
        backbones.embed(
            Backbone.load("mobilenet_v2", None, download=False),
            [good, None, Image.open(tmp_path / "cut.jpg"), other.convert("L"), other],
            "cpu",
            2,
        )
    )
    assert [len(batch) for batch in batches] == [2, 2, 1]
    readable = [bool(np.isfinite(row).all()) for batch in batches for row in batch]
    assert readable == [True, False, False, True, True]


def test_a_local_file_is_used_and_named_by_its_digest(tmp_path: Path) -> None:
    model = backbones.bare("resnet18")
    with torch.no_grad():
        model.get_parameter("conv1.weight").mul_(2)
    torch.save(model.state_dict(), tmp_path / "resnet18-mine.pth")
    loaded = Backbone.load("resnet18", tmp_path, download=False)
    assert loaded.source == "local"
    assert loaded.digest == backbones.check_weights(tmp_path / "resnet18-mine.pth", "resnet18")
    assert torch.equal(loaded.model.get_parameter("conv1.weight"), model.get_parameter("conv1.weight"))
    assert Backbone.load("resnet50", tmp_path, download=False).source == "none"


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.system, (f"touch {self.file}",)


def test_a_file_with_code_is_refused_and_the_code_is_not_run(tmp_path: Path) -> None:
    torch.save({"weight": Evil(tmp_path / "ran")}, tmp_path / "resnet18.pth")
    with pytest.raises(WrongWeights, match="holds more than tensors"):
        backbones.check_weights(tmp_path / "resnet18.pth", "resnet18")
    with pytest.raises(WrongWeights, match="holds more than tensors"):
        Backbone.load("resnet18", tmp_path, download=False)
    assert not (tmp_path / "ran").exists()


def test_wrong_weights_are_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save(backbones.bare("resnet18").state_dict(), file)
    with pytest.raises(WrongWeights, match="These are not weights of mobilenet_v2: .* are missing"):
        backbones.check_weights(file, "mobilenet_v2")
    state = backbones.bare("resnet18").state_dict()
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    torch.save(state, file)
    with pytest.raises(WrongWeights, match="conv1.weight has the shape 64 x 1 x 7 x 7, not 64 x 3 x 7 x 7"):
        backbones.check_weights(file, "resnet18")
    file.write_bytes(b"GIF89a")
    with pytest.raises(WrongWeights, match="weights.pth"):
        backbones.check_weights(file, "resnet18")
    torch.save([1, 2], file)
    with pytest.raises(WrongWeights, match="no state_dict"):
        backbones.check_weights(file, "resnet18")
    with pytest.raises(WrongWeights, match="no network vgg"):
        backbones.check_weights(file, "vgg")


def test_the_machine_says_what_it_can_compute_on() -> None:
    assert dict(backbones.devices())["cpu"].startswith("CPU")


def test_embeddings_have_length_one_on_average_and_stages_weigh_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    features = np.hstack([rng.normal(size=(300, 4)) * 100, rng.random((300, 20)), np.zeros((300, 6))])
    features[7] = np.nan
    scaling = Scaling.fit(features, (4, 20, 6))
    embeddings = scaling.apply(np.delete(features, 7, axis=0))
    assert embeddings.dtype == np.float32
    squares = (embeddings**2).mean(0)
    assert [squares[:4].sum(), squares[4:24].sum(), squares[24:].sum()] == pytest.approx([1 / 3, 1 / 3, 0], rel=1e-4)
    scaling.save(tmp_path / "scaling.npz")
    assert np.array_equal(Scaling.load(tmp_path / "scaling.npz").apply(features[:5]), scaling.apply(features[:5]))
    with pytest.raises(ValueError, match="must add up"):
        Scaling.fit(features, (4, 20))
    with pytest.raises(ValueError, match="nothing to scale by"):
        Scaling.fit(np.full((3, 4), np.nan), (4,))
