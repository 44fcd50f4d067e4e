"""The wizard that makes a project (SPEC P2): seven steps over one draft, kept in the session until it is made."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST

from projects import palette
from projects.creation import create_project
from projects.forms import (
    AssistForm,
    ClassesForm,
    ConsoleForm,
    DataForm,
    DetailsForm,
    InstructionsForm,
    RefreshForm,
    folder_for,
)
from projects.instructions import starting_text
from projects.markdown import render_markdown
from projects.models import Dataset, Datastore, Project
from projects.stores import StoreError

SESSION_KEY = "project_draft"


@dataclass(frozen=True, slots=True)
class Step:
    """One page of the wizard; the last one has no form."""

    name: str
    title: Any
    form: type[ConsoleForm] | None
    is_optional: bool = False


STEPS = (
    Step("details", gettext_lazy("Project details"), DetailsForm),
    Step("data", gettext_lazy("Data"), DataForm),
    Step("refresh", gettext_lazy("Incremental refresh"), RefreshForm, is_optional=True),
    Step("classes", gettext_lazy("Label classes"), ClassesForm),
    Step("instructions", gettext_lazy("Labeling instructions"), InstructionsForm, is_optional=True),
    Step("assist", gettext_lazy("ML assisted labeling"), AssistForm, is_optional=True),
    Step("review", gettext_lazy("Review and create"), None),
)
BY_NAME = {step.name: step for step in STEPS}


class Draft:
    """What was typed so far, step by step, exactly as it was typed: Back loses nothing, valid or not."""

    def __init__(self, request: HttpRequest) -> None:
        self._user = request.user
        self._session = request.session
        self._typed: dict[str, dict[str, list[str]]] = request.session.get(SESSION_KEY, {})

    def keep(self, step: Step, typed: QueryDict) -> None:
        """Keep what was typed in a step."""
        values = {name: [value[:200_000] for value in typed.getlist(name)] for name in typed}
        for name in ("csrfmiddlewaretoken", "go"):
            values.pop(name, None)
        self._typed[step.name] = values
        self._save()

    def change(self, step: str, name: str, value: str) -> None:
        """Put one value in place of what was typed."""
        self._typed.setdefault(step, {})[name] = [value]
        self._save()

    def _save(self) -> None:
        self._session[SESSION_KEY] = self._typed

    def drop(self) -> None:
        """Forget everything."""
        self._typed = {}
        self._session.pop(SESSION_KEY, None)

    def is_typed(self, step: Step) -> bool:
        """Whether the step was filled in."""
        return step.name in self._typed

    def value(self, step: str, name: str) -> str:
        """Return one typed value, or nothing."""
        return (self._typed.get(step, {}).get(name) or [""])[0]

    def form(self, step: Step) -> ConsoleForm:
        """Return the step's form: with what was typed, or as it is at first."""
        assert step.form is not None
        if self.is_typed(step):
            data = QueryDict(mutable=True)
            for name, values in self._typed[step.name].items():
                data.setlist(name, values)
            return step.form(data).offer_to(self._user)
        return step.form(initial=self._initial(step)).offer_to(self._user)

    def _initial(self, step: Step) -> dict[str, Any]:
        if step.name == "assist":
            is_detection = self.value("details", "task_type") == Project.TaskType.DETECTION
            return {"min_labels": Project.FIRST_TRAINING_BOXES} if is_detection else {}
        if step.name != "data":
            return {}
        default = Datastore.objects.filter(is_default=True).first()
        return {
            "datastore": default,
            "upload_datastore": default,
            "upload_folder": self.own_folder,
            "dataset_name": self.value("details", "name"),
        }

    @property
    def own_folder(self) -> str:
        """The folder for this draft's uploads, the same as long as the draft lives."""
        folder = self._session.get(f"{SESSION_KEY}_folder")
        if not folder:
            folder = folder_for(self.value("details", "name"), secrets.token_hex(3))
            self._session[f"{SESSION_KEY}_folder"] = folder
        return str(folder)

    def forget_uploads(self) -> None:
        """Remove what was uploaded to the folder that was made for this draft, and to no other."""
        folder = self._session.pop(f"{SESSION_KEY}_folder", None)
        default = Datastore.objects.filter(is_default=True).first()
        if not folder or default is None:
            return
        try:
            store = default.open()
            for page in store.pages(str(folder)):
                for entry in page:
                    store.delete(entry.key)
        except StoreError:
            return  # nothing was uploaded, or it can't be reached

    def forms(self) -> dict[str, ConsoleForm]:
        """Return every step's form, those that nobody opened with what they would send."""
        found = {}
        for step in STEPS:
            if step.form is not None:
                first = step.form(_first_data(step, self)).offer_to(self._user)
                found[step.name] = self.form(step) if self.is_typed(step) else first
        return found

    def is_done(self, step: Step) -> bool:
        """Whether the step was filled in and is in order."""
        return step.form is not None and self.is_typed(step) and self.form(step).is_valid()


def _first_data(step: Step, draft: Draft) -> QueryDict:
    """Return what the browser would send of a step as it is at first: optional steps may be passed over."""
    data = QueryDict(mutable=True)
    if step.is_optional and step.form is not None:
        for name, field in step.form.base_fields.items():
            if field.initial not in (None, False, ""):
                data[name] = str(field.initial)
    return data


@require_http_methods(["GET", "POST"])
def wizard(request: HttpRequest, step: str = "") -> HttpResponse:
    """Show a step; or keep what was typed and go on to where a button leads."""
    user = cast(User, request.user)
    if not user.has_perm("projects.add_project"):
        raise Http404(_("There is no such page."))
    if step not in BY_NAME:
        return redirect("admin:projects_project_step", STEPS[0].name)
    draft = Draft(request)
    here = BY_NAME[step]
    if request.method == "GET":
        return _show(request, draft, here)
    go = request.POST.get("go", "next")
    if go == "cancel":
        draft.forget_uploads()
        draft.drop()
        messages.info(request, _("The new project was not made."))
        return redirect("admin:projects_project_changelist")
    if here.form is None:
        return _create(request, draft, user) if go == "create" else _to(_back(here) if go == "back" else here, go)
    draft.keep(here, request.POST)
    if go == "questions":
        _insert_questions(draft)
        return _to(here)
    if go == "next" and not draft.form(here).is_valid():
        return _show(request, draft, here, status=422)
    return _to(_next(here) if go == "next" else _back(here) if go == "back" else here, go)


def _to(step: Step, go: str = "") -> HttpResponse:
    return redirect("admin:projects_project_step", go if go in BY_NAME else step.name)


def _next(step: Step) -> Step:
    return STEPS[min(STEPS.index(step) + 1, len(STEPS) - 1)]


def _back(step: Step) -> Step:
    return STEPS[max(STEPS.index(step) - 1, 0)]


def _insert_questions(draft: Draft) -> None:
    typed = draft.value("instructions", "instructions_text").strip()
    is_detection = draft.value("details", "task_type") == Project.TaskType.DETECTION
    text = starting_text(is_detection)
    draft.change("instructions", "instructions_text", f"{typed}\n\n{text}" if typed else text)


def _show(request: HttpRequest, draft: Draft, step: Step, status: int = 200, problems: Any = None) -> HttpResponse:
    form = draft.form(step) if step.form else None
    if form is not None and form.is_bound and status == 200:
        form.forget_errors()
    steps = [(other, other is not step and draft.is_done(other)) for other in STEPS]
    context = {
        **admin.site.each_context(request),
        "title": _("New project"),
        "steps": steps,
        "step": step,
        "number": STEPS.index(step) + 1,
        "form": form,
        "typed_name": draft.value("details", "name"),
        "typed_type": Project.TaskType(draft.value("details", "task_type")).label
        if draft.value("details", "task_type") in Project.TaskType.values
        else "",
        **_more(request, draft, step, form),
    }
    if problems:
        context["problems"] = problems
    return render(request, f"admin/project/wizard/{step.name}.html", context, status=status)


def _more(request: HttpRequest, draft: Draft, step: Step, form: ConsoleForm | None) -> dict[str, Any]:
    if step.name == "classes":
        assert isinstance(form, ClassesForm)
        rows = form.checked_rows if form.errors else form.rows
        return {"rows": rows or [{"name": "", "color": "", "error": ""}], "palette": palette.COLORS}
    if step.name == "data":
        return {"own_folder": draft.own_folder}
    if step.name == "review":
        return _review(draft)
    return {}


def _review(draft: Draft) -> dict[str, Any]:
    forms = draft.forms()
    wrong = [
        (BY_NAME[name], [error for errors in form.errors.values() for error in errors])
        for name, form in forms.items()
        if not form.is_valid()
    ]
    data = {name: form.cleaned_data if form.is_valid() else {} for name, form in forms.items()}
    return {"problems": wrong, "data": data, "text": render_markdown(draft.value("instructions", "instructions_text"))}


def _create(request: HttpRequest, draft: Draft, user: User) -> HttpResponse:
    forms = draft.forms()
    if not all(form.is_valid() for form in forms.values()):
        return _show(request, draft, BY_NAME["review"], status=422)
    data = {name: form.cleaned_data for name, form in forms.items()}
    try:
        project = _make(data, user)
    except ValidationError as error:
        return _show(request, draft, BY_NAME["review"], 422, [(BY_NAME["details"], error.messages)])
    draft.drop()
    request.session.pop(f"{SESSION_KEY}_folder", None)
    return redirect("admin:projects_project_dashboard", project.pk)


@transaction.atomic
def _make(data: dict[str, dict[str, Any]], user: User) -> Project:
    """Make the dataset where there is none yet, and the project; both or neither."""
    details, place = data["details"], data["data"].get("place")
    dataset: Dataset = data["data"]["dataset"]
    if place is not None:
        dataset = Dataset(name=data["data"]["dataset_name"], datastore=place[0], pattern=place[1], created_by=user)
        dataset.full_clean()
        dataset.save()
    return create_project(
        name=details["name"],
        task_type=details["task_type"],
        dataset=dataset,
        classes=data["classes"]["classes"],
        created_by=user,
        instructions_url=data["instructions"]["instructions_url"],
        instructions_text=data["instructions"]["instructions_text"],
        incremental_refresh=data["refresh"]["incremental_refresh"],
        is_open_to_all=details["is_open_to_all"],
        assist=data["assist"]["assist"],
    )


@require_POST
def preview_markdown(request: HttpRequest) -> HttpResponse:
    """Show instructions as labelers will see them."""
    if not request.user.has_perm("projects.add_project"):
        raise Http404(_("There is no such page."))
    text = request.POST.get("instructions_text", "")[:100_000]
    return render(request, "admin/project/_markdown.html", {"text": render_markdown(text)})
