"""Many labelers and a manager at once: no image twice, none lost, every stored answer there (SPEC N3; ATTACKS 8).

50 labelers on PostgreSQL, 16 on SQLite, each for some rounds of claiming, submitting, skipping, giving back and letting
lapse, while the manager pauses, rejects, adds classes and refreshes.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from labeling import class_changes, queue, review
from labeling.answers import InvalidAnswer
from labeling.models import Annotation, LabelEvent, LabelPage, LabelTask, Status
from labeling.queue import Lapsed, Paused
from labeling.submit import submit
from projects import refresh
from projects.models import Image, Project
from projects.transitions import WrongState
from tests import make
from tests.labeling.test_concurrency import at_once, unexpected

ROUNDS = 6
N_IMAGES = 400


class Storm:
    """The doings, and what the site has acknowledged."""

    def __init__(self, project: Project, manager: User, folder: Path) -> None:
        self.project, self.manager, self.folder = project, manager, folder
        self.first_class = make.class_ids(project)[0]
        self.acknowledged: list[tuple[int, int]] = []  # page, number of answers
        self.over = threading.Event()

    def label(self, person: User, seed: int) -> None:
        """Work some rounds as one labeler."""
        chance = random.Random(seed)
        for _round in range(ROUNDS):
            try:
                page = queue.claim(self.project, person, chance.choice([1, 4, 9]))
                if page is None:
                    continue
                tasks = list(page.tasks.values_list("pk", flat=True))
                what = chance.random()
                if what < 0.1:
                    queue.release(page)
                elif what < 0.2:
                    LabelPage.objects.filter(pk=page.pk, status="open").update(
                        expires_at=timezone.now() - timedelta(seconds=1)
                    )
                    queue.sweep(self.project)
                else:
                    answer: dict[str, Any] = {"skip": "unclear"} if what < 0.3 else {"labels": [self.first_class]}
                    items = [{"id": task, **answer} for task in tasks]
                    done = submit(page, items, 1.0)
                    assert submit(page, items, 1.0) == done  # sent twice
                    self.acknowledged.append((page.pk, done.count))
            except (Paused, Lapsed, InvalidAnswer):
                continue  # said so, and nothing was written

    def manage(self) -> None:
        """Pause, reject, add a class and refresh, again and again."""
        chance = random.Random(1)
        number = 0
        while not self.over.is_set():
            number += 1
            project = Project.objects.get(pk=self.project.pk)
            labeled = LabelTask.objects.filter(project=project, status=Status.LABELED)
            images = list(labeled.values_list("image", flat=True)[: chance.randint(1, 5)])
            try:
                if images:
                    review.reject(project, self.manager, images)
                make.pictures(self.folder / f"more{number}", 2)
                refresh.enqueue(project)
                project.pause()
                class_changes.add_classes(project, self.manager, [f"class {number}"])
            except (review.NotReviewable, WrongState):
                pass
            finally:
                project.refresh_from_db()
                if project.state == Project.State.PAUSED:
                    project.resume()
            self.over.wait(0.15)


def test_a_storm_loses_nothing_and_doubles_nothing(manager: User, tmp_path: Path) -> None:
    folder = make.pictures(tmp_path / "images", N_IMAGES, (16, 12))
    project = make.project(manager, folder)
    Image.objects.filter(project=project).update(width=16, height=12)  # as if they had been opened
    LabelTask.objects.filter(project=project).update(status=Status.QUEUED)
    people = [make.user(f"person{n}", "labeler") for n in range(50 if connection.vendor == "postgresql" else 16)]
    storm = Storm(project, manager, folder)
    keeper = threading.Thread(target=lambda: (storm.manage(), connection.close()))
    keeper.start()
    results = at_once(*(lambda person=person, n=n: storm.label(person, n) for n, person in enumerate(people)))
    storm.over.set()
    keeper.join()
    assert unexpected(results) == []

    # Every acknowledged answer is in the history, once.
    assert storm.acknowledged
    answered = LabelEvent.objects.filter(project=project, action__in=("submitted", "skipped"))
    by_page = Counter(answered.values_list("page", flat=True))
    assert dict(by_page) == dict(storm.acknowledged)
    assert max(Counter(answered.values_list("page", "task")).values()) == 1
    # Nobody answered for an image that another had answered and nobody had taken back.
    for task in LabelTask.objects.filter(project=project).prefetch_related("events"):
        state = "free"
        for event in sorted(task.events.all(), key=lambda event: event.pk):
            if event.action in ("submitted", "skipped"):
                assert state == "free"
                state = "answered"
            elif event.action == "rejected":
                assert state == "answered"
                state = "free"
    # The present is what the history says: no image lost, none with two labels.
    tasks = LabelTask.objects.filter(project=project)
    assert tasks.count() == Image.objects.filter(project=project).count() >= N_IMAGES
    labeled = set(tasks.filter(status=Status.LABELED).values_list("pk", flat=True))
    now = list(Annotation.objects.current().filter(task__project=project).values_list("task", flat=True))
    assert sorted(now) == sorted(labeled)
    on_pages = tasks.filter(status=Status.CLAIMED)
    assert not on_pages.exclude(page__status="open").exists()
