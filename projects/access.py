"""Who may do what in which project: granted rights, and projects that a view may touch.

What a person may not see answers exactly as what does not exist: 404 (SPEC R2).
"""

import logging
from collections.abc import Iterable
from functools import cache

from django.contrib.auth.models import Group, Permission, User
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404
from django.utils.translation import gettext as _
from guardian.shortcuts import assign_perm, remove_perm

from projects.models import (
    LABELERS,
    MANAGERS,
    REVIEWERS,
    Person,
    Project,
    ProjectGroupPermission,
    ProjectUserPermission,
    is_administrator,
    role_group,
)
from projects.prepared import Prepared, Slot

logger = logging.getLogger(__name__)

OWNER_RIGHTS = ("manage_project", "label_project", "review_project", "export_project")
MAX_DIGITS = 19  # of an id
ROLES = {"manager": MANAGERS, "labeler": LABELERS, "reviewer": REVIEWERS}


def get_project_to_label(user: Person, pk: int | str) -> Project:
    """Return the project, with where its images lie, if the user may label in it, else 404."""
    return _get(user, pk, "label_project")


def get_project_to_review(user: Person, pk: int | str) -> Project:
    """Return the project, with where its images lie, if the user may open its dashboard and data, else 404."""
    return _get(user, pk, "review_project")


def get_project_to_manage(user: Person, pk: int | str) -> Project:
    """Return the project, with where its images lie, if the user may configure it, else 404."""
    return _get(user, pk, "manage_project")


def get_project_to_export(user: Person, pk: int | str) -> Project:
    """Return the project, with where its images lie, if the user may export it, else 404."""
    return _get(user, pk, "export_project")


def _get(user: Person, pk: int | str, right: str) -> Project:
    if user.is_active and str(pk).isascii() and str(pk).isdigit() and len(str(pk)) < MAX_DIGITS:
        for project in _project("" if is_administrator(user) else right)(project=int(pk), user=user.pk):
            return project
    raise Http404(_("There is no such project."))


@cache
def _project(right: str) -> Prepared[Project]:
    """Return what finds a project, in which the user was given a right unless that is ""."""
    projects = Project.objects.filter(pk=Slot("project"))
    if right:
        projects = projects.granted_to(Slot("user"), right)
    return Prepared(lambda: projects.select_related("dataset__datastore").order_by())


def rights_in(project: Project, user: Person) -> set[str]:
    """Return what the user may do in the project."""
    if not user.is_active or is_administrator(user):
        return set(OWNER_RIGHTS) if user.is_active else set()
    return {permission.codename for permission in _rights(project=project.pk, user=user.pk)}


def _granted_rights() -> QuerySet[Permission]:
    own = ProjectUserPermission.objects.filter(content_object=Slot("project"), user=Slot("user"))
    shared = ProjectGroupPermission.objects.filter(content_object=Slot("project"), group__user=Slot("user"))
    granted = Q(pk__in=own.values("permission")) | Q(pk__in=shared.values("permission"))
    return Permission.objects.filter(granted).only("codename").order_by()


_rights = Prepared(_granted_rights)


_locked = Prepared(lambda: Project.objects.select_for_update(no_key=True).filter(pk=Slot("project")))


def lock(project: Project) -> Project:
    """Return the project, its row locked until the transaction ends.

    Everything that writes labels or changes state takes this lock first: pauses, class changes, reviews and submits
    of one project stand in line, and its event ids grow in the order of the commits.
    """
    for locked in _locked(project=project.pk):
        return locked
    raise Project.DoesNotExist


def grant_owner(user: User, project: Project) -> None:
    """Give the person who made a project every right in it."""
    for right in OWNER_RIGHTS:
        assign_perm(f"projects.{right}", user, project)


def is_open_to_all(project: Project) -> bool:
    """Whether every labeler of the site may label in the project."""
    return project.projectgrouppermission_set.filter(
        group__name=LABELERS, permission__codename="label_project"
    ).exists()


@transaction.atomic
def open_to_all(project: Project, is_open: bool, by: User | None = None) -> None:
    """Let every labeler of the site in, or only those who are named; what ``by`` changes is logged."""
    if by is not None and is_open != is_open_to_all(project):
        words = "opened project %s to all labelers" if is_open else "closed project %s to labelers who are not named"
        logger.info(f"user %s {words}", by.pk, project.pk)
    change = assign_perm if is_open else remove_perm
    change("projects.label_project", role_group(LABELERS), project)


def people_with(project: Project, right: str) -> set[int]:
    """Return the ids of the people who were given a right in the project, each by name."""
    rows = project.projectuserpermission_set.filter(permission__codename=right)
    return set(rows.values_list("user", flat=True))


def groups_with(project: Project, right: str) -> set[int]:
    """Return the ids of the groups that were given a right in the project; the open door is none of them."""
    rows = project.projectgrouppermission_set.filter(permission__codename=right).exclude(group__name=LABELERS)
    return set(rows.values_list("group", flat=True))


@transaction.atomic
def set_people(
    project: Project, right: str, people: Iterable[User], groups: Iterable[Group] = (), by: User | None = None
) -> None:
    """Grant one right of the project to exactly these people and groups (the open door stays as it is).

    What ``by`` changes is logged.
    """
    wanted, named = set(people), set(groups)
    present = set(User.objects.filter(pk__in=people_with(project, right)))
    for user in wanted - present:
        assign_perm(f"projects.{right}", user, project)
    for user in present - wanted:
        remove_perm(f"projects.{right}", user, project)
    rows = project.projectgrouppermission_set.filter(permission__codename=right).select_related("group")
    granted = {row.group for row in rows if row.group.name != LABELERS}
    for group in named - granted:
        assign_perm(f"projects.{right}", group, project)
    for group in granted - named:
        remove_perm(f"projects.{right}", group, project)
    if by is not None:
        changes: list[tuple[str, str, set[User] | set[Group]]] = [
            ("gave %s in project %s to", "users", wanted - present),
            ("gave %s in project %s to", "groups", named - granted),
            ("took %s in project %s from", "users", present - wanted),
            ("took %s in project %s from", "groups", granted - named),
        ]
        for words, kind, rows_changed in changes:
            if rows_changed:
                ids = ", ".join(str(pk) for pk in sorted(row.pk for row in rows_changed))
                logger.info(f"user %s {words} {kind} %s", by.pk, right, project.pk, ids)


def record_refusal(by: User, project: Project, names: Iterable[str]) -> None:
    """Log that somebody asked for rights that are not theirs to give: which fields of the form (ATTACKS 1)."""
    told = ", ".join(sorted(name[:40] for name in names))
    logger.warning("user %s was refused to give rights in project %s: %r", by.pk, project.pk, told)


def set_role(user: User, role: str) -> None:
    """Give a person the group of a role, and the admin's door where the role has one."""
    user.groups.add(role_group(ROLES[role]))
    if role in ("manager", "reviewer") and not user.is_staff:
        user.is_staff = True
        user.save(update_fields=["is_staff"])
