"""Set the labels of a big project aside, restore them, and merge two classes: at most 10 s for 500,000 labels.

    python benchmarks/class_changes.py [--images 500000] [--boxes 1] [--database sqlite|postgresql|production]

On SQLite in a temporary folder, or on the empty database that DATABASE_URL names; or on a PostgreSQL of its own, as
Debian sets it up or with the settings of deploy/compose.yaml. That one doesn't wait for the disk (fsync).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from big_project import build, temporary_site

BUDGET_SECONDS = 10.0
BUDGET_LABELS = 500_000


def main() -> int:
    """Build the project and time each change; return 1 when a reset or a restore takes longer than it may."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--images", type=int, default=500_000)
    options.add_argument("--boxes", type=int, default=1)
    options.add_argument("--database", choices=("sqlite", "postgresql", "production"))
    asked = options.parse_args()
    with database(asked.database), temporary_site():
        from labeling import class_changes
        from labeling.models import LabelEvent
        from labeling.progress import count_progress
        from projects.models import LabelClass

        project = build(images=asked.images, boxes=asked.boxes)
        project.pause()
        before = count_progress(project)
        allowed = BUDGET_SECONDS * max(before.n_labels / BUDGET_LABELS, 1)
        print(f"{before.labeled + before.needs_review:,} labeled images, {before.n_labels:,} labels")

        def timed(words: str, change: Callable[[], object]) -> bool:
            start, start_cpu = time.perf_counter(), time.process_time()
            change()
            seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
            print(f"{words:24} {seconds:6.2f} s   ({cpu:.2f} s of the processor; at most {allowed:.0f} s)")
            return seconds <= allowed

        def undo() -> None:
            last = LabelEvent.objects.filter(project=project, action__in=("reset", "class_merged")).latest("pk")
            class_changes.undo(project, None, last.pk)

        is_fast = timed("count before asking", lambda: class_changes.standing(project))
        is_fast &= timed("reset", lambda: class_changes.add_classes(project, None, ["new"], "restart_keep"))
        is_fast &= timed("restore", undo)
        one, other = LabelClass.objects.filter(project=project).current().values_list("pk", flat=True)[:2]
        is_fast &= timed("merge", lambda: class_changes.merge_class(project, None, one, other))
        is_fast &= timed("undo the merge", undo)
        after = count_progress(project)
        if (after.labeled, after.skipped, after.labels) != (before.labeled, before.skipped, before.labels):
            print("The labels are not what they were before.")
            return 1
    return 0 if is_fast else 1


@contextmanager
def database(kind: str | None) -> Iterator[None]:
    """Have the site use a database of the kind; without one that which the environment names."""
    from tests.postgresql import cluster, production_settings

    if kind in (None, "sqlite"):
        if kind:
            os.environ.pop("DATABASE_URL", None)
        yield
        return
    with cluster(**(production_settings() if kind == "production" else {})) as url:
        os.environ["DATABASE_URL"] = url
        yield
        from django.db import connection

        connection.close()


if __name__ == "__main__":
    sys.exit(main())
