"""Find a project as a command names it."""

from __future__ import annotations

from django.utils.translation import gettext as _

from projects.models import Project


class NoSuchProject(Exception):
    """There is no such project, in words."""


def find_project(name: str) -> Project:
    """Return the project of that name, else the one with that id. Raises NoSuchProject."""
    found = Project.objects.filter(name=name).first()
    if found is None and name.isascii() and name.isdigit() and len(name) < 19:
        found = Project.objects.filter(pk=int(name)).first()
    if found is None:
        raise NoSuchProject(_("There is no project “%(name)s”.") % {"name": name})
    return found
