"""Write COCO documents record by record (SPEC E2).

Ids from 1 in a stable order, boxes ``[x, y, w, h]`` in pixels of the image as displayed or, for readers of Azure's
files, as shares of its width and height. Source: cocodataset.org, "Data format".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO

import orjson

from exports.snapshots import LabeledImage, Snapshot
from labeling.answers import Label

EVERY = 1000  # images between two reports of progress


def write(
    snapshot: Snapshot, out: BinaryIO, *, normalized: bool = False, report: Callable[[int], None] | None = None
) -> int:
    """Write the snapshot and return the number of images. ``report`` is called with the images written so far.

    COCO wants images before or beside annotations in one document; annotations go to a second pass, so that nothing
    but a chunk is in memory.
    """
    category_ids = {label_class.pk: number for number, label_class in enumerate(snapshot.classes, 1)}
    out.write(b'{"info":' + orjson.dumps(_info(snapshot)) + b',\n"licenses":[],\n"categories":[')
    for number, label_class in enumerate(snapshot.classes, 1):
        record = {"id": number, "name": label_class.name, "supercategory": ""}
        out.write((b",\n" if number > 1 else b"\n") + orjson.dumps(record))
    out.write(b'],\n"images":[')
    n_images = 0
    for n_images, image in enumerate(snapshot.images(), 1):
        out.write((b",\n" if n_images > 1 else b"\n") + orjson.dumps(_image(n_images, image)))
        if report and n_images % EVERY == 0:
            report(n_images)
    out.write(b'],\n"annotations":[')
    n_annotations = 0
    for image_id, image in enumerate(snapshot.images(), 1):
        for label in image.labels:
            n_annotations += 1
            record = _annotation(n_annotations, image_id, category_ids[label.label_class], image, label, normalized)
            out.write((b",\n" if n_annotations > 1 else b"\n") + orjson.dumps(record))
        if report and image_id % EVERY == 0:
            report(n_images + image_id)
    out.write(b"]}\n")
    return n_images


def _info(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "description": snapshot.project.name,
        "version": str(snapshot.event_id),
        "year": snapshot.at.year,
        "contributor": "",
        "url": "",
        "date_created": snapshot.at.isoformat(timespec="seconds"),
    }


def _image(number: int, image: LabeledImage) -> dict[str, Any]:
    # A key can't be absolute or hold ".." (stores.py); leading slashes would still mislead a careless reader.
    return {"id": number, "file_name": image.path.lstrip("/"), "width": image.width, "height": image.height}


def _annotation(
    number: int, image_id: int, category_id: int, image: LabeledImage, label: Label, normalized: bool
) -> dict[str, Any]:
    record: dict[str, Any] = {"id": number, "image_id": image_id, "category_id": category_id}
    if label.box is None:
        return record
    x, y, width, height = label.box
    if normalized:
        x, width = x / image.width, width / image.width
        y, height = y / image.height, height / image.height
    return {**record, "bbox": [x, y, width, height], "area": width * height, "iscrowd": 0}
