"""Lists of images for the Data tab, cut into pages by key, fast at 500,000 images (SPEC V1).

Left to themselves, databases now and then sort half a million rows to show 48. So each list is read in one of two
ways. A filter that leaves few images (tried first, up to FEW) is taken as a list of ids. Otherwise the index of states
is walked, which has each state's tasks in order, and the other filters are asked on the way; a list of several states
is merged from one walk for each, and no walk looks for much more than is taken of it. That is for the order of
labeling; labeling/orders.py has others.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import lru_cache, partial
from itertools import islice
from math import isfinite

from django.core.cache import cache
from django.db import connection, transaction
from django.db.models import BooleanField, ExpressionWrapper, F, OuterRef, Q, QuerySet, Subquery
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext_lazy as _

from labeling.images import ImageFilter, filtered_tasks
from labeling.models import ANSWERED, Annotation, LabelTask, Status
from labeling.orders import CHUNK, ORDERS, page_in_order
from labeling.progress import progress
from labeling.signals import View
from projects.models import Image, Project
from projects.prepared import Prepared, Slot

FEW = 2000
SAMPLE, COMMON = 1500, 6  # of so many images, so many: in 500,000, that is a FEW
COUNT_SECONDS = 10
Key = tuple[datetime | None, int]


OLDEST = "oldest"
SORTS = {
    "": _("Last labeled first"),
    OLDEST: _("First labeled first"),
    "confidence": _("Least sure first"),
    "path": _("By path"),
}


def page_of(
    project: Project, wanted: ImageFilter, view: View | None, before: str, size: int, sort: str = ""
) -> tuple[list[LabelTask], str]:
    """Return one page of tasks with their images and labelers, and the cursor of the next one ("" on the last).

    ``before`` is the cursor of this page: what the page before returned, or "" for the first. A view has its own order.
    """
    if view is not None:
        return _page_of_view(view, filtered_tasks(project, wanted), before, size)
    if sort in ORDERS:
        pks, cursor = page_in_order(ORDERS[sort], project, wanted, _few_by_any(project, wanted), before, size)
    else:
        few = _few(project, wanted)
        with _one_process():
            keys = list(islice(_keys(project, wanted, few, _parse(before), size + 1, sort == OLDEST), size + 1))
        at, last = keys[size - 1] if len(keys) > size else (None, 0)
        pks, cursor = [pk for _at, pk in keys[:size]], f"{at.isoformat() if at else ''},{last}" if last else ""
    tasks = _with_images(LabelTask.objects.filter(pk__in=pks)).in_bulk()
    return [tasks[pk] for pk in pks if pk in tasks], cursor


def count(project: Project, wanted: ImageFilter, view: View | None) -> int:
    """Return how many images a list has, at most some seconds old."""
    if view is None and wanted == ImageFilter(statuses=wanted.statuses):
        counts = progress(project).tasks
        return sum(n for status, n in counts.items() if not wanted.statuses or status in wanted.statuses)
    if view is None and wanted == ImageFilter(path=wanted.path):
        return Image.objects.filter(project=project, path__has_text=wanted.path).count()
    key = f"count-{project.pk}-{hash((wanted, view and view.name))}"
    return int(cache.get_or_set(key, lambda: matching(project, wanted, view).count(), COUNT_SECONDS) or 0)


def matching(project: Project, wanted: ImageFilter, view: View | None) -> QuerySet[LabelTask]:
    """Return all tasks of a list, in no order."""
    tasks = filtered_tasks(project, wanted)
    return (view.choose(tasks) if view else tasks).order_by()


def _with_images(tasks: QuerySet[LabelTask]) -> QuerySet[LabelTask]:
    return tasks.select_related("image", "labeler")


def _page_of_view(view: View, tasks: QuerySet[LabelTask], before: str, size: int) -> tuple[list[LabelTask], str]:
    text, _comma, pk = before.rpartition(",")
    # order_key is there by the view's promise, not by the model.
    tasks = _with_images(view.choose(tasks)).order_by("-order_key", "-id")  # type: ignore[misc]
    if (number := _number(text)) is not None and _is_key(pk):
        tasks = tasks.filter(Q(order_key__lt=number) | Q(order_key=number, pk__lt=int(pk)))
    found = list(tasks[: size + 1])
    last = found[size - 1] if len(found) > size else None
    return found[:size], f"{last.order_key!r},{last.pk}" if last else ""  # type: ignore[attr-defined]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _is_key(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _parse(cursor: str) -> Key | None:
    """Return the key of a cursor; one that can't be read means the first page."""
    at, _comma, pk = cursor.rpartition(",")
    if not _is_key(pk):
        return None
    try:
        return (parse_datetime(at) if at else None, int(pk))
    except ValueError:
        return None


def _last_first(key: Key) -> tuple[bool, float, int]:
    """Sort by this, backwards: those never labeled come at the end."""
    at, pk = key
    return (at is not None, at.timestamp() if at else 0.0, pk)


def _first_first(key: Key) -> tuple[bool, float, int]:
    at, pk = key
    return (at is None, at.timestamp() if at else 0.0, pk)


@contextmanager
def _one_process() -> Iterator[None]:
    """Have PostgreSQL walk by itself: several processes each walk until there are enough, and twice as far in all."""
    if connection.vendor != "postgresql":
        yield
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        yield


def _keys(
    project: Project, wanted: ImageFilter, few: Q | None, after: Key | None, size: int, is_oldest_first: bool = False
) -> Iterator[Key]:
    """Yield the keys of the list behind ``after``, last labeled first; those never labeled come at the end."""
    order = _first_first if is_oldest_first else _last_first
    if few is not None:
        rows = filtered_tasks(project, replace(wanted, path="")).filter(few).values_list("labeled_at", "pk")
        keys = sorted(rows.order_by(), key=order, reverse=not is_oldest_first)
        yield from (key for key in keys if after is None or _is_behind(order(key), order(after), is_oldest_first))
        return
    merged = partial(_merged, project, wanted, after, size, is_oldest_first)
    yield from merged(is_labeled=True)
    if wanted.since is None and wanted.until is None:
        yield from merged(is_labeled=False)


def _merged(
    project: Project, wanted: ImageFilter, after: Key | None, size: int, is_oldest_first: bool, *, is_labeled: bool
) -> Iterator[Key]:
    """Yield the keys of what has been labeled, or of what never was, from one walk for each state."""
    walks = list(_walks(project, wanted, is_labeled))
    first = size if len(walks) == 1 else max(size // 4, 1)
    behind = _labeled if is_labeled else _never_labeled
    found = [_in_chunks(partial(behind, walk, is_oldest_first), after, first) for walk in walks]
    order = _first_first if is_oldest_first else _last_first
    yield from heapq.merge(*found, key=order, reverse=not is_oldest_first)


def _is_behind(place: tuple[bool, float, int], after: tuple[bool, float, int], is_oldest_first: bool) -> bool:
    return place > after if is_oldest_first else place < after


def _in_chunks(behind: Callable[[Key | None], QuerySet[LabelTask]], after: Key | None, length: int) -> Iterator[Key]:
    """Yield the keys of a walk, ``length`` of them at first; it goes on only when somebody asks for more."""
    while True:
        keys = list(behind(after).values_list("labeled_at", "pk")[:length])
        yield from keys
        if len(keys) < length:
            return
        after, length = keys[-1], min(4 * length, CHUNK)


def _labeled(walk: QuerySet[LabelTask], is_oldest_first: bool, after: Key | None) -> QuerySet[LabelTask]:
    """Return what is behind ``after`` of the tasks that have been labeled; nothing when that is not one of them."""
    walk = walk.filter(labeled_at__isnull=False).order_by(*_order(is_oldest_first))
    if after is None:
        return walk
    at, pk = after
    if at is None:
        return walk.none()
    if is_oldest_first:
        return walk.filter(labeled_at__gte=at).filter(Q(labeled_at__gt=at) | Q(pk__gt=pk))
    return walk.filter(labeled_at__lte=at).filter(Q(labeled_at__lt=at) | Q(pk__lt=pk))


def _never_labeled(walk: QuerySet[LabelTask], is_oldest_first: bool, after: Key | None) -> QuerySet[LabelTask]:
    """Return what is behind ``after`` of the tasks that have not been: all of them when that is labeled."""
    walk = walk.filter(labeled_at__isnull=True).order_by(*_order(is_oldest_first))
    if after is None or after[0] is not None:
        return walk
    return walk.filter(pk__gt=after[1]) if is_oldest_first else walk.filter(pk__lt=after[1])


def _order(is_oldest_first: bool) -> tuple[str, str]:
    return ("labeled_at", "pk") if is_oldest_first else ("-labeled_at", "-pk")


def _walks(project: Project, wanted: ImageFilter, is_labeled: bool) -> Iterator[QuerySet[LabelTask]]:
    """Yield the tasks in parts, each of which the index has in order."""
    statuses: Iterable[str] = wanted.statuses or Status.values
    if wanted.label_class is not None:
        statuses = [status for status in statuses if status in ANSWERED]  # no other has labels
    if len(wanted.statuses) != 1:
        there = {name for row in _states(is_labeled)(project=project.pk) for name, pk in vars(row).items() if pk}
        statuses = [status for status in statuses if f"a_{status}" in there]
    rest = filtered_tasks(project, replace(wanted, statuses=(), path="", confidence_from=None, confidence_to=None))
    if wanted.path:
        # Looked up image by image: PostgreSQL takes a text for rarer than it is, and would go through all images.
        path = Image.objects.filter(pk=OuterRef("image")).values(found=_has_text(wanted.path))
        rest = rest.alias(has_text=Subquery(path)).filter(has_text=True)
    if wanted.confidence_from is not None or wanted.confidence_to is not None:
        # A product, for an index of confidences alone would have to be sorted.
        sure = rest.order_by().alias(sure=F("confidence") * 1.0)
        low, high = wanted.confidence_from or 0.0, 1.0 if wanted.confidence_to is None else wanted.confidence_to
        rest = sure.filter(sure__gte=low, sure__lte=high)
    for status in statuses:
        yield rest.filter(status=status)


@lru_cache
def _states(is_labeled: bool) -> Prepared[Project]:
    """Return what finds a task of each state, where there is one: a glance, where a walk takes several.

    In an order: asked whether there is any, PostgreSQL expects it soon and reads all tasks for one that isn't there.
    """
    tasks = LabelTask.objects.filter(project=Slot("project"), labeled_at__isnull=not is_labeled)
    tasks = tasks.order_by(*_order(is_oldest_first=False))
    there = {f"a_{status}": Subquery(tasks.filter(status=status).values("pk")[:1]) for status in Status}
    return Prepared(lambda: Project.objects.filter(pk=Slot("project")).only("pk").annotate(**there).order_by())


def _few(project: Project, wanted: ImageFilter) -> Q | None:
    """Return the images that one of the filters leaves, if they are few: by their ids, so that nothing is walked."""
    if wanted.path and not _is_common(project, wanted.path):
        images = Image.objects.filter(project=project, path__has_text=wanted.path)
        if (ids := _ids(images.values_list("pk", flat=True))) is not None:
            return Q(image__in=ids)
    if wanted.label_class is not None:
        labels = Annotation.objects.current(project).filter(label_class=wanted.label_class)
        if (ids := _ids(labels.values_list("task", flat=True).distinct())) is not None:
            return _among(ids, wanted)
    if wanted.confidence_from is not None or wanted.confidence_to is not None:
        only = ImageFilter(confidence_from=wanted.confidence_from, confidence_to=wanted.confidence_to)
        if (ids := _ids(filtered_tasks(project, only).values_list("pk", flat=True))) is not None:
            return _among(ids, wanted)
    return None


def _is_common(project: Project, text: str) -> bool:
    """Whether so many paths have the text that a walk soon finds a page of them, by what was labeled last.

    PostgreSQL takes longer to look for more than a FEW than to walk. SQLite takes less, and isn't asked.
    """
    if connection.vendor != "postgresql":
        return False
    labeled = LabelTask.objects.in_project(project).filter(status=Status.LABELED).order_by("-labeled_at", "-pk")
    sample = list(labeled.values_list(_has_text(text, "image__path"), flat=True)[:SAMPLE])
    return len(sample) == SAMPLE and sum(sample) >= COMMON


def _has_text(text: str, path: str = "path") -> ExpressionWrapper:
    return ExpressionWrapper(Q((f"{path}__has_text", text)), BooleanField())


def _few_by_any(project: Project, wanted: ImageFilter) -> Q | None:
    """Return the images that any of the filters leaves, if they are few: for orders whose index has no filter."""
    if (few := _few(project, wanted)) is not None:
        return few
    parts = []
    if wanted.statuses or wanted.kind:
        parts.append(ImageFilter(statuses=wanted.statuses or tuple(Status.values), kind=wanted.kind))
    if wanted.labeler is not None:
        parts.append(ImageFilter(labeler=wanted.labeler, statuses=wanted.statuses))
    if wanted.since is not None or wanted.until is not None:
        parts.append(ImageFilter(since=wanted.since, until=wanted.until))
    for part in parts:
        if (ids := _ids(filtered_tasks(project, part).values_list("pk", flat=True))) is not None:
            return _among(ids, wanted)
    return None


def _among(task_ids: Sequence[int], wanted: ImageFilter) -> Q:
    """Return the tasks, those of them whose path has the text: a list of few leaves out what is said of the path."""
    return Q(pk__in=task_ids, image__path__has_text=wanted.path) if wanted.path else Q(pk__in=task_ids)


def _ids(rows: QuerySet[Image, int] | QuerySet[Annotation, int] | QuerySet[LabelTask, int]) -> Sequence[int] | None:
    found = list(rows.order_by()[: FEW + 1])
    return found if len(found) <= FEW else None
