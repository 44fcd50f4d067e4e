"""CSV, one row for each label (SPEC E4). An image without a label has one row, whose status says what that means."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from exports.snapshots import Snapshot
from exports.writing import CsvOutput, Format, Output, box_of
from projects.models import Project

COLUMNS = ["path", "image_width", "image_height", "status", "label", "x", "y", "width", "height", "labeled_by"]
MORE = ["labeled_at", "how"]


def write(snapshot: Snapshot, output: Output) -> int:
    """Write one table; boxes are their top left corner and their size."""
    n_images = 0
    with output.file(".csv") as out:
        table = CsvOutput(out, [*COLUMNS, *MORE])
        for image in snapshot.images():
            n_images += 1
            status = "labeled" if image.labels else "no_objects" if image.is_labeled else "unlabeled"
            start = (image.path, image.width, image.height, status)
            end = (image.by, image.at.isoformat() if image.at else None, image.how)
            for label in image.labels:
                box = box_of(label, image, snapshot.options.is_normalized) or (None,) * 4
                table.add((*start, snapshot.class_names[label.label_class], *box, *end))
            if not image.labels:
                table.add((*start, "", *(None,) * 4, *end))
        table.close()
    return n_images


FORMAT = Format(
    name="csv",
    title="CSV",
    help=_("one row per label"),
    write=write,
    task_types=frozenset(Project.TaskType.values),
    options=frozenset({"coordinates", "approved_only", "include_unlabeled", "labelers", "since", "until"}),
    position=5,
)
