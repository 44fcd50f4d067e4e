"""What workers do by the clock; the rows are made after each migration."""

from typing import Any

from django.core.management import call_command
from django_q.models import Schedule

EVERY_MINUTE = {
    "fill the queues": "labeling.feeder.feed_all",
    "let leases lapse": "labeling.queue.sweep",
    "count labels": "labeling.tallies.renew_all",
    "look for new images": "projects.refresh_due.enqueue_due",
    "pick up lost refreshes": "projects.refresh.reap",
    "pick up lost reviews": "labeling.review_jobs.reap",
    "pick up lost exports": "exports.jobs.reap",
    "pick up lost runs of models": "assist.runs.reap",
    "train models": "assist.cycle.look_at_all",
}
EVERY_DAY = {
    "forget old calls of the API": "projects.idempotency.forget_old_calls",
    "forget old sessions": "labelsite.schedules.forget_old_sessions",
    "sweep up what killed processes left": "labelsite.leftovers.sweep",
}


def forget_old_sessions() -> None:
    """Delete the sessions that have run out."""
    call_command("clearsessions")


def make_schedules(**kwargs: Any) -> None:
    """Make the schedules that are not there yet."""
    for name, function in EVERY_MINUTE.items():
        Schedule.objects.update_or_create(
            name=name, defaults={"func": function, "schedule_type": Schedule.MINUTES, "minutes": 1}
        )
    for name, function in EVERY_DAY.items():
        Schedule.objects.update_or_create(name=name, defaults={"func": function, "schedule_type": Schedule.DAILY})
