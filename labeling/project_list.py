"""The rows of the managers' list of projects (SPEC P1): a fixed number of queries, however many projects there are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.paginator import Page, Paginator
from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce, Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from labeling.models import LabelEvent, LabelTask, Status
from labeling.pages import preview_url
from projects.frame import STATE_LOOKS, expected_share
from projects.models import Image, Project, Refresh

PER_PAGE = 50
KEPT_SECONDS = 4
N_PICTURES = 3
# What may be sorted by: anything else in the address is ignored (ATTACKS 3).
SORTS = {"name": "name_lower", "type": "task_type", "state": "state", "activity": "activity"}
TYPE_NAMES = {
    Project.TaskType.MULTICLASS: _("One class"),
    Project.TaskType.MULTILABEL: _("Several classes"),
    Project.TaskType.DETECTION: _("Boxes"),
}
LABELED = (Status.LABELED, Status.APPROVED)


@dataclass(slots=True)
class Row:
    """One project as the list shows it."""

    project: Project
    activity: datetime
    labeled: int
    total: int
    registered: int
    registered_share: float | None
    can_manage: bool
    can_label: bool
    pictures: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """How much is labeled, 0 to 1."""
        return self.labeled / self.total if self.total else 0.0

    @property
    def look(self) -> tuple[str, str]:
        """The pill's colour and sign."""
        return STATE_LOOKS[Project.State(self.project.state)]

    @property
    def type_name(self) -> str:
        """The task type in a word or two."""
        return str(TYPE_NAMES[Project.TaskType(self.project.task_type)])

    @property
    def is_getting_ready(self) -> bool:
        """Whether its images are still being registered."""
        return self.project.state in (Project.State.INITIALIZING, Project.State.CREATED)


@dataclass(frozen=True, slots=True)
class ProjectList:
    """A page of rows, and how many projects there are of each state."""

    rows: list[Row]
    page: Page[Project]
    n_all: int
    states: list[tuple[str, str, int]]

    @property
    def digest(self) -> str:
        """Changes when the list would look different; times are told by the minute."""
        projects = [(row.project.name, row.project.state, row.project.failure) for row in self.rows]
        told = (projects, self.rows, self.n_all, self.states, self.page.number, timezone.now().strftime("%H:%M"))
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def project_list(
    user: User, search: str = "", state: str = "", task_type: str = "", sort: str = "", page: str | int | None = 1
) -> ProjectList:
    """Return the projects that the user manages or reviews. Unknown filters and orders are ignored."""
    visible = Project.objects.reviewable_by(user)
    if search:
        visible = visible.filter(name__icontains=search)
    if task_type in Project.TaskType.values:
        visible = visible.filter(task_type=task_type)
    counts = dict(visible.order_by().values_list("state").annotate(n=Count("*")))
    states = [(value, str(words), counts[value]) for value, words in Project.State.choices if value in counts]
    shown = visible.filter(state=state) if state in Project.State.values else visible
    found = Paginator(_ordered(shown, sort), PER_PAGE).get_page(page)
    return ProjectList(_rows(user, list(found)), found, sum(counts.values()), states)


def _ordered(projects: QuerySet[Project], sort: str) -> QuerySet[Project]:
    last = LabelEvent.objects.filter(project=OuterRef("pk")).order_by("-pk")
    projects = projects.select_related("dataset").annotate(
        activity=Coalesce(Subquery(last.values("at")[:1]), F("created_at")), name_lower=Lower("name")
    )
    column = SORTS.get(sort.removeprefix("-"))
    if column is None:
        return projects.order_by("-activity", "-pk")
    return projects.order_by(f"-{column}" if sort.startswith("-") else column, "pk")


def _rows(user: User, projects: list[Project]) -> list[Row]:
    pks = [project.pk for project in projects]
    manageable = set(Project.objects.manageable_by(user).filter(pk__in=pks).order_by().values_list("pk", flat=True))
    labelable = set(Project.objects.labelable_by(user).filter(pk__in=pks).order_by().values_list("pk", flat=True))
    counts = labeled_counts(pks)
    registered = dict(Refresh.objects.filter(project__in=pks).order_by().values_list("project").annotate(Sum("added")))
    pictures = _pictures(pks)
    return [
        Row(
            project=project,
            activity=getattr(project, "activity"),  # noqa: B009 (annotated)
            labeled=counts[project.pk][0],
            total=counts[project.pk][1],
            registered=registered.get(project.pk) or 0,
            registered_share=expected_share(project, registered.get(project.pk) or 0),
            can_manage=project.pk in manageable,
            can_label=project.pk in labelable,
            pictures=pictures.get(project.pk, []),
        )
        for project in projects
    ]


def labeled_counts(pks: list[int]) -> dict[int, tuple[int, int]]:
    """Return (labeled, all) of each project, at most some seconds old; tasks taken out don't count."""
    names = {f"labeled-{pk}": pk for pk in pks}
    kept = {names[name]: pair for name, pair in cache.get_many(names).items()}
    missing = [pk for pk in pks if pk not in kept]
    tasks = LabelTask.objects.filter(project__in=missing).exclude(status=Status.REMOVED)
    rows = tasks.values("project").annotate(labeled=Count("pk", filter=Q(status__in=LABELED)), total=Count("*"))
    counted = dict.fromkeys(missing, (0, 0))
    counted |= {row["project"]: (row["labeled"], row["total"]) for row in rows.order_by()}
    cache.set_many({f"labeled-{pk}": pair for pk, pair in counted.items()}, KEPT_SECONDS)
    return kept | counted


def _pictures(pks: list[int]) -> dict[int, list[str]]:
    """Return the addresses of the first few readable images of each project."""
    images = Image.objects.filter(project=OuterRef("pk"), problem="").order_by("path").values("pk")
    places = {f"picture{place}": Subquery(images[place : place + 1]) for place in range(N_PICTURES)}
    rows = list(Project.objects.filter(pk__in=pks).order_by().annotate(**places).values("pk", *places))
    found = Image.objects.in_bulk([row[place] for row in rows for place in places if row[place]])
    return {row["pk"]: [preview_url(found[row[place]], 512) for place in places if row[place] in found] for row in rows}
