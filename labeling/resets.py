"""Set a whole project's labels aside and restore them, by sets: half a million labels in seconds (SPEC C4).

Nothing is deleted or cleared. A reset is one event that ends all labels; a restore writes them again, so that the state
in between can still be read. Resets lie one on the other: the last one that stands is restored first. What was
labeled anew since stays as it is. The caller holds the project's lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.utils.translation import gettext as _

from labeling.indexes import OF_CURRENT, OF_STATUS, OF_TASK, joined_as_sets, unindexed
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
PROBLEMS = {Image.Problem.MISSING: Status.MISSING, Image.Problem.UNREADABLE: Status.UNREADABLE}

# The last event of each of a project's tasks, in the order of the tasks: PostgreSQL sorts them once, SQLite reads them
# from their index. Tasks are written in this order: at random it takes twice as long.
LAST_EVENTS = {
    "postgresql": """
        SELECT DISTINCT ON (task_id) id, task_id, action, page_id, kind, at, detail FROM labeling_labelevent
        WHERE project_id = %s AND task_id IS NOT NULL ORDER BY task_id, id DESC""",
    "sqlite": """
        SELECT event.* FROM (
            SELECT MAX(id) AS id FROM labeling_labelevent
            WHERE task_id IN (SELECT id FROM labeling_labeltask WHERE project_id = %s) GROUP BY task_id
        ) last JOIN labeling_labelevent event ON event.id = last.id""",
}
# An answer that nobody has touched since: the task's last event, after the reset before and before this one; and when
# and on which kind of page it was given, which the last event does not say when it is a review.
LAST_ANSWER = """
    SELECT event.task_id, event.action, event.page_id, event.detail ->> 'to' AS back,
           CASE WHEN {is_given} THEN event.at ELSE (SELECT given.at {given}) END AS at,
           CASE WHEN {is_given} THEN event.kind ELSE (SELECT given.kind {given}) END AS kind
    FROM ({last_events}) event
    WHERE event.id > %s AND event.id < %s
      AND (event.action IN ('submitted', 'corrected', 'imported', 'approved', 'flagged', 'skipped')
           OR (event.action = 'restored' AND event.detail ->> 'to' <> 'removed'))
"""
IS_GIVEN = "event.action IN ('submitted', 'corrected', 'imported', 'skipped')"
GIVEN = """
    FROM labeling_labelevent given WHERE given.task_id = event.task_id
    AND given.action IN ('submitted', 'corrected', 'imported', 'skipped') ORDER BY given.id DESC LIMIT 1
"""
# A correction on a page is its labeler's own; one without a page is a reviewer's.
STATUS_OF_ACTION = """
    CASE WHEN answer.action = 'restored' THEN answer.back
         WHEN answer.action = 'skipped' THEN 'skipped'
         WHEN answer.action = 'flagged' THEN 'needs_review'
         WHEN answer.action = 'approved' OR (answer.action = 'corrected' AND answer.page_id IS NULL) THEN 'approved'
         ELSE 'labeled' END
"""
COLUMNS = "task_id, place, x, y, width, height, image_width, image_height"
UNTOUCHED = "NOT EXISTS (SELECT 1 FROM labeling_labelevent later WHERE later.task_id = {row}.task_id AND later.id > %s)"


class NotUndoable(Exception):
    """The change can't be undone (any more), in words."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many labels and images a change concerned."""

    labels: int
    images: int


def standing_resets(project: Project, up_to: int | None = None) -> list[LabelEvent]:
    """Return the resets that have not been restored, oldest first; with ``up_to`` as it was right after that event."""
    events = LabelEvent.objects.filter(project=project, action__in=(Action.RESET, Action.RESTORED), task__isnull=True)
    if up_to is not None:
        events = events.filter(pk__lte=up_to)
    standing: dict[int, LabelEvent] = {}
    for event in events.order_by("pk"):
        if event.action == Action.RESET:
            standing[event.pk] = event
        else:
            standing.pop(event.detail.get("of", 0), None)
    return list(standing.values())


def last_reset(project: Project, up_to: int | None = None) -> int:
    """Return the id of the last reset that stands: an answer counts when it came after it. 0 when there is none."""
    standing = standing_resets(project, up_to)
    return standing[-1].pk if standing else 0


def set_aside(project: Project, by: User | None, *, prefill: bool) -> LabelEvent:
    """End all labels, and let all answered and skipped images wait again; with ``prefill`` their labels are proposed.

    Pages on a screen lapse: their answers would be given without knowing what has changed.
    """
    lapse_pages(project)
    tasks = LabelTask.objects.in_project(project).filter(status__in=ASIDE)
    event = LabelEvent.objects.create(project=project, action=Action.RESET, by=by, detail={"prefill": prefill})
    current = labels_of(project)
    with unindexed(current.count(), OF_TASK, OF_CURRENT):
        n_labels = current.update(ended_by_event=event)
    # What a model said of them is of another time. `labeler` stays: images go to other people's eyes first.
    afresh: dict[str, Any] = {"kind": Kind.MANUAL, "priority": PRIORITY[Kind.MANUAL], "group": 0, "labeled_at": None}
    afresh |= {"prelabels": None, "confidence": None}
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
    """Return the project's labels that stand, found by its classes: an index has those, in the order of the rows."""
    classes = list(LabelClass.objects.filter(project=project).values_list("pk", flat=True))
    return Annotation.objects.current().filter(label_class__in=classes)


def restore(project: Project, by: User | None, event: LabelEvent) -> LabelEvent:
    """Bring back what the last reset set aside; images that were answered anew since keep their new answer."""
    standing = standing_resets(project)
    if event not in standing:
        raise NotUndoable(_("These labels are back already."))
    if event != standing[-1]:
        raise NotUndoable(_("Labels were set aside again later. Restore those first."))
    lapse_pages(project)
    floor = standing[-2].pk if len(standing) > 1 else 0
    restored = LabelEvent.objects.create(project=project, action=Action.RESTORED, by=by, detail={"of": event.pk})
    n_labels, n_images = event.detail["labels"], event.detail["images"]
    with connection.cursor() as cursor, joined_as_sets(n_labels), unindexed(n_labels, OF_CURRENT):
        cursor.execute(_copy_labels(project), [restored.pk, event.pk, event.pk])
        n_labels = cursor.rowcount
    with connection.cursor() as cursor, joined_as_sets(n_images), unindexed(n_images, OF_STATUS):
        last_events = LAST_EVENTS[connection.vendor]
        answers = LAST_ANSWER.format(is_given=IS_GIVEN, given=GIVEN, last_events=last_events)
        cursor.execute(
            f"UPDATE labeling_labeltask SET status = {STATUS_OF_ACTION}, labeled_at = answer.at,"  # noqa: S608
            " kind = COALESCE(NULLIF(answer.kind, ''), labeling_labeltask.kind)"
            f" FROM ({answers}) answer WHERE labeling_labeltask.id = answer.task_id AND project_id = %s",
            [project.pk, floor, event.pk, project.pk],
        )
        n_images = cursor.rowcount
    restored.detail |= {"labels": n_labels, "images": n_images}
    restored.save(update_fields=["detail"])
    return restored


def _copy_labels(project: Project) -> str:
    """Return the statement that writes again what an event ended; a class merged since gives way to its heir.

    All labels are read once to find them, which is quicker than to keep an index of them by their event. In the order
    of the tasks: the events that are looked at for each label, and the indexes that are written, are then
    gone through once and not at random, which takes twice as long.
    """
    heir = "COALESCE(kept.merged_into_id, kept.id)"
    was_merged = LabelClass.objects.filter(project=project, merged_into__isnull=False).exists()
    twin = (
        ""
        if project.is_detection or not was_merged
        else f"""
        AND NOT EXISTS (
            SELECT 1 FROM labeling_annotation other JOIN projects_labelclass twin ON twin.id = other.label_class_id
            WHERE other.task_id = old.task_id AND other.ended_by_event_id = old.ended_by_event_id
              AND other.place < old.place
              AND COALESCE(twin.merged_into_id, twin.id) = {heir})"""
    )
    return f"""
        INSERT INTO labeling_annotation ({COLUMNS}, label_class_id, created_by_event_id)
        SELECT {COLUMNS}, {heir}, %s
        FROM labeling_annotation old JOIN projects_labelclass kept ON kept.id = old.label_class_id
        WHERE old.ended_by_event_id = %s AND {UNTOUCHED.format(row="old")}{twin}
        ORDER BY old.task_id
    """  # noqa: S608


def lapse_pages(project: Project) -> None:
    """Take all pages off their labelers' screens; a late submit is told so, and nothing is written."""
    pages = LabelPage.objects.filter(project=project, status=LabelPage.Status.OPEN)
    ids = list(pages.values_list("pk", flat=True))
    pages.update(status=LabelPage.Status.LAPSED)
    claimed = LabelTask.objects.filter(page__in=ids, status=Status.CLAIMED)
    claimed.update(status=Status.QUEUED, page=None)
