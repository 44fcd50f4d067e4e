"""Register a dataset's images in a project, and look again for new, changed and missing ones (SPEC D5, D7, F)."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Count, F, Max, Min
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext as _
from django_q.tasks import async_task

from projects import signals
from projects.models import Image, Project, Refresh
from projects.patterns import is_image_name
from projects.patterns import parse as parse_pattern
from projects.seen import SeenImages
from projects.stores import Entry, Page, StoreError
from projects.transitions import DATABASE_AWAY, WrongState, move

LOST_AFTER = timedelta(seconds=90)
MAX_ATTEMPTS = 3
PAGE_SIZE = 5000
BATCH_SECONDS = 5.0


class NoImages(Exception):
    """The dataset holds no image, so there is nothing to label."""


def enqueue(project: Project, wake: bool = True) -> Refresh:
    """Record a refresh and wake a worker once it is committed; the one under way is returned if there is one."""
    try:
        with transaction.atomic():
            refresh = Refresh.objects.create(project=project)
            if wake:
                _wake_worker(refresh)
            return refresh
    except IntegrityError:
        return Refresh.objects.get(project=project, state__in=[Refresh.State.QUEUED, Refresh.State.RUNNING])


def retry(project: Project) -> Refresh:
    """Start a failed project's registration again."""
    with transaction.atomic():
        project.retry()
        return enqueue(project)


def _wake_worker(refresh: Refresh) -> None:
    transaction.on_commit(lambda: async_task("projects.refresh.run", refresh.pk))


def run(refresh_id: int) -> None:
    """Carry out one refresh; a second delivery finds it started and does nothing."""
    refresh = Refresh.objects.select_related("project__dataset__datastore").get(pk=refresh_id)
    token = str(uuid.uuid4())
    now = timezone.now()
    try:
        move(
            refresh,
            "state",
            Refresh.State.QUEUED,
            Refresh.State.RUNNING,
            token=token,
            attempts=F("attempts") + 1,
            started_at=Coalesce("started_at", now),
            heartbeat_at=now,
        )
    except WrongState:
        return
    project = refresh.project
    try:
        _Registration(refresh, token).run()
    except (StoreError, NoImages) as error:
        _fail(refresh, project, token, str(error))
    except LostToken:
        return
    except DATABASE_AWAY:
        raise
    except Exception as error:
        _fail(refresh, project, token, _("Something unexpected went wrong: %(error)s") % {"error": error})
        raise
    else:
        _finish(refresh, project, token)


def _finish(refresh: Refresh, project: Project, token: str) -> None:
    with transaction.atomic():
        mine = Refresh.objects.filter(pk=refresh.pk, token=token, state=Refresh.State.RUNNING)
        unreadable = Image.objects.filter(project=project, problem=Image.Problem.UNREADABLE).count()
        done = {"state": Refresh.State.DONE, "ended_at": timezone.now(), "unreadable": unreadable}
        if not mine.update(**done, bookmark="", seen=None):
            return
        project.refresh_from_db()
        if project.state == Project.State.INITIALIZING:
            project.mark_created()
            project.start()
        signals.refresh_finished.send(sender=Refresh, project=project, added=refresh.added)


def _fail(refresh: Refresh, project: Project, token: str, reason: str) -> None:
    with transaction.atomic():
        mine = Refresh.objects.filter(pk=refresh.pk, token=token, state=Refresh.State.RUNNING)
        if not mine.update(state=Refresh.State.FAILED, ended_at=timezone.now(), error=reason):
            return
        project.refresh_from_db()
        if project.state == Project.State.INITIALIZING:
            project.fail(reason)


def reap() -> int:
    """Hand refreshes whose worker was lost, or that no worker was told of, to a worker again; return how many."""
    limit = timezone.now() - LOST_AFTER
    active = Refresh.objects.select_related("project")
    n_woken = 0
    for refresh in active.filter(state=Refresh.State.RUNNING, heartbeat_at__lt=limit):
        if refresh.attempts >= MAX_ATTEMPTS:
            reason = _("The worker was lost %(n)d times. Look at its log, then try again.") % {"n": refresh.attempts}
            _fail(refresh, refresh.project, refresh.token, reason)
            continue
        with transaction.atomic():
            lost = Refresh.objects.filter(pk=refresh.pk, token=refresh.token, state=Refresh.State.RUNNING)
            if lost.update(state=Refresh.State.QUEUED, token=""):
                _wake_worker(refresh)
                n_woken += 1
    for refresh in active.filter(state=Refresh.State.QUEUED, created_at__lt=limit):
        _wake_worker(refresh)
        n_woken += 1
    return n_woken


class LostToken(Exception):
    """Another worker has taken this refresh over."""


class _Registration:
    """One pass over a dataset's listing; one that was cut off goes on after the last page that was written.

    Holds a bit for each image seen, to find the missing ones; everything else goes page by page.
    """

    def __init__(self, refresh: Refresh, token: str) -> None:
        self.refresh = refresh
        self.project = refresh.project
        self.token = token
        self.images = Image.objects.filter(project=self.project)
        facts = self.images.aggregate(first=Min("pk"), last=Max("pk"), count=Count("*"))
        self.n_known: int = facts["count"]
        self.is_first = self.project.state == Project.State.INITIALIZING
        if refresh.seen is not None:
            self.seen = SeenImages.unpack(bytes(refresh.seen))
        else:  # only what was there before can turn out to be missing
            self.seen = SeenImages(facts["first"] or 1, facts["last"] or 0)

    def run(self) -> None:
        dataset = self.project.dataset
        pattern = parse_pattern(dataset.pattern)
        store = dataset.datastore.open()
        self.beat()
        for entries, bookmark in self.batches(store.pages(pattern.head, self.refresh.bookmark, PAGE_SIZE)):
            self.take([e for e in entries if pattern.matches(e.key) and is_image_name(e.key)], bookmark)
        if self.is_first and self.refresh.found == 0:
            raise NoImages(
                _("“%(pattern)s” in %(datastore)s holds no image. Check the path, or add images and try again.")
                % {"pattern": dataset.pattern or "/", "datastore": dataset.datastore}
            )
        if not self.is_first:
            self.mark_missing()
        self.beat()

    def batches(self, pages: Iterable[Page]) -> Iterator[tuple[list[Entry], str]]:
        """Join small pages of a store: the database likes few large questions; a slow store's work is kept as well."""
        batch: list[Entry] = []
        bookmark = ""
        begun = time.monotonic()
        for page in pages:
            batch += page
            bookmark = page.bookmark
            if len(batch) >= PAGE_SIZE or time.monotonic() - begun > BATCH_SECONDS:
                yield batch, bookmark
                batch, begun = [], time.monotonic()
        if batch:
            yield batch, bookmark

    def take(self, entries: list[Entry], bookmark: str) -> None:
        """Compare a part of the listing with what is registered, and write the difference."""
        known = known_images(self.project.pk, [entry.key for entry in entries])
        new = [entry for entry in entries if entry.key not in known]
        room = max(settings.MAX_IMAGES_PER_PROJECT - self.n_known, 0)
        changed: list[tuple[int, Entry]] = []
        returned: list[int] = []
        for entry in entries:
            if row := known.get(entry.key):
                image_id, size, etag, problem = row
                if size != entry.size or etag != entry.etag:
                    changed.append((image_id, entry))
                elif problem == Image.Problem.MISSING:
                    returned.append(image_id)
        self.seen.add(row[0] for row in known.values())
        self.refresh.found += len(entries)
        self.refresh.added += len(new[:room])
        self.refresh.left_out += len(new[room:])
        self.refresh.changed += len(changed)
        self.refresh.bookmark, self.refresh.seen = bookmark, self.seen.pack()
        with transaction.atomic():
            self.save_progress()
            if new[:room]:
                self.insert(new[:room])
            self.write_changed(changed)
            if returned:
                signals.images_returned.send(sender=Image, project=self.project, image_ids=returned)
                Image.objects.filter(pk__in=returned).update(problem=Image.Problem.NONE)
        self.n_known += len(new[:room])

    def insert(self, entries: list[Entry]) -> None:
        """Write new images in one statement; one that is there already stays as it is."""
        values: list[Any] = [[e.key for e in entries], [e.size for e in entries], [e.etag for e in entries]]
        if connection.vendor == "postgresql":
            rows = "SELECT * FROM unnest(%s::text[], %s::bigint[], %s::text[]) AS r(path, size, etag)"
        else:
            rows = "SELECT value->>0 AS path, value->>1 AS size, value->>2 AS etag FROM json_each(%s)"
            values = [json.dumps(list(zip(*values, strict=True)))]
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO projects_image (project_id, path, size, etag, orientation, problem, problem_detail)"
                f" SELECT %s, path, size, etag, 1, '', '' FROM ({rows}) AS listed WHERE true"  # noqa: S608
                " ON CONFLICT (project_id, path) DO NOTHING RETURNING id",
                [self.project.pk, *values],
            )
            ids = [pk for (pk,) in cursor.fetchall()]
        signals.images_registered.send(sender=Image, project=self.project, image_ids=ids)

    def write_changed(self, changed: list[tuple[int, Entry]]) -> None:
        """Forget what was known of files that hold something else now; labels stay, and are flagged (SPEC D7).

        Whoever hears the signal locks the project and its tasks: images come after them (labeling/queue.py).
        """
        if not changed:
            return
        ids = [image_id for image_id, _entry in changed]
        signals.images_changed.send(sender=Image, project=self.project, image_ids=ids)
        now = timezone.now()
        Image.objects.bulk_update(
            [
                Image(
                    pk=image_id,
                    size=entry.size,
                    etag=entry.etag,
                    width=None,
                    height=None,
                    orientation=1,
                    problem=Image.Problem.NONE,
                    problem_detail="",
                    changed_at=now,
                )
                for image_id, entry in changed
            ],
            ["size", "etag", "width", "height", "orientation", "problem", "problem_detail", "changed_at"],
            batch_size=500,
        )

    def mark_missing(self) -> None:
        """Mark what was there before this pass and the listing no longer has."""
        here = self.images.filter(pk__lte=self.seen.last).exclude(problem=Image.Problem.MISSING)
        gone = [pk for pk in here.values_list("pk", flat=True).iterator(chunk_size=20_000) if pk not in self.seen]
        for start in range(0, len(gone), PAGE_SIZE):
            chunk = gone[start : start + PAGE_SIZE]
            self.refresh.missing += len(chunk)
            with transaction.atomic():
                self.save_progress()
                signals.images_missing.send(sender=Image, project=self.project, image_ids=chunk)
                Image.objects.filter(pk__in=chunk).update(problem=Image.Problem.MISSING)

    def save_progress(self) -> None:
        """Write how far this is, which also says that the worker is alive; the manager's page shows it as it grows.

        Raises LostToken when the refresh has been given to another. Attempts are counted from the last progress on.
        """
        names = ("found", "added", "left_out", "changed", "missing", "bookmark", "seen")
        self.beat(attempts=1, **{name: getattr(self.refresh, name) for name in names})

    def beat(self, **progress: object) -> None:
        """Say that this worker is alive; stop when the refresh has been given to another."""
        mine = Refresh.objects.filter(pk=self.refresh.pk, token=self.token, state=Refresh.State.RUNNING)
        if not mine.update(heartbeat_at=timezone.now(), **progress):
            raise LostToken


def known_images(project_id: int, paths: list[str]) -> dict[str, tuple[int, int, str, str]]:
    """Return (id, size, etag, problem) of the paths that are registered, by one statement with one value for all."""
    facts = "path, id, size, etag, problem"
    if connection.vendor == "postgresql":
        # A look into the index for each path, whatever the planner thinks: "= ANY" makes it read all images each time.
        statement = (
            "SELECT image.* FROM unnest(%s::text[]) AS listed(path) CROSS JOIN LATERAL"
            f" (SELECT {facts} FROM projects_image WHERE project_id = %s AND path = listed.path LIMIT 1) AS image"  # noqa: S608
        )
        values: list[Any] = [paths, project_id]
    else:
        among = "SELECT value FROM json_each(%s)"
        statement = f"SELECT {facts} FROM projects_image WHERE path IN ({among}) AND project_id = %s"  # noqa: S608
        values = [json.dumps(paths), project_id]
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return {path: found for path, *found in cursor.fetchall()}
