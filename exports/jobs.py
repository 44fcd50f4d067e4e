"""Ask for an export, and write it in a worker: the one function behind button, API and command (SPEC E1)."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django_q.tasks import async_task

from exports.formats import formats
from exports.models import Export, Job, LabeledDataset, LabelImport, Lost
from exports.options import Options
from exports.snapshots import Frozen, Snapshot, freeze
from exports.writing import CannotWrite, Format, Output
from projects.access import lock
from projects.models import Datastore, Project
from projects.stores import CHUNK, StoreError
from projects.transitions import DATABASE_AWAY, WrongState

LOST_AFTER = timedelta(seconds=90)
BEAT_SECONDS = 20.0
MAX_ATTEMPTS = 3
WORKERS: dict[Any, str] = {Export: "exports.jobs.write", LabelImport: "exports.importing.jobs.run"}


class Busy(Exception):
    """An export of this kind is under way already."""

    def __init__(self, export: Export) -> None:
        super().__init__(_("An export of this project is being written already. Wait until it is done."))
        self.export = export


def check(project: Project, name: object, options: object) -> tuple[Format, Options]:
    """Return the format and the options. Raises ValidationError for what this project can't be exported as."""
    format = formats().get(name) if isinstance(name, str) else None
    if format is None:
        known = ", ".join(formats())
        raise ValidationError({"format": _("Choose one of these formats: %(known)s.") % {"known": known}})
    if project.task_type not in format.task_types:
        raise ValidationError(
            {"format": _("%(format)s holds boxes, and this project has none.") % {"format": format.title}}
        )
    checked = Options.parse(options)
    if checked.include_unlabeled and "include_unlabeled" not in format.options:
        words = _("%(format)s has no way to say that an image is not labeled yet.") % {"format": format.title}
        raise ValidationError({"options": words})
    return format, checked


def enqueue(project: Project, by: User | None, options: object = None, format: str = "coco") -> Export:
    """Record an export of all that is labeled up to now, and wake a worker once it is committed.

    Raises Busy, or ValidationError for options that this project or format doesn't have.
    """
    kind, checked = check(project, format, options or {})
    try:
        with transaction.atomic():
            project = lock(project)  # every event before this one is committed
            frozen = freeze(project, checked)
            export = Export.objects.create(
                project=project,
                project_name=project.name,
                format=kind.name,
                options=checked.as_json(),
                requested_by=by,
                event=frozen.event,
                frozen=frozen.as_json(),
                datastore=default_datastore(),
            )
            if kind.name == "dataset":
                _name_dataset(project, export, datetime.fromisoformat(frozen.at))
            wake(export)
            return export
    except IntegrityError:
        active = Export.objects.filter(project=project, state__in=Export.ACTIVE, format=kind.name).first()
        if active is None:
            raise
        raise Busy(active) from None


def _name_dataset(project: Project, export: Export, at: datetime) -> None:
    """Give the snapshot its name for good: that of the project, with the moment to the second that is still free."""
    name = _slug(project.name)
    taken = set(LabeledDataset.objects.filter(name=name).values_list("version", flat=True))
    while (version := f"{at.astimezone(timezone.get_default_timezone()):%Y%m%d_%H%M%S}") in taken:
        at += timedelta(seconds=1)
    LabeledDataset.objects.create(
        project=project, export=export, name=name, version=version, task_type=project.task_type
    )


def _slug(name: str) -> str:
    return slugify(name) or "project"


def wake(job: Job) -> None:
    """Have a worker look at it once it is committed."""
    transaction.on_commit(lambda: async_task(WORKERS[type(job)], job.pk))


@contextmanager
def alive(job: Job) -> Iterator[None]:
    """Keep saying that the worker is alive, however long one step takes."""
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(BEAT_SECONDS):
            with suppress(*DATABASE_AWAY):  # the next beat may find it again
                job.say_alive()
            connection.close()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def again(export: Export, by: User) -> Export:
    """Ask once more for what failed, of all that is labeled by now. Raises Busy or ValidationError."""
    if export.project is None:
        raise ValidationError(_("The project was deleted."))
    kept = {name: value for name, value in export.options.items() if value is not None}
    return enqueue(export.project, by, kept, export.format)


def write(export_id: int) -> None:
    """Write one export; a second delivery finds it started and does nothing."""
    export = Export.objects.select_related("project__dataset__datastore").get(pk=export_id)
    try:
        export.start()
    except WrongState:
        return
    try:
        if export.project is None:
            raise CannotWrite(_("The project was deleted."))
        with alive(export), tempfile.TemporaryDirectory(prefix="labelsite-export-") as folder:
            output, n_rows = _write_files(export, export.project, Path(folder))
            files = [_store(export, output.folder / name) for name in output.names]
    except (StoreError, CannotWrite) as error:
        export.fail(str(error))
    except Lost:
        return
    except DATABASE_AWAY:
        raise
    except Exception as error:
        export.fail(_("Something unexpected went wrong: %(error)s") % {"error": error})
        raise
    else:
        first = files[0]
        export.finish(rows=n_rows, files=files, sha256=first["sha256"], location=first["key"])


def _write_files(export: Export, project: Project, folder: Path) -> tuple[Output, int]:
    total = max(project.images.count(), 1)
    options = Options.load(export.options)
    snapshot = Snapshot(project, Frozen(**export.frozen), options, lambda n_images: export.beat(n_images / total))
    output = Output(folder, _stem(export))
    return output, formats()[export.format].write(snapshot, output)


def _stem(export: Export) -> str:
    dataset = LabeledDataset.objects.filter(export=export).first()
    return str(dataset) if dataset else _slug(export.project_name)


def folder_of(export: Export) -> str:
    """Return the folder of the datastore that an export has for itself."""
    return f"export/{export.format}/{_slug(export.project_name)}/{export.pk}"


def _store(export: Export, path: Path) -> dict[str, Any]:
    """Put a file into the datastore, where the export's id makes the folder its own."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
        file.seek(0)
        key = f"{folder_of(export)}/{path.name}"
        store = datastore_of(export).open()
        try:
            key = store.write(key, cast(BinaryIO, file))
        except FileExistsError:  # written by an attempt that died before it could say so
            file.seek(0)
            key = store.write(key, cast(BinaryIO, file), overwrite=True)
    return {
        "name": path.name,
        "ending": path.suffix[1:],
        "key": key,
        "bytes": path.stat().st_size,
        "sha256": digest.hexdigest(),
    }


def default_datastore() -> Datastore:
    """Return the datastore that uploads and exports go to."""
    return Datastore.objects.get(is_default=True)


def datastore_of(job: Export | LabelImport) -> Datastore:
    """Return the datastore that was the default one when the job was asked for."""
    return job.datastore or default_datastore()


def file_of(export: Export, name: str = "") -> dict[str, Any] | None:
    """Return one of the finished export's files by its name, or the first; None if there is no such file."""
    if export.state != Export.State.DONE:
        return None
    files = export.files or [_only_file(export)]
    return next((file for file in files if name in ("", file["name"])), None)


def _only_file(export: Export) -> dict[str, Any]:
    """Return the file of an export from before exports had several."""
    name = export.location.rpartition("/")[2]
    return {"name": name, "key": export.location, "bytes": None, "sha256": export.sha256}


def open_file(export: Export, name: str = "") -> BinaryIO:
    """Open a file of a finished export for reading. Raises StoreError."""
    file = file_of(export, name)
    if file is None:
        raise StoreError(_("There is no such file."))
    return datastore_of(export).open().open(file["key"])


def reap() -> int:
    """Hand jobs whose worker was lost, or that no worker was told of, to a worker again; return how many."""
    return sum(_reap(kind) for kind in WORKERS)


def _reap(kind: Any) -> int:
    limit = timezone.now() - LOST_AFTER
    silent = kind._default_manager.filter(heartbeat_at__lt=limit)
    n_woken = 0
    for job in silent.filter(state=Job.State.RUNNING):
        if job.attempts >= MAX_ATTEMPTS:
            job.fail(_("The worker was lost several times."))
        elif job.put_back():
            wake(job)
            n_woken += 1
    for job in silent.filter(state=Job.State.QUEUED):
        kind._default_manager.filter(pk=job.pk, state=Job.State.QUEUED).update(heartbeat_at=timezone.now())
        wake(job)
        n_woken += 1
    return n_woken
