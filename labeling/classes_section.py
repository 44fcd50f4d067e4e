"""The classes of a project on its Details tab, and the pages that add, merge, retire and undo (SPEC C3, C4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.contrib.humanize.templatetags.humanize import intcomma
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_http_methods, require_POST

from labeling import class_changes
from labeling.class_changes import ClassInUse, Existing, NotPaused, Standing
from labeling.models import LabelEvent
from labeling.resets import NotUndoable
from projects.access import get_project_to_manage, lock
from projects.forms import ConsoleForm
from projects.frame import frame
from projects.models import LabelClass, Project
from projects.palette import COLORS
from projects.sections import Section, register
from projects.transitions import WrongState

Action = LabelEvent.Action
OF_CLASSES = (
    Action.CLASS_ADDED, Action.CLASS_RENAMED, Action.CLASS_RETIRED, Action.CLASS_MERGED, Action.RESET, Action.RESTORED,
)  # fmt: skip
N_EVENTS = 20


class ClassRowsForm(ConsoleForm):
    """All classes that can be chosen, one per row, in their order."""

    def __init__(self, project: Project, data: Any = None) -> None:
        super().__init__(data)
        self.project = project
        self.classes = {
            c.pk: c for c in class_changes.with_counts(project, LabelClass.objects.filter(project=project).current())
        }

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as they are, or as they were typed, each with what is wrong with its name."""
        if not self.is_bound:
            return [{"pk": c.pk, "name": c.name, "color": c.color, "row": c} for c in self.classes.values()]
        data = cast(QueryDict, self.data)
        columns = (data.getlist("class"), data.getlist("class_name"), data.getlist("class_color"))
        rows: list[dict[str, Any]] = []
        seen: set[str] = set()
        for pk, name, color in zip(*columns, strict=False):
            number = int(pk) if pk.isascii() and pk.isdigit() and len(pk) < 19 else 0
            clean = name.strip()
            error = ""
            if not clean:
                error = _("A class needs a name.")
            elif len(clean) > 100:
                error = _("A name has at most 100 characters.")
            elif clean.lower() in seen:
                error = _("There is “%(name)s” already.") % {"name": clean}
            seen.add(clean.lower())
            row = self.classes.get(number)
            rows.append({"pk": number, "name": name, "color": color, "row": row, "error": error})
        return rows

    def clean(self) -> dict[str, Any]:
        """Return ``rows`` as class_changes.arrange() takes them."""
        data = super().clean() or self.cleaned_data
        rows = self.rows
        if any(row["error"] for row in rows):
            raise ValidationError(_("Names differ, and have 1 to 100 characters: see the rows."))
        data["rows"] = [(row["pk"], row["name"].strip(), row["color"]) for row in rows]
        return data


class ClassesSection(Section):
    """Names, colours and order; and the way to what changes the set of classes."""

    name, title, icon, order = "classes", gettext_lazy("Label classes"), "grid", 40
    template = "admin/project/details/_classes.html"

    def form(self, request: HttpRequest, project: Project, data: Any = None) -> ClassRowsForm:
        """The classes that can be chosen."""
        return ClassRowsForm(project, data)

    def context(self, request: HttpRequest, project: Project) -> dict[str, Any]:
        """The retired classes, the history and the palette."""
        retired = LabelClass.objects.filter(project=project, retired_at__isnull=False).select_related("merged_into")
        return {
            "retired": class_changes.with_counts(project, retired).order_by("-retired_at"),
            "history": history(project),
            "palette": COLORS,
            "is_paused": project.state == Project.State.PAUSED,
        }

    def save(self, request: HttpRequest, project: Project, form: ClassRowsForm) -> str:
        """Rename, colour and order them; their labels stay with them (SPEC C3)."""
        class_changes.arrange(project, cast(User, request.user), form.cleaned_data["rows"])
        return _("Saved the classes.")


def history(project: Project) -> list[dict[str, Any]]:
    """Return the last changes of the classes in words, newest first, each with whether it can be undone now."""
    events = LabelEvent.objects.filter(project=project, task__isnull=True, action__in=OF_CLASSES)
    undoable = class_changes.undoable(project)
    return [
        {"event": event, "words": words_of(event), "can_undo": event.pk in undoable}
        for event in events.select_related("by").order_by("-pk")[:N_EVENTS]
    ]


def words_of(event: LabelEvent) -> str:
    """Say what an event of a project did to its classes and labels."""
    detail = event.detail
    n = detail.get("labels", 0)
    values = {**detail, "n": intcomma(n)}
    match event.action:
        case Action.CLASS_ADDED:
            return _("added %(names)s") % {"names": ", ".join(f"“{name}”" for name in detail["names"])}
        case Action.CLASS_RENAMED:
            return _("renamed “%(from)s” to “%(to)s”") % values
        case Action.CLASS_RETIRED if detail.get("deleted"):
            return _("deleted “%(name)s”, of which there was no label") % values
        case Action.CLASS_RETIRED:
            return (
                ngettext("retired “%(name)s”, which has %(n)s label", "retired “%(name)s”, which has %(n)s labels", n)
                % values
            )
        case Action.CLASS_MERGED:
            return (
                ngettext(
                    "merged “%(name)s” with %(n)s label into “%(into_name)s”",
                    "merged “%(name)s” with %(n)s labels into “%(into_name)s”",
                    n,
                )
                % values
            )
        case Action.RESET if detail.get("prefill"):
            return (
                ngettext(
                    "started over: %(n)s label set aside, to come back as a proposal",
                    "started over: %(n)s labels set aside, to come back as proposals",
                    n,
                )
                % values
            )
        case Action.RESET:
            return ngettext("started over: %(n)s label set aside", "started over: %(n)s labels set aside", n) % values
        case Action.RESTORED if "of" in detail:
            return ngettext("restored %(n)s label", "restored %(n)s labels", n) % values
        case _:
            return _("let “%(name)s” be chosen again") % values


register(ClassesSection())


# --- Pages of their own: what changes the set of classes ---------------------------------------------------


class AddForm(ConsoleForm):
    """New classes, one per line, and what becomes of the labels that there are."""

    names = forms.CharField(
        label=gettext_lazy("New classes, one per line"),
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false", "autofocus": True}),
        max_length=100_000,
        error_messages={"required": gettext_lazy("Name at least one class.")},
    )
    existing = forms.ChoiceField(choices=Existing.choices, widget=forms.RadioSelect, initial=Existing.CONTINUE)

    def clean_names(self) -> list[str]:
        """Return the lines that are not empty."""
        return [line.strip() for line in self.cleaned_data["names"].splitlines() if line.strip()]


def consequences(now: Standing) -> dict[str, str]:
    """Say in numbers what each of the three choices does (SPEC C4)."""
    values = {
        "labels": intcomma(now.labels),
        "images": intcomma(now.images),
        "pending": intcomma(now.pending),
        "all": intcomma(now.coming_round),
    }
    return {
        Existing.CONTINUE: _(
            "%(labels)s labels on %(images)s images stay. Only the %(pending)s pending images are asked with the new "
            "classes."
        )
        % values,
        Existing.RESTART_KEEP: _(
            "%(labels)s labels will be set aside and come back as proposals. All %(all)s images come round again, "
            "%(images)s of them filled in with their present labels."
        )
        % values,
        Existing.RESTART_REMOVE: _(
            "%(labels)s labels will be set aside. All %(all)s images come round again, empty. The labels stay in the "
            "history, and can be restored."
        )
        % values,
    }


def _to_section(project: Project) -> HttpResponse:
    return redirect(f"{reverse('admin:projects_project_details', args=[project.pk])}#classes")


def _pause(request: HttpRequest, project: Project) -> None:
    """Pause the project from a page that needs it paused."""
    try:
        with transaction.atomic():
            lock(project).pause()
    except WrongState:
        messages.error(request, _("The project is not running, so it can't be paused."))


@require_http_methods(["GET", "POST"])
def add(request: HttpRequest, pk: int) -> HttpResponse:
    """Add classes to a paused project, once the manager has seen what becomes of the labels."""
    project = get_project_to_manage(request.user, pk)
    if "pause" in request.POST:
        _pause(request, project)
        return redirect("admin:projects_project_add_classes", project.pk)
    form = AddForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            added = class_changes.add_classes(project, cast(User, request.user), **form.cleaned_data)
        except NotPaused as error:
            form.add_error(None, str(error))
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, _told(len(added), form.cleaned_data["existing"]))
            return _to_section(project)
    words = consequences(class_changes.standing(project))
    choices = [(radio, words[str(radio.data["value"])]) for radio in form["existing"]]
    context = frame(
        request, project, "details", form=form, choices=choices, is_paused=project.state == Project.State.PAUSED
    )
    return render(request, "admin/project/add_classes.html", context, status=422 if form.errors else 200)


def _told(n: int, existing: str) -> str:
    words = ngettext("Added %(n)d class.", "Added %(n)d classes.", n) % {"n": n}
    if existing != Existing.CONTINUE:
        words += " " + _("The labels are set aside; the history below can restore them.")
    return words + " " + _("The project is still paused: start it when the instructions are right.")


class MergeForm(ConsoleForm):
    """The class that takes over the labels."""

    into = forms.ModelChoiceField(
        label=gettext_lazy("Into"),
        queryset=LabelClass.objects.none(),
        empty_label=gettext_lazy("Choose a class"),
        error_messages={
            "required": gettext_lazy("Choose a class."),
            "invalid_choice": gettext_lazy("Choose another class that can be chosen now."),
        },
    )


@require_http_methods(["GET", "POST"])
def one_class(request: HttpRequest, pk: int, label_class: int) -> HttpResponse:
    """One class: merge it into another, retire it, bring it back, or delete one that was never used."""
    project = get_project_to_manage(request.user, pk)
    row = class_changes.with_counts(project, LabelClass.objects.filter(project=project)).filter(pk=label_class).first()
    if row is None:
        raise Http404(_("There is no such class."))
    action = request.POST.get("action", "")
    if action == "pause":
        _pause(request, project)
        return redirect("admin:projects_project_class", project.pk, row.pk)
    form = MergeForm(request.POST if action == "merge" else None)
    others = LabelClass.objects.filter(project=project).current().exclude(pk=row.pk)
    cast(forms.ModelChoiceField, form.fields["into"]).queryset = others
    if request.method == "POST" and (action != "merge" or form.is_valid()):
        into = form.cleaned_data["into"].pk if action == "merge" else 0
        if _did(request, project, row, action, into):
            return _to_section(project)
    context = frame(
        request,
        project,
        "details",
        row=row,
        form=form,
        is_used=class_changes.is_used(row),
        is_last=row.retired_at is None and not others.exists(),
        is_paused=project.state == Project.State.PAUSED,
    )
    return render(request, "admin/project/class.html", context, status=422 if request.method == "POST" else 200)


def _did(request: HttpRequest, project: Project, row: LabelClass, action: str, into: int) -> bool:
    """Do what a button asks for and say so, or say why not."""
    by = cast(User, request.user)
    deeds: dict[str, tuple[Callable[[], object], str]] = {
        "merge": (lambda: class_changes.merge_class(project, by, row.pk, into), _("Merged “%(name)s”.")),
        "retire": (lambda: class_changes.retire_class(project, by, row.pk), _("Retired “%(name)s”.")),
        "bring_back": (
            lambda: class_changes.bring_back(project, by, row.pk),
            _("“%(name)s” can be chosen again, as the last class."),
        ),
        "delete": (lambda: class_changes.delete_class(project, by, row.pk), _("Deleted “%(name)s”.")),
    }
    if action not in deeds:
        raise Http404(_("There is no such action."))
    deed, words = deeds[action]
    try:
        deed()
    except (NotPaused, ClassInUse) as error:
        messages.error(request, str(error))
        return False
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return False
    messages.success(request, words % {"name": row.name})
    return True


@require_POST
def undo(request: HttpRequest, pk: int, event: int) -> HttpResponse:
    """Undo a start over, or a merge."""
    project = get_project_to_manage(request.user, pk)
    try:
        undone = class_changes.undo(project, cast(User, request.user), event)
    except (NotPaused, NotUndoable) as error:
        messages.error(request, str(error))
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        n = undone.detail["labels"]
        words = ngettext("%(n)s label is back.", "%(n)s labels are back.", n) % {"n": intcomma(n)}
        messages.success(request, words + " " + _("Images that were labeled anew keep their new labels."))
    return _to_section(project)
