"""The sections of the Details tab: cards that are each saved on their own; apps above add theirs (SPEC T1).

A section is a form, a template for its card, and what saving it does. ``register`` it in an app's ``ready()``, as
labeling does with the classes.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.http import HttpRequest

from projects.models import Project


class Section:
    """One card of the Details tab; errors of its form stand beside their fields."""

    name: ClassVar[str]
    title: ClassVar[Any]
    icon: ClassVar[str]  # one of templates/includes/icons.html
    order: ClassVar[int]
    template: ClassVar[str]

    def form(self, request: HttpRequest, project: Project, data: Any = None) -> forms.BaseForm:
        """Return the form: as the project is, or with what was typed."""
        raise NotImplementedError

    def context(self, request: HttpRequest, project: Project) -> dict[str, Any]:
        """Return what the template needs besides ``project``, ``section`` and ``form``."""
        return {}

    def redo(self, request: HttpRequest, project: Project) -> forms.BaseForm | None:
        """Return the form with something filled in by a button that saves nothing, or None."""
        return None

    def refused(self, request: HttpRequest, project: Project, form: forms.BaseForm) -> None:
        """Hear that a form was not valid; nothing of it is saved."""

    def save(self, request: HttpRequest, project: Project, form: Any) -> str:
        """Save a valid form and say so; the project is locked. Raises ValidationError."""
        raise NotImplementedError


_sections: list[Section] = []


def register(section: Section) -> None:
    """Add a section to the Details tab, at the place that its order says."""
    _sections.append(section)
    _sections.sort(key=lambda other: other.order)


def sections() -> list[Section]:
    """Return all sections in their order."""
    return list(_sections)
