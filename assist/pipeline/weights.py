"""Weights that come from files: found, checked and refused in words."""

from __future__ import annotations

import hashlib
import io
import pickle
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models import WeightsEnum

DOWNLOAD_SECONDS = 10
SUFFIXES = (".pth", ".pt")


class WrongWeights(Exception):
    """A file does not hold the weights that it should; the message says what is wrong, for people."""


def sha256(file: Path) -> str:
    """Return the digest of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read(file: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a file; nothing in it is ever run."""
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WrongWeights(
            f"{file.name} holds more than tensors (Python code or objects), so it was not opened. "
            "Save the weights alone: torch.save(model.state_dict(), file)."
        ) from error
    except Exception as error:  # a file of anything at all makes the reader stumble in any way at all
        raise WrongWeights(
            f"{file.name} cannot be read as a file of weights; it may be cut off, or of another kind ({error})."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise WrongWeights(f"{file.name} holds no state_dict (names and tensors).")
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def write(found: dict[str, Any], file: Path) -> None:
    """Write tensors to a file, as a whole or not at all. Raises OSError, such as where the disk is full."""
    whole = io.BytesIO()  # torch's own writer hides why it failed
    torch.save(found, whole)
    part = file.with_name(f"{file.name}.part")
    try:
        part.write_bytes(whole.getbuffer())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def fill(model: nn.Module, found: Mapping[str, torch.Tensor], name: str, skip: tuple[str, ...] = ()) -> None:
    """Load tensors into a model; all must be there with the right shape, but those that begin with one of `skip`."""
    wanted = {key: value for key, value in model.state_dict().items() if not key.startswith(skip or ("\0",))}
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}
    missing = [key for key in wanted if key not in found and key not in counters]
    if missing:
        raise WrongWeights(
            f"These are not weights of {name}: {len(missing)} of its {len(wanted)} tensors are missing, "
            f"such as {missing[0]}."
        )
    for key, value in wanted.items():
        if key in found and found[key].shape != value.shape:
            raise WrongWeights(
                f"These are not weights of {name}: {key} has the shape {shape(found[key])}, not {shape(value)}."
            )
    model.load_state_dict({key: found[key] for key in wanted if key in found}, strict=False)


def shape(tensor: torch.Tensor) -> str:
    """Return a shape for people."""
    return " x ".join(map(str, tensor.shape)) or "of one number"


def local_file(name: str, folder: Path | None) -> Path | None:
    """Return the file in a folder that is named after a network (`resnet18.pth`, `resnet18-f37072fd.pth`), if any."""
    if folder is None or not folder.is_dir():
        return None
    files = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES and file.stem.startswith(name))
    exact = [file for file in files if file.stem == name or not file.stem[len(name)].isalnum()]
    return exact[0] if exact else None


def from_torchvision(weights: WeightsEnum, download: bool) -> tuple[dict[str, Any], Path]:
    """Return torchvision's weights and the file that they lie in; raise OSError where there are none."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    if not file.exists() and not download:
        raise FileNotFoundError(f"{file.name} is not on this machine")
    with _short_waits():
        return dict(weights.get_state_dict(progress=False, check_hash=True, weights_only=True)), file


@contextmanager
def _short_waits() -> Iterator[None]:
    """Wait some seconds for a server, not for ever: a site without internet must go on."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
