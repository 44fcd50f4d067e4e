"""Build a big project by a few statements: N images with some boxes each, labeled by several people over weeks.

    python benchmarks/big_project.py [--images 500000] [--boxes 5] [--task-type detection] [--labeled 1.0]

Writes into the database that DATABASE_URL or DATA_DIR name, and prints the project's id as its last line. Other
benchmarks import `build`, and `temporary_site` for a database that goes away again. The image files do not exist: what
is measured is the database, and what is made of it.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from projects.models import Project

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

WIDTH, HEIGHT = 640, 480
MAX_RANK = 2**31 - 1
QUEUED = 540
PASSWORD = "correct horse battery"


@contextmanager
def temporary_site() -> Iterator[Path]:
    """Set Django up on SQLite in a temporary folder, or on the empty database that DATABASE_URL names."""
    with tempfile.TemporaryDirectory(prefix="labelsite-") as name:
        os.environ.update(DATA_DIR=f"{name}/data", LOG_LEVEL="ERROR")
        set_up()
        yield Path(name)


@contextmanager
def own_environment(database: str) -> Iterator[dict[str, str]]:
    """Yield the environment of a process that has a site of its own, on "sqlite" or a new "postgresql"."""
    from tests.postgresql import cluster

    with tempfile.TemporaryDirectory() as folder, cluster() if database == "postgresql" else nullcontext("") as url:
        env = {**os.environ, "DATA_DIR": folder, "LOG_LEVEL": "ERROR", "DEVELOPMENT": "1"}
        env.pop("DATABASE_URL", None)
        yield {**env, "DATABASE_URL": url} if url else env


def set_up() -> None:
    """Set Django up on the database that the environment names, and bring it up to date."""
    os.environ.setdefault("DEVELOPMENT", "1")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "labelsite.settings")
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def build(
    images: int = 500_000,
    boxes: int = 5,
    *,
    name: str = "big",
    task_type: str = "detection",
    labeled: float = 1.0,
    classes: int = 10,
    labelers: int = 8,
    days: int = 60,
    queued: int = QUEUED,
    say: Callable[[str], None] = lambda line: None,
) -> Project:
    """Make a running project of ``images`` images, the share ``labeled`` of them answered; return it.

    Of the answered ones 1 % are skipped and 1 % need review (both only when ``labeled`` is below 1), and 11 % are
    approved; ``queued`` of the others are ready to be handed out. Each labeled image has ``boxes`` boxes (a
    classification: one label, or in multi-label two). Images join in the order of their paths and are labeled in
    random order, as in a real project. Its manager is ``manager``, its labelers are ``labeler0`` and so on.
    """
    from django.db import connection, transaction

    from projects.access import grant_owner, open_to_all
    from projects.models import Dataset, Datastore, LabelClass, Project

    started = time.perf_counter()

    def done(words: str) -> None:
        say(f"{time.perf_counter() - started:6.1f} s  {words}")

    manager = _people("manager", 1, "manager")[0]
    people = _people("labeler", labelers, "labeler")
    store, _made = Datastore.objects.get_or_create(name=name, defaults={"container": str(ROOT)})
    dataset, _made = Dataset.objects.get_or_create(name=name, defaults={"datastore": store, "pattern": "**/*.*"})
    project = Project.objects.create(
        name=name, task_type=task_type, dataset=dataset, created_by=manager, state=Project.State.RUNNING
    )
    grant_owner(manager, project)
    open_to_all(project, True)
    names = [f"class {number}" for number in range(classes)]
    rows = [LabelClass(project=project, name=n, position=i, color=f"c{i % 16 + 1}") for i, n in enumerate(names)]
    first_class = LabelClass.objects.bulk_create(rows)[0].pk
    per_image = boxes if task_type == "detection" else 1 + (task_type == "multilabel")
    values = {
        "project": project.pk,
        "last": images - 1,
        "max_rank": MAX_RANK,
        "threshold": int(labeled * MAX_RANK) + 1,
        "queue_end": int((labeled + queued / images) * MAX_RANK),
        "has_others": int(labeled < 1),
        "labeler": people[0].pk,
        "labelers": labelers,
        "first_class": first_class,
        "classes": classes,
        "per_image": per_image,
        "start": int(time.time()) - days * 86400,
        "span": days * 86400,
    }
    with _unchecked(), transaction.atomic(), connection.cursor() as cursor:
        for words, statement in _statements(task_type == "detection"):
            cursor.execute(_in_dialect(statement), values)
            done(f"{cursor.rowcount:>9,} {words}")
    with connection.cursor() as cursor:
        # A site on PostgreSQL has fresh statistics by autovacuum, one on SQLite has none.
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM ANALYZE")
    done("ready")
    project.refresh_from_db()
    return project


def _people(name: str, count: int, role: str) -> list[User]:
    from django.contrib.auth.hashers import make_password
    from django.contrib.auth.models import User

    from projects.access import set_role

    people = []
    password = make_password(PASSWORD)  # once: it is slow on purpose
    for number in range(count):
        username = f"{name}{number}" if role == "labeler" else name
        person, is_new = User.objects.get_or_create(username=username, defaults={"password": password})
        if is_new:
            set_role(person, role)
        people.append(person)
    return people


@contextmanager
def _unchecked() -> Iterator[None]:
    """Leave out the checks of foreign keys, row by row, of rows that are right by construction."""
    from django.db import DatabaseError, connection

    is_postgresql = connection.vendor == "postgresql"
    with connection.constraint_checks_disabled():
        try:
            if is_postgresql:
                with connection.cursor() as cursor:
                    cursor.execute("SET session_replication_role = replica")
        except DatabaseError:  # only a superuser may: then it takes longer
            pass
        yield
        if is_postgresql:
            with connection.cursor() as cursor:
                cursor.execute("RESET session_replication_role")


def _in_dialect(statement: str) -> str:
    """Return a statement for the database in use.

    ``{moment:SECONDS}`` is a time, ``{hash:COLUMN:MODULUS}`` a number that looks random and is the same each time.
    """
    from django.db import connection

    moment = "to_timestamp({})" if connection.vendor == "postgresql" else "datetime({}, 'unixepoch')"
    statement = re.sub(r"\{moment:(.+?)\}", lambda match: moment.format(match[1]), statement)
    return re.sub(
        r"\{hash:([\w.]+):([\w%()]+)\}",
        lambda m: f"(((CAST({m[1]} AS BIGINT) * 1103515245 + 12345) %% 2147483647 * 16807 %% 2147483647) %% {m[2]})",
        statement,
    )


_AT = "%(start)s + CAST(t.rank AS BIGINT) * %(span)s / %(max_rank)s"
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %(last)s)"


def _statements(is_detection: bool) -> list[tuple[str, str]]:
    """Return what fills the tables: words and SQL that both databases understand after _in_dialect."""
    padded = "CASE WHEN i < 10 THEN '00000' WHEN i < 100 THEN '0000' WHEN i < 1000 THEN '000'"
    padded += " WHEN i < 10000 THEN '00' WHEN i < 100000 THEN '0' ELSE '' END"
    uneven = "{hash:a.id:%(classes)s} * {hash:a.rank:%(classes)s} / %(classes)s"
    x, y = "{hash:a.id:400}", "{hash:a.rank:300}"
    boxes = f"{x} + 8.5 * p.i, {y} + 6.25 * p.i, 24.5 + 9 * p.i, 31 + 7.5 * p.i, {WIDTH}, {HEIGHT}"
    return [
        (
            "images",
            "INSERT INTO projects_image"
            " (project_id, path, size, etag, width, height, orientation, problem, problem_detail)"
            f" {_NUMBERS} SELECT %(project)s, 'photos/' || (i / 1000) || '/' || {padded} || i || '.jpg', 150000 + i,"
            f" '', {WIDTH}, {HEIGHT}, 1, '', '' FROM n",
        ),
        (
            "tasks",
            'INSERT INTO labeling_labeltask (project_id, image_id, status, kind, priority, "group", rank, place)'
            " SELECT project_id, id, 'waiting', 'manual', 20, 0, {hash:id:2147483647}, 0"
            " FROM projects_image WHERE project_id = %(project)s ORDER BY id",
        ),
        (
            "tasks queued",
            "UPDATE labeling_labeltask SET status = 'queued'"
            " WHERE project_id = %(project)s AND rank >= %(threshold)s AND rank < %(queue_end)s",
        ),
        (
            "tasks answered",
            "UPDATE labeling_labeltask AS t SET"
            " status = CASE WHEN %(has_others)s = 1 AND {hash:t.id:100} = 0 THEN 'skipped'"
            " WHEN %(has_others)s = 1 AND {hash:t.id:100} = 1 THEN 'needs_review'"
            " WHEN {hash:t.id:100} < 13 THEN 'approved' ELSE 'labeled' END,"
            " kind = CASE WHEN t.rank < %(max_rank)s / 10 * 3 THEN 'manual'"
            " WHEN t.rank < %(max_rank)s / 10 * 6 THEN 'clustered' ELSE 'prelabeled' END,"
            " confidence = CASE WHEN t.rank < %(max_rank)s / 10 * 6 THEN NULL"
            " ELSE 0.5 + {hash:t.image_id:500} / 1000.0 END,"
            f" labeler_id = %(labeler)s + {{hash:t.id:%(labelers)s}}, labeled_at = {{moment:{_AT}}}"
            " WHERE t.project_id = %(project)s AND t.rank < %(threshold)s",
        ),
        (
            "events",
            "INSERT INTO labeling_labelevent (project_id, task_id, action, by_id, at, kind, seconds, detail)"
            " SELECT t.project_id, t.id, CASE WHEN t.status = 'skipped' THEN 'skipped' ELSE 'submitted' END,"
            " t.labeler_id, t.labeled_at, t.kind, 1 + {hash:t.id:90} / 10.0,"
            ' CASE WHEN t.status = \'skipped\' THEN \'{"reason": "unclear", "note": ""}\' ELSE \'{}\' END'
            + _json("FROM labeling_labeltask t WHERE t.project_id = %(project)s AND t.rank < %(threshold)s")
            + " ORDER BY t.rank, t.id",
        ),
        (
            "labels",
            "INSERT INTO labeling_annotation"
            " (task_id, label_class_id, place, created_by_event_id"
            + (", x, y, width, height, image_width, image_height)" if is_detection else ")")
            + f" SELECT a.id, %(first_class)s + ({uneven} + p.i) %% %(classes)s, p.i, e.id"
            + (f", {boxes}" if is_detection else "")
            + " FROM labeling_labelevent e JOIN labeling_labeltask a ON a.id = e.task_id"
            " CROSS JOIN (WITH RECURSIVE q(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM q WHERE i + 1 < %(per_image)s)"
            " SELECT i FROM q) p WHERE e.project_id = %(project)s AND e.action = 'submitted' ORDER BY e.id, p.i",
        ),
    ]


def _json(rest: str) -> str:
    """Return the rest of a SELECT whose last column is JSON: PostgreSQL wants it said."""
    from django.db import connection

    return f"{'::jsonb' if connection.vendor == 'postgresql' else ''} {rest}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what a big project can be asked for."""
    parser.add_argument("--images", type=int, default=500_000)
    parser.add_argument("--boxes", type=int, default=5, help="per image, in detection")
    parser.add_argument("--task-type", choices=("multiclass", "multilabel", "detection"), default="detection")
    parser.add_argument("--labeled", type=float, default=1.0, help="share of the images that are answered")


def main() -> None:
    """Build and print the id."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--name", default="big")
    options: Any = parser.parse_args()
    set_up()
    project = build(
        options.images,
        options.boxes,
        name=options.name,
        task_type=options.task_type,
        labeled=options.labeled,
        say=print,
    )
    print(project.pk)


if __name__ == "__main__":
    main()
