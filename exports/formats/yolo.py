"""YOLO: one text file for each image, with a line ``class x_center y_center width height`` (shares) for each box.

An image that shows no objects has an empty file. Source: docs.ultralytics.com, "Object detection datasets".
"""

from __future__ import annotations

import orjson
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from exports.snapshots import LabeledImage, Snapshot
from exports.writing import CannotWrite, Format, Output, box_of, file_name_of, without_extension
from exports.zips import ZipOutput
from projects.models import Project


def write(snapshot: Snapshot, output: Output) -> int:
    """Write a zip with ``labels/`` beside which ``images/`` belongs, and data.yaml with the names of the classes."""
    numbers = {pk: number for number, (pk, _name) in enumerate(snapshot.frozen.classes)}
    n_images = 0
    with output.file(".zip") as out, ZipOutput(out) as archive:
        archive.add("data.yaml", _data(snapshot))
        for image in snapshot.images():
            n_images += 1
            name = f"labels/{without_extension(file_name_of(image.path))}.txt"
            if archive.holds(name):
                words = _now(
                    "“%(path)s” differs from another image only by its ending, and YOLO can't tell them apart."
                )
                raise CannotWrite(words % {"path": image.path})
            archive.add(name, "".join(_lines(image, numbers)))
    return n_images


def _lines(image: LabeledImage, numbers: dict[int, int]) -> list[str]:
    lines = []
    for label in image.labels:
        x, y, width, height = box_of(label, image, is_normalized=True) or (0.0, 0.0, 1.0, 1.0)
        shares = (x + width / 2, y + height / 2, width, height)
        lines.append(f"{numbers[label.label_class]} {' '.join(f'{share:.12g}' for share in shares)}\n")
    return lines


def _data(snapshot: Snapshot) -> str:
    # JSON's texts are YAML's too, whatever stands in a class's name.
    names = "".join(
        f"  {number}: {orjson.dumps(name).decode()}\n" for number, (_pk, name) in enumerate(snapshot.frozen.classes)
    )
    return f"# Put the images into images/ under their paths.\npath: .\ntrain: images\nval: images\nnames:\n{names}"


FORMAT = Format(
    name="yolo",
    title="YOLO",
    help=_("one text file per image"),
    write=write,
    task_types=frozenset({Project.TaskType.DETECTION}),
    options=frozenset({"approved_only", "since", "until"}),
    position=3,
)
