"""Correct in place: the labelers' page and editors, filled with images that a reviewer chose (SPEC V2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone

from labeling import feeder
from labeling.models import LabelPage, LabelTask
from labeling.pages import page_data
from labeling.review import CORRECTABLE
from projects.models import Project

AT_A_TIME = 9


def left_to_correct(project: Project, image_ids: Sequence[int]) -> list[LabelTask]:
    """Return the tasks of the images that can be corrected, in the order in which they were chosen.

    The first of them, which the page shows, are open; of those that are not, it isn't known yet if they can be.
    """
    tasks = LabelTask.objects.filter(project=project, image__in=image_ids, status__in=CORRECTABLE)
    found = {task.image_id: task for task in tasks.select_related("image")}
    left = [found[pk] for pk in dict.fromkeys(image_ids) if pk in found]
    count = page_size(project)
    while (opened := feeder.opened(project, left[:count])) != left[:count]:
        left = opened + left[count:]
    return left


def page_size(project: Project) -> int:
    """Return how many images are corrected at a time; boxes are drawn on one."""
    return 1 if project.is_detection else AT_A_TIME


def correction_data(
    project: Project, reviewer: User, tasks: Sequence[LabelTask], back: str, here: str
) -> dict[str, Any]:
    """Return the labeling page's data for the first of the tasks; without any it says where to go (``leave``)."""
    if not tasks:
        return page_data(project, reviewer, None, reason="empty") | {"leave": back}
    now = list(tasks[: page_size(project)])
    rest = tasks[len(now) :]
    # Not a page of the queue: nothing is leased, and nothing lapses.
    page = LabelPage(pk=now[0].pk, project=project, labeler=reviewer, expires_at=timezone.now())
    data = page_data(project, reviewer, page, correcting=now)
    data["page"]["id"] = -now[0].pk
    submit = reverse("admin:projects_project_correct", args=[project.pk])
    query = urlencode({"images": ",".join(str(task.image_id) for task in rest), "here": here})
    data["urls"] |= {"submit": f"{submit}?{query}", "home": back, "label": back}
    return data | {"review": {"left": len(tasks)}}
