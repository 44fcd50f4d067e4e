"""Runs from the request to the end: one function behind button, API, command and the cycle (SPEC A3, A9).

A worker takes a queued run by a conditional update and carries it out in a child process, ``manage.py run_assist``.
The child ends each run in one transaction, and starts the run that follows in the same one, under the same token.
"""

from __future__ import annotations

import random
import sys
import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django_q.tasks import async_task

from assist.children import run_in_child
from assist.models import ACTIVE, AssistRun
from projects import devices
from projects.access import lock
from projects.models import Project
from projects.transitions import DATABASE_AWAY, WrongState, reconnect

LOST_AFTER = timedelta(seconds=90)
MAX_ATTEMPTS = 3
MAX_SECONDS = 24 * 3600  # the queue's limit for one round
MAX_LOG = 200_000
MAX_HELPERS = 8
DATABASE_WAS_AWAY = 75  # the exit status of a child that nothing is wrong with


class Refused(Exception):
    """Nothing was started, and why, in words."""


class Busy(Refused):
    """Another run of the project is under way."""

    def __init__(self, run: AssistRun | None) -> None:
        super().__init__(_("A run of this project is under way already. Wait until it has ended, or cancel it."))
        self.run = run


def enqueue(
    project: Project,
    kind: str = AssistRun.Kind.TRAINING,
    by: User | None = None,
    config: dict[str, Any] | None = None,
    follows: AssistRun | None = None,
) -> AssistRun:
    """Record a run and wake a worker once it is committed. Raises Refused, and then nothing was started."""
    from assist.cycle import check_can_start  # the cycle asks for runs, too

    try:
        with transaction.atomic():
            project = lock(project)
            check_can_start(project, kind)
            run = AssistRun.objects.create(
                project=project,
                kind=kind,
                requested_by=by,
                follows=follows,
                device=devices.chosen(project),
                seed=random.randrange(2**31),  # noqa: S311 (a seed is no secret)
                config=config or {},
            )
            _wake_worker(run)
            return run
    except IntegrityError:
        raise Busy(AssistRun.objects.filter(project=project).active().first()) from None


def retry(run: AssistRun, by: User | None = None) -> AssistRun:
    """Ask once more for what a run was asked for. Raises Refused."""
    if run.is_active:
        raise Busy(run)
    kind = run.kind
    if kind == AssistRun.Kind.VALIDATION or (kind == AssistRun.Kind.INFERENCE and run.model is None):
        kind = AssistRun.Kind.TRAINING  # a model is judged right after it was trained, on the labels of that moment
    return enqueue(run.project, kind, by, follows=run)


def cancel(run: AssistRun) -> None:
    """End a run without a result. Raises WrongState when it has ended already."""
    run.cancel()
    append_log(AssistRun.objects.filter(pk=run.pk), _("cancelled"))


def _wake_worker(run: AssistRun) -> None:
    pk, where = run.pk, devices.queue_for(run.device)
    transaction.on_commit(lambda: async_task("assist.runs.execute", pk, timeout=MAX_SECONDS, **where))


def execute(run_id: int) -> None:
    """Carry out a run, and those that follow it, in a child process; a second delivery does nothing."""
    run = AssistRun.objects.select_related("project").get(pk=run_id)
    if _is_crowded(run):
        return  # whoever ends first wakes it
    token = str(uuid.uuid4())
    try:
        run.start(token)
    except WrongState:
        return
    if settings.ASSIST_IN_PROCESS:
        carry_out(run.pk, token)
    else:
        status = run_in_child(
            [sys.executable, str(settings.BASE_DIR / "manage.py"), "run_assist", str(run.pk), token],
            is_wanted=lambda: beat(token),
            cwd=settings.BASE_DIR,
        )
        settle(token, status)
    wake_next()


def ask_for_help(run: AssistRun, count: int) -> None:
    """Tell other workers that there are parts of a large run to take."""
    for _number in range(min(count, MAX_HELPERS)):
        async_task("assist.runs.help_out", run.pk, timeout=MAX_SECONDS, **devices.queue_for(run.device))


def help_out(run_id: int) -> None:
    """Take parts of another worker's run, in a child process; do nothing when it has ended, or workers are scarce."""
    run = AssistRun.objects.filter(pk=run_id, state=AssistRun.State.RUNNING).first()
    if run is None or _is_crowded(run):
        return
    if settings.ASSIST_IN_PROCESS:
        from assist.jobs.helping import help_with

        help_with(run)
        return
    run_in_child(
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "run_assist", str(run.pk), "--help-out"],
        is_wanted=lambda: AssistRun.objects.filter(pk=run_id, state=AssistRun.State.RUNNING).exists(),
        cwd=settings.BASE_DIR,
    )


def _is_crowded(run: AssistRun) -> bool:
    """Whether so many runs are under way that one more would leave no worker for anything else."""
    if devices.queue_for(run.device):
        return False  # the GPU workers do nothing else
    others = AssistRun.objects.filter(state=AssistRun.State.RUNNING, heartbeat_at__gt=timezone.now() - LOST_AFTER)
    busy = sum(not devices.queue_for(other.device) for other in others)
    return busy >= max(int(settings.Q_CLUSTER["workers"]) - 1, 1)


def beat(token: str) -> bool:
    """Say that the worker is alive; False when the run is not its any more: cancelled, or given to another."""
    try:
        return bool(AssistRun.objects.held_by(token).update(heartbeat_at=timezone.now()))
    except DATABASE_AWAY:  # for a moment, or the child will notice
        reconnect()
        return True


def carry_out(run_id: int, token: str) -> None:
    """Do the work of a started run, and of those that follow it, here and now; what the child process calls."""
    from assist.jobs import perform

    next_run: AssistRun | None = AssistRun.objects.select_related("project").get(pk=run_id)
    while next_run is not None:
        next_run = perform(next_run, token)


def settle(token: str, status: int) -> None:
    """End what a child left running: it was killed, or could not even begin."""
    if status == DATABASE_WAS_AWAY:
        return  # as if this worker had been lost: another one takes it up
    words = (
        _("The process was ended by signal %(n)d; it may have run out of memory.") % {"n": -status}
        if status < 0
        else _("The process ended with status %(n)d before it could say why; the worker's log has more.")
        % {"n": status}
    )
    for run in AssistRun.objects.held_by(token):
        fail(run, token, words)


def fail(run: AssistRun, token: str, words: str) -> bool:
    """End a run with the reason; False when it is not this worker's any more."""
    mine = AssistRun.objects.held_by(token).filter(pk=run.pk)
    append_log(mine, words)
    return bool(mine.update(state=AssistRun.State.FAILED, error=words, ended_at=timezone.now()))


def append_log(runs: Any, words: str) -> None:
    """Add a line to the log of the run that the queryset finds, if it does."""
    for pk, log in runs.values_list("pk", "log"):
        line = f"{timezone.localtime():%H:%M:%S}  {words}\n"
        runs.filter(pk=pk).update(log=(log + line)[-MAX_LOG:])


def wake_next() -> None:
    """Tell a worker of the runs that wait, the oldest first."""
    run = AssistRun.objects.filter(state=AssistRun.State.QUEUED).order_by("pk").first()
    if run is not None and not settings.Q_CLUSTER.get("sync"):
        _wake_worker(run)


def reap() -> int:
    """Hand runs whose worker was lost, or that no worker was told of, to a worker again; return how many."""
    limit = timezone.now() - LOST_AFTER
    n_woken = 0
    for run in AssistRun.objects.filter(state=AssistRun.State.RUNNING, heartbeat_at__lt=limit):
        if run.attempts >= MAX_ATTEMPTS:
            n = run.attempts
            words = ngettext("The worker was lost %(n)d time.", "The worker was lost %(n)d times.", n) % {"n": n}
            fail(run, run.token, f"{words} {_('It may need more memory than there is. Look at its log.')}")
            continue
        with transaction.atomic():
            lost = AssistRun.objects.held_by(run.token).filter(pk=run.pk, heartbeat_at__lt=limit)
            append_log(lost, _("the worker was lost; the run waits for another one"))
            if lost.update(state=AssistRun.State.QUEUED, token="", created_at=timezone.now()):
                _wake_worker(run)
                n_woken += 1
    for run in AssistRun.objects.filter(state=AssistRun.State.QUEUED, created_at__lt=limit):
        _wake_worker(run)
        n_woken += 1
    return n_woken


def active_run(project: Project) -> AssistRun | None:
    """Return the run that waits or is under way."""
    return AssistRun.objects.filter(project=project, state__in=ACTIVE).first()
