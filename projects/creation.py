"""Make a project: the one function behind the wizard, the API and the command (SPEC P2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from projects import refresh
from projects.access import grant_owner, open_to_all
from projects.models import Dataset, LabelClass, Project

ASSIST_FIELDS = {
    "enabled": "assist_enabled",
    "device": "assist_device",
    "target_precision": "assist_target",
    "min_labels": "assist_min_labels",
    "threshold": "assist_threshold",
    "network": "assist_network",
    "training": "assist_training",
    "clustering": "assist_clustering",
}


def check_class_names(names: Iterable[str]) -> list[str]:
    """Return the names without outer spaces. Raises ValidationError for none, empty, long or equal ones."""
    cleaned = [name.strip() for name in names]
    if not cleaned:
        raise ValidationError({"classes": _("Enter at least one class.")})
    seen: set[str] = set()
    for name in cleaned:
        if not name:
            raise ValidationError({"classes": _("A class needs a name.")})
        if len(name) > 100:
            raise ValidationError({"classes": _("“%(name)s…” is longer than 100 characters.") % {"name": name[:30]}})
        if name.lower() in seen:
            raise ValidationError({"classes": _("“%(name)s” is there twice. Class names differ.") % {"name": name}})
        seen.add(name.lower())
    return cleaned


@transaction.atomic
def create_project(
    *,
    name: str,
    task_type: str,
    dataset: Dataset,
    classes: Iterable[tuple[str, str | None]],
    created_by: User,
    instructions_url: str = "",
    instructions_text: str = "",
    incremental_refresh: bool = False,
    is_open_to_all: bool = True,
    assist: dict[str, Any] | None = None,
) -> Project:
    """Make a project and have its images registered; it starts by itself when they are.

    ``classes`` are (name, colour or None) in their order. Raises ValidationError, and then nothing was made.
    """
    pairs = list(classes)
    names = check_class_names(pair[0] for pair in pairs)
    chosen = dict(assist or {})
    if task_type == Project.TaskType.DETECTION:
        chosen.setdefault("min_labels", Project.FIRST_TRAINING_BOXES)
    project = Project(
        name=name.strip(),
        task_type=task_type,
        dataset=dataset,
        instructions_url=instructions_url,
        instructions_text=instructions_text,
        incremental_refresh=incremental_refresh,
        created_by=created_by,
        **{ASSIST_FIELDS[key]: value for key, value in chosen.items()},
    )
    project.full_clean()
    project.save()
    for position, (class_name, (_name, color)) in enumerate(zip(names, pairs, strict=True)):
        LabelClass(project=project, name=class_name, color=color or "", position=position).save()
    grant_owner(created_by, project)
    open_to_all(project, is_open_to_all)
    refresh.enqueue(project)
    return project
