"""COCO documents, written record by record (SPEC E2).

Ids from 1 in a stable order, boxes ``[x, y, w, h]`` in pixels of the image as displayed or, for readers of Azure's
files, as shares of its width and height. Source: cocodataset.org, "Data format".
"""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

import orjson
from django.utils.translation import gettext_lazy as _

from exports.snapshots import LabeledImage, Snapshot
from exports.writing import Format, Output, box_of
from projects.models import Project


def write(snapshot: Snapshot, output: Output) -> int:
    """Write one document. Annotations wait in a file beside it until all images are written: one pass, flat memory."""
    numbers = {pk: number for number, (pk, _name) in enumerate(snapshot.frozen.classes, 1)}
    with output.file(".json") as out, tempfile.TemporaryFile(dir=output.folder) as annotations:
        out.write(b'{"info":' + orjson.dumps(_info(snapshot)) + b',\n"licenses":[],\n"categories":[')
        for number, (_pk, name) in enumerate(snapshot.frozen.classes, 1):
            record = {"id": number, "name": name, "supercategory": ""}
            out.write((b",\n" if number > 1 else b"\n") + orjson.dumps(record))
        out.write(b'],\n"images":[')
        n_images = n_annotations = 0
        for n_images, image in enumerate(snapshot.images(), 1):
            out.write((b",\n" if n_images > 1 else b"\n") + orjson.dumps(_image(n_images, image)))
            for label in image.labels:
                n_annotations += 1
                record = {"id": n_annotations, "image_id": n_images, "category_id": numbers[label.label_class]}
                box = box_of(label, image, snapshot.options.is_normalized)
                if box is not None:
                    record |= {"bbox": box, "area": box[2] * box[3], "iscrowd": 0}
                annotations.write((b",\n" if n_annotations > 1 else b"\n") + orjson.dumps(record))
        out.write(b'],\n"annotations":[')
        annotations.seek(0)
        shutil.copyfileobj(annotations, out, 1024 * 1024)
        out.write(b"]}\n")
    return n_images


def _info(snapshot: Snapshot) -> dict[str, Any]:
    frozen = snapshot.frozen
    return {
        "description": frozen.name,
        "version": str(frozen.event),
        "year": int(frozen.at[:4]),
        "contributor": "",
        "url": "",
        "date_created": frozen.at,
    }


def _image(number: int, image: LabeledImage) -> dict[str, Any]:
    # A key can't be absolute or hold ".." (stores.py); leading slashes would still mislead a careless reader.
    record: dict[str, Any] = {
        "id": number,
        "file_name": image.path.lstrip("/"),
        "width": image.width,
        "height": image.height,
    }
    if not image.is_labeled:
        record["labeled"] = False  # without it, an image without annotations says "no objects"
    if image.by:
        record["labeled_by"] = image.by
    return record


FORMAT = Format(
    name="coco",
    title="COCO",
    help=_("JSON, for every task type"),
    write=write,
    task_types=frozenset(Project.TaskType.values),
    options=frozenset({"coordinates", "approved_only", "include_unlabeled", "labelers", "since", "until"}),
    position=1,
)
