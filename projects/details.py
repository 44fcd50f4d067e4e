"""The Details tab: everything that may change in a project, each section saved on its own (SPEC T1, R1)."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from projects import refresh
from projects.access import get_project_to_manage, is_open_to_all, lock, open_to_all, set_people
from projects.assist_settings import save_assist
from projects.creation import check_class_names
from projects.forms import AssistForm
from projects.frame import frame
from projects.markdown import render_markdown
from projects.models import LabelClass, Project

FAR_AWAY = 1_000_000  # added to positions while they are changed, so that no two are ever equal


@require_http_methods(["GET", "POST"])
def details(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the sections (GET), or save one of them (POST)."""
    project = get_project_to_manage(request.user, pk)
    if request.method == "POST":
        save = SECTIONS.get(request.POST.get("section", ""))
        if save is None:
            raise Http404(_("There is no such section."))
        try:
            with transaction.atomic():
                messages.success(request, save(request, lock(project)))
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
        return redirect("admin:projects_project_details", project.pk)
    named = User.objects.filter(
        projectuserpermission__content_object=project, projectuserpermission__permission__codename="label_project"
    )
    context = {
        "classes": LabelClass.objects.filter(project=project, retired_at__isnull=True),
        "refreshes": project.refreshes.all()[:10],
        "is_open": is_open_to_all(project),
        "named": set(named.values_list("pk", flat=True)),
        "people": User.objects.filter(is_active=True, groups__name__in=["Labeler", "Manager", "Reviewer"])
        .distinct()
        .order_by("username"),
        "assist_form": AssistForm.of(project),
        "instructions": render_markdown(project.instructions_text),
    }
    return render(request, "admin/project/details.html", frame(request, project, "details", **context))


def _save(project: Project, **changes: object) -> None:
    for name, value in changes.items():
        setattr(project, name, value)
    project.full_clean()
    project.save(update_fields=list(changes))


def save_name(request: HttpRequest, project: Project) -> str:
    """Rename the project."""
    _save(project, name=request.POST.get("name", "").strip())
    return _("Saved the name.")


def save_instructions(request: HttpRequest, project: Project) -> str:
    """Change what labelers read."""
    _save(
        project,
        instructions_url=request.POST.get("instructions_url", "").strip(),
        instructions_text=request.POST.get("instructions_text", ""),
    )
    return _("Saved the instructions. Labelers see that they have changed.")


def save_refresh(request: HttpRequest, project: Project) -> str:
    """Switch incremental refresh on or off, or look for new images now."""
    if "now" in request.POST:
        refresh.enqueue(project)
        return _("Looking for new images. The list below tells what was found.")
    _save(project, incremental_refresh="incremental_refresh" in request.POST, next_refresh_at=None)
    return _("Saved.")


def save_classes(request: HttpRequest, project: Project) -> str:
    """Change the names, colours and order of the classes; their labels stay with them (SPEC C3)."""
    classes = {c.pk: c for c in LabelClass.objects.filter(project=project, retired_at__isnull=True)}
    order = [int(pk) for pk in request.POST.getlist("class") if pk.isascii() and pk.isdigit()]
    if sorted(order) != sorted(classes):
        raise ValidationError(_("The classes have changed meanwhile. Look at them again."))
    names = check_class_names(request.POST.get(f"name-{pk}", "") for pk in order)
    LabelClass.objects.filter(pk__in=order).update(position=F("position") + FAR_AWAY)
    return _rename_in_order(request, [classes[pk] for pk in order], names)


def _rename_in_order(request: HttpRequest, classes: list[LabelClass], names: list[str]) -> str:
    for label_class in classes:  # names may be exchanged, so first each gets one that nobody has
        LabelClass.objects.filter(pk=label_class.pk).update(name=f"\x01{label_class.pk}")
    for position, (label_class, name) in enumerate(zip(classes, names, strict=True)):
        label_class.name, label_class.position = name, position
        label_class.color = request.POST.get(f"color-{label_class.pk}", label_class.color)
        label_class.clean_fields(exclude=["project"])
        label_class.save()
    return _("Saved the classes.")


def save_access(request: HttpRequest, project: Project) -> str:
    """Open the project to every labeler, or to those who are named (SPEC R1)."""
    ids = [int(pk) for pk in request.POST.getlist("people") if pk.isascii() and pk.isdigit()]
    people = set(User.objects.filter(pk__in=ids, is_active=True))
    if isinstance(request.user, User):
        people.add(request.user)  # who manages a project does not lock oneself out
    open_to_all(project, request.POST.get("access") == "all")
    set_people(project, "label_project", people)
    return _("Saved who may label.")


SECTIONS: dict[str, Callable[[HttpRequest, Project], str]] = {
    "name": save_name,
    "instructions": save_instructions,
    "refresh": save_refresh,
    "classes": save_classes,
    "access": save_access,
    "assist": save_assist,
}
