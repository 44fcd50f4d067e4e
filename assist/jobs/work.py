"""What every kind of run shares: progress under the token, the log, and an end that is one transaction."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from assist import runs
from assist.models import AssistRun
from projects.access import lock
from projects.models import Project
from projects.stores import StoreError
from projects.transitions import DATABASE_AWAY

EVERY_SECONDS = 0.5


class Unusable(Exception):
    """The run can't come to a result, and why, in words for the manager."""


class Stopped(Exception):
    """The run is not this worker's any more: cancelled, switched off, or given to another."""


@dataclass(frozen=True)
class Outcome:
    """How a run ends: what it found, what it publishes in the same transaction, and which run follows."""

    metrics: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)
    publish: Callable[[Project], dict[str, Any]] | None = None  # called under the project's lock; returns more metrics
    follow: str = ""
    model: AssistRun | None = None  # the training whose model was used, or goes on to be
    after: Callable[[], None] | None = None  # once all is committed


class Work:
    """One attempt at one run."""

    def __init__(self, run: AssistRun, token: str) -> None:
        self.run = run
        self.token = token
        self.project = Project.objects.select_related("dataset__datastore").get(pk=run.project_id)
        self._reported = 0.0

    @property
    def mine(self) -> Any:
        """The run's row, as long as it is this worker's."""
        return AssistRun.objects.held_by(self.token).filter(pk=self.run.pk)

    @property
    def folder(self) -> Path:
        """The run's folder, made if need be."""
        self.run.folder.mkdir(parents=True, exist_ok=True)
        return self.run.folder

    def report(self, share: float, step: str) -> None:
        """Say how far the run is, at most twice a second. Raises Stopped when it is not ours any more."""
        now = time.monotonic()
        if now - self._reported < EVERY_SECONDS and share < 1:
            return
        self._reported = now
        if not self.mine.update(progress=min(max(share, 0.0), 1.0), step=step[:200], heartbeat_at=timezone.now()):
            raise Stopped

    def log(self, words: str) -> None:
        """Add a line to the log."""
        runs.append_log(self.mine, words)

    def check_device(self) -> None:
        """Raise Unusable when this worker has no such device: who offers it may be another machine.

        What the run was to do is written down before, or the cycle would start it again and again.
        """
        device = self.run.device
        if device in ("", "cpu"):
            return
        from assist.pipeline.backbones import devices  # torch: in the child process only

        found = dict(devices())
        if device not in found:
            words = _(
                "There is no %(device)s where this worker runs, only: %(found)s. "
                "Choose another device in the project's ML settings, or have the operator look at the GPU worker."
            )
            raise Unusable(words % {"device": device, "found": "; ".join(found.values())})

    def configure(self, **config: Any) -> None:
        """Keep what the run works with, beside what it was asked for."""
        self.run.config = {**self.run.config, **config}
        if not self.mine.update(config=self.run.config):
            raise Stopped

    def finish(self, outcome: Outcome) -> AssistRun | None:
        """Publish, end the run and start the one that follows, all or nothing; return that one."""
        now = timezone.now()
        with transaction.atomic():
            project = lock(self.project)
            if not project.assist_enabled or not self.mine.exists():
                raise Stopped
            more = outcome.publish(project) if outcome.publish else {}
            ended = self.mine.update(
                state=AssistRun.State.DONE,
                progress=1,
                step="",
                ended_at=now,
                metrics={**outcome.metrics, **more},
                artifacts=outcome.artifacts,
                model=outcome.model,
            )
            if not ended:
                raise Stopped
            follower = self._follow(outcome, project) if outcome.follow else None
        if outcome.after is not None:
            outcome.after()
        return follower

    def _follow(self, outcome: Outcome, project: Project) -> AssistRun:
        now = timezone.now()
        made = AssistRun.objects.create(
            project=project,
            kind=outcome.follow,
            state=AssistRun.State.RUNNING,
            follows=self.run,
            model=outcome.model,
            requested_by=self.run.requested_by,
            started_at=now,
            heartbeat_at=now,
            token=self.token,
            attempts=1,
            device=self.run.device,
            seed=self.run.seed,
        )
        return AssistRun.objects.select_related("project", "follows", "model").get(pk=made.pk)  # as they are now


def perform(run: AssistRun, token: str) -> AssistRun | None:
    """Do a started run's work; return the run that follows, started under the same token, or None."""
    work = Work(run, token)
    try:
        job = import_module(f"assist.jobs.{run.kind}")
        work.log(_("started on %(device)s, seed %(seed)d") % {"device": run.device, "seed": run.seed})
        outcome: Outcome = job.perform(work)
        return work.finish(outcome)
    except Stopped:
        return None
    except (Unusable, StoreError) as error:
        runs.fail(run, token, str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            _fail_unexpectedly(run, token, error)
            raise
        runs.fail(run, token, _("The disk is full: make room in DATA_DIR, then start the run again."))
    except DATABASE_AWAY:
        raise
    except Exception as error:
        _fail_unexpectedly(run, token, error)
        raise
    return None


def _fail_unexpectedly(run: AssistRun, token: str, error: Exception) -> None:
    runs.fail(run, token, _("Something unexpected went wrong: %(error)s") % {"error": error})
