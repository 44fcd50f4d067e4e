"""The demo: three projects whose images are drawn from scikit-learn's handwritten digits; nothing is downloaded."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from django.conf import settings
from django.contrib.auth.models import User
from numpy.typing import NDArray
from PIL import Image as Picture

from projects.access import set_role
from projects.creation import create_project
from projects.models import Dataset, Datastore, Project
from projects.stores import Store

PEOPLE = {"manager": "manager", "labeler1": "labeler", "labeler2": "labeler"}
DIGITS = [str(digit) for digit in range(10)]
SEED = 20261123
N_SCENES = 60
N_PAIRS = 120
INK, PAPER = 30, 245

INSTRUCTIONS = """\
**Which labels?** The ten digits, 0 to 9, as a person would read them.

**What if I am not sure?** Take what it most likely is. Skip it with *Unclear* only if you would have to guess.
"""
BOX_INSTRUCTIONS = (
    INSTRUCTIONS
    + """
**How tight?** The box touches the ink on all four sides, give or take a pixel or two.

**Overlapping or cut off?** Draw what can be seen. A digit that is cut by the edge counts if you can still read it.
"""
)


def accounts() -> dict[str, str]:
    """Return the demo's accounts and their passwords, made at random for this install and kept in DATA_DIR."""
    path = Path(settings.DATA_DIR) / "demo-accounts.json"
    kept: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    for name, role in PEOPLE.items():
        if name in kept and User.objects.filter(username=name).exists():
            continue
        user, _made = User.objects.get_or_create(username=name)
        kept[name] = secrets.token_urlsafe(9)
        user.set_password(kept[name])
        user.save()
        set_role(user, role)
    path.touch(mode=0o600)
    path.write_text(json.dumps(kept, indent=1))
    return kept


def make_projects() -> list[Project]:
    """Make the projects that are not there yet, and return all three."""
    store = Datastore.objects.get(is_default=True)
    manager = User.objects.get(username="manager")
    makers = (
        ("Demo: digits", Project.TaskType.MULTICLASS, "demo/digits", DIGITS, single_digits, INSTRUCTIONS),
        ("Demo: pairs of digits", Project.TaskType.MULTILABEL, "demo/pairs", DIGITS, pairs, INSTRUCTIONS),
        ("Demo: scenes of digits", Project.TaskType.DETECTION, "demo/scenes", DIGITS, scenes, BOX_INSTRUCTIONS),
    )
    projects = []
    for name, task_type, folder, classes, draw, text in makers:
        project = Project.objects.filter(name=name).first()
        if project is None:
            write_pictures(store.open(), folder, draw())
            dataset, _made = Dataset.objects.get_or_create(
                name=name, defaults={"datastore": store, "pattern": f"{folder}/**", "created_by": manager}
            )
            project = create_project(
                name=name,
                task_type=task_type,
                dataset=dataset,
                classes=[(label, None) for label in classes],
                created_by=manager,
                instructions_text=text,
            )
        projects.append(project)
    return projects


def write_pictures(store: Store, folder: str, pictures: Iterator[tuple[str, NDArray[np.uint8]]]) -> None:
    """Write grey pictures as PNG below a folder; those that are there stay."""
    for name, pixels in pictures:
        content = BytesIO()
        Picture.fromarray(pixels).save(content, "PNG")
        content.seek(0)
        if not store.exists(f"{folder}/{name}"):
            store.write(f"{folder}/{name}", content)


def load_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return 1,797 handwritten digits, (n, 8, 8) with values 0 to 16, and what they are."""
    from sklearn.datasets import load_digits as bundled  # only the demo needs it

    digits = bundled()
    return digits.images, digits.target


def enlarge(digit: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """Return a digit as dark ink on light paper, (size, size)."""
    grey = PAPER - (PAPER - INK) * np.clip(digit / 16.0, 0, 1)
    picture = Picture.fromarray(grey.astype(np.uint8))
    return np.asarray(picture.resize((size, size), Picture.Resampling.BICUBIC))


def single_digits() -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield 600 pictures of one digit each."""
    images, _targets = load_digits()
    for number, image in enumerate(images[:600]):
        yield f"{number:04}.png", enlarge(image, 128)


def pairs() -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield pictures of two or three digits side by side."""
    images, _targets = load_digits()
    random = np.random.default_rng(SEED)
    for number in range(N_PAIRS):
        chosen = random.choice(len(images), size=random.integers(2, 4), replace=False)
        yield f"{number:04}.png", np.hstack([enlarge(images[index], 128) for index in chosen])


def scenes() -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield pictures with digits of several sizes at known places (`scene`)."""
    for number in range(N_SCENES):
        yield f"{number:04}.png", scene(number)[0]


def scene(number: int) -> tuple[NDArray[np.uint8], list[tuple[int, tuple[int, int, int, int]]]]:
    """Return a scene (480 × 640) and its truth: (digit, (x, y, width, height)) of the ink, in pixels."""
    images, targets = load_digits()
    random = np.random.default_rng([SEED, number])
    canvas = np.full((480, 640), PAPER, dtype=np.uint8)
    truth: list[tuple[int, tuple[int, int, int, int]]] = []
    for _digit in range(int(random.integers(2, 8))):
        index, size = int(random.integers(len(images))), int(random.integers(48, 128))
        x, y = int(random.integers(0, 640 - size)), int(random.integers(0, 480 - size))
        place = canvas[y : y + size, x : x + size]
        if (place < PAPER - 10).any():
            continue  # nothing overlaps, so that the truth is what can be seen
        digit = enlarge(images[index], size)
        np.minimum(place, digit, out=place)
        rows, columns = np.nonzero(digit < PAPER - 40)
        left, top = int(columns.min()), int(rows.min())
        box = (x + left, y + top, int(columns.max()) - left + 1, int(rows.max()) - top + 1)
        truth.append((int(targets[index]), box))
    return canvas, truth
