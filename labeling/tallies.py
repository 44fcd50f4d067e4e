"""What takes long to count of a big project: tasks by state, labels by class, and answered images by labeler.

Labels are counted once and after that kept up by what the events since then began and ended (annotations are never
changed, so the sum is exact, and 2.5 million boxes are not read every some seconds); what is done to a whole project
has them counted anew. Of tasks, the state that most are
in is what the others leave: how many there are in all is known for as long as no refresh adds any. All are kept in the
cache, and by a worker in a row beside it: so an emptied cache costs nobody half a second.
"""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache

from django.core.cache import cache
from django.db.models import Count, Max, OuterRef, Q, QuerySet, Subquery, Sum
from django.utils import timezone

from labeling.models import Annotation, Kind, LabelEvent, LabelTask, Status, Tally
from projects.models import LabelClass, Project, Refresh
from projects.prepared import Prepared, Slot, number_of

TASKS_SECONDS = 24 * 3600
LABELS_SECONDS = 24 * 3600
LABELERS_SECONDS = 15
ROW_SERVES = timedelta(seconds=90)  # a worker renews the rows every minute
OF_ALL_TASKS = (LabelEvent.Action.RESET, LabelEvent.Action.RESTORED, LabelEvent.Action.CLASS_MERGED)
MANY_EVENTS = 100_000  # after so many, counting anew is as quick as catching up

Counted = tuple[int, dict[int, int]]  # up to which event, and how many by id
Total = tuple[int, int, str]  # after how many were added, how many tasks there are, and the state of most of them


def tasks_by_state(project: Project) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many tasks are in each state now, and of those in the queue how many are of each kind."""
    key = f"tasks-{project.pk}"
    known: Total | None = cache.get(key)
    if known is None and (row := _row(project)) is not None and row.tasks:
        known = (row.tasks["added"], row.tasks["total"], row.tasks["most"])
    total, counts, queue = _count_tasks(project, known)
    if total is not None and total != cache.get(key):
        cache.set(key, total, TASKS_SECONDS)
    return counts, queue


def _count_tasks(project: Project, known: Total | None) -> tuple[Total | None, dict[str, int], dict[str, int]]:
    if known is not None:
        n_added, n_tasks, most = known
        added, counts, queue = _count_by_state(project, without=most)
        if added == n_added:
            counts[most] = n_tasks - sum(counts.values())
            return (added, n_tasks, _most_common(counts)), counts, queue
    added, counts, queue = _count_by_state(project)
    return (added, sum(counts.values()), _most_common(counts)) if counts else None, counts, queue


def _most_common(counts: dict[str, int]) -> str:
    """Return the state of most tasks, the queue left out: its kinds are counted too."""
    return max(sorted(counts.keys() - {Status.QUEUED}), key=lambda status: counts[status], default=Status.REMOVED)


def _count_by_state(project: Project, without: str = "") -> tuple[int, dict[str, int], dict[str, int]]:
    """Count tasks by state, and those in the queue by kind, and say how many were ever added: all by one statement."""
    rows = _counts(without)(project=project.pk)
    if not rows:  # the project was deleted meanwhile
        return 0, {}, {}
    found = vars(rows[0])
    queue = {kind: n for kind in Kind.values if (n := found[f"queued_{kind}"])}
    counts = {status: n for status in Status.values if (n := found.get(f"tasks_{status}"))}
    if queue:
        counts[Status.QUEUED] = sum(queue.values())
    return found["added"] or 0, counts, queue


@lru_cache
def _counts(without: str) -> Prepared[Project]:
    """Count each state by itself: the index has them one after the other, and grouping takes as long again."""
    tasks = LabelTask.objects.filter(project=Slot("project"))
    parts = {f"queued_{kind}": tasks.filter(status=Status.QUEUED, kind=kind) for kind in Kind}
    for status in set(Status) - {without, Status.QUEUED}:
        parts[f"tasks_{status}"] = tasks.filter(status=status)
    numbers = {name: Subquery(number_of(part)) for name, part in parts.items()}
    added = Refresh.objects.filter(project=Slot("project")).order_by().values("project").annotate(n=Sum("added"))
    row = Project.objects.filter(pk=Slot("project")).only("pk").order_by()
    return Prepared(lambda: row.annotate(added=Subquery(added.values("n")), **numbers))


def labels_by_class(project: Project) -> dict[int, int]:
    """Return how many labels stand, by class."""
    return {pk: n for pk, n in _labels(project)[1].items() if n}


def answered_by_labeler(project: Project) -> dict[int, int]:
    """Return how many images have an answer, by who gave it, most first; at most some seconds old, or a minute."""
    key = f"labeled-by-{project.pk}"
    counts: dict[int, int] | None = cache.get(key)
    if counts is None:
        row = _row(project)
        is_good = row is not None and (row.at > timezone.now() - ROW_SERVES or row.event == last_event(project))
        counts = _by_id(row.labelers) if row is not None and is_good else _count_labelers(project)
        cache.set(key, counts, LABELERS_SECONDS)
    return counts


_last_events = Prepared(lambda: LabelEvent.objects.filter(project=Slot("project")).only("pk").order_by("-pk")[:1])


def last_event(project: Project) -> int:
    """Return the id of the last thing that happened in a project; 0 when nothing did."""
    return next((event.pk for event in _last_events(project=project.pk)), 0)


def renew_all() -> None:
    """Bring the rows up to date of all projects in which something happened; a schedule calls this."""
    kept = dict(Tally.objects.values_list("project", "event"))
    for project in Project.objects.all():
        last = last_event(project)
        if last and last != kept.get(project.pk):
            _renew(project, last)


def _renew(project: Project, last: int) -> None:
    """Store what is counted now. What comes after ``last`` may be in it too, but then that is not the last any more."""
    event, labels = _labels(project)
    total, _counts, _queue = _count_tasks(project, None)
    tasks = dict(zip(("added", "total", "most"), total, strict=True)) if total else {}
    counted = {"labels_event": event, "labels": labels, "labelers": _count_labelers(project), "tasks": tasks}
    Tally.objects.update_or_create(project=project, defaults={"event": last, "at": timezone.now(), **counted})


def _labels(project: Project) -> Counted:
    key = f"labels-{project.pk}"
    base: Counted | None = cache.get(key)
    if base is None and (row := _row(project)) is not None:
        base = row.labels_event, _by_id(row.labels)
    last = last_event(project)
    if base is None or not 0 <= last - base[0] < MANY_EVENTS:
        base = _count_labels(project)
    elif last > base[0]:
        base = _catch_up(project, base[1], base[0], last)
    cache.set(key, base, LABELS_SECONDS)
    return base


_rows = Prepared(lambda: Tally.objects.filter(project=Slot("project")))


def _row(project: Project) -> Tally | None:
    return next(iter(_rows(project=project.pk)), None)


def _by_id(counts: dict[str, int]) -> dict[int, int]:
    return {int(pk): n for pk, n in counts.items()}


def _events(project: Project) -> QuerySet[LabelEvent]:
    return LabelEvent.objects.filter(project=project)


def _count_labelers(project: Project) -> dict[int, int]:
    tasks = LabelTask.objects.in_project(project).answered().filter(labeler__isnull=False)
    return dict(tasks.values_list("labeler").annotate(n=Count("*")).order_by("-n"))


def _count_labels(project: Project) -> Counted:
    """Count all labels, and say up to which event that is: by one statement, so that nothing comes between.

    Asked of the classes, it tells the event also where no label stands: else a restart's would be counted each time.
    """
    last = _events(project).order_by().values("project").annotate(last=Max("pk")).values("last")
    of_class = Annotation.objects.current(project).filter(label_class=OuterRef("pk")).order_by().values("label_class")
    rows = LabelClass.objects.filter(project=project).order_by()
    rows = rows.annotate(n=Subquery(of_class.annotate(n=Count("*")).values("n")))
    rows = rows.annotate(last=Subquery(last), aside=Subquery(_aside_up_to(project)))
    counted = list(rows.values_list("pk", "n", "last", "aside"))
    if counted and counted[0][3] != project.aside_up_to:  # they were set aside, or came back, since it was read
        project.refresh_from_db(fields=["aside_up_to"])
        return _count_labels(project)
    return (counted[0][2] or 0 if counted else 0), {pk: n for pk, n, *_facts in counted if n}


def _aside_up_to(project: Project) -> QuerySet[Project, int]:
    return Project.objects.filter(pk=project.pk).order_by().values_list("aside_up_to", flat=True)


def _catch_up(project: Project, counts: dict[int, int], first: int, last: int) -> Counted:
    """Return the counts at one event, made of those at an earlier one."""
    events = _events(project).filter(pk__gt=first, pk__lte=last)
    if events.filter(task__isnull=True, action__in=OF_ALL_TASKS).exists():
        return _count_labels(project)
    classes = set(LabelClass.objects.filter(project=project).values_list("pk", flat=True))
    labels = Annotation.objects.filter(task__in=events.filter(task__isnull=False).values("task"))
    labels = labels.filter(created_by_event__gt=Subquery(_aside_up_to(project)))  # others did not count before either
    began, ended = Q(created_by_event__gt=first), Q(ended_by_event__gt=first, ended_by_event__lte=last)
    stands = Q(ended_by_event__isnull=True) | Q(ended_by_event__gt=last)
    changed = labels.filter(began | ended, created_by_event__lte=last).order_by().values_list("label_class")
    more, less = Count("pk", filter=began & stands), Count("pk", filter=~began & ended)
    counts = dict(counts)
    for pk, n_more, n_less in changed.annotate(more=more, less=less):
        if pk in classes:  # events of other projects lie between
            counts[pk] = counts.get(pk, 0) + n_more - n_less
    return last, counts
