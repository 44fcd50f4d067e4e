"""Images that join, go, come back or change become, leave and rejoin the tasks of a project."""

import json
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q
from django.dispatch import receiver
from django.utils import timezone
from django_q.tasks import async_task

from labeling import history
from labeling.models import (
    ANSWERED,
    PENDING,
    PRIORITY,
    UNCLAIMED,
    Annotation,
    Kind,
    LabelEvent,
    LabelPage,
    LabelTask,
    Status,
)
from labeling.progress import forget_progress
from projects import signals
from projects.access import lock
from projects.models import Project

MAX_RANK = 2**31 - 1
MANY = 10_000


@receiver(signals.images_registered)
def add_tasks(project: Project, image_ids: list[int], **kwargs: Any) -> None:
    """Give every new image a task, at a random place among those that wait (SPEC A2, F4)."""
    if connection.vendor == "postgresql":
        random, rows, value = "RANDOM()", "SELECT unnest(%s::bigint[]) AS id", image_ids
    else:
        random, rows, value = "RAND()", "SELECT value AS id FROM json_each(%s)", json.dumps(image_ids)  # type: ignore[assignment]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO labeling_labeltask"
            ' (project_id, image_id, status, kind, priority, "group", rank, place)'
            f" SELECT %s, id, %s, %s, %s, 0, CAST({random} * %s AS INTEGER), 0 FROM ({rows}) AS new WHERE true"  # noqa: S608
            " ON CONFLICT DO NOTHING",
            [project.pk, Status.WAITING, Kind.MANUAL, PRIORITY[Kind.MANUAL], MAX_RANK, value],
        )


@receiver(signals.images_missing)
def withdraw_tasks(project: Project, image_ids: list[int], **kwargs: Any) -> None:
    """Take images that have gone out of the queue; labels stay as they are (SPEC D7).

    What a labeler has on the screen is there to be labeled: it leaves when the page is given back.
    """
    lock(project)
    tasks = LabelTask.objects.filter(project=project, image__in=image_ids, status__in=UNCLAIMED)
    tasks.update(status=Status.MISSING)


@receiver(signals.images_returned)
def put_back_tasks(project: Project, image_ids: list[int], **kwargs: Any) -> None:
    """Let images that came back wait again."""
    lock(project)
    LabelTask.objects.filter(project=project, image__in=image_ids, status=Status.MISSING).update(status=Status.WAITING)


@receiver(signals.images_changed)
def flag_tasks(project: Project, image_ids: list[int], **kwargs: Any) -> None:
    """Ask for a review where a labeled file changed; let an unlabeled one be opened anew.

    Where a restart has set the labels aside, the review is asked for when they come back.
    What a labeler has on the screen is the file of before: its page keeps the size.
    """
    lock(project)
    tasks = LabelTask.objects.filter(project=project, image__in=image_ids)
    flagged = tasks.filter(status__in=ANSWERED).exclude(status=Status.NEEDS_REVIEW)
    aside = tasks.filter(aside_by__isnull=False, aside_status__in=ANSWERED).exclude(aside_status=Status.NEEDS_REVIEW)
    history.flag(project, [*flagged.values_list("pk", flat=True), *aside.values_list("pk", flat=True)])
    tasks.filter(Q(status__in=[Status.UNREADABLE, Status.MISSING, Status.QUEUED])).update(status=Status.WAITING)
    on_screen = tasks.filter(status=Status.CLAIMED, page__isnull=False, image__width__isnull=False)
    for page in LabelPage.objects.filter(pk__in=on_screen.values("page")):
        changed = on_screen.filter(page=page).select_related("image")
        sizes = {str(task.pk): [task.image.width, task.image.height] for task in changed}
        page.sizes = {**(page.sizes or {}), **sizes}
        page.save(update_fields=["sizes"])


@receiver(signals.refresh_finished)
def take_stock(added: int, **kwargs: Any) -> None:
    """Have PostgreSQL look at its tables when very many rows joined.

    It does so by itself, but minutes later; until then it plans as if there were few tasks, and walks over all.
    """
    if added >= MANY and connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE projects_image, labeling_labeltask")


@receiver(signals.refresh_finished)
def fill_queue(project: Project, **kwargs: Any) -> None:
    """Have the first images ready before anybody asks, and their number shown at once."""
    transaction.on_commit(lambda: forget_progress(project))
    transaction.on_commit(lambda: async_task("labeling.feeder.feed", project.pk))


@receiver(signals.project_deleting)
def delete_labels(project: Project, **kwargs: Any) -> None:
    """Delete a project's labels, history, tasks and pages, each by one statement."""
    Annotation.objects.filter(task__project=project)._raw_delete("default")
    LabelEvent.objects.filter(project=project)._raw_delete("default")
    LabelTask.objects.filter(project=project)._raw_delete("default")
    LabelPage.objects.filter(project=project)._raw_delete("default")


@receiver(signals.asking_for_pace)
def pace(project: Project, **kwargs: Any) -> tuple[int, float]:
    """Return how many images are left, and how many were labeled in the last hour."""
    tasks = LabelTask.objects.in_project(project)
    # All states, one by one: the index of states has each one's times.
    lately = tasks.filter(status__in=Status.values, labeled_at__gt=timezone.now() - timedelta(hours=1))
    return tasks.filter(status__in=PENDING).count(), float(lately.count())
