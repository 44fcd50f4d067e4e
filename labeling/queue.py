"""Hand out images: claim a page, keep it, give it back, let it lapse (SPEC L2, N3; DESIGN section 3).

A claim is one short transaction. The lock order everywhere is: project row, then pages, then tasks, then images; a
claim takes no project lock, and skips rows that another claim holds.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.db.models import DateTimeField, Q
from django.utils import timezone

from labeling import feeder
from labeling.models import LabelPage, LabelTask, LabelTaskQuerySet, Status
from projects import refresh_due
from projects.bulk import add
from projects.models import Image, Project
from projects.prepared import Prepared, PreparedUpdate, Slot, numbered, slots
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
    page = _claim(project, labeler, count)
    for _try in range(TRIES):
        if page is not None or not feeder.feed_now(project, count):
            break
        # The worker was behind, or there is none; what was opened here may have gone to somebody who was faster.
        page = _claim(project, labeler, count)
    if page is not None and page.sizes:
        feeder.opened(project, page.on_screen)  # the browser shows the files as they are now
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
                if page := open_page(project, labeler):
                    return _kept(page)
                tasks = _next_tasks(project, labeler, count)
                return _make_page(project, labeler, tasks, count) if tasks else None
        except IntegrityError:  # a second tab of the same person has the page
            continue
    return None


_open_pages = Prepared(
    lambda: LabelPage.objects.filter(
        Q(labeler=Slot("labeler")) | Q(expires_at__lte=Slot("now", DateTimeField())),
        project=Slot("project"),
        status=LabelPage.Status.OPEN,
    ).select_related("project")
)


def open_page(project: Project, labeler: User) -> LabelPage | None:
    """Return what the labeler has on the screen in this project, and let leases that have run out lapse.

    Raises Paused for a page of a project that isn't running.
    """
    pages = _open_pages(project=project.pk, labeler=labeler.pk, now=timezone.now())  # mine, and expired ones
    alive = [page for page in pages if page.is_alive]
    if len(alive) < len(pages):
        sweep(project)
    page = next((page for page in alive if page.labeler_id == labeler.pk), None)
    if page is not None and not page.project.is_running:
        raise Paused
    return page


def _kept(page: LabelPage) -> LabelPage:
    """Renew the lease of a page that comes back, at most once a minute: asked twice at once, it answers the same."""
    if page.expires_at - timezone.now() < timedelta(seconds=settings.LEASE_SECONDS) - RENEW_EVERY:
        renew(page)
    return page


def _next_tasks(project: Project, labeler: User, count: int) -> list[LabelTask]:
    """Return the next tasks, of one kind and group; what this labeler had before comes last.

    Nobody else can take them before the transaction ends. Raises Paused when the project isn't running.
    """
    tasks = _next_of_others(count)(project=project.pk, labeler=labeler.pk) or _next(count)(project=project.pk)
    if not tasks and not Project.objects.filter(pk=project.pk, state=Project.State.RUNNING).exists():
        raise Paused
    return [task for task in tasks if (task.kind, task.group) == (tasks[0].kind, tasks[0].group)]


@cache
def _next(count: int) -> Prepared[LabelTask]:
    return Prepared(lambda: _next_free()[:count])


@cache
def _next_of_others(count: int) -> Prepared[LabelTask]:
    return Prepared(lambda: _next_free().of_others(Slot("labeler"))[:count])


def _next_free() -> LabelTaskQuerySet:
    return _free(LabelTask.objects.filter(project=Slot("project"), project__state=Project.State.RUNNING))


def _free(tasks: LabelTaskQuerySet) -> LabelTaskQuerySet:
    """Return the queued ones with their images, locked: on SQLite, the transaction has the only pen anyway."""
    queued = tasks.queued().select_related("image")
    if connection.features.has_select_for_update_skip_locked:
        queued = queued.select_for_update(skip_locked=True, of=("self",))
    return queued


def _make_page(project: Project, labeler: User, tasks: list[LabelTask], wanted: int) -> LabelPage:
    now = timezone.now()
    page = LabelPage(
        project=project,
        labeler=labeler,
        kind=tasks[0].kind,
        claimed_at=now,
        expires_at=now + timedelta(seconds=settings.LEASE_SECONDS),
        wanted=wanted,
        size=len(tasks),
    )
    add(page)
    _put_on_page(page, tasks, place=0)
    page.on_screen = tasks
    return page


def _put_on_page(page: LabelPage, tasks: list[LabelTask], place: int) -> None:
    """Put tasks of the queue, which this transaction has locked, on the page.

    Their status is not asked again: PostgreSQL may then read the whole queue to find them (its index is thought to be
    short until the statistics have caught up).
    """
    if tasks:
        _put(len(tasks))(page=page.pk, place=place, **numbered(task.pk for task in tasks))


@cache
def _put(n_tasks: int) -> PreparedUpdate[LabelTask]:
    return PreparedUpdate(
        lambda: LabelTask.objects.filter(pk__in=slots(n_tasks)),
        status=Status.CLAIMED,
        page=Slot("page"),
        place=Slot("place"),
    )


def peek(project: Project, labeler: User, count: int) -> list[Image]:
    """Return the images that this labeler will very likely get next, so that the browser can load them ahead.

    Of an image, only what its previews' addresses are made of is read.
    """
    return [task.image for task in _peek(count)(project=project.pk, labeler=labeler.pk)]


@cache
def _peek(count: int) -> Prepared[LabelTask]:
    queued = LabelTask.objects.filter(project=Slot("project")).queued().of_others(Slot("labeler"))
    return Prepared(lambda: queued.select_related("image").only("image__etag", "image__size")[:count])


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
        LabelTask.objects.filter(page=page).put_back()


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
        LabelTask.objects.filter(page__in=ids, page__status=LabelPage.Status.LAPSED).put_back()
    return n_lapsed


def resize(page: LabelPage, labeler: User, count: int, keep: list[int]) -> LabelPage:
    """Give the page another number of tasks; those that the labeler has answered (``keep``) stay on it.

    Raises Lapsed if the page is not open any more.
    """
    with transaction.atomic():
        renew(page)
        tasks = list(page.tasks.filter(status=Status.CLAIMED).on_page())
        tasks.sort(key=lambda task: task.pk not in keep)
        wanted = max(count, sum(task.pk in keep for task in tasks))
        LabelTask.objects.filter(pk__in=[task.pk for task in tasks[wanted:]]).put_back()
        n_kept = min(wanted, len(tasks))
        if n_kept < count:
            n_kept += _top_up(page, labeler, n_kept, count)
        LabelPage.objects.filter(pk=page.pk).update(size=n_kept, wanted=count)
    page.refresh_from_db()
    return page


def _top_up(page: LabelPage, labeler: User, present: int, count: int) -> int:
    first = page.tasks.filter(status=Status.CLAIMED).first()
    more = _free(LabelTask.objects.in_project(page.project).filter(kind=page.kind))
    if first is not None:
        more = more.filter(group=first.group)
    tasks = list(more.of_others(labeler)[: count - present])
    last_place = max(page.tasks.values_list("place", flat=True), default=-1)
    _put_on_page(page, tasks, place=last_place + 1)
    return len(tasks)
