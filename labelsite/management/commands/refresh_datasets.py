"""Look for new, changed and missing images of projects, as from cron (SPEC F3)."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from projects import refresh
from projects.models import Project, Refresh

WATCH_SECONDS = 0.5


class Command(BaseCommand):
    """Refresh some projects, or all, one after another; a refresh that is under way is waited for."""

    help = "Look for new, changed and missing images of projects."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Name projects, or all."""
        parser.add_argument("projects", nargs="*", metavar="PROJECT", help="a project's name or number")
        parser.add_argument("--all", action="store_true", help="every project that is running or paused")

    def handle(self, *args: Any, **options: Any) -> None:
        """Refresh each, and fail in the end if one failed."""
        projects = self._chosen(options["projects"], options["all"])
        failed = [project.name for project in projects if not self._refresh(project)]
        if failed:
            raise CommandError(_("These were not refreshed: %(names)s.") % {"names": ", ".join(failed)})

    def _chosen(self, names: list[str], is_all: bool) -> list[Project]:
        ready = Project.objects.filter(state__in=[Project.State.RUNNING, Project.State.PAUSED]).order_by("pk")
        if is_all == bool(names):
            raise CommandError(_("Name projects, or give --all."))
        if is_all:
            return list(ready)
        chosen = []
        for name in names:
            named = ready.filter(name=name).first()
            project = named or (ready.filter(pk=name).first() if name.isascii() and name.isdigit() else None)
            if project is None:
                raise CommandError(_("There is no running or paused project “%(name)s”.") % {"name": name})
            chosen.append(project)
        return chosen

    def _refresh(self, project: Project) -> bool:
        row = refresh.enqueue(project, wake=False)
        refresh.run(row.pk)  # does nothing where a worker has it already
        row.refresh_from_db()
        while row.is_active:
            time.sleep(WATCH_SECONDS)
            row.refresh_from_db()
        told = _("%(found)d found, %(added)d added, %(changed)d changed, %(missing)d missing, %(left_out)d left out")
        facts = {name: getattr(row, name) for name in ("found", "added", "changed", "missing", "left_out")}
        self.stdout.write(f"{project.name}: {row.error or told % facts}")
        return row.state == Refresh.State.DONE
