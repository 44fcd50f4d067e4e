"""The orders that the Data tab offers besides that of labeling: each walks an index, a page at a time by key (SPEC V1).

An order's index knows nothing of the filters, and databases left to themselves would sort all that a filter leaves. So
the index is read in chunks, and the filter is asked about each chunk. A filter that leaves few would need many chunks:
then those few are sorted instead (labeling/listing.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Protocol

from django.db.models import Q, QuerySet

from labeling.images import ImageFilter, filtered_tasks, narrowed
from labeling.models import LabelTask
from projects.models import Image, Project

CHUNK = 2000  # at most; the first one is as long as a page

Key = tuple[Any, int]  # by what it is sorted, then the task


class Order(Protocol):
    """An order in which tasks can be listed."""

    def sorted(self, few: QuerySet[LabelTask], after: Key | None) -> list[Key]:
        """Return the keys of a few tasks behind ``after``, in order."""

    def chunks(self, project: Project, wanted: ImageFilter, after: Key | None, size: int) -> Iterator[list[Key]]:
        """Yield the keys that the filter leaves behind ``after``, in order, in chunks."""

    def cursor(self, key: Key) -> str:
        """Return a key as a text for an address."""

    def parse(self, cursor: str) -> Key | None:
        """Return the key of such a text; None when it can't be read, which means the first page."""


@dataclass(frozen=True, slots=True)
class ByPath:
    """By path, as the database sorts texts."""

    def sorted(self, few: QuerySet[LabelTask], after: Key | None) -> list[Key]:
        """By the database, for its order of signs is the index's."""
        if after is not None:
            few = few.filter(image__path__gt=after[0])
        return list(few.order_by("image__path").values_list("image__path", "pk"))

    def chunks(self, project: Project, wanted: ImageFilter, after: Key | None, size: int) -> Iterator[list[Key]]:
        """Walk the images by the index that keeps their paths unique."""
        images = Image.objects.filter(project=project).order_by("path").values_list("path", flat=True)
        # Without a condition on the tasks' own project, their indexes are no temptation.
        tasks = narrowed(project, LabelTask.objects.filter(image__project=project), wanted).order_by("image__path")
        last, length = (after[0] if after else ""), size  # "" is before all paths
        while True:
            chunk = tasks.filter(image__path__gt=last)
            ends = list(images.filter(path__gt=last)[length - 1 : length])
            yield list((chunk.filter(image__path__lte=ends[0]) if ends else chunk).values_list("image__path", "pk"))
            if not ends:
                return
            last, length = ends[0], min(4 * length, CHUNK)

    def cursor(self, key: Key) -> str:
        """The path says it all."""
        return str(key[0])

    def parse(self, cursor: str) -> Key | None:
        """Any text is a place between paths."""
        return (cursor, 0) if cursor and "\0" not in cursor else None


@dataclass(frozen=True, slots=True)
class LeastSureFirst:
    """By how sure a model is; what no model has looked at is not listed."""

    def sorted(self, few: QuerySet[LabelTask], after: Key | None) -> list[Key]:
        """Of those that have a confidence."""
        few = few.filter(confidence__isnull=False)
        return list(_behind(few, after).order_by("confidence", "pk").values_list("confidence", "pk"))

    def chunks(self, project: Project, wanted: ImageFilter, after: Key | None, size: int) -> Iterator[list[Key]]:
        """Walk the index of confidences."""
        sure = LabelTask.objects.in_project(project).filter(confidence__isnull=False)
        low, high = wanted.confidence_from or 0.0, 1.0 if wanted.confidence_to is None else wanted.confidence_to
        sure = sure.filter(confidence__gte=low, confidence__lte=high).order_by("confidence", "pk")
        tasks = narrowed(project, LabelTask.objects.all(), replace(wanted, confidence_from=None, confidence_to=None))
        length = size
        while True:
            rows = list(_behind(sure, after).values_list("confidence", "pk")[:length])
            if not rows:
                return
            found = set(tasks.filter(pk__in=[pk for _share, pk in rows]).values_list("pk", flat=True))
            yield [key for key in rows if key[1] in found]
            after, length = rows[-1], min(4 * length, CHUNK)

    def cursor(self, key: Key) -> str:
        """Both parts; several may be equally sure."""
        return f"{key[0]!r},{key[1]}"

    def parse(self, cursor: str) -> Key | None:
        """Two numbers."""
        share, _comma, pk = cursor.partition(",")
        try:
            key = float(share), int(pk)
        except ValueError:
            return None
        return key if isfinite(key[0]) and 0 <= key[1] < 1 << 63 else None


def _behind(tasks: QuerySet[LabelTask], key: Key | None) -> QuerySet[LabelTask]:
    if key is None:
        return tasks
    share, pk = key
    return tasks.filter(confidence__gte=share).filter(Q(confidence__gt=share) | Q(pk__gt=pk))


ORDERS: dict[str, Order] = {"confidence": LeastSureFirst(), "path": ByPath()}


def page_in_order(
    order: Order, project: Project, wanted: ImageFilter, few: Q | None, cursor: str, size: int
) -> tuple[list[int], str]:
    """Return the tasks of one page in their order, and the cursor of the next one ("" on the last).

    ``few`` names the images that the filter leaves, if they are few; ``cursor`` is this page's.
    """
    after, found = order.parse(cursor), []
    if few is not None:
        found = order.sorted(filtered_tasks(project, replace(wanted, path="")).filter(few), after)
    else:
        for keys in order.chunks(project, wanted, after, size + 1):
            found += keys
            if len(found) > size:
                break
    return [pk for _value, pk in found[:size]], order.cursor(found[size - 1]) if len(found) > size else ""
