"""Queue and history against a simple model: any order of doings leaves what a notebook would say (SPEC N3, N6)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from labeling import class_changes, queue, review
from labeling.class_changes import Existing
from labeling.models import Annotation, LabelEvent, LabelPage, LabelTask, Status
from labeling.queue import Lapsed, Paused
from labeling.resets import Restarts
from labeling.review import NotReviewable
from labeling.submit import submit
from projects.models import Image, Project
from tests import make

N_IMAGES = 12
LABELERS = st.integers(0, 2)
PICK = st.integers(0, 10**6)


class Notebook(RuleBasedStateMachine):
    """What three labelers and a manager do to one project, and what should stand after it."""

    folder: Path
    people: list[User]
    manager: User

    @initialize()
    def begin(self) -> None:
        self.project: Project = make.project(self.manager, self.folder)
        Image.objects.filter(project=self.project).update(width=64, height=48)  # as if they had been opened
        LabelTask.objects.filter(project=self.project).update(status=Status.QUEUED)
        self.classes = make.class_ids(self.project)
        self.images = dict(LabelTask.objects.filter(project=self.project).values_list("pk", "image"))
        self.said: dict[int, tuple[str, int | None]] = {}  # task: (labeled | approved | skipped | removed, class)
        self.held: dict[int, tuple[int, list[int]]] = {}  # labeler: page, tasks
        self.aside: list[
            tuple[int, dict[int, tuple[str, int | None]]]
        ] = []  # restarts that stand: event, what was said
        self.running = True
        self.past: dict[int, set[tuple[int, int]]] = {}  # labels right after an event

    def free(self) -> set[int]:
        taken = {task for _page, tasks in self.held.values() for task in tasks}
        return set(self.images) - set(self.said) - taken

    @rule(who=LABELERS, count=st.sampled_from([1, 4, 9]))
    def claim(self, who: int, count: int) -> None:
        if not self.running:
            with pytest.raises(Paused):
                queue.claim(self.project, self.people[who], count)
            return
        page = queue.claim(self.project, self.people[who], count)
        if who in self.held:
            assert page is not None and page.pk == self.held[who][0]
        elif not self.free():
            assert page is None
        else:
            assert page is not None
            tasks = list(page.tasks.order_by("place").values_list("pk", flat=True))
            assert set(tasks) <= self.free()
            assert len(tasks) == min(count, len(self.free())) or self.has_own(who)
            self.held[who] = (page.pk, tasks)

    def has_own(self, who: int) -> bool:
        """Whether some waiting task was this labeler's before: those are kept for others, and come last."""
        own = LabelTask.objects.filter(project=self.project, status=Status.QUEUED, labeler=self.people[who])
        return own.exists() or bool(self.held.get(who))

    @rule(who=LABELERS, pick=PICK)
    def submit(self, who: int, pick: int) -> None:
        if who not in self.held:
            self.claim(who, 1 + pick % 4)
        if who not in self.held:
            return
        pk, tasks = self.held[who]
        page = LabelPage.objects.get(pk=pk)
        answers: dict[int, tuple[str, int | None]] = {}
        items: list[dict[str, Any]] = []
        for place, task in enumerate(tasks):
            if (pick + place) % 5 == 0:
                items.append({"id": task, "skip": "unclear"})
                answers[task] = ("skipped", None)
            else:
                label = self.classes[(pick + place) % len(self.classes)]
                items.append({"id": task, "labels": [label]})
                answers[task] = ("labeled", label)
        if not self.running:
            with pytest.raises(Paused):
                submit(page, items)
            return
        first = submit(page, items, 3.0)
        assert first.count == len(tasks)
        assert submit(LabelPage.objects.get(pk=pk), items, 3.0) == first  # sent twice, it counts once
        self.said |= answers
        for _event, before in self.aside:  # what is said anew stays
            for task in answers:
                before.pop(task, None)
        del self.held[who]

    @rule(who=LABELERS)
    def lapse(self, who: int) -> None:
        if who not in self.held:
            return
        pk, tasks = self.held.pop(who)
        LabelPage.objects.filter(pk=pk).update(expires_at=timezone.now() - timedelta(seconds=1))
        queue.sweep(self.project)
        with pytest.raises((Lapsed, Paused)):
            submit(LabelPage.objects.get(pk=pk), [{"id": task, "labels": self.classes[:1]} for task in tasks])

    @rule(who=LABELERS)
    def give_back(self, who: int) -> None:
        if who in self.held:
            queue.release(LabelPage.objects.get(pk=self.held.pop(who)[0]))

    @rule()
    def pause_or_resume(self) -> None:
        self.project.refresh_from_db()
        if self.running:
            self.project.pause()
        else:
            self.project.resume()
        self.running = not self.running

    def some(self, pick: int, *states: str) -> list[int]:
        """Some of the tasks in these states; now and then with one that is not."""
        found = sorted(task for task, (state, _label) in self.said.items() if state in states)
        return found[pick % 3 : pick % 3 + 1 + pick % 4]

    def reviewed(self, act: Any, tasks: list[int]) -> bool:
        """Have the manager do it; with an image that it can't be done to, nothing may happen."""
        images = [self.images[task] for task in tasks]
        wrong = next(iter(self.free()), None)
        if wrong is not None:
            with pytest.raises(NotReviewable):
                act(self.project, self.manager, [*images, self.images[wrong]])
        if not images:
            return False
        assert act(self.project, self.manager, images) == len(images)
        return True

    @rule(pick=PICK)
    def reject(self, pick: int) -> None:
        tasks = self.some(pick, "labeled", "approved")
        if self.reviewed(review.reject, tasks):
            for task in tasks:
                del self.said[task]

    @rule(pick=PICK)
    def approve(self, pick: int) -> None:
        tasks = self.some(pick, "labeled")
        if self.reviewed(review.approve, tasks):
            self.said |= {task: ("approved", self.said[task][1]) for task in tasks}

    @rule(pick=PICK)
    def correct(self, pick: int) -> None:
        tasks = self.some(pick, "labeled", "approved")
        label = self.classes[pick % len(self.classes)]
        if tasks:
            review.correct(self.project, self.manager, [{"id": task, "labels": [label]} for task in tasks])
            self.said |= dict.fromkeys(tasks, ("approved", label))

    @rule(pick=PICK)
    def return_skipped(self, pick: int) -> None:
        tasks = self.some(pick, "skipped", "removed")
        if self.reviewed(review.return_skipped, tasks):
            for task in tasks:
                del self.said[task]

    @rule(pick=PICK)
    def take_out(self, pick: int) -> None:
        tasks = self.some(pick, "skipped")
        if self.reviewed(review.remove_skipped, tasks):
            self.said |= dict.fromkeys(tasks, ("removed", None))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause for what asks for it."""
        if was_running := self.running:
            self.pause_or_resume()
        yield
        if was_running:
            self.pause_or_resume()

    @rule(existing=st.sampled_from([Existing.RESTART_KEEP, Existing.RESTART_REMOVE]))
    def start_over(self, existing: str) -> None:
        if not self.said or len(self.aside) > 1:
            return
        name = f"class {LabelEvent.objects.count()}"
        with self.paused():
            class_changes.add_classes(self.project, self.manager, [name], existing)
        event = LabelEvent.objects.filter(project=self.project, action="reset").latest("pk")
        before = {task: said for task, said in self.said.items() if said[0] != "removed"}
        self.said = {task: said for task, said in self.said.items() if said[0] == "removed"}
        self.aside.append((event.pk, before))
        self.held = {}  # their pages lapsed
        LabelTask.objects.filter(project=self.project, status=Status.WAITING).update(status=Status.QUEUED)

    @rule()
    def restore(self) -> None:
        if not self.aside:
            return
        event, before = self.aside.pop()
        with self.paused():
            class_changes.undo(self.project, self.manager, event)
        self.said |= before
        self.held = {}

    @invariant()
    def the_site_says_what_the_notebook_says(self) -> None:
        if not hasattr(self, "said"):
            return
        rows = {task.pk: task for task in LabelTask.objects.filter(project=self.project)}
        assert {pk: task.status for pk, task in rows.items() if pk in self.said} == {
            pk: state for pk, (state, _label) in self.said.items()
        }
        assert {pk for pk, task in rows.items() if task.status == Status.QUEUED} == self.free()
        held = {task: page for page, tasks in self.held.values() for task in tasks}
        assert {pk: task.page_id for pk, task in rows.items() if task.status == Status.CLAIMED} == held
        now = dict(Annotation.objects.current().filter(task__project=self.project).values_list("task", "label_class"))
        assert now == {task: label for task, (_state, label) in self.said.items() if label is not None}

    @invariant()
    def the_history_replays_to_the_present(self) -> None:
        if not hasattr(self, "said"):
            return
        rows = Annotation.objects.filter(task__project=self.project)
        begun: dict[int, list[tuple[int, int]]] = {}  # by event
        ended: dict[int, list[tuple[int, int]]] = {}
        for task, label, begin, end in rows.values_list("task", "label_class", "created_by_event", "ended_by_event"):
            begun.setdefault(begin, []).append((task, label))
            if end is not None:
                ended.setdefault(end, []).append((task, label))
        unended: dict[tuple[int, int], int] = {}
        restarts: list[int] = []
        events = LabelEvent.objects.filter(project=self.project).order_by("pk")
        for event, action, detail in events.values_list("pk", "action", "detail"):
            for label in ended.get(event, ()):
                del unended[label]
            unended |= dict.fromkeys(begun.get(event, ()), event)
            if action == "reset":
                restarts.append(event)
            elif detail.get("of") in restarts:
                restarts.remove(detail["of"])
        aside_up_to = max(restarts, default=0)
        assert {label for label, event in unended.items() if event > aside_up_to} == {
            (task, label) for task, (_state, label) in self.said.items() if label is not None
        }

    @invariant()
    def any_moment_of_the_past_can_be_read(self) -> None:
        if not hasattr(self, "said"):
            return
        last = LabelEvent.objects.filter(project=self.project).order_by("pk").last()
        if last is not None:
            self.past[last.pk] = {(task, label) for task, (_state, label) in self.said.items() if label is not None}
        restarts = Restarts(self.project)
        for event, labels in self.past.items():
            stood = Annotation.objects.at_event(event, restarts.aside_up_to(event)).filter(task__project=self.project)
            assert set(stood.values_list("task", "label_class")) == labels


def test_any_order_of_doings_leaves_what_a_notebook_would_say(
    manager: User, labeler: User, labeler2: User, tmp_path: Path
) -> None:
    Notebook.folder = make.pictures(tmp_path / "images", N_IMAGES)
    Notebook.people = [labeler, labeler2, make.user("labeler3", "labeler")]
    Notebook.manager = manager
    run_state_machine_as_test(
        Notebook,
        settings=settings(
            max_examples=12,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,  # the same on every machine; more by hand with other seeds
            suppress_health_check=list(HealthCheck),
        ),
    )
