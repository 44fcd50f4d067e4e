"""Set a whole project's labels aside and restore them: half a million labels in seconds (SPEC C4).

No label is deleted, ended or copied. A restart is one event and a mark at the project: labels up to it don't stand; a
restore sets the mark back to the restart before. The state at any time can still be read (``Restarts``). Each task
remembers what it was (``LabelTask.aside_by``). Resets lie one on the other: the last one that stands is restored first.
What was labeled anew since stays as it is, for an answer ends the image's labels of before, and has the task forget
what it was. The caller holds the project's lock.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from django.utils.translation import gettext as _

from labeling.indexes import OF_STATUS, joined_as_sets, unindexed
from labeling.models import (
    ANSWERED,
    PRIORITY,
    Annotation,
    AnnotationQuerySet,
    Kind,
    LabelEvent,
    LabelPage,
    LabelTask,
    Status,
)
from projects.models import Image, LabelClass, Project

Action = LabelEvent.Action
ASIDE = (*ANSWERED, Status.SKIPPED)  # what a reset takes back to the queue
NOTHING_ASIDE = dict.fromkeys(("aside_by", "aside_status", "aside_kind", "aside_at"))
PROBLEMS = {Image.Problem.MISSING: Status.MISSING, Image.Problem.UNREADABLE: Status.UNREADABLE}

COLUMNS = "task_id, place, x, y, width, height, image_width, image_height"
UNTOUCHED = "NOT EXISTS (SELECT 1 FROM labeling_labelevent later WHERE later.task_id = {row}.task_id AND later.id > %s)"


class NotUndoable(Exception):
    """The change can't be undone (any more), in words."""


class Restarts:
    """A project's restarts and what was taken back of them: which labels were set aside, at any time.

    ``standing`` are the restarts that have not been restored, oldest first; ``restores`` what took back the others.
    """

    def __init__(self, project: Project) -> None:
        self.standing: list[LabelEvent] = []
        self.restores: list[LabelEvent] = []
        self._steps: list[tuple[int, int]] = []
        for event in _restarts(project):
            if event.action == Action.RESET:
                self.standing = [*self.standing, event]
            elif event.detail.get("of") in {reset.pk for reset in self.standing}:
                self.standing = [reset for reset in self.standing if reset.pk != event.detail["of"]]
                self.restores.append(event)
            self._steps.append((event.pk, self.standing[-1].pk if self.standing else 0))

    @property
    def events(self) -> list[int]:
        """The ids of all that may have set labels aside, or have brought them back."""
        return [event_id for event_id, _up_to in self._steps]

    def aside_up_to(self, event_id: int) -> int:
        """Return up to which event labels were set aside right after an event; 0 when none were."""
        place = bisect_right(self.events, event_id)
        return self._steps[place - 1][1] if place else 0

    def stood(self, event_id: int, began: int, ended: int | None) -> bool:
        """Whether a label that one event gave and another ended stood right after an event."""
        return self.aside_up_to(event_id) < began <= event_id and (ended is None or ended > event_id)


def _restarts(project: Project) -> list[LabelEvent]:
    events = LabelEvent.objects.filter(project=project, task__isnull=True).order_by("pk")
    resets = list(events.filter(action=Action.RESET))
    if not resets:
        return []
    restored = events.filter(action=Action.RESTORED, pk__gt=resets[0].pk)
    return sorted([*resets, *restored], key=lambda event: event.pk)


def set_aside(project: Project, by: User | None, *, prefill: bool) -> LabelEvent:
    """Set all labels aside, and let all answered and skipped images wait; with ``prefill`` their labels are proposed.

    Pages on a screen lapse: their answers would be given without knowing what has changed.
    """
    lapse_pages(project)
    tasks = LabelTask.objects.in_project(project).filter(status__in=ASIDE)
    n_labels = labels_of(project).count()
    event = LabelEvent.objects.create(project=project, action=Action.RESET, by=by, detail={"prefill": prefill})
    _mark(project, event.pk)
    aside = {"aside_by": event.pk, "aside_status": F("status"), "aside_kind": F("kind"), "aside_at": F("labeled_at")}
    # What a model said of them is of another time. `labeler` stays: images go to other people's eyes first.
    afresh: dict[str, Any] = {"kind": Kind.MANUAL, "priority": PRIORITY[Kind.MANUAL], "group": 0, "labeled_at": None}
    afresh |= {"prelabels": None, "confidence": None, **aside}
    with unindexed(tasks.count(), OF_STATUS):
        n_images = 0
        for problem, status in PROBLEMS.items():
            gone = Image.objects.filter(project=project, problem=problem)
            if gone.exists():
                n_images += tasks.filter(image__in=gone.values("pk")).update(status=status, **afresh)
        n_images += tasks.update(status=Status.WAITING, **afresh)
    event.detail |= {"labels": n_labels, "images": n_images}
    event.save(update_fields=["detail"])
    return event


def labels_of(project: Project) -> AnnotationQuerySet:
    """Return the project's labels that stand, found by its classes: an index has those."""
    return Annotation.objects.current(project).filter(label_class__in=_classes(project))


def _classes(project: Project) -> list[int]:
    return list(LabelClass.objects.filter(project=project).values_list("pk", flat=True))


def _mark(project: Project, up_to: int) -> None:
    """Set aside the project's labels up to an event, and no others: nothing is written into any of them."""
    Project.objects.filter(pk=project.pk).update(aside_up_to=up_to)
    project.aside_up_to = up_to


def restore(project: Project, by: User | None, event: LabelEvent) -> LabelEvent:
    """Bring back what the last reset set aside; images that were answered anew since keep their new answer."""
    standing = Restarts(project).standing
    if event not in standing:
        raise NotUndoable(_("These labels are back already."))
    if event != standing[-1]:
        raise NotUndoable(_("Labels were set aside again later. Restore those first."))
    lapse_pages(project)
    floor = standing[-2].pk if len(standing) > 1 else 0
    restored = LabelEvent.objects.create(project=project, action=Action.RESTORED, by=by, detail={"of": event.pk})
    _mark(project, floor)
    back = labels_of(project).filter(created_by_event__lt=event.pk)
    n_labels = back.count()
    _give_to_heirs(project, restored, back)
    tasks = LabelTask.objects.in_project(project).filter(aside_by=event.pk)
    with unindexed(event.detail["images"], OF_STATUS):
        was: dict[str, Any] = {"status": F("aside_status"), "kind": F("aside_kind"), "labeled_at": F("aside_at")}
        # What was suggested while they waited, nobody has seen who gave these answers.
        n_images = tasks.update(**was, prelabels=None, confidence=None, **NOTHING_ASIDE)
    restored.detail |= {"labels": n_labels, "images": n_images}
    restored.save(update_fields=["detail"])
    return restored


def _give_to_heirs(project: Project, restored: LabelEvent, back: AnnotationQuerySet) -> None:
    """Have labels that came back be of the classes into which theirs were merged meanwhile."""
    merged = list(LabelClass.objects.filter(project=project, merged_into__isnull=False).values_list("pk", flat=True))
    if not merged:
        return
    n_labels = back.filter(label_class__in=merged).update(ended_by_event=restored)
    twin = """
        AND NOT EXISTS (
            SELECT 1 FROM labeling_annotation other JOIN projects_labelclass twin ON twin.id = other.label_class_id
            WHERE other.task_id = old.task_id AND COALESCE(twin.merged_into_id, twin.id) = kept.merged_into_id
              AND (other.ended_by_event_id IS NULL OR other.ended_by_event_id = %s AND other.place < old.place))"""
    with connection.cursor() as cursor, joined_as_sets(n_labels):
        cursor.execute(
            f"INSERT INTO labeling_annotation ({COLUMNS}, label_class_id, created_by_event_id)"  # noqa: S608
            f" SELECT {COLUMNS}, kept.merged_into_id, %s"
            " FROM labeling_annotation old JOIN projects_labelclass kept ON kept.id = old.label_class_id"
            f" WHERE old.ended_by_event_id = %s{'' if project.is_detection else twin} ORDER BY old.task_id",
            [restored.pk, restored.pk, *([] if project.is_detection else [restored.pk])],
        )


def lapse_pages(project: Project) -> None:
    """Take all pages off their labelers' screens; a late submit is told so, and nothing is written."""
    pages = LabelPage.objects.filter(project=project, status=LabelPage.Status.OPEN)
    ids = list(pages.values_list("pk", flat=True))
    pages.update(status=LabelPage.Status.LAPSED)
    LabelTask.objects.filter(page__in=ids).put_back()
