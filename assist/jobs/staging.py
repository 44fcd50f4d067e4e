"""What a run says, written down before it is published: in batches, without the project's lock, and seen by nobody.

Predictions and departures count once their run is done. So what is left to the one transaction that ends a run is
short: the tasks themselves. Rows of a run that came to nothing are deleted before the next one writes its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection, transaction
from django.utils.translation import gettext as _

from assist.jobs.work import Stopped, Work
from assist.models import AssistRun, Departure, Prediction
from projects import bulk

BATCH = 2000


def clear(work: Work) -> None:
    """Delete what earlier attempts, and runs that came to nothing, have left: one run of a project is under way."""
    runs = AssistRun.objects.filter(project=work.project).exclude(state=AssistRun.State.DONE)
    for pk in runs.values_list("pk", flat=True):
        for model in (Departure, Prediction):
            model._default_manager.filter(run=pk)._raw_delete("default")


def predictions(work: Work, rows: Iterable[Sequence[Any]], total: int, begin: float, share: float) -> None:
    """Write predictions: task, labels, confidence, margin, whether it is suggested."""
    columns = {"task_id": "int", "labels": "json", "confidence": "float", "margin": "float", "is_suggested": "bool"}
    _insert(work, "assist_prediction", columns, {"run_id": work.run.pk}, rows, total, begin, share)


def departures(work: Work, ledger: int, rows: Iterable[Sequence[Any]], total: int, begin: float, share: float) -> None:
    """Write departures: task, classes, confidence, whether it is suggested."""
    columns = {"task_id": "int", "classes": "json", "confidence": "float", "is_suggested": "bool"}
    _insert(work, "assist_departure", columns, {"run_id": work.run.pk, "ledger_id": ledger}, rows, total, begin, share)


def blanks_stay(run: AssistRun, filled: set[int]) -> None:
    """Take down that tasks which were claimed or answered meanwhile got no suggestion, and stay blank."""
    for model in (Prediction, Departure):
        rows = model._default_manager.filter(run=run, is_suggested=True)
        blank = [pk for pk, task in rows.values_list("pk", "task_id") if task not in filled]
        for start in range(0, len(blank), BATCH):
            model._default_manager.filter(pk__in=blank[start : start + BATCH]).update(is_suggested=False)


def _insert(
    work: Work,
    table: str,
    columns: dict[str, str],
    same: dict[str, int],
    rows: Iterable[Sequence[Any]],
    total: int,
    begin: float,
    share: float,
) -> None:
    names = [*same, *columns]
    values = [*("%s" for _name in same), *(f"new.{name}" for name in columns)]
    n_done = 0
    for count, packed in bulk.packs(rows):
        with transaction.atomic(), connection.cursor() as cursor:
            if not work.mine.select_for_update().exists():
                raise Stopped
            cursor.execute(
                f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)}"  # noqa: S608
                f" FROM {bulk.table(columns)} AS new",
                [*same.values(), packed],
            )
        n_done += count
        words = _("writing down: %(n)d of %(total)d") % {"n": n_done, "total": total}
        work.report(begin + share * n_done / max(total, 1), words)
