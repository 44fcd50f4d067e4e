"""Review labels: approve, reject, correct, return and take out; each is one transaction and recorded (SPEC V2, V3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext as _

from labeling import history
from labeling.answers import check_answers
from labeling.models import ANSWERED, LabelEvent, LabelTask, Status
from projects.access import lock
from projects.models import Project

MAX_IDS = 10_000


class NotReviewable(Exception):
    """Nothing was done, and why, in words."""


def _tasks(project: Project, image_ids: Iterable[object], statuses: Sequence[str], words: str) -> list[LabelTask]:
    """Return the tasks of all the images, or raise NotReviewable: all or nothing."""
    ids = list(image_ids)
    if not ids:
        raise NotReviewable(_("Name at least one image."))
    if len(ids) > MAX_IDS:
        raise NotReviewable(_("Name at most %(n)d images at a time.") % {"n": MAX_IDS})
    if not all(isinstance(pk, int) and not isinstance(pk, bool) for pk in ids):
        raise NotReviewable(_("Images are named by their ids, which are numbers."))
    tasks = list(LabelTask.objects.filter(project=project, image__in=set(ids)).select_related("image"))
    if len(tasks) != len(set(ids)):
        raise NotReviewable(_("Some of these images are not in this project. Nothing was changed."))
    wrong = sum(task.status not in statuses for task in tasks)
    if wrong:
        raise NotReviewable(words % {"n": wrong})
    return tasks


def _record(project: Project, tasks: Sequence[LabelTask], action: str, by: User) -> list[LabelEvent]:
    return LabelEvent.objects.bulk_create(
        (LabelEvent(project=project, task=task, action=action, by=by, kind=task.kind) for task in tasks),
        batch_size=2000,
    )


@transaction.atomic
def approve(project: Project, by: User, image_ids: Iterable[object]) -> int:
    """Mark labels as reviewed and right; their labelers can't correct them any more."""
    project = lock(project)
    words = _("%(n)d of these images have no label to approve. Nothing was changed.")
    tasks = _tasks(project, image_ids, ANSWERED, words)
    _record(project, tasks, LabelEvent.Action.APPROVED, by)
    return LabelTask.objects.filter(pk__in=[task.pk for task in tasks]).update(status=Status.APPROVED)


@transaction.atomic
def reject(project: Project, by: User, image_ids: Iterable[object]) -> int:
    """Take the labels off; the images go back to the queue, and to another labeler first."""
    project = lock(project)
    words = _("%(n)d of these images have no label to reject. Nothing was changed.")
    tasks = _tasks(project, image_ids, ANSWERED, words)
    events = _record(project, tasks, LabelEvent.Action.REJECTED, by)
    ids = [task.pk for task in tasks]
    history.end_labels(ids, events)
    # `labeler` stays: the queue offers a task to others than its last labeler first.
    return LabelTask.objects.filter(pk__in=ids).update(status=Status.QUEUED, page=None)


@transaction.atomic
def correct(project: Project, by: User, items: object) -> int:
    """Replace the labels of images by what a reviewer says; they count as approved. ``items`` name tasks.

    Raises InvalidAnswer or NotReviewable, and then nothing was written.
    """
    project = lock(project)
    given = [item.get("id") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    ids = [pk for pk in given if isinstance(pk, int)]
    tasks = list(LabelTask.objects.filter(project=project, pk__in=ids).select_related("image").order_by("pk"))
    if not tasks or any(task.status not in (*ANSWERED, Status.SKIPPED) for task in tasks):
        raise NotReviewable(_("Only labeled or skipped images can be corrected."))
    answers = check_answers(project, tasks, items)
    history.record(project, tasks, answers, action=LabelEvent.Action.CORRECTED, by=by, status=Status.APPROVED)
    return len(tasks)


@transaction.atomic
def return_skipped(project: Project, by: User, image_ids: Iterable[object]) -> int:
    """Put skipped images, or images that were taken out, back into the queue."""
    project = lock(project)
    words = _("%(n)d of these images were neither skipped nor taken out. Nothing was changed.")
    tasks = _tasks(project, image_ids, (Status.SKIPPED, Status.REMOVED), words)
    _record(project, tasks, LabelEvent.Action.RETURNED, by)
    return LabelTask.objects.filter(pk__in=[task.pk for task in tasks]).update(status=Status.QUEUED, page=None)


@transaction.atomic
def remove_skipped(project: Project, by: User, image_ids: Iterable[object]) -> int:
    """Take skipped images out of the project's work."""
    project = lock(project)
    words = _("%(n)d of these images were not skipped. Nothing was changed.")
    tasks = _tasks(project, image_ids, (Status.SKIPPED,), words)
    _record(project, tasks, LabelEvent.Action.REMOVED, by)
    return LabelTask.objects.filter(pk__in=[task.pk for task in tasks]).update(status=Status.REMOVED)
