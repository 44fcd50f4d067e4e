"""Sweep up the files that killed processes left: half-written ones, copies, results that nobody was told of.

Everything is written beside its name and then put in place, so what is left was never shown to anybody.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from assist.models import AssistRun
from exports.jobs import datastore_of, default_datastore, folder_of
from exports.models import Export, Job, LabelImport
from projects.models import Datastore
from projects.stores import Store, StoreError
from projects.stores.local import WRITING, LocalStore

DAY = 24 * 3600.0
# What jobs copy and write, and Django's of files that are being uploaded; never everything of our name.
TEMPORARY = ("labelsite-export-*", "labelsite-import-*", "labelsite-image-*", "tmp*.upload", "tmp*.upload.*")


def sweep(older_than: float = DAY) -> int:
    """Remove what no living work can be at any more; return how many files or folders; a schedule calls this."""
    data = Path(settings.DATA_DIR)
    found = [
        *(path for path in data.glob("previews/*/*") if path.suffix != ".jpg"),
        *data.glob("cache/tmp*"),
        *_half_written(),
        *_folders_of_ended_runs(),
    ]
    n_removed = sum(_remove(path) for path in _old(found, older_than))
    for store, key in [*_files_of_ended_imports(older_than), *_files_of_failed_exports(older_than)]:
        with suppress(StoreError):
            store.delete(key)
            n_removed += 1
    return n_removed + sweep_temporary_folder(older_than)


def sweep_temporary_folder(older_than: float = DAY) -> int:
    """Remove what killed processes left in this machine's folder for temporary files; return how much it was."""
    folder = Path(tempfile.gettempdir())
    found = [path for pattern in TEMPORARY for path in folder.glob(pattern)]
    return sum(_remove(path) for path in _old(found, older_than))


def _old(paths: Iterable[Path], older_than: float) -> Iterator[Path]:
    """Yield those that have not been written to for so long, and are this user's."""
    limit = time.time() - older_than
    for path in paths:
        with suppress(OSError):
            facts = path.lstat()
            if facts.st_mtime <= limit and facts.st_uid == os.geteuid():
                yield path


def _remove(path: Path) -> bool:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        return False
    return True


def _half_written() -> Iterator[Path]:
    """Yield what was being written into folders of this machine."""
    for datastore in Datastore.objects.filter(kind=Datastore.Kind.LOCAL):
        with suppress(StoreError):
            store = datastore.open()
            if isinstance(store, LocalStore):
                for folder, _folders, names in os.walk(store.root):
                    yield from (Path(folder, name) for name in names if name.startswith(WRITING))


def _folders_of_ended_runs() -> Iterator[Path]:
    """Yield the folders of runs that came to no result."""
    ended = AssistRun.objects.filter(state__in=[AssistRun.State.FAILED, AssistRun.State.CANCELLED])
    for run in ended.only("pk", "project_id").iterator():
        if run.folder.is_dir():
            yield run.folder


def _files_of_ended_imports(older_than: float) -> Iterator[tuple[Store, str]]:
    """Yield files of labels of which no import is waiting or under way."""
    limit = timezone.now() - timedelta(seconds=older_than)
    active = set(LabelImport.objects.filter(state__in=Job.ACTIVE).values_list("key", flat=True))
    with suppress(StoreError):
        store = default_datastore().open()
        for page in store.pages("import"):
            for entry in page:
                made_at = _moment(entry.key.rpartition("/")[2])
                if made_at is not None and made_at <= limit and entry.key not in active:
                    yield store, entry.key


def _moment(name: str) -> datetime | None:
    """Return the moment that the name of an import's file begins with."""
    try:
        return datetime.strptime(name.partition("-")[0], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _files_of_failed_exports(older_than: float) -> Iterator[tuple[Store, str]]:
    """Yield files of exports that failed or were cancelled of late."""
    limit = timezone.now() - timedelta(seconds=older_than)
    of_late = {"ended_at__lte": limit, "ended_at__gt": limit - timedelta(days=3)}
    for export in Export.objects.filter(state=Export.State.FAILED, **of_late):
        with suppress(StoreError):
            store = datastore_of(export).open()
            for page in store.pages(folder_of(export)):
                yield from ((store, entry.key) for entry in page)
