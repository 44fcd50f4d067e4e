"""Ask for an export, and write it in a worker: the one function behind button, API and command (SPEC E1)."""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from datetime import timedelta
from typing import Any, BinaryIO, cast

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django_q.tasks import async_task

from exports import coco
from exports.models import Export
from exports.snapshots import Snapshot, last_event
from projects.access import lock
from projects.models import Datastore, Project
from projects.stores import CHUNK, StoreError
from projects.transitions import WrongState, move

LOST_AFTER = timedelta(seconds=90)
MAX_ATTEMPTS = 3


class Busy(Exception):
    """An export of this kind is under way already."""

    def __init__(self, export: Export) -> None:
        super().__init__(_("An export of this project is being written already. Wait until it is done."))
        self.export = export


def check_options(project: Project, options: object) -> dict[str, Any]:
    """Return the options with their defaults. Raises ValidationError for those that are not known."""
    if not isinstance(options, dict):
        raise ValidationError({"options": _("Options are an object of names and values.")})
    coordinates = options.get("coordinates", "pixel")
    if coordinates not in ("pixel", "normalized"):
        raise ValidationError({"options": _("“coordinates” is “pixel” or “normalized”.")})
    unknown = set(options) - {"coordinates"}
    if unknown:
        raise ValidationError({"options": _("“%(name)s” is not an option.") % {"name": sorted(unknown)[0]}})
    return {"coordinates": coordinates}


def enqueue(project: Project, by: User | None, options: object = None, format: str = Export.Format.COCO) -> Export:
    """Record an export of all that is labeled up to now, and wake a worker once it is committed. Raises Busy."""
    checked = check_options(project, options or {})
    try:
        with transaction.atomic():
            lock(project)  # every event before this one is committed
            export = Export.objects.create(
                project=project,
                project_name=project.name,
                format=format,
                options=checked,
                requested_by=by,
                event=last_event(project),
            )
            transaction.on_commit(lambda: async_task("exports.jobs.write", export.pk))
            return export
    except IntegrityError:
        active = Export.objects.filter(project=project, state__in=[Export.State.QUEUED, Export.State.RUNNING])
        raise Busy(active.get(format=format)) from None


def write(export_id: int) -> None:
    """Write one export; a second delivery finds it started and does nothing."""
    export = Export.objects.select_related("project").get(pk=export_id)
    token = str(uuid.uuid4())
    now = timezone.now()
    try:
        move(
            export,
            "state",
            Export.State.QUEUED,
            Export.State.RUNNING,
            token=token,
            attempts=F("attempts") + 1,
            heartbeat_at=now,
        )
    except WrongState:
        return
    mine = Export.objects.filter(pk=export.pk, token=token, state=Export.State.RUNNING)
    try:
        if export.project is None:
            raise StoreError(_("The project was deleted."))
        with tempfile.TemporaryFile() as file:
            rows, digest = _write_file(export, export.project, file, mine)
            file.seek(0)
            key = _store(export, file)
    except StoreError as error:
        mine.update(state=Export.State.FAILED, error=str(error), ended_at=timezone.now())
    except Exception as error:
        words = _("Something unexpected went wrong: %(error)s") % {"error": error}
        mine.update(state=Export.State.FAILED, error=words, ended_at=timezone.now())
        raise
    else:
        mine.update(
            state=Export.State.DONE, progress=1, rows=rows, sha256=digest, location=key, ended_at=timezone.now()
        )


def _write_file(export: Export, project: Project, file: Any, mine: Any) -> tuple[int, str]:
    snapshot = Snapshot(project, export.event)
    total = 2 * max(snapshot.count(), 1)  # images, then annotations

    def report(n_done: int) -> None:
        mine.update(progress=min(n_done / total, 0.99), heartbeat_at=timezone.now())

    rows = coco.write(snapshot, file, normalized=export.options["coordinates"] == "normalized", report=report)
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return rows, digest.hexdigest()


def _store(export: Export, file: Any) -> str:
    """Write the file into the default datastore, where its id makes the folder its own; return its key."""
    folder = slugify(export.project_name) or "project"
    key = f"export/{export.format}/{folder}/{export.pk}/{folder}.json"
    store = default_datastore().open()
    try:
        return store.write(key, cast(BinaryIO, file))
    except FileExistsError:  # written by an attempt that died before it could say so
        return store.write(key, cast(BinaryIO, file), overwrite=True)


def default_datastore() -> Datastore:
    """Return the datastore that uploads and exports go to."""
    return Datastore.objects.get(is_default=True)


def open_file(export: Export) -> BinaryIO:
    """Open a finished export for reading."""
    return default_datastore().open().open(export.location)


def reap() -> int:
    """Hand exports whose worker was lost, or that no worker was told of, to a worker again; return how many."""
    limit = timezone.now() - LOST_AFTER
    n_woken = 0
    for export in Export.objects.filter(state=Export.State.RUNNING, heartbeat_at__lt=limit):
        mine = Export.objects.filter(pk=export.pk, token=export.token, state=Export.State.RUNNING)
        if export.attempts >= MAX_ATTEMPTS:
            mine.update(state=Export.State.FAILED, error=_("The worker was lost several times."))
        elif mine.update(state=Export.State.QUEUED, token="", created_at=timezone.now()):
            async_task("exports.jobs.write", export.pk)
            n_woken += 1
    for export in Export.objects.filter(state=Export.State.QUEUED, created_at__lt=limit):
        async_task("exports.jobs.write", export.pk)
        n_woken += 1
    return n_woken
