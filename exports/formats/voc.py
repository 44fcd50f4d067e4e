"""Pascal VOC: one XML file for each image. Edges are pixels counted from 0, not rounded: ``xmax`` is x + width.

Source: the development kit's "VOCdevkit_doc.pdf"; its own images counted from 1, which no reader of today expects.
"""

from __future__ import annotations

from io import BytesIO
from itertools import chain, count
from xml.sax.saxutils import escape

from django.utils.translation import gettext_lazy as _

from exports.snapshots import LabeledImage, Snapshot
from exports.writing import Format, Output, file_name_of, without_extension
from exports.zips import ZipOutput
from projects.models import Project

ROOT = "VOCdevkit/VOC2012"  # where readers look
XML_CONTROLS = {code: "\ufffd" for code in range(32) if chr(code) not in "\t\n\r"} | {
    0xFFFE: "\ufffd",
    0xFFFF: "\ufffd",
}


def write(snapshot: Snapshot, output: Output) -> int:
    """Write a zip with Annotations/ beside which JPEGImages/ belongs, and the list of its images."""
    n_images = 0
    listed = BytesIO()
    with output.file(".zip") as out, ZipOutput(out) as archive:
        for image in snapshot.images():
            image_id = _free_id(archive, file_name_of(image.path))
            archive.add(_place(image_id), _document(snapshot, image))
            listed.write(f"{image_id}\n".encode())
            n_images += 1
        archive.add(f"{ROOT}/ImageSets/Main/trainval.txt", listed.getvalue())
    return n_images


def _place(image_id: str) -> str:
    return f"{ROOT}/Annotations/{image_id}.xml"


def _free_id(archive: ZipOutput, name: str) -> str:
    """Return an image's id: its name without the ending; with it where another image has that (a.png beside a.jpg)."""
    ids = chain((without_extension(name), name), (f"{name} ({number})" for number in count(2)))
    return next(image_id for image_id in ids if not archive.holds(_place(image_id)))


def _document(snapshot: Snapshot, image: LabeledImage) -> str:
    folder, _slash, name = image.path.rpartition("/")
    objects = []
    for label in image.labels:
        x, y, width, height = label.box or (0.0, 0.0, float(image.width), float(image.height))
        edges = {"xmin": x, "ymin": y, "xmax": x + width, "ymax": y + height}
        box = "".join(f"<{edge}>{value!r}</{edge}>" for edge, value in edges.items())
        objects.append(
            f"  <object><name>{_text(snapshot.class_names[label.label_class])}</name><pose>Unspecified</pose>"
            f"<truncated>0</truncated><difficult>0</difficult><bndbox>{box}</bndbox></object>\n"
        )
    return (
        f"<annotation>\n  <folder>{_text(folder)}</folder>\n  <filename>{_text(name)}</filename>\n"
        f"  <path>{_text(image.path)}</path>\n"
        f"  <size><width>{image.width}</width><height>{image.height}</height><depth>3</depth></size>\n"
        f"  <segmented>0</segmented>\n{''.join(objects)}</annotation>\n"
    )


def _text(text: str) -> str:
    """Return a text as XML can hold it."""
    return escape(text.translate(XML_CONTROLS))


FORMAT = Format(
    name="voc",
    title="Pascal VOC",
    help=_("one XML file per image"),
    write=write,
    task_types=frozenset({Project.TaskType.DETECTION}),
    options=frozenset({"approved_only", "since", "until"}),
    position=4,
)
