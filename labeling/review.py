"""Review labels: approve, reject, correct, return and take out; each is one transaction and recorded (SPEC V2, V3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Exists, Max, Min, OuterRef, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from labeling import history
from labeling.answers import check_answers
from labeling.indexes import OF_CURRENT, OF_STATUS, unindexed
from labeling.models import ANSWERED, UNCLAIMED, LabelEvent, LabelTask, Status
from projects.access import lock
from projects.models import Project

MAX_IDS = 10_000
CHUNK = 30_000  # SQLite takes 32,766 parameters; each statement keeps a copy of the pages that it changes


class NotReviewable(Exception):
    """Nothing was done, and why, in words."""


@dataclass(frozen=True, slots=True)
class Act:
    """What a reviewer does to images: which it fits, what becomes of them, and what is said when it doesn't fit."""

    name: str
    action: str
    sources: tuple[str, ...]
    target: str
    ends_labels: bool
    refusal: Any

    @property
    def left_alone(self) -> tuple[str, ...]:
        """The states in which an image is when nobody has gone on with it since; what is queued may wait again."""
        return UNCLAIMED if self.target == Status.QUEUED else (self.target,)


ACTS = {
    act.name: act
    for act in (
        Act(
            "approve",
            LabelEvent.Action.APPROVED,
            ANSWERED,
            Status.APPROVED,
            False,
            gettext_lazy("%(n)d of these images have no label to approve. Nothing was changed."),
        ),
        # `labeler` stays: the queue offers a task to others than its last labeler first.
        Act(
            "reject",
            LabelEvent.Action.REJECTED,
            ANSWERED,
            Status.QUEUED,
            True,
            gettext_lazy("%(n)d of these images have no label to reject. Nothing was changed."),
        ),
        Act(
            "return",
            LabelEvent.Action.RETURNED,
            (Status.SKIPPED, Status.REMOVED),
            Status.QUEUED,
            False,
            gettext_lazy("%(n)d of these images were neither skipped nor taken out. Nothing was changed."),
        ),
        Act(
            "remove",
            LabelEvent.Action.REMOVED,
            (Status.SKIPPED,),
            Status.REMOVED,
            False,
            gettext_lazy("%(n)d of these images were not skipped. Nothing was changed."),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Done:
    """What a review did: how many images, how many it did not fit, and its first and last event (for undo)."""

    count: int
    left: int = 0
    first: int = 0
    last: int = 0


@transaction.atomic
def review(project: Project, by: User, act: Act, image_ids: Iterable[object]) -> Done:
    """Do it to all of the images, or to none: raises NotReviewable when it does not fit one of them."""
    project = lock(project)
    ids = _check_ids(image_ids)
    tasks = dict(LabelTask.objects.filter(project=project, image__in=ids).values_list("pk", "status"))
    if len(tasks) != len(ids):
        raise NotReviewable(_("Some of these images are not in this project. Nothing was changed."))
    wrong = sum(status not in act.sources for status in tasks.values())
    if wrong:
        raise NotReviewable(str(act.refusal) % {"n": wrong})
    return carry_out(project, by, act, sorted(tasks))


def _check_ids(image_ids: Iterable[object]) -> set[int]:
    ids = list(image_ids)
    if not ids:
        raise NotReviewable(_("Name at least one image."))
    if len(ids) > MAX_IDS:
        raise NotReviewable(_("Name at most %(n)d images at a time.") % {"n": MAX_IDS})
    numbers = {pk for pk in ids if isinstance(pk, int) and not isinstance(pk, bool)}
    if len(numbers) != len(set(ids)):
        raise NotReviewable(_("Images are named by their ids, which are numbers."))
    return numbers


@transaction.atomic
def review_all(
    project: Project,
    by: User,
    act: Act,
    tasks: QuerySet[LabelTask],
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Done:
    """Do it to all of the tasks that it fits, in one transaction; those that it does not fit are left and counted.

    ``report`` hears how many are done, of how many, and may raise: then nothing was done.
    """
    project = lock(project)
    rows = list(tasks.order_by().values_list("pk", "status"))
    ids = sorted(pk for pk, status in rows if status in act.sources)
    done = carry_out(project, by, act, ids, report)
    return replace(done, left=len(rows) - len(ids))


def carry_out(
    project: Project,
    by: User,
    act: Act,
    task_ids: Sequence[int],
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Done:
    """Record it and change the tasks, by some statements for each CHUNK; the caller holds the project's lock."""
    before = _last_event(project)
    n_changed = 0
    with unindexed(len(task_ids), OF_STATUS, *((OF_CURRENT,) if act.ends_labels else ())):
        for ids in _chunks(task_ids):
            _record(project, ids, act.action, by)
            if act.ends_labels:
                history.end_labels(ids, after=before)
            tasks = LabelTask.objects.filter(pk__in=ids)
            n_changed += tasks.update(status=act.target, page=None)
            if act.target == Status.QUEUED:  # which is said of opened images only
                tasks.filter(image__width__isnull=True).update(status=Status.WAITING)
            report(n_changed, len(task_ids))
    mine = LabelEvent.objects.filter(project=project, action=act.action, pk__gt=before)
    ends = mine.aggregate(first=Min("pk"), last=Max("pk"))
    return Done(n_changed, 0, ends["first"] or 0, ends["last"] or 0)


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]


def _last_event(project: Project) -> int:
    return LabelEvent.objects.filter(project=project).aggregate(last=Max("pk"))["last"] or 0


def _record(project: Project, task_ids: Sequence[int], action: str, by: User, to: str = "") -> None:
    """Write one event for each task, with the state that it was in: by one statement, as there may be very many.

    ``to`` is the state that it comes back to, when something is undone.
    """
    if not task_ids:
        return
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    json = "::jsonb" if connection.vendor == "postgresql" else ""
    marks = ",".join(["%s"] * len(task_ids))
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO labeling_labelevent (project_id, task_id, action, by_id, at, kind, detail)"
            f' SELECT project_id, id, %s, %s, %s, kind, (\'{{"was": "\' || status || %s){json}'  # noqa: S608
            f" FROM labeling_labeltask WHERE project_id = %s AND id IN ({marks}) ORDER BY id",
            [action, by.pk, now, f'", "to": "{to}"}}' if to else '"}', project.pk, *task_ids],
        )


def _undoable(project: Project, by: User, first: int, last: int) -> QuerySet[LabelEvent]:
    actions = [act.action for act in ACTS.values()]
    return LabelEvent.objects.filter(project=project, pk__gte=first, pk__lte=last, by=by, action__in=actions)


def count_undoable(project: Project, by: User, first: int, last: int) -> int:
    """Return of how many images somebody would take back what was done; some may have gone on since."""
    return _undoable(project, by, first, last).count()


@transaction.atomic
def undo(
    project: Project,
    by: User,
    first: int,
    last: int,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Done:
    """Take back what this person did by the events from ``first`` to ``last``; what happened since then is left alone.

    Labels that were ended are written again, as they were. Raises NotReviewable when nothing can be taken back.
    """
    project = lock(project)
    events = _undoable(project, by, first, last)
    if LabelEvent.objects.filter(project=project, pk__gt=last, task__isnull=True).exists():
        raise NotReviewable(_("The classes or all labels were changed since then, so this can't be undone any more."))
    later = LabelEvent.objects.filter(task=OuterRef("task"), pk__gt=OuterRef("pk"))
    n_found = events.count()
    n_undone = 0
    before = _last_event(project)
    for act in ACTS.values():
        mine = events.filter(~Exists(later), action=act.action, task__status__in=act.left_alone)
        was = {task: (pk, detail.get("was", "")) for task, pk, detail in mine.values_list("task", "pk", "detail")}
        # Once more and locked: a claim may have taken some of them meanwhile.
        free = LabelTask.objects.select_for_update().filter(status__in=act.left_alone)
        with unindexed(len(was), OF_STATUS, *((OF_CURRENT,) if act.ends_labels else ())):
            for ids in _chunks(sorted(was)):
                held = list(free.filter(pk__in=ids).order_by("pk").values_list("pk", flat=True))
                for status in act.sources:
                    back = [pk for pk in held if was[pk][1] == status]
                    _record(project, back, LabelEvent.Action.RESTORED, by, to=status)
                    LabelTask.objects.filter(pk__in=back).update(status=status)
                if act.ends_labels:
                    history.restore_labels([was[pk][0] for pk in held], after=before)
                n_undone += len(held)
                report(n_undone, n_found)
    if not n_undone:
        raise NotReviewable(_("These images went on since then, so this can't be undone any more."))
    return Done(n_undone, n_found - n_undone)


def approve(project: Project, by: User, image_ids: Iterable[object]) -> int:
    """Mark labels as reviewed and right; their labelers can't correct them any more."""
    return review(project, by, ACTS["approve"], image_ids).count


def reject(project: Project, by: User, image_ids: Iterable[object]) -> int:
    """Take the labels off; the images go back to the queue, and to another labeler first."""
    return review(project, by, ACTS["reject"], image_ids).count


def return_skipped(project: Project, by: User, image_ids: Iterable[object]) -> int:
    """Put skipped images, or images that were taken out, back into the queue."""
    return review(project, by, ACTS["return"], image_ids).count


def remove_skipped(project: Project, by: User, image_ids: Iterable[object]) -> int:
    """Take skipped images out of the project's work."""
    return review(project, by, ACTS["remove"], image_ids).count


CORRECTABLE = (*ANSWERED, Status.SKIPPED)


@transaction.atomic
def correct(project: Project, by: User, items: object) -> int:
    """Replace the labels of images by what a reviewer says; they count as approved. ``items`` name tasks.

    Raises InvalidAnswer or NotReviewable, and then nothing was written.
    """
    project = lock(project)
    given = [item.get("id") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    ids = [pk for pk in given if isinstance(pk, int)]
    tasks = list(LabelTask.objects.filter(project=project, pk__in=ids).select_related("image").order_by("pk"))
    if not tasks or any(task.status not in CORRECTABLE for task in tasks):
        raise NotReviewable(_("Only labeled or skipped images can be corrected."))
    answers = check_answers(project, tasks, items)
    history.record(project, tasks, answers, action=LabelEvent.Action.CORRECTED, by=by, status=Status.APPROVED)
    return len(tasks)
