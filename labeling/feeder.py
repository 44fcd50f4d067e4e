"""Move waiting tasks to the queue, their images opened, measured and drawn as previews ahead of the labelers."""

from __future__ import annotations

import logging
import math
import threading
import time
from datetime import timedelta

from django.core.cache import cache
from django.db import connection, transaction
from django.utils import timezone
from django_q.tasks import async_task

from labeling.models import LabelPage, LabelTask, Status
from projects import previews
from projects.models import Image, Project
from projects.stores import StoreError

logger = logging.getLogger(__name__)

PAGES_AHEAD = 6  # pages of nine for each labeler who is at work
# What the pages show first; anything else is drawn when somebody looks closer.
SIZES_OF_GRIDS: tuple[previews.Size, ...] = (512,)
SIZES_OF_BOXES: tuple[previews.Size, ...] = (512, 2048)
AT_WORK = timedelta(minutes=15)
BATCH = 30
KEPT_SECONDS = 10
DOWN_SECONDS = 30  # so long nobody waits for a store that was just found not to answer
LOOK_SECONDS = 1.0
_turns: dict[int, threading.Lock] = {}
_looked: dict[int, float] = {}  # when this process last looked at a project's queue


def target_size(project: Project) -> int:
    """Return how many tasks should be ready: some pages for everybody at work, and for one more."""
    recently = LabelPage.objects.filter(project=project, claimed_at__gt=timezone.now() - AT_WORK)
    n_labelers = recently.values("labeler").distinct().count()
    return (n_labelers + 1) * PAGES_AHEAD * 9


def wake(project: Project) -> None:
    """Have a worker prepare more images when less than half of what should be ready is; one call at a time.

    However many pages are claimed here, this looks once a second: a claim that finds too little feeds the queue itself.
    """
    now = time.monotonic()
    if now < _looked.get(project.pk, -math.inf) + LOOK_SECONDS:
        return
    _looked[project.pk] = now
    low = cache.get_or_set(f"low-{project.pk}", lambda: target_size(project) // 2, timeout=KEPT_SECONDS)
    n_queued = LabelTask.objects.in_project(project).queued()[:low].count()
    if n_queued == low or not LabelTask.objects.in_project(project).waiting().exists():
        return
    if cache.add(_waking(project.pk), 1, timeout=KEPT_SECONDS):
        async_task("labeling.feeder.run", project.pk)


def run(project_id: int) -> int:
    """Do what ``wake`` asked for, in a worker, and let it ask again."""
    try:
        return feed(project_id)
    finally:
        cache.delete(_waking(project_id))


def _waking(project_id: int) -> str:
    return f"feeding-{project_id}"


def is_ready(project: Project) -> bool:
    """Whether a task can be handed out now."""
    return LabelTask.objects.in_project(project).queued().exists()


def feed_now(project: Project, count: int) -> bool:
    """Queue tasks for somebody who waits; return whether there are some now.

    Those who wait in one process take turns: all would open the same images, and the first feeds the others too.
    """
    turn = _turns.setdefault(project.pk, threading.Lock())
    is_first = turn.acquire(blocking=False)
    if not is_first:
        turn.acquire()
    try:
        if not is_first and is_ready(project):
            return True
        # Nothing queued here may mean that a worker queued the same tasks a moment before.
        return feed(project.pk, count) > 0 or is_ready(project)
    finally:
        turn.release()


def feed(project_id: int, count: int | None = None) -> int:
    """Queue ``count`` more tasks (by default: as many as the labelers at work need); return how many were queued.

    Images that can't be opened become unreadable, with the reason, and are not handed out (SPEC D4). When the store
    as a whole can't be used, they go on waiting.
    """
    project = Project.objects.select_related("dataset__datastore").get(pk=project_id)
    if count is None:
        ready = LabelTask.objects.in_project(project).queued().count()
        count = max(target_size(project) - ready, 0)
    n_queued = 0
    is_down = bool(cache.get(_down_key(project)))
    while n_queued < count and not is_down:
        tasks = list(
            LabelTask.objects.in_project(project).waiting().select_related("image")[: min(BATCH, count - n_queued)]
        )
        if not tasks:
            break
        n_more, is_down = _open_and_queue(project, tasks)
        n_queued += n_more
    return n_queued


def feed_all() -> None:
    """Fill the queues of all running projects; a schedule calls this."""
    for pk in Project.objects.filter(state=Project.State.RUNNING).values_list("pk", flat=True):
        feed(pk)


def _open_and_queue(project: Project, tasks: list[LabelTask]) -> tuple[int, bool]:
    """Prepare the images of waiting tasks, outside any transaction, then queue those that could be opened.

    Return how many that were, and whether to stop for now: the store turned out not to be usable, or others are at
    all of these tasks.
    """
    images = [task.image for task in tasks]
    unmeasured = [image for image in images if image.width is None]
    is_down = _open(project, unmeasured)
    broken = [image for image in unmeasured if image.problem]
    opened = [image for image in images if image.width is not None]
    with transaction.atomic():
        mine = LabelTask.objects.filter(pk__in=[task.pk for task in tasks], status=Status.WAITING)
        if connection.features.has_select_for_update_skip_locked:
            # Never wait for what an import, a refresh or a run holds: it may wait for the images next.
            mine = mine.select_for_update(skip_locked=True, of=("self",))
        held = dict(mine.values_list("image_id", "pk"))
        _keep_facts([image for image in unmeasured if image.pk in held])
        ours = LabelTask.objects.filter(pk__in=held.values())
        ours.filter(image__in=broken).update(status=Status.UNREADABLE)
        return ours.filter(image__in=opened).update(status=Status.QUEUED), is_down or not held


def opened(project: Project, tasks: list[LabelTask]) -> list[LabelTask]:
    """Return those of a reviewer's tasks whose images can be shown, opening those that nobody has opened yet.

    That is an image that was imported with its labels, or whose file changed after it was labeled; no box fits into
    an image of unknown size.
    """
    unmeasured = [task.image for task in tasks if task.image.width is None]
    if unmeasured:
        _open(project, unmeasured)
        _keep_facts(unmeasured)
    return [task for task in tasks if task.image.problem != Image.Problem.UNREADABLE]


def _open(project: Project, images: list[Image]) -> bool:
    """Measure images and draw their previews; what was found stands on each. Return whether the store is down."""
    datastore = project.dataset.datastore
    by_id = {image.pk: image for image in images}
    sizes = SIZES_OF_BOXES if project.is_detection else SIZES_OF_GRIDS
    places = [(image.pk, image.path, image.etag) for image in images]
    try:
        for image_id, facts in previews.prepare(datastore.open(), datastore.pk, places, sizes):
            image = by_id[image_id]
            if isinstance(facts, previews.Unreadable):
                image.problem, image.problem_detail = Image.Problem.UNREADABLE, str(facts)[:300]
            else:
                image.width, image.height, image.orientation = facts.width, facts.height, facts.orientation
    except StoreError as error:
        logger.warning("Project %s waits for its images: %s", project.pk, error)
        cache.set(_down_key(project), str(error), DOWN_SECONDS)
        return True
    return False


def _keep_facts(images: list[Image]) -> None:
    done = [image for image in images if image.width is not None or image.problem]
    Image.objects.bulk_update(done, ["width", "height", "orientation", "problem", "problem_detail"])


def _down_key(project: Project) -> str:
    return f"store-down-{project.dataset.datastore_id}"
