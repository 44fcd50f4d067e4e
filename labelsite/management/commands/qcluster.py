"""`manage.py qcluster`: django-q's cluster, made to outlive the death of any of its processes.

Its processes share queues whose locks are semaphores, and an idle worker holds one while it waits: killed, it takes the
lock with it, and no other worker ever gets a task again, silently. So a cluster of which a process was killed is ended
as a whole, and the first process starts a new one. What was cut off is a row (docs/architecture.md) and is taken up
again. If the first process is killed, the others end with it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import time
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import django_q.cluster
from django_q.management.commands import qcluster

from labelsite.leftovers import sweep_temporary_folder

logger = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1
LOOK_SECONDS = 0.5
PAUSE_SECONDS = 1.0
DIED = 70  # the exit status of a guard that ends because a process of its cluster was killed


class Guard(django_q.cluster.Sentinel):
    """The process that watches over a cluster's other ones."""

    def start(self) -> None:
        """Begin; what was killed is noticed at once, as the guard itself may be waiting for a lock that it held."""
        signal.signal(signal.SIGCHLD, self._look)
        super().start()

    def _look(self, signum: int, frame: FrameType | None) -> None:
        processes: list[BaseProcess | None] = [*self.pool, self.monitor, self.pusher]
        for process in processes:
            if process is not None and (process.exitcode or 0) < 0:
                signalled = -(process.exitcode or 0)
                logger.critical("A process of the worker was ended by signal %d: starting all of them anew.", signalled)
                os._exit(DIED)  # the others end with this one


class Cluster(django_q.cluster.Cluster):
    """A cluster that knows whether it was told to end."""

    is_ending = False

    def sig_handler(self, signum: int, frame: FrameType | None) -> None:
        """End, and don't begin again."""
        type(self).is_ending = True
        super().sig_handler(signum, frame)


class Command(qcluster.Command):
    """Run a worker."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Start a cluster, and another one whenever its guard has died."""
        if options["run_once"] or options["cluster_name"]:
            super().handle(*args, **options)
            return
        sweep_temporary_folder()
        _end_children_with_their_parent()
        django_q.cluster.Sentinel = Guard
        while not Cluster.is_ending:
            cluster = Cluster()
            cluster.start()
            while cluster.sentinel.is_alive():
                time.sleep(LOOK_SECONDS)
            if not Cluster.is_ending:
                time.sleep(PAUSE_SECONDS)


def _end_children_with_their_parent() -> None:
    """Have each process that is forked from now on killed when the one that forked it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    parent = 0

    def remember() -> None:
        nonlocal parent
        parent = os.getpid()

    def bind() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before
            sys.stderr.flush()
            os._exit(DIED)

    os.register_at_fork(before=remember, after_in_child=bind)
