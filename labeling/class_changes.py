"""Add, rename, merge, retire and delete the classes of a project (SPEC C3, C4): the functions behind every door.

A class keeps its identity: annotations name its id. Each change is one transaction under the project's lock and leaves
an event of the project. Names, colours and the order may change at any time; what changes the set of classes asks for
a paused project, as people label with the classes that they see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection, models, transaction
from django.db.models import Count, F, Max, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from labeling import resets
from labeling.indexes import joined_as_sets
from labeling.models import ANSWERED, PENDING, Annotation, LabelEvent, LabelTask, Status
from labeling.resets import Action, NotUndoable
from projects import signals
from projects.access import lock
from projects.creation import check_class_names
from projects.models import LabelClass, LabelClassQuerySet, Project

FAR_AWAY = 1_000_000  # added to positions while they are changed, so that no two are ever equal


class Existing(models.TextChoices):
    """What becomes of the labels that there are when classes are added (SPEC C4)."""

    CONTINUE = "continue", gettext_lazy("Go on, keep them")
    RESTART_KEEP = "restart_keep", gettext_lazy("Start over, keep them as a proposal")
    RESTART_REMOVE = "restart_remove", gettext_lazy("Start over, remove them")


class NotPaused(Exception):
    """The project must be paused before its set of classes changes."""

    def __init__(self) -> None:
        super().__init__(_("Pause the project first: labelers choose from the classes that they see."))


class ClassInUse(Exception):
    """The class can't be deleted, as there are or were labels of it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What there is now, to say what a change will do to it."""

    labels: int
    images: int  # with an answer
    skipped: int
    pending: int

    @property
    def coming_round(self) -> int:
        """How many images are to be labeled after starting over."""
        return self.images + self.skipped + self.pending


def standing(project: Project) -> Standing:
    """Count the labels and images that a change of classes would concern."""
    tasks = LabelTask.objects.in_project(project)
    return Standing(
        labels=resets.labels_of(project).count(),
        images=tasks.filter(status__in=ANSWERED).count(),
        skipped=tasks.filter(status=Status.SKIPPED).count(),
        pending=tasks.filter(status__in=PENDING).count(),
    )


def _lock_paused(project: Project) -> Project:
    project = lock(project)
    if project.state != Project.State.PAUSED:
        raise NotPaused
    return project


def _record(project: Project, by: User | None, action: str, **detail: object) -> LabelEvent:
    return LabelEvent.objects.create(project=project, action=action, by=by, detail=detail)


def _find(project: Project, pk: int) -> LabelClass:
    """Return the class as it stands now that the project is locked."""
    return LabelClass.objects.get(project=project, pk=pk)


@transaction.atomic
def add_classes(
    project: Project, by: User | None, names: Sequence[str], existing: str = Existing.CONTINUE
) -> list[LabelClass]:
    """Add classes at the end, and start over with the labels that there are if asked to.

    ``existing`` is a value of Existing. Raises NotPaused, ValidationError.
    """
    project = _lock_paused(project)
    if existing not in Existing.values:
        raise ValidationError({"existing": _("Choose what becomes of the labels that there are.")})
    names = _new_names(project, names)
    last = LabelClass.objects.filter(project=project).current().aggregate(last=Max("position"))["last"]
    first = 0 if last is None else last + 1
    added = [LabelClass(project=project, name=name, position=first + n) for n, name in enumerate(names)]
    for label_class in added:
        label_class.save()
    ids = [label_class.pk for label_class in added]
    _record(project, by, Action.CLASS_ADDED, classes=ids, names=names, existing=existing)
    if existing != Existing.CONTINUE:
        resets.set_aside(project, by, prefill=existing == Existing.RESTART_KEEP)
    signals.classes_changed.send(sender=Project, project=project)
    return added


def _new_names(project: Project, names: Sequence[str]) -> list[str]:
    try:
        cleaned = check_class_names(names)
    except ValidationError as error:
        raise ValidationError({"names": error.messages}) from error
    present = {
        name.lower() for name in LabelClass.objects.filter(project=project).current().values_list("name", flat=True)
    }
    twice = next((name for name in cleaned if name.lower() in present), None)
    if twice is not None:
        raise ValidationError({"names": _("There is a class “%(name)s” already.") % {"name": twice}})
    return cleaned


@transaction.atomic
def arrange(project: Project, by: User | None, rows: Sequence[tuple[int, str, str]]) -> None:
    """Give the classes other names, colours and another order; their labels stay with them. Raises ValidationError.

    ``rows`` are (id, name, colour) of all classes that can be chosen, in their new order.
    """
    project = lock(project)
    classes = {c.pk: c for c in LabelClass.objects.filter(project=project).current()}
    order = [pk for pk, _name, _color in rows]
    if sorted(order) != sorted(classes):
        raise ValidationError(_("The classes have changed meanwhile. Look at them again."))
    names = check_class_names(name for _pk, name, _color in rows)
    for (pk, _name, color), name in zip(rows, names, strict=True):
        if classes[pk].name != name:
            _record(project, by, Action.CLASS_RENAMED, **{"class": pk, "from": classes[pk].name, "to": name})
        classes[pk].name, classes[pk].color = name, color or classes[pk].color
        classes[pk].clean_fields(exclude=["project"])
    # Names and places may be exchanged: first each gets one that nobody has.
    LabelClass.objects.filter(pk__in=order).update(position=F("position") + FAR_AWAY)
    for pk in order:
        LabelClass.objects.filter(pk=pk).update(name=f"\x01{pk}")
    for position, pk in enumerate(order):
        classes[pk].position = position
        classes[pk].save()


@transaction.atomic
def change(
    project: Project,
    by: User | None,
    pk: int,
    *,
    name: str = "",
    color: str = "",
    retired: bool | None = None,
    merged_into: int | None = None,
) -> None:
    """Change one class in all these respects, or in none. Raises NotPaused, ValidationError."""
    lock(project)
    if retired is False:
        bring_back(project, by, pk)
    if name or color:
        rows = list(LabelClass.objects.filter(project=project).current().values_list("pk", "name", "color"))
        if pk not in {row[0] for row in rows}:
            raise ValidationError(_("A retired class keeps its name and colour."))
        arrange(project, by, [(row[0], name or row[1], color or row[2]) if row[0] == pk else row for row in rows])
    if merged_into is not None:
        merge_class(project, by, pk, merged_into)
    elif retired:
        retire_class(project, by, pk)


def with_counts(project: Project, classes: LabelClassQuerySet) -> LabelClassQuerySet:
    """Return classes of the project, each with ``labels``: how many of them stand."""
    of_class = Annotation.objects.current(project).filter(label_class=OuterRef("pk")).order_by().values("label_class")
    return classes.annotate(labels=Coalesce(Subquery(of_class.annotate(n=Count("*")).values("n")), 0))


def count_labels(label_class: LabelClass) -> int:
    """Return how many labels of the class stand."""
    return Annotation.objects.current(label_class.project).filter(label_class=label_class).count()


def is_used(label_class: LabelClass) -> bool:
    """Whether there is, or was, a label of the class: then it stays in the history."""
    return Annotation.objects.filter(label_class=label_class).exists()


@transaction.atomic
def retire_class(project: Project, by: User | None, pk: int) -> LabelClass:
    """Let a class not be chosen any more; labels that it has stay. Raises NotPaused, ValidationError."""
    project = _lock_paused(project)
    label_class = _find(project, pk)
    if label_class.retired_at is None:
        _demand_another(project)
        label_class.retired_at = timezone.now()
        label_class.save(update_fields=["retired_at"])
        detail = {"class": pk, "name": label_class.name, "labels": count_labels(label_class)}
        _record(project, by, Action.CLASS_RETIRED, **detail)
        signals.classes_changed.send(sender=Project, project=project)
    return label_class


@transaction.atomic
def bring_back(project: Project, by: User | None, pk: int) -> LabelClass:
    """Let a retired class be chosen again, as the last one. Raises NotPaused, ValidationError."""
    project = _lock_paused(project)
    label_class = _find(project, pk)
    if label_class.merged_into_id is not None:
        raise ValidationError(_("This class was merged. Undo the merge in the history of the classes."))
    if label_class.retired_at is not None:
        _put_at_the_end(label_class)
        _record(project, by, Action.RESTORED, **{"class": pk, "name": label_class.name})
        signals.classes_changed.send(sender=Project, project=project)
    return label_class


def _put_at_the_end(label_class: LabelClass) -> None:
    current = LabelClass.objects.filter(project=label_class.project_id).current()
    if current.filter(name__iexact=label_class.name).exists():
        raise ValidationError(_("There is another class “%(name)s” now. Rename it first.") % {"name": label_class.name})
    last = current.aggregate(last=Max("position"))["last"]
    label_class.position = 0 if last is None else last + 1
    label_class.retired_at = label_class.merged_into = None
    label_class.save()


def _demand_another(project: Project) -> None:
    if LabelClass.objects.filter(project=project).current().count() < 2:
        raise ValidationError(_("A project keeps at least one class."))


@transaction.atomic
def delete_class(project: Project, by: User | None, pk: int) -> None:
    """Delete a class of which there has never been a label. Raises NotPaused, ClassInUse, ValidationError."""
    project = _lock_paused(project)
    label_class = _find(project, pk)
    if is_used(label_class):
        raise ClassInUse(
            _("“%(name)s” is in use, so it can't be deleted. Retire it, or merge it into another class.")
            % {"name": label_class.name}
        )
    if label_class.retired_at is None:
        _demand_another(project)
    if LabelClass.objects.filter(merged_into=label_class).exists():
        raise ClassInUse(_("Another class was merged into “%(name)s”.") % {"name": label_class.name})
    _record(project, by, Action.CLASS_RETIRED, **{"class": pk, "name": label_class.name, "labels": 0, "deleted": True})
    label_class.delete()
    signals.classes_changed.send(sender=Project, project=project)


@transaction.atomic
def merge_class(project: Project, by: User | None, pk: int, into: int) -> LabelEvent:
    """Make all labels of one class labels of another; the first can't be chosen any more.

    Raises NotPaused, ValidationError.
    """
    project = _lock_paused(project)
    source = _find(project, pk)
    target = LabelClass.objects.filter(project=project, pk=into).current().first()
    if target is None or target == source:
        raise ValidationError({"into": _("Choose another class that can be chosen now.")})
    if source.merged_into_id is not None:
        raise ValidationError({"into": _("This class was merged before.")})
    heirs = LabelClass.objects.filter(merged_into=source)
    event = _record(
        project,
        by,
        Action.CLASS_MERGED,
        **{"class": pk, "name": source.name, "into": into, "into_name": target.name},
        also=list(heirs.values_list("pk", flat=True)),
    )
    n_labels = Annotation.objects.current(project).filter(label_class=source).update(ended_by_event=event)
    with connection.cursor() as cursor, joined_as_sets(n_labels):
        cursor.execute(_copy_to_class(project), [into, event.pk, event.pk, *([] if project.is_detection else [into])])
    heirs.update(merged_into=target)
    source.retired_at, source.merged_into = source.retired_at or timezone.now(), target
    source.save(update_fields=["retired_at", "merged_into"])
    event.detail["labels"] = n_labels
    event.save(update_fields=["detail"])
    signals.classes_changed.send(sender=Project, project=project)
    return event


def _copy_to_class(project: Project) -> str:
    """Return the statement that gives to another class what an event ended; an image that has it gets no second."""
    twin = """
        AND NOT EXISTS (
            SELECT 1 FROM labeling_annotation other
            WHERE other.task_id = old.task_id AND other.ended_by_event_id IS NULL AND other.label_class_id = %s)"""
    return f"""
        INSERT INTO labeling_annotation ({resets.COLUMNS}, label_class_id, created_by_event_id)
        SELECT {resets.COLUMNS}, %s, %s FROM labeling_annotation old
        WHERE old.ended_by_event_id = %s{"" if project.is_detection else twin}
        ORDER BY old.task_id
    """  # noqa: S608


def undoable(project: Project) -> set[int]:
    """Return the ids of the project's events that undo() takes now.

    Merges into a class that was then merged itself wait for that one: their labels are of a third class now.
    """
    last = project.aside_up_to
    events = LabelEvent.objects.filter(
        project=project, task__isnull=True, action__in=(Action.CLASS_MERGED, Action.RESTORED), pk__gt=last
    )
    undone = {event.detail.get("of") for event in events if event.action == Action.RESTORED}
    merges = [event for event in events if event.action == Action.CLASS_MERGED and event.pk not in undone]
    merged = {event.detail["class"] for event in merges}
    return {event.pk for event in merges if event.detail["into"] not in merged} | ({last} if last else set())


@transaction.atomic
def undo(project: Project, by: User | None, event_id: int) -> LabelEvent:
    """Undo a reset or a merge: labels come back where nobody has labeled anew.

    Raises NotPaused, NotUndoable, ValidationError.
    """
    project = _lock_paused(project)
    event = LabelEvent.objects.filter(project=project, task__isnull=True, pk=event_id).first()
    if event is not None and event.action == Action.RESET:
        undone = resets.restore(project, by, event)
    elif event is not None and event.action == Action.CLASS_MERGED and event.pk in undoable(project):
        undone = _unmerge(project, by, event)
    else:
        raise NotUndoable(_("This can't be undone: it was undone before, or labels were set aside or merged on since."))
    signals.classes_changed.send(sender=Project, project=project)
    return undone


def _unmerge(project: Project, by: User | None, event: LabelEvent) -> LabelEvent:
    source = _find(project, event.detail["class"])
    undone = _record(project, by, Action.RESTORED, of=event.pk, name=source.name)
    LabelClass.objects.filter(project=project, pk__in=event.detail["also"]).update(merged_into=source)
    # What a restart had set aside before the merge, and came back after it, went to the heir at once.
    restores = [restored for restored in resets.Restarts(project).restores if restored.pk > event.pk]
    ending = [one.pk for one in (event, *restores)]
    n_labels = sum(one.detail["labels"] for one in (event, *restores))
    classes = [source.pk, *event.detail["also"]]
    old = (
        f"old.ended_by_event_id IN ({', '.join(['%s'] * len(ending))})"
        f" AND old.label_class_id IN ({', '.join(['%s'] * len(classes))}) AND {resets.UNTOUCHED.format(row='old')}"
    )
    of_old = [*ending, *classes, event.pk]
    with connection.cursor() as cursor, joined_as_sets(n_labels):
        cursor.execute(
            "UPDATE labeling_annotation SET ended_by_event_id = %s"  # noqa: S608
            " WHERE ended_by_event_id IS NULL AND label_class_id = %s AND EXISTS ("
            " SELECT 1 FROM labeling_annotation old WHERE old.task_id = labeling_annotation.task_id"
            f" AND old.place = labeling_annotation.place AND {old})",
            [undone.pk, event.detail["into"], *of_old],
        )
        cursor.execute(
            f"INSERT INTO labeling_annotation ({resets.COLUMNS}, label_class_id, created_by_event_id)"  # noqa: S608
            f" SELECT {resets.COLUMNS}, %s, %s FROM labeling_annotation old WHERE {old} ORDER BY old.task_id",
            [source.pk, undone.pk, *of_old],
        )
        undone.detail["labels"] = cursor.rowcount
    undone.save(update_fields=["detail"])
    _put_at_the_end(source)
    return undone
