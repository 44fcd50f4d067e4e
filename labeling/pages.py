"""What a labeling page shows, as plain data: for the templates, the browser's modules and the API alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from statistics import median
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.urls import get_script_prefix, reverse

from labeling import queue
from labeling.answers import Answer, Label
from labeling.current import current_answers, heirs_of_classes, set_aside_labels
from labeling.models import LabelerSettings, LabelPage, LabelTask
from labeling.progress import progress
from projects.models import Image, Project

KEYS = "123456789"
TALL_BELOW = 0.9  # width / height
ANY_ID = 10**17  # stands for an id, and for nothing else in an address
SHEETS = (1, 4, 6, 9)  # images at a time (SPEC L2)


def layout_for(project: Project, labeler: User) -> int:
    """Return how many images the labeler gets at a time; boxes are drawn on one (SPEC L2)."""
    return 1 if project.is_detection else LabelerSettings.layout_of(labeler)


def classes_data(project: Project) -> list[dict[str, Any]]:
    """Return the classes that can be chosen, the first nine with their keys (SPEC C2)."""
    return [
        {"id": c.pk, "name": c.name, "color": c.color, "key": KEYS[i] if i < len(KEYS) else ""}
        for i, c in enumerate(project.choosable_classes)
    ]


def image_version(image: Image) -> str:
    """Return a short text that changes with the file's content, so that its previews can be cached for ever."""
    return hashlib.sha256(f"{image.etag} {image.size}".encode()).hexdigest()[:10]


def preview_url(image: Image, size: int | str) -> str:
    """Return the address of a preview: its longest side in pixels, or "full"."""
    return f"{_address('preview', image.pk, size)}?v={image_version(image)}"


def _address(name: str, pk: int, *rest: int | str) -> str:
    """Return what ``reverse`` does, which takes its time: a page has dozens of addresses."""
    before, after = _around(get_script_prefix(), name, *rest)
    return f"{before}{pk}{after}"


@cache
def _around(script_prefix: str, name: str, *rest: int | str) -> tuple[str, str]:
    """Return what stands before and after the id in such addresses."""
    before, _id, after = reverse(f"labeling:{name}", args=[ANY_ID, *rest]).partition(str(ANY_ID))
    return before, after


def image_data(image: Image) -> dict[str, Any]:
    """Return an image's size as displayed and the addresses of its previews."""
    return {
        "id": image.pk,
        "path": image.path,
        "width": image.width,
        "height": image.height,
        "preview_url": preview_url(image, 512),
        "large_url": preview_url(image, 2048),
        "full_url": preview_url(image, "full"),
    }


def answer_data(project: Project, answer: Answer) -> dict[str, Any]:
    """Return an answer in the shape in which it is submitted."""
    if answer.skip:
        return {"skip": answer.skip, "note": answer.note}
    if project.is_detection:
        return {"boxes": [{"label_class": label.label_class, "box": label.box} for label in answer.labels]}
    return {"labels": [label.label_class for label in answer.labels]}


def prelabel_data(label: Label) -> dict[str, Any]:
    """Return a label that is shown as a suggestion, without a confidence."""
    data: dict[str, Any] = {"label_class": label.label_class, "confidence": None}
    return {**data, "box": label.box} if label.box else data


def items_data(project: Project, tasks: Sequence[LabelTask], answers: dict[int, Answer]) -> list[dict[str, Any]]:
    """Return the images of a page, with what stood before and what is suggested."""
    aside = set_aside_labels(project, [task.pk for task in tasks if task.prelabels is None])
    heirs = heirs_of_classes(project) if any(task.prelabels for task in tasks) else {}
    return [
        {
            "id": task.pk,
            "image": image_data(task.image),
            "answer": answer_data(project, answers[task.pk]) if task.pk in answers else None,
            "prelabels": _choosable(task.prelabels, heirs)
            or [prelabel_data(label) for label in aside.get(task.pk, ())],
            "confidence": task.confidence,
        }
        for task in tasks
    ]


def _choosable(prelabels: list[dict[str, Any]] | None, heirs: dict[int, int]) -> list[dict[str, Any]]:
    """Return suggestions with classes that can be chosen now: those merged since give way to their heirs."""
    known = [label for label in prelabels or [] if label["label_class"] in heirs]
    return [{**label, "label_class": heirs[label["label_class"]]} for label in known]


def page_data(
    project: Project,
    labeler: User,
    page: LabelPage | None,
    *,
    reason: str = "",
    count: int | None = None,
    correcting: Sequence[LabelTask] | None = None,
) -> dict[str, Any]:
    """Return everything that the labeling page shows, ``count`` images at a time if that is known already.

    ``correcting`` are the tasks of a submitted page to mend.
    """
    count = count or layout_for(project, labeler)
    counts = progress(project)
    return {
        "project": {
            "id": project.pk,
            "name": project.name,
            "task_type": project.task_type,
            "total": counts.total,
            "labeled": counts.labeled,
            "left": counts.left,
            "has_instructions": bool(project.instructions_text or project.instructions_url),
            "instructions_version": instructions_version(project),
        },
        "classes": classes_data(project),
        "page": _page(project, page, count, correcting),
        "reason": reason,
        "next_previews": _next_previews(project, labeler, count) if page and correcting is None else [],
        "urls": _urls(project, page, correcting is not None),
        "lease_seconds": settings.LEASE_SECONDS,
        "user": {"id": labeler.pk, "initials": initials(labeler), "name": labeler.get_full_name() or labeler.username},
    }


def _page(
    project: Project, page: LabelPage | None, count: int, correcting: Sequence[LabelTask] | None
) -> dict[str, Any] | None:
    if page is None:
        return None
    tasks = page.on_screen if correcting is None else list(correcting)
    answers = {} if correcting is None else current_answers(project, tasks)
    return {
        "id": page.pk,
        "kind": page.kind,
        "mode": "label" if correcting is None else "correct",
        "lease_expires_at": page.expires_at.isoformat(),
        "layout": _sheet_for(count if correcting is None else 1, len(tasks)),
        "tall": _is_tall(task.image for task in tasks),
        "items": items_data(project, tasks, answers),
    }


def _sheet_for(count: int, n_images: int) -> int:
    """Return the sheet that holds the images: an earlier page, or one with much work in it, may have more."""
    return next((size for size in SHEETS if size >= max(count, n_images)), SHEETS[-1])


def _is_tall(images: Iterable[Image]) -> bool:
    shapes = [image.width / image.height for image in images if image.width and image.height]
    return bool(shapes) and median(shapes) < TALL_BELOW


def _next_previews(project: Project, labeler: User, count: int) -> list[str]:
    size = 2048 if project.is_detection else 512
    return [preview_url(image, size) for image in queue.peek(project, labeler, count)]


def _urls(project: Project, page: LabelPage | None, is_correcting: bool) -> dict[str, str]:
    urls = {
        "label": _address("label", project.pk),
        "previous": _address("previous", project.pk),
        "instructions": _address("instructions", project.pk),
        "home": reverse("labeling:home"),
        "login": reverse("login"),
    }
    if page is not None:
        names = {"submit": "correct" if is_correcting else "submit"}
        names |= {name: name for name in ("renew", "release", "layout")}
        urls |= {name: _address(target, page.pk) for name, target in names.items()}
    return urls


def instructions_version(project: Project) -> str:
    """Return a short text that changes with the instructions."""
    return hashlib.sha256(f"{project.instructions_url}\n{project.instructions_text}".encode()).hexdigest()[:8]


def initials(user: User) -> str:
    """Return one or two letters for a person."""
    names = user.get_full_name().split() or [user.username]
    return "".join(name[0] for name in (names[0], *names[1:][-1:])).upper()
