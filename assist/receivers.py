"""What assist does when something happens below it: labels given, settings changed, a project deleted."""

from __future__ import annotations

import shutil
from typing import Any

from django.db import transaction
from django.dispatch import receiver

from assist import cycle
from assist.models import AssistRun, Departure, Ledger, Prediction, Shard, project_folder
from labeling import signals as labeling_signals
from projects import signals
from projects.models import Project


@receiver(labeling_signals.labels_given)
def look_after_labels(project: Project, **kwargs: Any) -> None:
    """See whether enough labels are there for a training."""
    if project.assist_enabled:
        transaction.on_commit(lambda: cycle.look_soon(project))


@receiver(signals.assist_changed)
def follow_the_settings(project: Project, **kwargs: Any) -> None:
    """Begin at once when assistance was switched on; take back what waits when it was switched off."""
    if project.assist_enabled:
        transaction.on_commit(lambda: cycle.look_soon(project))
    else:
        cycle.switch_off(project)


@receiver(labeling_signals.labels_withdrawn)
@receiver(signals.classes_changed)
def forget_what_was_learnt(project: Project, **kwargs: Any) -> None:
    """Take back what waits and train anew: the promise was made by other classes, or by labels that are gone (A5)."""
    if cycle.take_back(project):
        cycle.close_ledger(project)
    if project.assist_enabled:
        transaction.on_commit(lambda: cycle.look_soon(project))


@receiver(signals.refresh_finished)
def look_at_new_images(project: Project, **kwargs: Any) -> None:
    """Have new images looked at by the model before anybody labels them."""
    if project.assist_enabled:
        transaction.on_commit(lambda: cycle.look_soon(project))


@receiver(signals.project_deleting)
def delete_runs(project: Project, **kwargs: Any) -> None:
    """Delete a project's runs and predictions by sets, and its models once that is committed."""
    Prediction.objects.filter(run__project=project)._raw_delete("default")
    Departure.objects.filter(run__project=project)._raw_delete("default")
    Ledger.objects.filter(project=project)._raw_delete("default")
    Shard.objects.filter(run__project=project)._raw_delete("default")
    AssistRun.objects.filter(project=project).update(follows=None, model=None)
    AssistRun.objects.filter(project=project)._raw_delete("default")
    folder = project_folder(project.pk)
    transaction.on_commit(lambda: shutil.rmtree(folder, ignore_errors=True))
