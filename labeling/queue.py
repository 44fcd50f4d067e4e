"""Hand out images: claim a page, keep it, give it back, let it lapse (SPEC L2, N3; DESIGN section 3).

A claim is one short transaction. The lock order everywhere is: project row, then pages, then tasks; a claim takes no
project lock, and skips rows that another claim holds.
"""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.db.models import Case, Q, When
from django.utils import timezone

from labeling import feeder
from labeling.models import LabelPage, LabelTask, LabelTaskQuerySet, Status
from projects import refresh_due
from projects.models import Image, Project
from projects.transitions import WrongState, move

TRIES = 5
MAX_COUNT = 100
RENEW_EVERY = timedelta(minutes=1)


class Paused(Exception):
    """The project is not running: nothing is handed out and nothing is taken."""


class Lapsed(Exception):
    """The page is not this labeler's any more."""


def claim(project: Project, labeler: User, count: int) -> LabelPage | None:
    """Return the labeler's open page, or make one of at most ``count`` tasks; None when nothing is left.

    The tasks of a page are of one kind and one group. Raises Paused when the project isn't running.
    """
    if not Project.objects.filter(pk=project.pk, state=Project.State.RUNNING).exists():
        raise Paused
    page = _claim(project, labeler, count)
    for _try in range(TRIES):
        if page is not None or not feeder.feed_now(project, count):
            break
        # The worker was behind, or there is none; what was opened here may have gone to somebody who was faster.
        page = _claim(project, labeler, count)
    if page is not None and page.size < count and not feeder.is_ready(project):
        feeder.feed_now(project, count - page.size)
    feeder.wake(project)
    if page is None:
        refresh_due.look_at_once(project)
    return page


def _claim(project: Project, labeler: User, count: int) -> LabelPage | None:
    for _try in range(TRIES):
        try:
            with transaction.atomic():
                sweep(project)
                if page := open_page(project, labeler):
                    return _kept(page)
                ids, kind = _next_ids(project, labeler, count)
                if not ids:
                    return None
                return _make_page(project, labeler, ids, kind, count)
        except (
            _Taken,
            IntegrityError,
        ):  # another claim was faster; a second tab of the same person has the page
            continue
    return None


def _kept(page: LabelPage) -> LabelPage:
    """Renew the lease of a page that comes back, at most once a minute: asked twice at once, it answers the same."""
    if page.expires_at - timezone.now() < timedelta(seconds=settings.LEASE_SECONDS) - RENEW_EVERY:
        renew(page)
    return page


class _Taken(Exception):
    """Some of the tasks were claimed by somebody else meanwhile."""


def open_page(project: Project, labeler: User) -> LabelPage | None:
    """Return what the labeler has on the screen in this project."""
    return LabelPage.objects.filter(project=project, labeler=labeler, status=LabelPage.Status.OPEN).first()


def _next_ids(project: Project, labeler: User, count: int) -> tuple[list[int], str]:
    """Return the next tasks of one kind and group, and their kind; what this labeler had before comes last."""
    queued = LabelTask.objects.in_project(project).queued()
    if connection.features.has_select_for_update_skip_locked:
        queued = queued.select_for_update(skip_locked=True, of=("self",))
    others = queued.filter(Q(labeler__isnull=True) | ~Q(labeler=labeler))
    rows = list(others.values_list("pk", "kind", "group")[:count])
    if not rows:
        rows = list(queued.values_list("pk", "kind", "group")[:count])
    if not rows:
        return [], ""
    _pk, kind, group = rows[0]
    return [row[0] for row in rows if row[1:] == (kind, group)], kind


def _make_page(project: Project, labeler: User, ids: list[int], kind: str, wanted: int) -> LabelPage:
    now = timezone.now()
    page = LabelPage.objects.create(
        project=project,
        labeler=labeler,
        kind=kind,
        claimed_at=now,
        expires_at=now + timedelta(seconds=settings.LEASE_SECONDS),
        wanted=wanted,
        size=len(ids),
    )
    _put_on_page(page, ids, start=0)
    return page


def _put_on_page(page: LabelPage, ids: list[int], start: int) -> None:
    places = Case(*(When(pk=pk, then=place) for place, pk in enumerate(ids, start)), default=0)
    free = LabelTask.objects.filter(pk__in=ids, status=Status.QUEUED)
    if ids and free.update(status=Status.CLAIMED, page=page, place=places) < len(ids):
        raise _Taken


def peek(project: Project, labeler: User, count: int) -> list[Image]:
    """Return the images that this labeler will very likely get next, so that the browser can load them ahead."""
    queued = LabelTask.objects.in_project(project).queued().filter(Q(labeler__isnull=True) | ~Q(labeler=labeler))
    return [task.image for task in queued.select_related("image")[:count]]


def renew(page: LabelPage) -> None:
    """Extend the lease, counted from now. Raises Lapsed if the page is not open any more."""
    now = timezone.now()
    alive = LabelPage.objects.filter(pk=page.pk, status=LabelPage.Status.OPEN, expires_at__gt=now)
    if not alive.update(expires_at=now + timedelta(seconds=settings.LEASE_SECONDS)):
        raise Lapsed
    page.refresh_from_db()


def release(page: LabelPage) -> None:
    """Give a page back: its tasks are queued again. Raises Lapsed if it is not open any more."""
    with transaction.atomic():
        try:
            move(page, "status", LabelPage.Status.OPEN, LabelPage.Status.RELEASED)
        except WrongState:
            raise Lapsed from None
        _requeue(LabelTask.objects.filter(page=page))


def _requeue(tasks: LabelTaskQuerySet) -> None:
    tasks.filter(status=Status.CLAIMED).update(status=Status.QUEUED, page=None)


def sweep(project: Project | None = None) -> int:
    """Let leases that have run out lapse, and queue their tasks again; return how many pages lapsed."""
    expired = LabelPage.objects.filter(status=LabelPage.Status.OPEN, expires_at__lte=timezone.now())
    if project is not None:
        expired = expired.filter(project=project)
    ids = list(expired.values_list("pk", flat=True))
    if not ids:
        return 0
    with transaction.atomic():
        n_lapsed = expired.filter(pk__in=ids).update(status=LabelPage.Status.LAPSED)
        _requeue(LabelTask.objects.filter(page__in=ids, page__status=LabelPage.Status.LAPSED))
    return n_lapsed


def resize(page: LabelPage, labeler: User, count: int, keep: list[int]) -> LabelPage:
    """Give the page another number of tasks; those that the labeler has answered (``keep``) stay on it.

    Raises Lapsed if the page is not open any more.
    """
    with transaction.atomic():
        renew(page)
        tasks = list(page.tasks.filter(status=Status.CLAIMED).order_by("place"))
        tasks.sort(key=lambda task: task.pk not in keep)
        wanted = max(count, sum(task.pk in keep for task in tasks))
        _requeue(LabelTask.objects.filter(pk__in=[task.pk for task in tasks[wanted:]]))
        n_kept = min(wanted, len(tasks))
        if n_kept < count:
            n_kept += _top_up(page, labeler, n_kept, count)
        LabelPage.objects.filter(pk=page.pk).update(size=n_kept, wanted=count)
    page.refresh_from_db()
    return page


def _top_up(page: LabelPage, labeler: User, present: int, count: int) -> int:
    first = page.tasks.filter(status=Status.CLAIMED).first()
    more = LabelTask.objects.in_project(page.project).queued().filter(kind=page.kind)
    if first is not None:
        more = more.filter(group=first.group)
    if connection.features.has_select_for_update_skip_locked:
        more = more.select_for_update(skip_locked=True, of=("self",))
    ids = list(
        more.filter(Q(labeler__isnull=True) | ~Q(labeler=labeler)).values_list("pk", flat=True)[: count - present]
    )
    last_place = max(page.tasks.values_list("place", flat=True), default=-1)
    _put_on_page(page, ids, start=last_place + 1)
    return len(ids)
