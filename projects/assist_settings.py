"""Change the settings of ML assisted labeling: the function behind Details and the API (SPEC A1, S2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from projects import signals
from projects.access import lock
from projects.creation import ASSIST_FIELDS
from projects.models import Project


@transaction.atomic
def change_assist(project: Project, settings: Mapping[str, Any]) -> Project:
    """Save the settings, named as in the API, and tell those who follow them. Raises ValidationError."""
    project = lock(project)
    for name, value in settings.items():
        setattr(project, ASSIST_FIELDS[name], value)
    project.full_clean()
    project.save(update_fields=[ASSIST_FIELDS[name] for name in settings])
    signals.assist_changed.send(sender=Project, project=project)
    return project
