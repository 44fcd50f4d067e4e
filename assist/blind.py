"""Which labels are blind and which confirm a suggestion (docs/assist.md), as queries.

A label is *blind* when it was given to a blank image, on a manual or clustered page. Only blind labels judge a model.
The labels themselves, as arrays, are `assist/labels.py`'s: web processes do without numpy.
"""

from __future__ import annotations

from django.db.models import Exists, OuterRef
from django.utils import timezone

from assist.models import AssistRun, Ledger, Prediction
from labeling.models import Kind, LabelTask, LabelTaskQuerySet, Status
from projects.models import Project

COUNTED = (Status.LABELED, Status.APPROVED)


def labeled_tasks(project: Project) -> LabelTaskQuerySet:
    """Return the tasks whose labels stand and whose file has not changed since."""
    return LabelTask.objects.in_project(project).filter(status__in=COUNTED)


def blind_tasks(project: Project) -> LabelTaskQuerySet:
    """Return those of them that were labeled on a blank page."""
    return labeled_tasks(project).exclude(kind=Kind.PRELABELED).filter(prelabels__isnull=True)


def suggested_tasks(project: Project) -> LabelTaskQuerySet:
    """Return the tasks on which a model of this project filled something in; imports are none of its business."""
    ours = Prediction.objects.filter(task=OuterRef("pk"), is_suggested=True, run__state=AssistRun.State.DONE)
    return LabelTask.objects.in_project(project).filter(Exists(ours), kind=Kind.PRELABELED)


def close_ledger(project: Project) -> None:
    """End the present promise: what was published stays, but new thresholds need new evidence."""
    Ledger.objects.filter(project=project, closed_at__isnull=True).update(closed_at=timezone.now())
