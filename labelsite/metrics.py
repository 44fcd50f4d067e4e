"""Prometheus metrics at /metrics: how quick the answers are, what waits, what failed.

Only for who knows METRICS_TOKEN, or asks from an address in METRICS_ADDRESSES; others find nothing there. With several
web processes, set PROMETHEUS_MULTIPROC_DIR to an empty folder, which they share: then the sums are those of all.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
from collections.abc import Iterator

from django.conf import settings
from django.core.cache import cache
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

KEPT_SECONDS = 5  # so that many who ask cost the database no more than one
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
LATENCY = Histogram(
    "labelsite_request_seconds",
    "Time from a request's arrival to its answer, by the route that took it.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


def observe(request: HttpRequest, status: int, seconds: float) -> None:
    """Count one answer. Routes are patterns, never paths: their number has a bound."""
    match = request.resolver_match
    method = request.method if request.method in METHODS else "other"
    LATENCY.labels(method, match.route if match else "(none)", f"{status // 100}xx").observe(seconds)


Sample = tuple[dict[str, str], float]


class Work(Collector):
    """What the database says about the work: counted when asked, over indexes."""

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        found: dict[str, tuple[str, list[Sample]]] | None = cache.get("metrics")
        if found is None:
            found = count_work()
            cache.set("metrics", found, KEPT_SECONDS)
        for name, (words, samples) in found.items():
            labels = list(samples[0][0]) if samples else []
            gauge = GaugeMetricFamily(name, words, labels=labels)
            for values, number in samples:
                gauge.add_metric(list(values.values()), number)
            yield gauge


def count_work() -> dict[str, tuple[str, list[Sample]]]:
    """Return each gauge's words and samples, summed up over all projects: nothing names a project or a person."""
    from django_q.models import Failure, OrmQ

    from assist.models import AssistRun
    from exports.models import Export
    from labeling.models import LabelPage, LabelTask, Status
    from labelsite.health import check_worker
    from projects.models import Project, Refresh

    queued = LabelTask.objects.filter(status=Status.QUEUED).order_by()
    waiting = queued.values_list("project__task_type", "kind").annotate(n=Count("*"))
    states = Project.objects.order_by().values_list("state").annotate(n=Count("*"))
    jobs: list[Sample] = []
    for kind, rows in (("refresh", Refresh.objects), ("export", Export.objects), ("assist", AssistRun.objects)):
        counts = rows.order_by().values_list("state").annotate(n=Count("*"))
        jobs += [({"kind": kind, "state": state}, n) for state, n in counts]
    return {
        "labelsite_queue_tasks": (
            "Images that wait to be handed out, by task type and kind.",
            [({"task_type": task_type, "kind": kind}, n) for task_type, kind, n in waiting],
        ),
        "labelsite_open_pages": (
            "Pages that labelers have on their screens.",
            [({}, LabelPage.objects.filter(status=LabelPage.Status.OPEN).count())],
        ),
        "labelsite_projects": ("Projects by state.", [({"state": state}, n) for state, n in states]),
        "labelsite_jobs": ("Refreshes, exports and runs by state.", jobs),
        "labelsite_worker_backlog": ("Messages that wait for a worker.", [({}, OrmQ.objects.count())]),
        "labelsite_worker_failures": ("Messages whose work failed, as far as they are kept.", [({}, _n(Failure))]),
        "labelsite_worker_up": ("Whether a worker takes its schedules.", [({}, 0 if check_worker() else 1)]),
    }


def _n(model: object) -> int:
    return int(model.objects.count())  # type: ignore[attr-defined]


def _may_ask(request: HttpRequest) -> bool:
    key = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if settings.METRICS_TOKEN and secrets.compare_digest(key.encode(), settings.METRICS_TOKEN.encode()):
        return True
    try:
        address = ipaddress.ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network, strict=False) for network in settings.METRICS_ADDRESSES)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """All metrics in Prometheus' text format."""
    if not _may_ask(request):
        raise Http404(_("There is no such page."))
    work = CollectorRegistry()
    work.register(Work())
    text = generate_latest(work)
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        together = CollectorRegistry()
        MultiProcessCollector(together)
        text += generate_latest(together)
    else:
        text += generate_latest(REGISTRY)
    return HttpResponse(text, content_type=CONTENT_TYPE_LATEST)
