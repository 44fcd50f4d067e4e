"""Take the answers of a page: one transaction, all or nothing (SPEC L8, N3)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext as _

from labeling import history, signals
from labeling.answers import InvalidAnswer, check_answers, digest
from labeling.current import current_answers
from labeling.models import LabelEvent, LabelPage, LabelTask, Status
from labeling.queue import Lapsed, Paused
from projects.access import lock

MAX_SECONDS = 24 * 3600.0
CORRECTABLE = (Status.LABELED, Status.SKIPPED)


class Reviewed(Exception):
    """The page can't be corrected any more: a reviewer has looked at it, or its images went elsewhere."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What a submit did: how many answers it stored (the same when it comes twice)."""

    count: int


def submit(page: LabelPage, items: object, seconds: object = None) -> Submitted:
    """Store the answers of the labeler's open page.

    Raises Paused, Lapsed or InvalidAnswer, and then nothing was written. The same items again, for a page that has
    been submitted, count once and get the same answer.
    """
    with transaction.atomic():
        project = page.project = lock(page.project)
        fingerprint, spent = digest(items), _check_seconds(seconds)
        if not page.hand_in(fingerprint, spent):
            return _again(page, fingerprint)
        if not project.is_running:
            raise Paused
        tasks = page.read_tasks()
        if not tasks:
            raise Lapsed
        changed = _changed_meanwhile(page, tasks)
        answers = check_answers(project, tasks, items)
        history.record(
            project,
            tasks,
            answers,
            action=LabelEvent.Action.SUBMITTED,
            by=page.labeler,
            page=page,
            seconds=spent,
        )
        if labeled := [answer.task for answer in answers if answer.task in changed and not answer.skip]:
            history.flag(project, labeled)
        signals.labels_given.send(sender=LabelPage, project=project)
        return Submitted(len(tasks))


def _changed_meanwhile(page: LabelPage, tasks: list[LabelTask]) -> set[int]:
    """Return the tasks whose file has changed since it came onto the screen; their images have the size of then."""
    unmeasured = [task for task in tasks if task.image.width is None]
    if unmeasured:
        page.refresh_from_db(fields=["sizes"])
    for task in unmeasured:
        task.image.width, task.image.height = (page.sizes or {}).get(str(task.pk), (None, None))
    return {task.pk for task in unmeasured if task.image.width}


def _again(page: LabelPage, fingerprint: str) -> Submitted:
    """Return what the same submit was answered before. Raises Lapsed if there was none."""
    same = LabelPage.objects.filter(pk=page.pk, status=LabelPage.Status.SUBMITTED, digest=fingerprint)
    for size in same.values_list("size", flat=True):
        return Submitted(size)
    raise Lapsed


def correctable_tasks(page: LabelPage) -> list[LabelTask]:
    """Return the tasks of a submitted page that its labeler may still correct (SPEC L5), in their order."""
    tasks = page.tasks.filter(status__in=CORRECTABLE, labeler=page.labeler)
    return list(tasks.select_related("image").on_page())


def correct(page: LabelPage, items: object, by: User) -> Submitted:
    """Store other answers for the labeler's own submitted page; unchanged ones leave no trace.

    Raises Paused, Reviewed or InvalidAnswer, and then nothing was written.
    """
    with transaction.atomic():
        project = lock(page.project)
        if not project.is_running:
            raise Paused
        tasks = correctable_tasks(page)
        if not tasks or page.labeler_id != by.pk:
            raise Reviewed
        answers = check_answers(project, tasks, items)
        before = current_answers(project, tasks)
        changed = [(task, answer) for task, answer in zip(tasks, answers, strict=True) if before[task.pk] != answer]
        history.record(
            project,
            [task for task, _answer in changed],
            [answer for _task, answer in changed],
            action=LabelEvent.Action.CORRECTED,
            by=by,
            page=page,
        )
        return Submitted(len(changed))


def _check_seconds(seconds: object) -> float | None:
    """Return the seconds as a number of a plausible size. Raises InvalidAnswer for anything else."""
    if seconds is None or seconds == "":
        return None
    try:
        value = float(seconds)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise InvalidAnswer(_("“seconds” is a number that is not negative."))
    return min(value, MAX_SECONDS)
