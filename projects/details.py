"""The Details tab: everything that may change in a project, each section saved on its own (SPEC T1, R1)."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import Group, User
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from projects import access, refresh
from projects.access import get_project_to_manage, lock
from projects.assist_settings import change_assist
from projects.forms import AssistForm, ConsoleForm, InstructionsForm, RefreshForm
from projects.frame import frame
from projects.instructions import starting_text
from projects.models import LABELERS, MANAGERS, REVIEWERS, Datastore, Project
from projects.sections import Section, register, sections

N_REFRESHES = 10


@require_http_methods(["GET", "POST"])
def details(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the sections (GET), one of them alone (``?section=``), or save one (POST)."""
    project = get_project_to_manage(request.user, pk)
    by_name = {section.name: section for section in sections()}
    if request.method == "GET" and "section" not in request.GET:
        return _show(request, project, {})
    asked = by_name.get((request.POST if request.method == "POST" else request.GET).get("section", ""))
    if asked is None:
        raise Http404(_("There is no such section."))
    if request.method == "GET":
        card = _card(request, project, asked)
        return render(request, asked.template, {**card, "card": card})
    if (filled := asked.redo(request, project)) is not None:
        return _show(request, project, {asked.name: filled})
    form = asked.form(request, project, request.POST)
    if form.is_valid():
        try:
            with transaction.atomic():
                messages.success(request, asked.save(request, lock(project), form))
        except ValidationError as error:
            _put_beside_fields(form, error)
        else:
            return redirect(f"{reverse('admin:projects_project_details', args=[project.pk])}#{asked.name}")
    asked.refused(request, project, form)
    project.refresh_from_db()
    return _show(request, project, {asked.name: form}, status=422)


def _put_beside_fields(form: forms.BaseForm, error: ValidationError) -> None:
    told = error.message_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.messages}
    for name, texts in told.items():
        for text in texts:
            form.add_error(name if name in form.fields else None, text)


def _card(
    request: HttpRequest, project: Project, section: Section, form: forms.BaseForm | None = None
) -> dict[str, Any]:
    return {
        "project": project,
        "section": section,
        "form": form or section.form(request, project),
        **section.context(request, project),
    }


def _show(request: HttpRequest, project: Project, typed: dict[str, forms.BaseForm], status: int = 200) -> HttpResponse:
    cards = [
        (section, {**_card(request, project, section, typed.get(section.name)), "status": status})
        for section in sections()
    ]
    context = frame(request, project, "details", cards=cards, wrong=next(iter(typed), ""))
    return render(request, "admin/project/details.html", context, status=status)


def _save(project: Project, **changes: object) -> None:
    for name, value in changes.items():
        setattr(project, name, value)
    project.full_clean()
    project.save(update_fields=list(changes))


class NameForm(ConsoleForm):
    """What the project is called."""

    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=100,
        error_messages={"required": gettext_lazy("Give the project a name.")},
    )


class ProjectSection(Section):
    """The name, and what is settled: the task type, the dataset, where exports go."""

    name, title, icon, order = "name", gettext_lazy("Project"), "tag", 10
    template = "admin/project/details/_project.html"

    def form(self, request: HttpRequest, project: Project, data: Any = None) -> NameForm:
        """The name."""
        return NameForm(data, initial={"name": project.name}, auto_id="id_project_%s")

    def context(self, request: HttpRequest, project: Project) -> dict[str, Any]:
        """Where images come from and exports go."""
        return {
            "dataset": project.dataset,
            "may_see_dataset": type(project.dataset)
            .objects.usable_by(request.user)
            .filter(pk=project.dataset_id)
            .exists(),
            "exports_in": Datastore.objects.filter(is_default=True).first(),
            "lease_minutes": settings.LEASE_SECONDS // 60,
        }

    def save(self, request: HttpRequest, project: Project, form: NameForm) -> str:
        """Rename the project."""
        _save(project, name=form.cleaned_data["name"].strip())
        return _("Saved the name.")


class RefreshSection(Section):
    """Whether new images join by themselves, and what was found each time (SPEC F2)."""

    name, title, icon, order = "refresh", gettext_lazy("Incremental refresh"), "clock", 20
    template = "admin/project/details/_refresh.html"

    def form(self, request: HttpRequest, project: Project, data: Any = None) -> RefreshForm:
        """On or off."""
        return RefreshForm(data, initial={"incremental_refresh": project.incremental_refresh})

    def context(self, request: HttpRequest, project: Project) -> dict[str, Any]:
        """The last refreshes."""
        rows = list(project.refreshes.all()[:N_REFRESHES])
        return {"refreshes": rows, "is_looking": any(row.is_active for row in rows)}

    def save(self, request: HttpRequest, project: Project, form: RefreshForm) -> str:
        """Switch it on or off, or look for new images now."""
        if "now" in request.POST:
            refresh.enqueue(project)
            return _("Looking for new images. The list tells what was found.")
        _save(project, incremental_refresh=form.cleaned_data["incremental_refresh"], next_refresh_at=None)
        return _("Saved.")


class InstructionsSection(Section):
    """What labelers read (SPEC I)."""

    name, title, icon, order = "instructions", gettext_lazy("Labeling instructions"), "book", 50
    template = "admin/project/details/_instructions.html"

    def form(self, request: HttpRequest, project: Project, data: Any = None) -> InstructionsForm:
        """The link and the text."""
        initial = {name: getattr(project, name) for name in ("instructions_url", "instructions_text")}
        return InstructionsForm(data, initial=initial)

    def redo(self, request: HttpRequest, project: Project) -> InstructionsForm | None:
        """Put the questions that good instructions answer below what was typed (SPEC I2)."""
        if "questions" not in request.POST:
            return None
        typed = request.POST.get("instructions_text", "").strip()
        text = "\n\n".join(filter(None, [typed, starting_text(project.is_detection)]))
        url = request.POST.get("instructions_url", "")
        return InstructionsForm(initial={"instructions_url": url, "instructions_text": text})

    def save(self, request: HttpRequest, project: Project, form: InstructionsForm) -> str:
        """Change them."""
        _save(project, **form.cleaned_data)
        return _("Saved the instructions. Labelers see that they have changed.")


class AssistSection(Section):
    """ML assisted labeling (SPEC A1)."""

    name, title, icon, order = "assist", gettext_lazy("ML assisted labeling"), "spark", 60
    template = "admin/project/_assist_section.html"

    def form(self, request: HttpRequest, project: Project, data: Any = None) -> ConsoleForm:
        """The settings."""
        return AssistForm(data) if data else AssistForm.of(project)

    def save(self, request: HttpRequest, project: Project, form: AssistForm) -> str:
        """Change them."""
        change_assist(project, form.cleaned_data["assist"])
        return _("Saved. A model helps from now on.") if form.cleaned_data["enabled"] else _("Saved. No model helps.")


class PeopleField(forms.ModelMultipleChoiceField):
    """People or groups, one checkbox each, by the names that they are known by."""

    widget = forms.CheckboxSelectMultiple

    def label_from_instance(self, row: Any) -> str:
        """The full name, else the one to log in with."""
        return (row.get_full_name() or row.username) if isinstance(row, User) else row.name


class AccessForm(ConsoleForm):
    """Who may label, review and manage."""

    access = forms.ChoiceField(
        choices=[("all", gettext_lazy("Every labeler of this site")), ("named", gettext_lazy("Only those named here"))],
        widget=forms.RadioSelect,
    )
    people = PeopleField(label=gettext_lazy("People"), queryset=User.objects.none(), required=False)
    groups = PeopleField(label=gettext_lazy("Groups"), queryset=Group.objects.none(), required=False)
    reviewers = PeopleField(label=gettext_lazy("Reviewers"), queryset=User.objects.none(), required=False)
    managers = PeopleField(label=gettext_lazy("Managers"), queryset=User.objects.none(), required=False)

    @property
    def unknown(self) -> set[str]:
        """The names of fields that came and that this form does not have."""
        return set(self.data) - set(self.fields) - {"section", "csrfmiddlewaretoken"}

    def clean(self) -> dict[str, Any]:
        """Refuse fields that this form does not have: no page of ours sends any."""
        if self.unknown:
            raise ValidationError(_("Something was sent that can't be set here. Nothing was saved."))
        return super().clean() or {}

    def offer(self, project: Project) -> AccessForm:
        """Offer those who have the role, and those who have the right already; nobody else can be named."""
        roles = {
            "people": ("label_project", (LABELERS, REVIEWERS, MANAGERS)),
            "reviewers": ("review_project", (REVIEWERS, MANAGERS)),
            "managers": ("manage_project", (MANAGERS,)),
        }
        for name, (right, groups) in roles.items():
            granted = access.people_with(project, right)
            offered = User.objects.filter(Q(groups__name__in=groups) | Q(pk__in=granted), is_active=True)
            cast(PeopleField, self.fields[name]).queryset = offered.distinct().order_by("username")
        named = Group.objects.exclude(name__in=(LABELERS, REVIEWERS, MANAGERS)).order_by("name")
        cast(PeopleField, self.fields["groups"]).queryset = named
        return self


class PeopleSection(Section):
    """Who may label, review and manage (SPEC R1, R3)."""

    name, title, icon, order = "access", gettext_lazy("People"), "people", 70
    template = "admin/project/details/_people.html"

    def form(self, request: HttpRequest, project: Project, data: Any = None) -> AccessForm:
        """As it is now; managers may do everything, so they are not listed twice."""
        managers = access.people_with(project, "manage_project")
        initial = {
            "access": "all" if access.is_open_to_all(project) else "named",
            "people": access.people_with(project, "label_project") - managers,
            "groups": access.groups_with(project, "label_project"),
            "reviewers": access.people_with(project, "review_project") - managers,
            "managers": managers,
        }
        return AccessForm(data, initial=initial).offer(project)

    def refused(self, request: HttpRequest, project: Project, form: forms.BaseForm) -> None:
        """Only a forged form names somebody who was not offered."""
        names = set(form.errors) - {NON_FIELD_ERRORS} | cast(AccessForm, form).unknown
        access.record_refusal(cast(User, request.user), project, names)

    def save(self, request: HttpRequest, project: Project, form: AccessForm) -> str:
        """Grant exactly these rights; one's own are neither raised nor given away here (SPEC R3)."""
        given = form.cleaned_data
        managers = {person for person in given["managers"] if person.pk != request.user.pk}
        if request.user.pk in access.people_with(project, "manage_project"):
            managers.add(cast(User, request.user))
        me = cast(User, request.user)
        access.open_to_all(project, given["access"] == "all", by=me)
        access.set_people(project, "label_project", {*given["people"], *managers}, given["groups"], by=me)
        access.set_people(project, "review_project", {*given["reviewers"], *managers}, by=me)
        for right in ("manage_project", "export_project"):
            access.set_people(project, right, managers, by=me)
        return _("Saved who may label, review and manage.")


for _section in (ProjectSection(), RefreshSection(), InstructionsSection(), AssistSection(), PeopleSection()):
    register(_section)
