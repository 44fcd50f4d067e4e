"""Every door of the site, who asks at it, and what each is answered (SPEC R2, R3; ATTACKS 2, 4, 7).

The walk finds the doors in the URL conf, so a new address is there by itself. docs/doors.md has the rules. When an
address names something new (as `weights/<int:pk>/`), `World.nouns` needs a line that says which row that is here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.models import AnonymousUser, Group, User
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from assist.models import AssistRun
from exports import jobs
from exports.models import Export, LabeledDataset, LabelImport
from labeling.models import ReviewJob
from labeling.submit import submit
from projects.access import set_people
from projects.models import Image, Project
from projects.tokens import create_token
from tests import make

TABLE = Path(__file__).parent.parent / "docs" / "doors.md"
ROLES = ("anonymous", "labeler elsewhere", "labeler", "reviewer", "manager elsewhere", "manager", "superuser")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PARAMETER = re.compile(r"\(\?P<(\w+)>(?:\[[^\]]*\]|\\.|[^()])*\)|<(?:\w+:)?(\w+)>")
MISSING = 999_999_999


# What a door asks for before it does anything; most are told apart by an empty request.
BODIES = {
    "POST /admin/projects/project/{pk}/details/": {"section": "name", "name": "Pets"},
    "POST /admin/projects/project/{pk}/classes/{label_class}/": {"action": "retire"},
    "POST /admin/projects/project/{pk}/data/act/": {"action": "approve"},
}


@dataclass(frozen=True, slots=True, order=True)
class Door:
    """An address with its parameters in braces, and one method."""

    path: str
    method: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def routes() -> Iterator[tuple[str, URLPattern]]:
    """Yield every address of the site, with its parameters in braces."""
    for route, pattern in _walk(get_resolver().url_patterns, ""):
        path = PARAMETER.sub(lambda found: "{" + (found[1] or found[2]) + "}", route)
        path = re.sub(r"/\?$", "/", path.replace("^", "").replace("$", "")).replace("\\Z", "").replace("\\", "")
        yield f"/{path}", pattern


def _walk(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        if hasattr(getattr(pattern, "callback", None), "model_admin") and pattern.name is None:
            continue  # Django's old addresses, which lead to doors of this list
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, route)
        else:
            yield route, pattern


@dataclass
class World:
    """One project in which everything has happened once, people of every role, and what addresses name."""

    folder: Path
    people: dict[str, User | AnonymousUser] = field(default_factory=dict)
    nouns: dict[str, object] = field(default_factory=dict)

    def build(self) -> World:
        """Make it; each person is in the role that ROLES says, "elsewhere" means: in another project."""
        owner, other = make.user("owner", "manager"), make.user("other", "manager")
        near, far = make.user("near", "labeler"), make.user("far", "labeler")
        reviewer = make.user("reviewer", "reviewer")
        root = User.objects.create_superuser("root")
        project = make.project(owner, make.pictures(self.folder / "here", 4), is_open_to_all=False)
        elsewhere = make.project(other, make.pictures(self.folder / "there", 1), is_open_to_all=False)
        set_people(project, "label_project", [owner, near])
        set_people(project, "review_project", [owner, reviewer])
        set_people(elsewhere, "label_project", [other, far])
        self.people = dict(zip(ROLES, (AnonymousUser(), far, near, reviewer, other, owner, root), strict=True))
        self._name(project, owner, near)
        return self

    def _name(self, project: Project, owner: User, labeler: User) -> None:
        """Say what row stands behind each word of an address that a parameter follows."""
        done = make.page(project, labeler, 1)
        submit(done, make.answers(done, labels=make.class_ids(project)[:1]))
        open_page = make.page(project, labeler, 1)
        image = Image.objects.filter(tasks__page=done).get()
        jobs.enqueue(project, owner, {})
        export = Export.objects.get(project=project)
        run = AssistRun.objects.create(project=project, kind="training", state="done")
        jobs.enqueue(project, owner, {}, "dataset")
        dataset = LabeledDataset.objects.get(project=project)
        review = ReviewJob.objects.create(
            project=project, by=owner, action="approve", seen_at=timezone.now(), state="done"
        )
        token, _key = create_token(owner)
        self.nouns = {
            "project": project.pk,
            "projects": project.pk,
            "label": project.pk,
            "pages": open_page.pk,
            "images": image.pk,
            "data": image.pk,
            "jobs": review.pk,
            "exports": export.pk,
            "assist-runs": run.pk,
            "runs": run.pk,
            "name": dataset.name,
            "version": dataset.version,
            "datastore": project.dataset.datastore_id,
            "datastores": project.dataset.datastore_id,
            "dataset": project.dataset_id,
            "datasets": project.dataset_id,
            "classes": make.class_ids(project)[0],
            "labeleddataset": dataset.pk,
            "file": f"{dataset}.csv",
            "labels": LabelImport.objects.create(project=project, state="done").pk,
            "undo": 1,
            "apitoken": token.pk,
            "user": owner.pk,
            "group": Group.objects.get(name="Manager").pk,
            # What follows has no row of its own.
            "add": "details",  # a step of the wizard
            "thumb": "nonsense",  # a signed token
            "size": 512,
            "app_label": "projects",
            "r": ContentType.objects.get_for_model(Project).pk,
            "object_id": project.pk,
            "url": "no-such-page/",
            "path": "no-such-address",  # of the API
            **dict.fromkeys(("schedule", "success", "failure", "ormq"), 1),
            **dict.fromkeys(("accessattempt", "accesslog", "accessfailurelog"), 1),
        }

    def fill(self, path: str, missing: bool = False) -> str:
        """Put rows of this world in place of an address's parameters; or ids that nobody has.

        The word before a parameter says what it names (``projects/{pk}``), else its own name does (``{size}``).
        """
        parts = path.split("/")
        for place, part in enumerate(parts):
            if "{" not in part:
                continue
            name = part.strip("{}")
            word = parts[place - 1] if parts[place - 1] in self.nouns else name
            if word not in self.nouns:
                raise LookupError(
                    f"{path} names something new. In tests/doors.py add to World.nouns what “{parts[place - 1]}” "
                    f'stands for, as:\n    "{parts[place - 1]}": row.pk,'
                )
            is_row = isinstance(self.nouns[word], int) and word not in ("size", "r")
            parts[place] = str(MISSING if missing and is_row else self.nouns[word])
        return "/".join(parts)

    def names_a_row(self, path: str) -> bool:
        """Whether the address names a row of ours that somebody may not see."""
        return "{" in path and not path.endswith("**") and self.fill(path) != self.fill(path, missing=True)


@dataclass
class Asker:
    """Asks at doors as each of the people, and takes back whatever that did."""

    world: World

    def __post_init__(self) -> None:
        self.sessions: dict[str, str] = {}
        for role, person in self.world.people.items():
            client = Client()
            if isinstance(person, User):
                client.force_login(person)
                self.sessions[role] = client.cookies["sessionid"].value

    def ask(self, door: Door, role: str, missing: bool = False) -> Any:
        """Return the response to a request that says next to nothing."""
        path = self.world.fill(door.path, missing)
        is_json = door.path.startswith("/api/") or door.method in METHODS[2:]
        kind = {"content_type": "application/json" if is_json else "application/x-www-form-urlencoded"}
        body = json.dumps(BODIES.get(str(door), {})) if is_json else urlencode(BODIES.get(str(door), {}))
        client = Client(raise_request_exception=False)
        if role in self.sessions:
            client.cookies["sessionid"] = self.sessions[role]
        with transaction.atomic():
            response = client.generic(door.method, path, "" if door.method == "GET" else body, **kind)
            response.close()
            transaction.set_rollback(True)
        return response

    def answer(self, door: Door, role: str) -> str:
        """Return the status of the answer; being sent to log in is a word of its own."""
        return status_of(self.ask(door, role))


def status_of(response: Any) -> str:
    """Return the status; or "login" for who is sent to log in."""
    is_login = response.status_code == 302 and response["Location"].startswith(("/login/", "/admin/login/"))
    return "login" if is_login and response["Location"] != response.request["PATH_INFO"] else str(response.status_code)


def row(door: Door, answers: Mapping[str, str]) -> str:
    """Return a line of the table."""
    return f"| {door.method} | {door.path} | {' | '.join(answers[role] for role in ROLES)} |"


class Table:
    """The rules: for each door the expected answer to each role; ``**`` stands for all that lies below."""

    def __init__(self, text: str) -> None:
        self.rules: dict[Door, dict[str, str]] = {}
        for line in text.splitlines():
            if re.match(r"\| [A-Z*]+ \| /", line):
                method, path, *answers = (cell.strip() for cell in line.strip("| ").split("|"))
                self.rules[Door(path, method)] = dict(zip(ROLES, answers, strict=True))

    @classmethod
    def read(cls) -> Table:
        """Read docs/doors.md."""
        return cls(TABLE.read_text())

    def area(self, path: str) -> Door | None:
        """Return the rule for everything below a path, if there is one."""
        below = (rule for rule in self.rules if rule.path.endswith("**") and path.startswith(rule.path[:-2]))
        return next(below, None)

    def write(self, found: Mapping[Door, Mapping[str, str]]) -> None:
        """Put these answers in place of the single doors' lines; the words and the areas stay."""
        areas = [row(door, answers) for door, answers in self.rules.items() if door.path.endswith("**")]
        lines = [row(door, found[door]) for door in sorted(found)]
        kept = [line for line in TABLE.read_text().splitlines() if not re.match(r"\| [A-Z*]+ \| /", line)]
        TABLE.write_text("\n".join([*kept, *areas, *lines]) + "\n")


def answers_of_all_doors(asker: Asker, table: Table) -> Iterator[tuple[Door, dict[str, str]]]:
    """Yield every door with the answer to each role; methods that an address does not know are no doors."""
    for path, pattern in routes():
        if table.area(path):
            for method in ("GET", "POST"):
                door = Door(path, method)
                yield door, {role: asker.answer(door, role) for role in ROLES[:-1]}
            continue
        for door, told in _methods(asker, path, pattern):
            yield door, {**{role: asker.answer(door, role) for role in ROLES[:-1]}, "superuser": told}


def _methods(asker: Asker, path: str, pattern: URLPattern) -> Iterator[tuple[Door, str]]:
    """Yield the methods of an address, and what somebody who may do everything is answered."""
    actions = getattr(pattern.callback, "actions", None)
    seen = ""
    for method in METHODS:
        if actions and method.lower() not in actions:
            continue
        told = asker.answer(Door(path, method), "superuser")
        # A page of Django's own answers a method that it does not know as it answers GET: that is no door.
        is_page = not actions and method in METHODS[2:] and told == seen
        if told != "405" and not is_page:
            yield Door(path, method), told
        if method == "GET":
            seen = told
