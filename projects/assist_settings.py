"""Change the settings of ML assisted labeling: the one function behind Details and the API (SPEC A1, S2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _

from projects import signals
from projects.access import lock
from projects.creation import ASSIST_FIELDS
from projects.forms import AssistForm
from projects.models import Project


def save_assist(request: HttpRequest, project: Project) -> str:
    """Save what the form on Details says. Raises ValidationError."""
    form = AssistForm(request.POST)
    if not form.is_valid():
        raise ValidationError([error for errors in form.errors.values() for error in errors])
    change_assist(project, form.cleaned_data["assist"])
    return _("Saved. A model helps from now on.") if form.cleaned_data["enabled"] else _("Saved. No model helps.")


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
