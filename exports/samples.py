"""Python that reads a labeled dataset, as its page prints it; a test runs every one as printed (SPEC E3)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from exports import jobs
from exports.models import LabeledDataset
from projects.models import Project
from projects.stores import StoreError

PANDAS = {
    Project.TaskType.MULTICLASS: 'print(rows["label"].value_counts())\n',
    Project.TaskType.MULTILABEL: 'print(rows["label"].explode().value_counts())  # an image may have several\n',
    Project.TaskType.DETECTION: """\
boxed = rows.explode("label").dropna(subset="label")  # one row for each box
boxes = pd.DataFrame(list(boxed["label"]))
boxes.insert(0, "path", list(boxed["path"]))
print(boxes)
""",
}
TARGETS = {
    Project.TaskType.MULTICLASS: 'CLASSES.index(row["label"])',
    Project.TaskType.MULTILABEL: 'torch.tensor([float(name in row["label"]) for name in CLASSES])',
}


def pandas_sample(dataset: LabeledDataset) -> str:
    """Return a few lines of pandas."""
    return (
        "from pathlib import Path\n\nimport pandas as pd\n\n"
        f"{_folder(dataset)}\n"
        f'rows = pd.read_parquet(FOLDER / "{dataset}.parquet")  # .csv and .jsonl hold the same rows\n'
        'print(rows[["path", "label", "labeled_at", "how"]].head())\n' + PANDAS[Project.TaskType(dataset.task_type)]
    )


def torchvision_sample(dataset: LabeledDataset) -> str:
    """Return a data set for training with torchvision."""
    is_detection = dataset.task_type == Project.TaskType.DETECTION
    head = (
        "from pathlib import Path\n\nimport pandas as pd\nimport torch\nfrom PIL import Image, ImageOps\n"
        "from torch.utils.data import DataLoader, Dataset\n"
        + ("from torchvision.tv_tensors import BoundingBoxes\n" if is_detection else "")
        + "from torchvision.transforms import v2\n\n"
        + f"{_folder(dataset)}\n{_images(dataset)}\nCLASSES = {dataset.class_names!r}\n\n\n"
        "class Labeled(Dataset):\n"
        "    def __init__(self):\n"
        f'        rows = pd.read_parquet(FOLDER / "{dataset}.parquet")\n'
        '        self.rows = rows.dropna(subset="label").reset_index(drop=True)\n'
        f"        self.transform = v2.Compose([{_steps(is_detection)}])\n\n"
        "    def __len__(self):\n        return len(self.rows)\n\n"
        "    def __getitem__(self, number):\n"
        "        row = self.rows.iloc[number]\n"
        '        photo = ImageOps.exif_transpose(Image.open(IMAGES / row["path"])).convert("RGB")\n'
    )
    return head + (_detection(dataset) if is_detection else _classification(dataset))


def _steps(is_detection: bool) -> str:
    resize = "" if is_detection else "v2.Resize((224, 224)), "
    return f"v2.ToImage(), {resize}v2.ToDtype(torch.float32, scale=True)"


def _classification(dataset: LabeledDataset) -> str:
    return (
        f"        return self.transform(photo), {TARGETS[Project.TaskType(dataset.task_type)]}\n\n\n"
        "images, targets = next(iter(DataLoader(Labeled(), batch_size=8)))\nprint(images.shape, targets)\n"
    )


def _detection(dataset: LabeledDataset) -> str:
    is_normalized = dataset.export.options.get("coordinates") == "normalized"
    scale = " * torch.tensor([photo.width, photo.height] * 2)" if is_normalized else ""
    return (
        '        boxes = [[b["x"], b["y"], b["width"], b["height"]] for b in row["label"]]\n'
        f"        boxes = torch.tensor(boxes).reshape(-1, 4){scale}\n"
        "        size = (photo.height, photo.width)\n"
        "        target = {\n"
        '            "boxes": BoundingBoxes(boxes, format="XYWH", canvas_size=size),\n'
        '            "labels": torch.tensor([CLASSES.index(b["label"]) + 1 for b in row["label"]]).long(),\n'
        "        }\n"
        '        target["boxes"] = v2.functional.convert_bounding_box_format(target["boxes"], new_format="XYXY")\n'
        "        return self.transform(photo), target\n\n\n"
        "images, targets = next(iter(DataLoader(Labeled(), batch_size=2, collate_fn=lambda rows: tuple(zip(*rows)))))\n"
        "print(images[0].shape, targets[0])\n"
    )


def _folder(dataset: LabeledDataset) -> str:
    return f"FOLDER = Path({str(_place(dataset) or '.')!r})  # where the dataset's files are"


def _place(dataset: LabeledDataset) -> Path | None:
    """Return the folder of the files on the server; None when they lie in a bucket, to be downloaded first."""
    try:
        path = jobs.datastore_of(dataset.export).open().path(dataset.export.location)
    except StoreError:
        return None
    return path.parent if path else None


def _images(dataset: LabeledDataset) -> str:
    base = dataset.export.frozen["base"]
    if base.startswith("file://"):
        return f"IMAGES = Path({str(PurePosixPath(unquote(urlsplit(base).path)))!r})  # where the images are"
    return f"IMAGES = Path('images')  # a copy of {base}"
