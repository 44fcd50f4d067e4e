"""Is everything there that was acknowledged, and nothing half-done? Runs with the site's settings, beside the site.

``python -m benchmarks.chaos.verdict FOLDER settle`` waits until nothing is under way any more; ``check`` looks at
everything. Both print one line of JSON: what was found, as words by check.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
import tempfile
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django

if __name__ == "__main__":
    django.setup()

from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.models import Count, F

from assist.models import ACTIVE, AssistRun, Departure, Prediction, Shard
from exports.jobs import _write_files, open_file
from exports.models import Export, Job, LabeledDataset, LabelImport
from labeling import queue
from labeling.models import Annotation, LabelEvent, LabelPage, LabelTask, ReviewJob, Status
from labeling.resets import Restarts
from projects.models import Dataset, Image, Project, Refresh
from projects.patterns import parse as parse_pattern

FINAL = ("done", "failed", "cancelled")
FREE = "free"
ANSWER_OF = {"submitted": "labeled", "corrected": "labeled", "imported": "labeled", "skipped": "skipped"}
SETTLE_SECONDS = 600.0


def active() -> dict[str, int]:
    """Return what is under way, by kind."""
    found = {
        "refreshes": Refresh.objects.filter(state__in=["queued", "running"]).count(),
        "exports": Export.objects.filter(state__in=Job.ACTIVE).count(),
        "imports": LabelImport.objects.filter(state__in=Job.ACTIVE).count(),
        "runs": AssistRun.objects.filter(state__in=ACTIVE).count(),
        "reviews": ReviewJob.objects.filter(state__in=["queued", "running"]).count(),
        "projects": Project.objects.filter(state__in=["initializing", "created"]).count(),
        "pages": LabelPage.objects.filter(status="open").count(),
    }
    return {kind: n for kind, n in found.items() if n}


def settle() -> dict[str, list[str]]:
    """Wait until nothing is under way; what still is after a long time is stuck."""
    deadline = time.monotonic() + SETTLE_SECONDS
    calm = 0
    while calm < 3:
        calm = 0 if active() else calm + 1
        if time.monotonic() > deadline:
            return {"stuck": [f"{n} {kind}" for kind, n in active().items()]}
        time.sleep(1)
    return {"stuck": []}


class Journal:
    """What the site said yes to."""

    def __init__(self, folder: Path) -> None:
        self.acts: dict[str, list[dict[str, Any]]] = defaultdict(list)
        path = folder / "journal.jsonl"
        for line in path.read_text().splitlines() if path.exists() else []:
            act = json.loads(line)
            self.acts[act["what"]].append(act)


def labels_of(answer: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return the labels of an answer that was sent, in a form that can be compared."""
    if "boxes" in answer:
        return [(box["label_class"], *(round(value, 6) for value in box["box"])) for box in answer["boxes"]]
    return sorted((pk,) for pk in answer.get("labels", []))


def acknowledged_labels(journal: Journal) -> Iterator[str]:
    """Every acknowledged answer is in the history, once, as it was sent."""
    for act in journal.acts["submit"]:
        events = {event.task_id: event for event in LabelEvent.objects.filter(page=act["page"], project=act["project"])}
        given = defaultdict(list)
        for row in Annotation.objects.filter(created_by_event__in=[event.pk for event in events.values()]):
            box = tuple(round(value, 6) for value in row.box) if row.box else ()
            given[row.task_id].append((row.place, (row.label_class_id, *box)))
        for item in act["items"]:
            event = events.get(item["id"])
            if event is None:
                yield f"page {act['page']}: the answer for task {item['id']} is lost"
                continue
            kept = [label for _place, label in sorted(given[item["id"]])]
            kept = kept if "boxes" in item else sorted(kept)
            if event.action != ("skipped" if "skip" in item else "submitted") or kept != labels_of(item):
                yield f"page {act['page']}: task {item['id']} has {event.action} {kept}, sent was {item}"


def whole_pages(journal: Journal) -> Iterator[str]:
    """A page was submitted as a whole or not at all, and counts once, acknowledged or not."""
    answers = LabelEvent.objects.filter(action__in=("submitted", "skipped"), page__isnull=False)
    for row in answers.values("page", "task").annotate(n=Count("*")).filter(n__gt=1):
        yield f"page {row['page']} answered task {row['task']} {row['n']} times"
    by_page = dict(answers.order_by().values_list("page").annotate(n=Count("*")))
    for pk, status, size in LabelPage.objects.values_list("pk", "status", "size"):
        if by_page.get(pk, 0) != (size if status == "submitted" else 0):
            yield f"page {pk} is {status} with {size} images and has {by_page.get(pk, 0)} answers"


def handed_out_once(journal: Journal) -> Iterator[str]:
    """Nobody answered what another had answered, or had on the screen."""
    for act in journal.acts["twice"]:
        yield f"{act['second']} got task {act['task']}, which {act['first']} had"
    for task, state, event in replayed():
        if state.startswith("again"):
            yield f"task {task} was answered {state} by event {event}"


def replayed() -> Iterator[tuple[int, str, int]]:
    """Replay the history; yield (task, "again…", event) for a second answer, and (task, state, 0) at the end."""
    for project in Project.objects.all():
        yield from _replay(project)


def _replay(project: Project) -> Iterator[tuple[int, str, int]]:
    state: dict[int, str] = dict.fromkeys(LabelTask.objects.filter(project=project).values_list("pk", flat=True), FREE)
    before: dict[int, dict[int, str]] = {}  # by reset: what each task was
    touched: dict[int, int] = {}  # the last event of each task
    events = LabelEvent.objects.filter(project=project).order_by("pk")
    for pk, task, action, detail in events.values_list("pk", "task_id", "action", "detail"):
        if task is None:
            if action == "reset":
                before[pk] = {task: was for task, was in state.items() if was not in (FREE, "removed")}
                state |= dict.fromkeys(before[pk], FREE)
            elif action == "restored" and detail.get("of") in before:
                reset = detail["of"]
                for task, was in before.pop(reset).items():
                    if touched.get(task, 0) < reset:
                        state[task] = was
            continue
        if action in ANSWER_OF:
            if action != "corrected" and state[task] != FREE:
                yield task, f"again while {state[task]}", pk
            state[task] = ANSWER_OF[action]
        elif action in ("rejected", "returned"):
            state[task] = FREE
        elif action == "approved":
            state[task] = "approved"
        elif action == "flagged" and state[task] == FREE:  # set aside: a restore brings it back for review
            for reset, tasks in before.items():
                if task in tasks and touched.get(task, 0) < reset:
                    tasks[task] = "needs_review"
            continue
        elif action == "flagged":
            state[task] = "needs_review"
        elif action == "removed":
            state[task] = "removed"
        elif action == "restored":
            state[task] = detail["to"]
        touched[task] = pk
    for task, now in state.items():
        yield task, now, 0


def history_tells_the_present(journal: Journal) -> Iterator[str]:
    """What the events add up to is what the tasks and labels say."""
    told = {task: state for task, state, event in replayed() if not event}
    labeled = set(Annotation.objects.current().values_list("task", flat=True))
    empty = set(LabelEvent.objects.filter(detail__has_key="size").values_list("task", flat=True))
    out = (Status.WAITING, Status.QUEUED, Status.CLAIMED, Status.MISSING, Status.UNREADABLE)
    for pk, status in LabelTask.objects.values_list("pk", "status"):
        present = FREE if status in out else status
        if told.get(pk) != present:
            yield f"task {pk} is {status}, its history says {told.get(pk)}"
        is_labeled = present in ("labeled", "approved", "needs_review")
        if pk in labeled and not is_labeled:
            yield f"task {pk} is {status} and has labels that stand"
        if is_labeled and pk not in labeled and pk not in empty:
            yield f"task {pk} is {status} and has no label"
    wrong = Annotation.objects.filter(ended_by_event__isnull=False, ended_by_event__lte=F("created_by_event"))
    for pk in wrong.values_list("pk", flat=True):
        yield f"label {pk} ended before it was given"


def jobs_are_final(journal: Journal) -> Iterator[str]:
    """What was asked for has ended: done, or failed or cancelled with words."""
    kinds: dict[str, Any] = {
        "export": Export, "refresh": Refresh, "run": AssistRun, "project": Project,
    }  # fmt: skip
    for what, model in kinds.items():
        there = set(model.objects.values_list("pk", flat=True))
        for act in journal.acts[what]:
            if act["id"] not in there:
                yield f"the {what} {act['id']} that was acknowledged is not there"
    for model in (Export, Refresh, AssistRun, LabelImport):
        for row in model._default_manager.exclude(state="done"):
            if row.state not in FINAL:
                yield f"{model.__name__} {row.pk} is {row.state}"
            elif row.state == "failed" and not row.error:
                yield f"{model.__name__} {row.pk} failed without a word"
    for project in Project.objects.exclude(state="running"):
        if project.state != Project.State.FAILED or not project.failure:
            yield f"project {project.pk} is {project.state}"


def exports_are_whole(journal: Journal) -> Iterator[str]:
    """The files of finished exports are there, can be read, and are what the database says as of their event."""
    for export in Export.objects.filter(state="done").select_related("project__dataset__datastore"):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            for file in export.files:
                with open_file(export, file["name"]) as source:
                    content = source.read()
                if hashlib.sha256(content).hexdigest() != file["sha256"] or len(content) != file["bytes"]:
                    yield f"export {export.pk}: {file['name']} is not what was written"
                (folder / file["name"]).write_bytes(content)
            yield from _read_export(export, folder)
            (folder / "again").mkdir()
            assert export.project is not None
            output, n_rows = _write_again(export, folder / "again")
            if n_rows != export.rows:
                yield f"export {export.pk} has {export.rows} images, the database then had {n_rows}"
            for name in output.names:
                if (folder / name).read_bytes() != (output.folder / name).read_bytes():
                    yield f"export {export.pk}: {name} differs from the database as of its event"
    unfinished = LabeledDataset.objects.exclude(export__state__in=FINAL)
    for dataset in unfinished:
        yield f"labeled dataset {dataset} is half-written"


def _write_again(export: Export, folder: Path) -> Any:
    export.beat = lambda *args, **facts: None  # type: ignore[method-assign]
    assert export.project is not None
    return _write_files(export, export.project, folder)


def _read_export(export: Export, folder: Path) -> Iterator[str]:
    """Read what an export holds, and count its labels by another way than the exporter's."""
    aside_up_to = Restarts(export.project).aside_up_to(export.event)
    standing = Annotation.objects.at_event(export.event, aside_up_to).filter(task__project=export.project).count()
    for file in export.files:
        path = folder / file["name"]
        if path.suffix == ".json":
            n_labels = len(json.loads(path.read_text())["annotations"])
            if n_labels != standing:
                yield f"export {export.pk} has {n_labels} labels, the database then had {standing}"
        elif path.suffix == ".zip" and zipfile.ZipFile(path).testzip():
            yield f"export {export.pk}: the zip is damaged"
        elif path.suffix == ".csv" and export.format == "csv":
            with path.open(newline="") as text:
                n_labels = sum(row["status"] == "labeled" for row in csv.DictReader(text))
            if n_labels != standing:
                yield f"export {export.pk} has {n_labels} labels, the database then had {standing}"
        elif path.suffix == ".parquet":
            import pyarrow.parquet

            if pyarrow.parquet.read_table(path).num_rows != export.rows:
                yield f"export {export.pk}: the table has another number of rows"


def images_are_registered(journal: Journal) -> Iterator[str]:
    """Each project has exactly the files of its dataset, each with one task, and refreshes counted them once."""
    for project in Project.objects.select_related("dataset__datastore").filter(state="running"):
        pattern = parse_pattern(project.dataset.pattern)
        store = project.dataset.datastore.open()
        keys = {entry.key for page in store.pages(pattern.head) for entry in page if pattern.matches(entry.key)}
        images = dict(Image.objects.filter(project=project).values_list("path", "problem"))
        here = {path for path, problem in images.items() if problem != Image.Problem.MISSING}
        newest = Refresh.objects.filter(project=project, state="done").order_by("-pk").first()
        if newest is None:
            yield f"project {project.pk} runs and has never been looked at"
        elif journal.acts["last look"] and project.pk in journal.acts["last look"][-1]["projects"] and here != keys:
            yield f"project {project.pk}: {len(keys - here)} files are not registered, {len(here - keys)} are not there"
        n_tasks = LabelTask.objects.filter(project=project).count()
        added = sum(Refresh.objects.filter(project=project).values_list("added", flat=True))
        if not len(images) == n_tasks == added:
            yield f"project {project.pk}: {len(images)} images, {n_tasks} tasks, {added} added by refreshes"


def uploads_are_whole(journal: Journal) -> Iterator[str]:
    """Acknowledged uploads are there with the bytes that were sent."""
    dataset = Dataset.objects.filter(name="Uploads").first()
    if dataset is None:
        return
    store = dataset.datastore.open()
    head = parse_pattern(dataset.pattern).head
    for act in journal.acts["upload"]:
        for name, digest in act["files"].items():
            key = f"{head.strip('/')}/{name}"
            if not store.exists(key):
                yield f"upload {name} is lost"
                continue
            with store.open(key) as file:
                if hashlib.sha256(file.read()).hexdigest() != digest:
                    yield f"upload {name} has other bytes"


def imports_are_whole(journal: Journal) -> Iterator[str]:
    """An acknowledged import has ended, and its report tells what it did, also where it was taken up again."""
    rows = {row.file_name: row for row in LabelImport.objects.all()}
    for act in journal.acts["import"]:
        row = rows.get(act["file"])
        if row is None:
            yield f"import {act['file']} is lost"
            continue
        images = Image.objects.filter(project=row.project, path__in=act["paths"])
        imported = LabelEvent.objects.filter(task__image__in=images, action="imported").count()
        if row.state == "done" and (told := row.report.get("imported")) != imported:
            yield f"import {row.pk} says that it took {told} images, the history has {imported}"
        if row.state == "failed" and imported and "attempts" not in row.error and row.report:
            yield f"import {row.pk} took {imported} images and says: {row.error}"


def models_are_whole(journal: Journal) -> Iterator[str]:
    """Only runs that are done have published, and all of it."""
    for model in (Prediction, Departure):
        for pk in model._default_manager.exclude(run__state="done").values_list("run", flat=True).distinct():
            yield f"run {pk} has not ended well and has published a {model.__name__}"
    for run in AssistRun.objects.filter(kind="inference", state="done"):
        n_filled = Prediction.objects.filter(run=run, is_suggested=True).count()
        if "suggested" in run.metrics and n_filled != run.metrics["suggested"]:
            yield f"run {run.pk} says {run.metrics['suggested']} suggestions and has {n_filled}"
    filled = LabelTask.objects.filter(kind="prelabeled", prelabels__isnull=False, project__assist_enabled=True)
    for pk in filled.exclude(predictions__is_suggested=True).values_list("pk", flat=True):
        yield f"task {pk} has a suggestion of no run"
    for pk in Shard.objects.exclude(run__state__in=FINAL).values_list("pk", flat=True):
        yield f"part {pk} of a run is left"


def leases_lapse(journal: Journal) -> Iterator[str]:
    """Nobody is at work, so nothing is on a screen."""
    for pk in LabelPage.objects.filter(status="open").values_list("pk", flat=True):
        yield f"page {pk} is open"
    for pk in LabelTask.objects.filter(status="claimed").values_list("pk", flat=True):
        yield f"task {pk} is on a page"


def reviews_are_there(journal: Journal) -> Iterator[str]:
    """Acknowledged reviews, resets and restores are in the history."""
    for act in journal.acts["review"]:
        action = {"approve": "approved", "reject": "rejected"}[act["act"]]
        found = LabelEvent.objects.filter(task__image__in=act["images"], action=action)
        if found.values("task").distinct().count() != len(act["images"]):
            yield f"a review of {act['images']} is lost"
    for act in journal.acts["reset"]:
        added = LabelEvent.objects.filter(project=act["project"], action="class_added")
        if sum(event.detail.get("names") == act["names"] for event in added) != 1:
            yield f"the reset with {act['names']} is lost, or was done twice"
    for act in journal.acts["restore"]:
        if LabelEvent.objects.filter(action="restored", task=None, detail__of=act["of"]).count() != 1:
            yield f"the restore of {act['of']} is lost, or was done twice"


def nothing_lies_about(journal: Journal) -> Iterator[str]:
    """No half-written file is left once the site has swept up."""
    from labelsite import leftovers

    leftovers.sweep(older_than=0)
    data = Path(settings.DATA_DIR)
    for path in data.rglob("*"):
        if path.is_file() and (".writing-" in path.name or path.name.endswith(".tmp") or _is_half_preview(path)):
            yield f"{path.relative_to(data)} is half-written"
    for path in (data / "datastore" / "import").rglob("*"):
        if path.is_file():
            yield f"{path.relative_to(data)} is no import's any more"
    for path in Path(tempfile.gettempdir()).iterdir():
        if not path.name.startswith(("pymp-", "wgunicorn-", "torchinductor_")):
            yield f"{path} is left"


def _is_half_preview(path: Path) -> bool:
    return "previews" in path.parts and path.suffix != ".jpg"


def database_is_sound(journal: Journal) -> Iterator[str]:
    """The database finds nothing wrong with itself."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA integrity_check")
            yield from (row[0] for row in cursor.fetchall() if row[0] != "ok")
            cursor.execute("PRAGMA foreign_key_check")
            yield from (f"{row} points nowhere" for row in cursor.fetchall())
            return
        cursor.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
        cursor.execute(
            "SELECT c.relname, bt_index_check(c.oid, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'btree' AND c.relpersistence = 'p' AND i.indisvalid"
        )
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if field.is_relation and field.remote_field:
                rows = model._base_manager.filter(**{f"{field.attname}__isnull": False})
                there = field.remote_field.model._base_manager.values(field.target_field.attname)
                lost = rows.exclude(**{f"{field.attname}__in": there}).count()
                if lost:
                    yield f"{lost} rows of {model._meta.label}.{field.name} point nowhere"


CHECKS = {
    "acknowledged labels lost or changed": acknowledged_labels,
    "pages counted in part or twice": whole_pages,
    "images handed out twice": handed_out_once,
    "history differs from the present": history_tells_the_present,
    "reviews, resets and restores lost": reviews_are_there,
    "jobs stuck or lost": jobs_are_final,
    "exports damaged": exports_are_whole,
    "images not registered": images_are_registered,
    "uploads lost": uploads_are_whole,
    "imports half-done": imports_are_whole,
    "models' results half-published": models_are_whole,
    "leases that do not lapse": leases_lapse,
    "files left over": nothing_lies_about,
    "database damaged": database_is_sound,
}


def check(folder: Path) -> dict[str, list[str]]:
    """Look at everything."""
    queue.sweep()
    journal = Journal(folder)
    found = {}
    for name, look in CHECKS.items():
        found[name] = list(look(journal))
    return found


def counts() -> dict[str, Any]:
    """Return what the site did."""
    by_state: Counter[str] = Counter()
    for model in (Refresh, Export, LabelImport, AssistRun):
        for state, n in model._default_manager.order_by().values_list("state").annotate(n=Count("*")):
            by_state[f"{model._meta.verbose_name}: {state}"] += n
    again = sum(
        model._default_manager.filter(attempts__gt=1).count() for model in (Refresh, Export, LabelImport, AssistRun)
    )
    return {
        "images": Image.objects.count(),
        "answers": LabelEvent.objects.filter(action__in=("submitted", "skipped")).count(),
        "suggestions": Prediction.objects.filter(is_suggested=True).count(),
        "jobs": dict(by_state),
        "jobs taken up again": again,
        "errors": dict(Counter(AssistRun.objects.exclude(error="").values_list("error", flat=True)).most_common(8))
        | dict(Counter(Export.objects.exclude(error="").values_list("error", flat=True)).most_common(5))
        | dict(Counter(LabelImport.objects.exclude(error="").values_list("error", flat=True)).most_common(5))
        | dict(Counter(Refresh.objects.exclude(error="").values_list("error", flat=True)).most_common(5)),
    }


def main() -> None:
    """Do what the command line says."""
    folder, what = Path(sys.argv[1]), sys.argv[2]
    found: dict[str, Any] = settle() if what == "settle" else {"found": check(folder), "counts": counts()}
    sys.stdout.write(json.dumps(found, default=str) + "\n")


if __name__ == "__main__":
    main()
