"""Measure the managers' console on a big project: dashboard, Data tab, reviews of everything, reset and restore.

    python benchmarks/console.py [--images 500000] [--rounds 30] [--existing NAME]

On SQLite in a temporary folder, or on the empty database that DATABASE_URL names; with --existing on the project of
that name in the database of DATA_DIR or DATABASE_URL (made by big_project.py; its labels are as before in the end).
Requests go through Django's whole stack, without a network. Prints a table (cpu: the median of this process's processor
time, which other work on the machine does not lengthen) and JSON; ends with 1 when a budget is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

from big_project import build, set_up, temporary_site

BUDGET_MS = 150.0
BUDGET_SECONDS = 10.0  # for 500,000 labels
PAGE = 48
DEEP = 1000


def percentiles(
    work: Callable[[], Any], rounds: int, before: Callable[[], Any] = lambda: None
) -> tuple[float, float, float]:
    """Return p50, p95 and the median of the processor's time in milliseconds; ``before`` is not counted."""
    found, cpu = [], []
    for _ in range(rounds):
        before()
        started, started_cpu = time.perf_counter(), time.process_time()
        work()
        found.append(1000 * (time.perf_counter() - started))
        cpu.append(1000 * (time.process_time() - started_cpu))
    ordered = sorted(found)
    p95 = ordered[min(int(len(ordered) * 0.95), len(ordered) - 1)]
    return statistics.median(ordered), p95, statistics.median(cpu)


def filters(project: Any) -> dict[str, dict[str, Any]]:
    """Return what the Data tab is asked for: each filter, common and rare, and some together."""
    from django.contrib.auth.models import User
    from django.utils import timezone

    from projects.models import LabelClass

    common, rare = list(LabelClass.objects.filter(project=project).values_list("pk", flat=True))[:10:9]
    labeler = User.objects.get(username="labeler0").pk
    days = [(timezone.now() - timedelta(days=n)).date().isoformat() for n in (40, 20)]
    answered = ["labeled", "approved", "needs_review"]
    return {
        "no filter": {},
        "state: labeled": {"status": "labeled"},
        "state: three of ten": {"status": answered},
        "state: skipped": {"status": "skipped"},
        "state: not yet queued": {"status": "waiting"},
        "class, common": {"label_class": common},
        "class, rare": {"label_class": rare},
        "labeler": {"labeler": labeler},
        "labeler and skipped": {"labeler": labeler, "status": "skipped"},
        "date": {"since": days[0], "until": days[1]},
        "kind": {"kind": "prelabeled"},
        "confidence": {"confidence_from": "0.6", "confidence_to": "0.8"},
        "confidence, few": {"confidence_from": "0.6", "confidence_to": "0.6001"},
        "path, many": {"path": "12/"},
        "path, one": {"path": f"{12345:06}"},
        "path, none": {"path": "no such name"},
        "class, labeler, state": {"label_class": rare, "labeler": labeler, "status": answered},
        "oldest first": {"sort": "oldest"},
        "least sure first": {"sort": "confidence"},
        "least sure first, labeler": {"sort": "confidence", "labeler": labeler},
        "by path": {"sort": "path"},
        "by path, state: skipped": {"sort": "path", "status": "skipped"},
        "by path, class, rare": {"sort": "path", "label_class": rare},
    }


def cursor_of_page(project: Any, query: dict[str, Any], number: int) -> str:
    """Return the cursor of a page far back in a list; "" when the list is shorter."""
    from django.http import QueryDict
    from django.utils.http import urlencode

    from labeling.data_tab import Asked
    from labeling.listing import page_of

    asked = Asked.parse(project, QueryDict(urlencode(query, doseq=True)))
    return page_of(project, asked.wanted, None, "", PAGE * (number - 1), asked.sort)[1]


def measure(project: Any, rounds: int) -> dict[str, tuple[float, float, float]]:
    """Return p50 and p95 of each page, in milliseconds."""
    from django.contrib.auth.models import User
    from django.core.cache import cache
    from django.test import Client

    from labeling import tallies

    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.get(username="manager"), backend="labelsite.logins.Backend")
    base = f"/admin/projects/project/{project.pk}"

    def get(path: str, query: dict[str, Any] | None = None, **headers: str) -> Callable[[], None]:
        def ask() -> None:
            response = client.get(f"{base}/{path}", query or {}, **headers)  # type: ignore[arg-type]
            assert response.status_code in (200, 204), response.status_code

        return ask

    found = {}
    get("dashboard/")()
    get("data/")()
    polled = get("dashboard/", HTTP_HX_REQUEST="true")
    found["dashboard, opened"] = percentiles(get("dashboard/"), rounds)
    # A dashboard asks every 5 seconds: what is kept for 2 seconds is counted anew each time.
    found["dashboard, asked each 5 s"] = percentiles(polled, rounds, lambda: cache.delete(f"progress-{project.pk}"))
    tallies.renew_all()  # as a worker does every minute
    found["dashboard, cache emptied"] = percentiles(polled, rounds, cache.clear)
    get("dashboard/")()
    deep = {}
    for name, query in filters(project).items():
        found[f"first page, {name}"] = percentiles(get("data/", query), rounds)
        if cursor := cursor_of_page(project, query, DEEP):
            deep[f"page {DEEP:,}, {name}"] = percentiles(get("data/", {**query, "before": cursor}), rounds)
    found |= deep
    task = project.tasks.filter(status="labeled").first()
    found["side panel"] = percentiles(get(f"data/{task.image_id}/"), rounds)
    return found


def measure_changes(project: Any) -> dict[str, float]:
    """Return the seconds of what concerns everything, each followed by its undo."""
    from labeling import class_changes, review
    from labeling.images import ImageFilter
    from labeling.listing import matching
    from labeling.models import LabelEvent

    by = project.created_by
    done: list[review.Done] = []
    seconds = {}

    def timed(name: str, work: Callable[[], Any]) -> None:
        started = time.perf_counter()
        work()
        seconds[name] = time.perf_counter() - started

    everything = matching(project, ImageFilter(), None)
    timed("approve all", lambda: done.append(review.review_all(project, by, review.ACTS["approve"], everything)))
    timed("undo", lambda: review.undo(project, by, done[-1].first, done[-1].last))
    timed("reject all", lambda: done.append(review.review_all(project, by, review.ACTS["reject"], everything)))
    timed("undo ", lambda: review.undo(project, by, done[-1].first, done[-1].last))
    project.pause()
    timed("reset", lambda: class_changes.add_classes(project, by, [f"new {time.time():.0f}"], "restart_keep"))
    last = LabelEvent.objects.filter(project=project, action="reset").latest("pk")
    timed("restore", lambda: class_changes.undo(project, by, last.pk))
    project.resume()
    return seconds


def main() -> int:
    """Measure and print; return 1 when a budget is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--existing", default="", help="name of a project that is there")
    parser.add_argument("--pages-only", action="store_true", help="leave out what changes everything")
    options = parser.parse_args()
    with nullcontext() if options.existing else temporary_site():
        if options.existing:
            set_up()
        from django.core.management import call_command
        from django.db import connection

        from labeling.progress import count_progress
        from labelsite.wsgi import settle
        from projects.models import Project

        if options.existing:
            project = Project.objects.get(name=options.existing)
        else:
            project = build(options.images, labeled=0.96, say=print)
        call_command("collectstatic", interactive=False, verbosity=0)
        counts = count_progress(project)
        print(f"{connection.vendor}: {counts.total:,} images, {counts.n_labels:,} labels\n")
        settle()
        pages = measure(project, options.rounds)
        print(f"{'':42} {'p50':>8} {'p95':>8} {'cpu':>8}")
        for name, (p50, p95, cpu) in pages.items():
            print(f"{name:42} {p50:5.0f} ms {p95:5.0f} ms {cpu:5.0f} ms{'  over budget' if p95 > BUDGET_MS else ''}")
        changes = {} if options.pages_only else measure_changes(project)
        for name, value in changes.items():
            print(f"{name:42} {value:6.1f} s")
        assert options.pages_only or count_progress(project).n_labels == counts.n_labels
    figures = {"database": connection.vendor, "images": counts.total, "labels": counts.n_labels}
    print(json.dumps(figures | {"pages_ms": pages, "changes_s": changes}))
    allowed = BUDGET_SECONDS * max(counts.n_labels / 500_000, 1)
    is_fast = all(p95 <= BUDGET_MS for _p50, p95, _cpu in pages.values())
    return 0 if is_fast and all(changes.get(name, 0) <= allowed for name in ("reset", "restore")) else 1


if __name__ == "__main__":
    sys.exit(main())
