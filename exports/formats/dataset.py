"""A labeled dataset: the same rows, one for each image, as JSON Lines, CSV and Parquet (SPEC E3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson
from django.utils.translation import gettext_lazy as _

from exports.snapshots import LabeledImage, Snapshot
from exports.writing import CsvOutput, Format, Output, box_of
from projects.models import Project

if TYPE_CHECKING:
    import pyarrow

GROUP = 5000  # rows that are in memory at once
COLUMNS = [
    "image_url",
    "path",
    "width",
    "height",
    "label",
    "label_confidence",
    "labeled_by",
    "labeled_at",
    "how",
]


def write(snapshot: Snapshot, output: Output) -> int:
    """Write three files with the same rows.

    ``label`` is a name, a list of names, or a list of boxes with their names, by the project's task type; null where
    an image has not been labeled, and an empty list where it shows no objects. A label that a person gave or confirmed
    has the confidence 1.
    """
    import pyarrow.parquet  # here, so that web processes do without it

    schema = _schema(snapshot.project.task_type)
    n_rows = 0
    with output.file(".jsonl") as lines, output.file(".csv") as cells, output.file(".parquet") as columns:
        table = CsvOutput(cells, COLUMNS)
        with pyarrow.parquet.ParquetWriter(columns, schema, compression="zstd") as parquet:
            for group in _groups(_row(snapshot, image) for image in snapshot.images()):
                lines.write(b"".join(orjson.dumps(row) + b"\n" for row in group))
                for row in group:
                    table.add(_cell(row[name]) for name in COLUMNS)
                parquet.write_table(pyarrow.Table.from_pylist(group, schema))
                n_rows += len(group)
        table.close()
    return n_rows


def _groups(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    rows = iter(rows)
    while group := list(islice(rows, GROUP)):
        yield group


def _row(snapshot: Snapshot, image: LabeledImage) -> dict[str, Any]:
    label = _label(snapshot, image)
    return {
        "image_url": snapshot.address(image),
        "path": image.path,
        "width": image.width or None,
        "height": image.height or None,
        "label": label,
        "label_confidence": [1.0] * len(label) if isinstance(label, list) else 1.0 if image.is_labeled else None,
        "labeled_by": image.by or None,
        "labeled_at": image.at,
        "how": image.how or None,
    }


def _label(snapshot: Snapshot, image: LabeledImage) -> Any:
    if not image.is_labeled:
        return None
    names = [snapshot.class_names[label.label_class] for label in image.labels]
    if snapshot.project.task_type == Project.TaskType.MULTICLASS:
        return names[0]
    if snapshot.project.task_type == Project.TaskType.MULTILABEL:
        return names
    boxes = (box_of(label, image, snapshot.options.is_normalized) or (None,) * 4 for label in image.labels)
    return [
        {"label": name, "x": x, "y": y, "width": width, "height": height}
        for name, (x, y, width, height) in zip(names, boxes, strict=True)
    ]


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return orjson.dumps(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else value


def _schema(task_type: str) -> pyarrow.Schema:
    import pyarrow as pa

    box = pa.struct([("label", pa.string()), *((name, pa.float64()) for name in ("x", "y", "width", "height"))])
    label = {Project.TaskType.MULTICLASS: pa.string(), Project.TaskType.MULTILABEL: pa.list_(pa.string())}.get(
        Project.TaskType(task_type), pa.list_(box)
    )
    confidence = pa.float64() if task_type == Project.TaskType.MULTICLASS else pa.list_(pa.float64())
    types = [pa.string(), pa.string(), pa.int32(), pa.int32(), label, confidence, pa.string()]
    types += [pa.timestamp("us", tz="UTC"), pa.string()]
    return pa.schema(list(zip(COLUMNS, types, strict=True)))


FORMAT = Format(
    name="dataset",
    title=_("Labeled dataset"),
    help=_("Parquet, CSV, JSON Lines; a version for good"),
    write=write,
    task_types=frozenset(Project.TaskType.values),
    options=frozenset({"coordinates", "approved_only", "include_unlabeled", "labelers", "since", "until"}),
    position=2,
)
