"""Have a file of labels taken in: the one function behind the console and the command."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import gettext as _

from exports.importing.document import BadFile
from exports.importing.report import Report
from exports.importing.taking import READERS, Choices, take
from exports.jobs import alive, datastore_of, default_datastore, wake
from exports.models import LabelImport, Lost
from projects.models import Project
from projects.stores import StoreError
from projects.transitions import DATABASE_AWAY, WrongState


class Busy(Exception):
    """Another file is being taken in."""

    def __init__(self) -> None:
        super().__init__(_("Another file is being imported into this project. Wait until it is done."))


def check(project: Project, kind: str, choices: Choices) -> None:
    """Raise ValidationError for what can't be asked for, or not now."""
    if kind not in LabelImport.Kind.values:
        raise ValidationError(_("Import labels as “final” or as “prelabel”."))
    if choices.format not in ("", *READERS):
        raise ValidationError(_("A file of labels is “coco” or “csv”."))
    if choices.coordinates not in ("", "pixel", "normalized"):
        raise ValidationError(_("“coordinates” is “pixel” or “normalized”."))
    if project.state in (Project.State.INITIALIZING, Project.State.FAILED):
        raise ValidationError(_("The project's images are not all registered yet. Import when the project runs."))


def enqueue(project: Project, by: User | None, file: BinaryIO, name: str, kind: str, choices: Choices) -> LabelImport:
    """Keep a file and have a worker take its labels in. Raises ValidationError, StoreError or Busy."""
    check(project, kind, choices)
    store = default_datastore().open()
    # The moment is in the name: what a killed process leaves is swept up by its age (labelsite/leftovers.py).
    name_of_file = f"{timezone.now():%Y%m%dT%H%M%S}-{uuid.uuid4()}"
    key = store.write(f"import/{slugify(project.name) or 'project'}/{name_of_file}", file)
    try:
        with transaction.atomic():
            row = _make(project, by, name, kind, choices, key)
            wake(row)
    except Busy:
        store.delete(key)
        raise
    return row


def _make(project: Project, by: User | None, name: str, kind: str, choices: Choices, key: str) -> LabelImport:
    try:
        with transaction.atomic():
            return LabelImport.objects.create(
                project=project,
                requested_by=by,
                file_name=name.rpartition("/")[2][-200:],
                kind=kind,
                options=asdict(choices),
                datastore=default_datastore(),
                key=key,
            )
    except IntegrityError:
        raise Busy from None


def run_here(project: Project, by: User | None, path: Path, kind: str, choices: Choices) -> LabelImport:
    """Take a file of this machine in, here and now. Raises ValidationError or Busy; the row says how it went."""
    check(project, kind, choices)
    row = _make(project, by, path.name, kind, choices, key="")
    row.start()
    _run(row, path)
    row.refresh_from_db()
    return row


def run(import_id: int) -> None:
    """Take in the file of one import; a second delivery finds it started and does nothing."""
    row = LabelImport.objects.get(pk=import_id)
    try:
        row.start()
    except WrongState:
        return
    store = datastore_of(row).open()
    with tempfile.NamedTemporaryFile(prefix="labelsite-import-") as copy:
        try:
            with store.open(row.key) as source:
                shutil.copyfileobj(source, copy)
            copy.flush()
        except StoreError as error:
            row.fail(str(error))
            return
        _run(row, Path(copy.name))
    store.delete(row.key)


def _run(row: LabelImport, path: Path) -> None:
    report = Report.load(row.report)  # what an attempt before this one took in
    try:
        with alive(row):
            take(
                row.project,
                path,
                Choices(**row.options),
                report,
                is_final=row.kind == LabelImport.Kind.FINAL,
                by=row.requested_by,
                report_progress=row.beat,
                keep=row.keep,
            )
        if report.imported or not report.images:
            row.finish(report=report.as_json())
        else:
            row.fail(_("None of the file's images could be taken; below is why."), report=report.as_json())
    except (BadFile, StoreError) as error:
        row.fail(str(error))
    except Lost:
        return
    except DATABASE_AWAY:
        raise
    except Exception as error:
        row.fail(_("Something unexpected went wrong: %(error)s") % {"error": error})
        raise
