"""Publish the suggestions of a model for a big project: how long it takes, and how long labelers wait for it.

    python benchmarks/publish.py [--images 500000]

On SQLite in a temporary folder, or on the empty database that DATABASE_URL names. Prints seconds on the clock and of
the processor: this process's and, on PostgreSQL on the same machine, the server's for this connection.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from big_project import build, temporary_site


def server_seconds(pid: int) -> float:
    """Return the processor time of the database's process for this connection; 0 where there is none here."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Build the project, publish a suggestion for each of its images, and print the times."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--images", type=int, default=500_000)
    asked = options.parse_args()
    with temporary_site():
        import numpy as np
        from django.db import connection, transaction

        from assist.jobs import inference
        from assist.jobs.judging import Judged
        from assist.jobs.model import Model, Verdicts
        from assist.jobs.work import Outcome, Work
        from assist.labels import Facts, class_ids, open_ledger, read_labels, read_unlabeled
        from assist.models import AssistRun
        from labeling.models import Kind, LabelTask
        from projects.access import lock

        project = build(images=asked.images, task_type="multiclass", labeled=0.001)
        type(project).objects.filter(pk=project.pk).update(assist_enabled=True)
        pid = 0
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                pid = cursor.fetchone()[0]
        run = AssistRun.objects.create(project=project, kind="inference", state="running", token="me", device="cpu")
        work = Work(run, "me")
        classes = class_ids(project)
        with transaction.atomic():
            ledger = open_ledger(lock(project))
        labeled, unlabeled = read_labels(project, classes), read_unlabeled(project)
        n = len(unlabeled.tasks)
        rng = np.random.default_rng(0)
        y = np.eye(len(classes), dtype=np.uint8)[rng.integers(len(classes), size=n)]
        found = Verdicts(y, rng.random(n), rng.random(n), y * 0.9, y * 0.9)
        none = np.empty(0, int)
        empty = np.empty(0, bool)
        facts = Facts(0, 0, 0, set())
        judged = Judged(labeled.take(none), found.take(none), empty, empty, unlabeled, np.arange(n), found, facts)
        model = Model(run, classes, [], is_multilabel=False)
        plan = inference.choose(judged, 0.0, is_fixed=False)
        times = [(time.perf_counter(), time.process_time(), server_seconds(pid))]
        packed = inference.stage(work, model, judged, plan, ledger)
        times.append((time.perf_counter(), time.process_time(), server_seconds(pid)))
        work.finish(Outcome(publish=lambda row: inference.publish(work, row, model, plan, ledger, packed)))
        times.append((time.perf_counter(), time.process_time(), server_seconds(pid)))
        n_filled = LabelTask.objects.filter(project=project, kind=Kind.PRELABELED).count()
        print(f"{connection.vendor}: {n_filled:,} suggestions")
        for words, before, after in (
            ("written down, nobody waits", times[0], times[1]),
            ("published, under the lock", times[1], times[2]),
        ):
            wall, mine, server = (b - a for a, b in zip(before, after, strict=True))
            print(f"{words:28} {wall:7.1f} s   (processor: {mine:.1f} s here, {server:.1f} s in the database)")


if __name__ == "__main__":
    main()
