"""Reviews of very many images by a worker: asked for, followed, cancelled, taken up again (SPEC V2, N4).

The row owns the truth, the queue only wakes a worker up. The review is one transaction, so nothing of it shows before
its end; how far it is, that it lives, and that somebody wants it to stop go through the cache.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django_q.tasks import async_task

from labeling import signals
from labeling.images import ImageFilter
from labeling.listing import matching
from labeling.models import LabelTask, ReviewJob
from labeling.review import ACTS, Done, NotReviewable, review_all, undo
from projects.models import Project
from projects.transitions import DATABASE_AWAY, WrongState, move

LOST_AFTER = timedelta(seconds=90)
MAX_ATTEMPTS = 3
KEPT_SECONDS = 3600
WITHDRAW = "withdraw"  # a rejection of what one person labeled in some time


class Busy(NotReviewable):
    """Another review of very many images is under way."""


class _Stopped(Exception):
    """Somebody cancelled it, or another worker has taken it over: the transaction is rolled back."""


def selected(project: Project, query: dict[str, Any], seen_at: datetime) -> QuerySet[LabelTask]:
    """Return all images that a filter and view of the Data tab showed at a moment."""
    view = next((view for view in signals.ask_for_views(project) if view.name == query.get("view")), None)
    tasks = matching(project, ImageFilter.parse(query), view)
    return tasks.filter(Q(labeled_at__isnull=True) | Q(labeled_at__lte=seen_at))


def enqueue(project: Project, by: User, action: str, query: dict[str, Any], seen_at: datetime, total: int) -> ReviewJob:
    """Record the job and wake a worker once that is committed. Raises Busy.

    ``action`` is the name of one of review.ACTS or WITHDRAW, with the Data tab's query, or "undo" with ``first`` and
    ``last``.
    """
    try:
        with transaction.atomic():
            job = ReviewJob.objects.create(
                project=project, by=by, action=action, query=query, seen_at=seen_at, total=total
            )
            transaction.on_commit(lambda: async_task("labeling.review_jobs.run", job.pk))
            return job
    except IntegrityError:
        raise Busy(_("Another review of many images is under way. Wait until it is done, or cancel it.")) from None


def run(job_id: int) -> None:
    """Carry out one job; a second delivery finds it started and does nothing."""
    job = ReviewJob.objects.select_related("project", "by").get(pk=job_id)
    token = str(uuid.uuid4())
    try:
        now = timezone.now()
        changes: dict[str, Any] = {"token": token, "attempts": F("attempts") + 1, "started_at": now}
        move(job, "state", ReviewJob.State.QUEUED, ReviewJob.State.RUNNING, **changes)
    except WrongState:
        return
    mine = ReviewJob.objects.filter(pk=job.pk, token=token, state=ReviewJob.State.RUNNING)

    def report(n_done: int, total: int) -> None:
        cache.set(_key(job), (n_done, total, time.time()), KEPT_SECONDS)
        if cache.get(_stop_key(job)):
            raise _Stopped

    try:
        report(0, job.total)
        with transaction.atomic():
            done = _carry_out(job, report)
            written = mine.update(
                state=ReviewJob.State.DONE,
                count=done.count,
                left=done.left,
                first_event=done.first,
                last_event=done.last,
                ended_at=timezone.now(),
            )
            if not written:
                raise _Stopped
    except _Stopped:
        mine.update(state=ReviewJob.State.CANCELLED, ended_at=timezone.now())
    except NotReviewable as refusal:
        mine.update(state=ReviewJob.State.FAILED, error=str(refusal), ended_at=timezone.now())
    except DATABASE_AWAY:
        raise
    except Exception as error:
        words = _("Something unexpected went wrong: %(error)s") % {"error": error}
        mine.update(state=ReviewJob.State.FAILED, error=words, ended_at=timezone.now())
        raise


def _carry_out(job: ReviewJob, report: Callable[[int, int], None]) -> Done:
    if job.action == "undo":
        return undo(job.project, job.by, job.query["first"], job.query["last"], report)
    tasks = selected(job.project, job.query, job.seen_at)
    if job.action != WITHDRAW:
        return review_all(job.project, job.by, ACTS[job.action], tasks, report)
    done = review_all(job.project, job.by, ACTS["reject"], tasks, report)
    signals.labels_withdrawn.send(sender=None, project=job.project)
    return done


def _key(job: ReviewJob) -> str:
    return f"review-job-{job.pk}"


def _stop_key(job: ReviewJob) -> str:
    return f"review-job-{job.pk}-stop"


def progress_of(job: ReviewJob) -> int:
    """Return how far an active job is, in percent."""
    done, total, _at = cache.get(_key(job)) or (0, job.total, 0)
    return round(100 * done / total) if total and job.is_active else 0


def cancel(job: ReviewJob) -> None:
    """Stop a job: one that waits at once, one that runs after its present step; then nothing of it was done."""
    cache.set(_stop_key(job), True, KEPT_SECONDS)
    if job.state == ReviewJob.State.QUEUED:  # while it runs its transaction may hold the database's one lock
        waiting = ReviewJob.objects.filter(pk=job.pk, state=ReviewJob.State.QUEUED)
        waiting.update(state=ReviewJob.State.CANCELLED, ended_at=timezone.now())


def reap() -> int:
    """Hand jobs whose worker was lost, or that no worker was told of, to a worker again; return how many."""
    limit = timezone.now() - LOST_AFTER
    n_woken = 0
    for job in ReviewJob.objects.filter(state=ReviewJob.State.RUNNING, started_at__lt=limit):
        _done, _total, beat = cache.get(_key(job)) or (0, 0, 0.0)
        if beat > limit.timestamp():
            continue
        mine = ReviewJob.objects.filter(pk=job.pk, token=job.token, state=ReviewJob.State.RUNNING)
        if job.attempts >= MAX_ATTEMPTS:
            words = _("The worker was lost several times. Nothing was changed.")
            mine.update(state=ReviewJob.State.FAILED, error=words, ended_at=timezone.now())
        elif mine.update(state=ReviewJob.State.QUEUED, token="", created_at=timezone.now()):
            async_task("labeling.review_jobs.run", job.pk)
            n_woken += 1
    for job in ReviewJob.objects.filter(state=ReviewJob.State.QUEUED, created_at__lt=limit):
        async_task("labeling.review_jobs.run", job.pk)
        n_woken += 1
    return n_woken
