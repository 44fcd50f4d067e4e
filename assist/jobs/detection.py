"""The runs of projects with boxes: a detector is trained, judged by the actions that it saves, and its boxes shown.

Every fifth blind image is kept aside for good: the detector never sees it. There is no promise for boxes; what is shown
is measured instead (docs/assist.md). Each training goes on from the last one's detector.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.db.models import F
from django.utils.translation import gettext as _
from PIL import Image as Pillow

from assist import runs
from assist.blind import blind_tasks, labeled_tasks, suggested_tasks
from assist.cycle import newest_model
from assist.jobs import sharding, staging
from assist.jobs.features import weights_folder
from assist.jobs.work import Outcome, Unusable, Work
from assist.labels import class_ids, read_unlabeled
from assist.models import AssistRun
from assist.pictures import Pictures
from assist.pipeline import detector as detectors
from assist.pipeline.boxes import Boxes, Thresholds
from assist.pipeline.weights import WrongWeights
from labeling import feeder, suggestions
from labeling.answers import InvalidAnswer, Label, fit_box
from labeling.current import current_labels
from labeling.models import LabelTask, LabelTaskQuerySet
from labeling.suggestions import Suggestion
from projects.models import Image, Project

DETECTORS = {"mobilenet_v2": detectors.FAST, "resnet50": detectors.STRONG}
ASIDE_EVERY = 5  # of the blind images, by their random rank
BLANK_EVERY = 20  # of all images stay blank, so that new ones can be judged, too
SIDE = 640  # pixels that a detector looks at
MIN_ASIDE = 2
CHUNK = 500
CLASS = 1  # column of a box's row: place of the image, class, score, x, y, width, height, and the image's size
COLUMNS = 9


@dataclass(frozen=True)
class Drawn:
    """One labeled image."""

    task: LabelTask
    boxes: Boxes
    is_aside: bool


def read_boxes(project: Project, classes: list[int]) -> list[Drawn]:
    """Return the labeled images, with the boxes of the present classes."""
    position = {pk: number for number, pk in enumerate(classes)}
    tasks = list(labeled_tasks(project).select_related("image").order_by("rank", "pk"))
    blind = set(blind_tasks(project).values_list("pk", flat=True))
    labels = current_labels(project, (task.pk for task in tasks))
    found = []
    for task in tasks:
        given = [label for label in labels.get(task.pk, ()) if label.box and label.label_class in position]
        boxes = Boxes(
            np.array([label.box for label in given], float), np.array([position[label.label_class] for label in given])
        )
        found.append(Drawn(task, boxes, task.pk in blind and task.rank % ASIDE_EVERY == 0))
    return found


def samples(work: Work, drawn: list[Drawn], share: float) -> list[detectors.Sample]:
    """Open the images; those that can't be read are left out."""
    pictures = Pictures(work.project, SIDE)
    found = []
    source = pictures.read(one.task.image for one in drawn)
    for number, (one, picture) in enumerate(zip(drawn, source, strict=True), 1):
        if picture is not None:
            found.append(detectors.Sample(picture, scaled(one.boxes, one.task.image, picture.width)))
        words = _("looking at images: %(n)d of %(total)d") % {"n": number, "total": len(drawn)}
        work.report(share * number / len(drawn), words)
    if pictures.n_unreadable:
        work.log(_("%(n)d images could not be read") % {"n": pictures.n_unreadable})
    return found


def scaled(boxes: Boxes, image: Image, width: int) -> Boxes:
    """Return boxes in pixels of a picture that was opened smaller than the image is displayed."""
    factor = width / image.width if image.width else 1.0
    return Boxes(boxes.boxes * factor, boxes.classes, boxes.scores)


def train(work: Work) -> Outcome:
    """Train a detector on all labeled images but those kept aside."""
    classes = class_ids(work.project)
    drawn = read_boxes(work.project, classes)
    seen = [one for one in drawn if not one.is_aside]
    if not any(len(one.boxes) for one in seen):
        raise Unusable(_("There is no labeled image with a box yet, so there is nothing to learn from."))
    if len(drawn) - len(seen) < MIN_ASIDE:
        raise Unusable(_("Too few labeled images to keep some aside to judge the model by. Label more."))
    name = DETECTORS.get(work.project.assist_network, detectors.FAST)
    earlier = earlier_detector(work, name, classes)
    given = samples(work, seen, 0.1)
    losses: list[list[float]] = []

    def progress(share: float, figures: dict[str, float]) -> None:
        losses.append([round(share, 4), round(figures["loss"], 4)])
        words = _("training: %(n)d %% done, loss %(loss).3f") % {"n": 100 * share, "loss": figures["loss"]}
        work.report(0.1 + 0.85 * share, words)

    started = time.monotonic()
    try:
        made = detectors.train(
            given,
            len(classes),
            work.run.device,
            name,
            weights_folder(),
            progress,
            work.run.seed,
            steps=settings.ASSIST_STEPS or None,
            download=settings.ASSIST_DOWNLOAD,
            seconds=60 * settings.ASSIST_TRAINING_MINUTES,
            earlier=earlier,
        )
    except WrongWeights as error:
        raise Unusable(str(error)) from error
    seconds = time.monotonic() - started
    work.configure(network=name, weights=made.source, weights_words=made.words, classes=classes)
    made.seen = sorted({*made.seen, *(one.task.pk for one in seen)})
    work.log(f"{name}: {made.words}")
    if earlier is not None:
        work.log(_("it went on from the last training's model"))
    words = _("trained on %(n)d images with %(m)d boxes in %(s).0f s")
    n_boxes = sum(len(one.boxes) for one in seen)
    work.log(words % {"n": len(given), "m": n_boxes, "s": seconds})
    made.save(work.folder / "detector.pt")
    metrics = {
        "labels": len(drawn),
        "aside": len(drawn) - len(seen),
        "boxes": n_boxes,
        "losses": losses[:: max(1, len(losses) // 100)],
        "fit_seconds": round(seconds, 1),
    }
    return Outcome(metrics, {"detector": "detector.pt"}, follow=AssistRun.Kind.VALIDATION, model=work.run)


def earlier_detector(work: Work, name: str, classes: list[int]) -> detectors.Detector | None:
    """Return the last training's detector, if it is of this kind and for these classes: it goes on learning."""
    last = newest_model(work.project)
    if last is None or (last.config.get("network"), last.config.get("classes")) != (name, classes):
        return None
    try:
        return load(work, last)
    except Unusable:  # its files have gone
        return None


def load(work: Work, training: AssistRun) -> detectors.Detector:
    """Return a training's detector if it still fits the project. Raises Unusable."""
    if sorted(training.config.get("classes", [])) != sorted(class_ids(work.project)):
        raise Unusable(_("The classes changed meanwhile, so this model is not used. The next training has them."))
    try:
        return detectors.Detector.load(Path(training.folder) / training.artifacts["detector"])
    except (WrongWeights, OSError, KeyError) as error:
        raise Unusable(_("The files of the model can't be read: %(error)s. Train again.") % {"error": error}) from error


def validate(work: Work, training: AssistRun) -> Outcome:
    """Judge the detector by the images that were kept aside, and choose from which score its boxes are shown."""
    classes = training.config["classes"]
    made = load(work, training)
    seen = set(made.seen)  # an image that was rejected comes back blank, but may have been learned before
    drawn = [one for one in read_boxes(work.project, classes) if one.is_aside and one.task.pk not in seen]
    pictures = Pictures(work.project, SIDE)
    opened = [
        (one, picture)
        for one, picture in zip(drawn, pictures.read(one.task.image for one in drawn), strict=True)
        if picture is not None
    ]
    if not opened:
        raise Unusable(_("Too few labeled images to keep some aside to judge the model by. Label more."))
    truth = [scaled(one.boxes, one.task.image, picture.width) for one, picture in opened]
    found = []
    for number, boxes in enumerate(made.predict((picture for _one, picture in opened), work.run.device), 1):
        found.append(boxes if boxes is not None else Boxes(np.empty((0, 4)), np.empty(0)))
        work.report(0.8 * number / len(opened), _("judging image %(n)d") % {"n": number})
    chosen = detectors.thresholds_by_actions(found, truth, len(classes))
    shown = [chosen.shown(boxes) for boxes in found]
    measured = detectors.bounds(shown, truth, np.random.default_rng(work.run.seed))
    metrics = {
        "used": chosen.worthwhile and any(value <= 1 for value in chosen.by_class),
        "threshold": None,
        "needed": None,
        "is_fixed": False,
        "judges": len(opened),
        "classes": classes,
        "thresholds": chosen.as_dict(),
        "measured": {name: asdict(value) for name, value in measured.items()},
        "detection": detectors.evaluate(found, truth, len(classes)),
        "decision": {"coverage": 0.0, "bound": 0.0, "n": len(opened), "k": 0},
    }
    work.log(
        _("%(a).1f actions an image with its boxes, %(b).1f by hand; mAP %(m).3f")
        % {"a": chosen.actions, "b": chosen.by_hand, "m": metrics["detection"]["map"] or 0.0}
    )

    staging.clear(work)
    said = (
        (
            one.task.pk,
            as_labels(scaled_back(boxes, one.task.image, picture.width), classes),
            float(boxes.scores.mean()) if len(boxes) else 0.0,
            None,
            False,
        )
        for (one, picture), boxes in zip(opened, shown, strict=True)
    )
    staging.predictions(work, said, len(opened), 0.9, 0.1)
    follow = AssistRun.Kind.INFERENCE if metrics["used"] else ""
    return Outcome(metrics, follow=follow, model=training)


def scaled_back(boxes: Boxes, image: Image, width: int) -> Boxes:
    """Return boxes of a picture in pixels of the image as displayed."""
    factor = image.width / width if image.width else 1.0
    return Boxes(boxes.boxes * factor, boxes.classes, boxes.scores)


def as_labels(boxes: Boxes, classes: list[int]) -> list[dict[str, Any]]:
    """Return boxes in the shape of the API's ``prelabels``."""
    return [
        {"label_class": classes[number], "confidence": round(float(score), 4), "box": [round(v, 2) for v in box]}
        for box, number, score in zip(boxes.boxes.tolist(), boxes.classes, boxes.scores, strict=True)
    ]


def infer(work: Work, training: AssistRun, validation: AssistRun) -> Outcome:
    """Find boxes on the blank images, and fill in those above the thresholds."""
    made = load(work, training)
    classes = training.config["classes"]
    chosen = Thresholds(**validation.metrics["thresholds"])
    work.configure(training=training.pk, thresholds=chosen.as_dict())
    unlabeled = read_unlabeled(work.project, with_replaceable=True)
    free = np.flatnonzero(unlabeled.is_free & (unlabeled.ranks % BLANK_EVERY != 0))
    task_of = dict(zip(unlabeled.images[free].tolist(), unlabeled.tasks[free].tolist(), strict=True))
    found: list[Suggestion] = []
    n_unreadable = 0

    def keep(images: np.ndarray, rows: np.ndarray) -> None:
        nonlocal n_unreadable
        n_unreadable += int((rows[:, CLASS] < 0).sum())
        found.extend(suggested(images, rows, classes, task_of))

    look_at(work, looker(work.project, made, chosen, work.run.device), unlabeled.images[free], keep)
    staging.clear(work)
    said = ((item.task, item.as_json(), item.confidence or 0.0, None, True) for item in found)
    staging.predictions(work, said, len(found), 0.9, 0.05)
    packed = suggestions.pack(found)
    return Outcome(
        {"unlabeled": len(unlabeled.tasks), "unreadable": n_unreadable},
        publish=lambda project: publish(work, project, training, packed, found),
        model=training,
        after=lambda: prepare(work.project),
    )


def look_at(
    work: Work, compute: sharding.Compute, images: np.ndarray, keep: Callable[[np.ndarray, np.ndarray], None]
) -> None:
    """Have a detector look at images and hand what it found to ``keep``; many are shared out among workers.

    Unlike the features of a classifier, nothing is known of them before: the network runs for each image.
    """
    words = _("looking at images: %(n)d of %(total)d")
    if len(images) >= sharding.BOXES.least:
        name = network_name(work.run)
        n_parts = sharding.cut(work.run, name, images, sharding.BOXES.part)
        runs.ask_for_help(work.run, n_parts - 1)
        work.log(_("cut into %(n)d parts, for as many workers as there are") % {"n": n_parts})

        def report(done: float) -> None:
            work.report(0.9 * done, words % {"n": done * len(images), "total": len(images)})

        sharding.finish(work.run, name, compute, keep, report)
        return
    n_done = 0

    def beat() -> None:
        nonlocal n_done
        n_done += 1
        work.report(0.9 * n_done / len(images), words % {"n": n_done, "total": len(images)})

    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        keep(part, compute(part, beat))


def network_name(run: AssistRun) -> str:
    """Return what tells the detector of a run from others."""
    return f"training-{run.config['training']}"


def looker(project: Project, made: detectors.Detector, chosen: Thresholds, device: str) -> sharding.Compute:
    """Return what looks at images: a row for each box to be shown (image by its place, class, score, box in pixels).

    An image that can't be read has one row, of the class -1.
    """
    pictures = Pictures(project, SIDE)

    def compute(images: np.ndarray, beat: Callable[[], None]) -> np.ndarray:
        known = Image.objects.in_bulk(images.tolist())
        places = [place for place, pk in enumerate(images.tolist()) if pk in known]
        widths: deque[int] = deque()

        def opened() -> Iterator[Pillow.Image | None]:
            for picture in pictures.read(known[int(images[place])] for place in places):
                widths.append(picture.width if picture is not None else 0)
                yield picture

        rows = [np.empty((0, COLUMNS))]
        for place, boxes in zip(places, made.predict(opened(), device), strict=True):
            image, width = known[int(images[place])], widths.popleft()
            if boxes is None or not image.width:
                rows.append(np.array([[place, -1, *[0.0] * (COLUMNS - 2)]]))
            else:
                shown = scaled_back(chosen.shown(boxes), image, width)
                numbers, size = np.full(len(shown), place), np.tile([image.width, image.height or 0], (len(shown), 1))
                rows.append(np.column_stack([numbers, shown.classes, shown.scores, shown.boxes, size]))
            beat()
        return np.concatenate(rows)

    return compute


def helper(run: AssistRun, network: str) -> sharding.Compute | None:
    """Return what computes a part of another worker's run; None where its detector can't be read."""
    if network != network_name(run):
        return None
    training = AssistRun.objects.get(pk=run.config["training"])
    try:
        made = detectors.Detector.load(Path(training.folder) / training.artifacts["detector"])
    except (WrongWeights, OSError, KeyError):
        return None
    project = Project.objects.select_related("dataset__datastore").get(pk=run.project_id)
    return looker(project, made, Thresholds(**run.config["thresholds"]), run.device)


def suggested(
    images: np.ndarray, rows: np.ndarray, classes: list[int], task_of: dict[int, int]
) -> Iterator[Suggestion]:
    """Yield what is suggested for images on which a detector found something."""
    rows = rows[rows[:, CLASS] >= 0]
    known = Image.objects.in_bulk(images[np.unique(rows[:, 0]).astype(int)].tolist())
    for place in np.unique(rows[:, 0]).astype(int).tolist():
        mine = rows[rows[:, 0] == place]
        image = known.get(int(images[place]))
        if image is not None:
            boxes = Boxes(mine[:, 3:7], mine[:, CLASS], mine[:, 2])
            image.width, image.height = mine[0, 7:].astype(int).tolist()  # perhaps nobody has opened it yet
            if suggestion := fitted(task_of[image.pk], boxes, image, classes):
                yield suggestion


def fitted(task: int, boxes: Boxes, image: Image, classes: list[int]) -> Suggestion | None:
    """Return what is suggested for an image; an image without a box stays blank."""
    labels, scores = [], []
    for box, number, score in zip(boxes.boxes.tolist(), boxes.classes, boxes.scores, strict=True):
        try:
            inside = fit_box(LabelTask(pk=task, image=image), [round(value, 2) for value in box])
        except InvalidAnswer:
            continue  # a sliver at the edge
        labels.append(Label(classes[number], inside))
        scores.append(round(float(score), 4))
    if not labels:
        return None
    return Suggestion(task, tuple(labels), tuple(scores), confidence=float(np.mean(scores)))


def publish(
    work: Work, project: Project, training: AssistRun, packed: list[str], found: list[Suggestion]
) -> dict[str, Any]:
    """Put the boxes into the queue in place of an older model's that nobody has on the screen."""
    if sorted(training.config["classes"]) != sorted(class_ids(project)):
        raise Unusable(_("The classes changed meanwhile, so this model is not used. The next training has them."))
    suggestions.withdraw(suggested_tasks(project))
    filled = suggestions.suggest(project, packed)
    suggestions.mix_in(blank_for_good(project))
    staging.blanks_stay(work.run, filled)
    suggestions.queue_anew(project)
    n_boxes = sum(len(item.labels) for item in found if item.task in filled)
    work.log(_("%(n)d images with %(m)d boxes") % {"n": len(filled), "m": n_boxes})
    return {"suggested": len(filled), "boxes": n_boxes}


def blank_for_good(project: Project) -> LabelTaskQuerySet:
    """Return the images that get no boxes, so that models can be judged by them."""
    return LabelTask.objects.in_project(project).alias(turn=F("rank") % BLANK_EVERY).filter(turn=0)


def prepare(project: Project) -> None:
    """Have the first images ready before anybody asks."""
    feeder.feed(project.pk)
