"""Datastores, datasets and API tokens in the console: pages of our own in the admin's frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import Count, Model, ProtectedError, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import ModelAdmin

from projects import data_views
from projects.forms import ConsoleForm, DatasetForm, DatastoreForm, folder_for
from projects.models import ApiToken, Dataset, Datastore, Project
from projects.patterns import parse as parse_pattern
from projects.tokens import create_token


class ConsoleAdmin(ModelAdmin):
    """A model whose list and form are pages of our own; the admin keeps the rights and the history."""

    def doors(self) -> list[tuple[str, Callable[..., HttpResponse], str]]:
        """The pages as (route, view, name of the address)."""
        raise NotImplementedError

    def get_urls(self) -> list[URLPattern]:
        """Our own pages only."""
        label = f"{self.opts.app_label}_{self.opts.model_name}"
        return [
            path(route, self.admin_site.admin_view(view), name=f"{label}_{name}") for route, view, name in self.doors()
        ]

    def page(self, request: HttpRequest, template: str, status: int = 200, **context: Any) -> HttpResponse:
        """Render a page in the console's shell."""
        return render(request, template, {**self.admin_site.each_context(request), **context}, status=status)

    def find(self, queryset: QuerySet[Any], pk: int) -> Any:
        """Return the row, or answer 404 as for one that is not for this person."""
        row = queryset.filter(pk=pk).first()
        if row is None:
            raise Http404(_("There is no such %(thing)s.") % {"thing": self.opts.verbose_name})
        return row

    def demand(self, allowed: bool) -> None:
        """Answer 404 to people who may not."""
        if not allowed:
            raise Http404(_("There is no such page."))

    def note(self, request: HttpRequest, row: Model, form: forms.BaseForm, is_new: bool) -> None:
        """Write the admin's history; it names fields, never values, so no secret gets there (ATTACKS 15)."""
        told = [{"added": {}}] if is_new else [{"changed": {"fields": form.changed_data}}]
        (self.log_addition if is_new else self.log_change)(request, row, told)


@admin.register(Datastore)
class DatastoreAdmin(ConsoleAdmin):
    """Places that hold images. Managers use the site's and their own, and change their own (SPEC D1, R3)."""

    def doors(self) -> list[tuple[str, Callable[..., HttpResponse], str]]:
        """The pages, and what they ask for in the background."""
        return [
            ("", self.shelf, "changelist"),
            ("add/", self.edit, "add"),
            ("found/", data_views.found, "found"),  # type: ignore[list-item]
            ("browse/", data_views.browse, "browse"),  # type: ignore[list-item]
            ("upload/", data_views.upload, "upload"),  # type: ignore[list-item]
            ("test/", data_views.test_connection, "test"),  # type: ignore[list-item]
            ("thumb/<str:token>/", data_views.thumb, "thumb"),  # type: ignore[list-item]
            ("<int:pk>/change/", self.edit, "change"),
            ("<int:pk>/delete/", self.remove, "delete"),
        ]

    def shelf(self, request: HttpRequest) -> HttpResponse:
        """All datastores."""
        self.demand(self.has_view_permission(request))
        usable = Datastore.objects.usable_by(request.user)
        rows = usable.select_related("created_by").annotate(n_datasets=Count("dataset"))
        return self.page(
            request,
            "admin/data/datastores.html",
            title=_("Datastores"),
            rows=[(row, data_views.may_edit(request, row)) for row in rows],
            may_add=self.has_add_permission(request),
        )

    def edit(self, request: HttpRequest, pk: int | None = None) -> HttpResponse:
        """Add or change one."""
        datastore = self.find(Datastore.objects.usable_by(request.user), pk) if pk else None
        may_edit = data_views.may_edit(request, datastore) if datastore else self.has_add_permission(request)
        self.demand(may_edit)
        form = DatastoreForm(request.POST or None, instance=datastore)
        if request.method == "POST" and form.is_valid():
            row = form.save(commit=False)
            row.created_by = row.created_by or cast(User, request.user)
            row.save()
            self.note(request, row, form, is_new=datastore is None)
            messages.success(request, _("Saved “%(name)s”.") % {"name": row.name})
            return redirect("admin:projects_datastore_changelist")
        title = datastore.name if datastore else _("Add datastore")
        status = 422 if form.is_bound else 200
        return self.page(request, "admin/data/datastore.html", status, title=title, form=form, datastore=datastore)

    def remove(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Delete one that nothing stands on; its files stay where they are."""
        datastore = self.find(Datastore.objects.usable_by(request.user), pk)
        self.demand(data_views.may_edit(request, datastore) and request.method == "POST")
        if datastore.is_default:
            messages.error(request, _("The default datastore can't be deleted: uploads and exports go there."))
            return redirect("admin:projects_datastore_change", pk)
        try:
            self.log_deletions(request, Datastore.objects.filter(pk=pk))
            datastore.delete()
        except ProtectedError:
            messages.error(request, _("Datasets use this datastore, so it can't be deleted."))
            return redirect("admin:projects_datastore_change", pk)
        messages.success(request, _("Deleted “%(name)s”. Its files are where they were.") % {"name": datastore.name})
        return redirect("admin:projects_datastore_changelist")


@admin.register(Dataset)
class DatasetAdmin(ConsoleAdmin):
    """Images of a datastore that a path finds. Managers use the site's and their own, and change their own."""

    def doors(self) -> list[tuple[str, Callable[..., HttpResponse], str]]:
        """The pages."""
        return [
            ("", self.shelf, "changelist"),
            ("add/", self.edit, "add"),
            ("<int:pk>/change/", self.edit, "change"),
        ]

    def shelf(self, request: HttpRequest) -> HttpResponse:
        """All datasets."""
        self.demand(self.has_view_permission(request))
        rows = Dataset.objects.usable_by(request.user).select_related("datastore", "created_by")
        used: dict[int, list[Project]] = {}
        for project in Project.objects.reviewable_by(request.user).order_by("name"):
            used.setdefault(project.dataset_id, []).append(project)
        return self.page(
            request,
            "admin/data/datasets.html",
            title=_("Datasets"),
            rows=[(row, used.get(row.pk, [])) for row in rows],
            may_add=self.has_add_permission(request),
        )

    def edit(self, request: HttpRequest, pk: int | None = None) -> HttpResponse:
        """Add or change one. Where a project stands on it, its place is settled and only words can change."""
        usable = Dataset.objects.usable_by(request.user).select_related("datastore")
        dataset = self.find(usable, pk) if pk else None
        self.demand(self.has_view_permission(request) if dataset else self.has_add_permission(request))
        user = cast(User, request.user)
        may_edit = dataset is None or user.is_superuser or dataset.created_by_id == user.pk
        self.demand(may_edit or request.method == "GET")
        form = DatasetForm(request.POST or None, instance=dataset).offer_to(request.user)
        is_used = dataset is not None and dataset.project_set.exists()
        for name in ("datastore", "pattern"):
            form.fields[name].disabled = is_used
        for name in form.fields if not may_edit else ():
            form.fields[name].disabled = True
        if dataset is None and not form.is_bound:
            form.initial = {"datastore": Datastore.objects.filter(is_default=True).first(), "pattern": "**/*.*"}
        if request.method == "POST" and form.is_valid():
            row = form.save(commit=False)
            row.created_by = row.created_by or user
            row.save()
            self.note(request, row, form, is_new=dataset is None)
            messages.success(request, _("Saved “%(name)s”.") % {"name": row.name})
            return redirect("admin:projects_dataset_changelist")
        return self.page(
            request,
            "admin/data/dataset.html",
            422 if form.is_bound else 200,
            title=dataset.name if dataset else _("Add dataset"),
            form=form,
            dataset=dataset,
            is_used=is_used,
            may_edit=may_edit,
            own_folder=_own_folder(dataset),
        )


def _own_folder(dataset: Dataset | None) -> str:
    """Return the folder that files are uploaded to: the dataset's, or a new one."""
    return parse_pattern(dataset.pattern).head if dataset else folder_for("", timezone.now().strftime("%Y%m%d-%H%M%S"))


class TokenForm(ConsoleForm):
    """What a new key is for."""

    name = forms.CharField(
        label=gettext_lazy("Name"), max_length=100, help_text=gettext_lazy("What it is for, as “nightly export”.")
    )
    scope = forms.ChoiceField(label=gettext_lazy("It may"), choices=ApiToken.Scope.choices, initial=ApiToken.Scope.ALL)


@admin.register(ApiToken)
class ApiTokenAdmin(ConsoleAdmin):
    """One's own keys to the API: made, shown once, revoked (ATTACKS 19)."""

    def has_view_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        """Everybody has own tokens only, so everybody who is here may see them."""
        return True

    def doors(self) -> list[tuple[str, Callable[..., HttpResponse], str]]:
        """The pages."""
        return [
            ("", self.shelf, "changelist"),
            ("<int:pk>/revoke/", self.revoke, "revoke"),
        ]

    def shelf(self, request: HttpRequest) -> HttpResponse:
        """My tokens, and a form for a new one."""
        user = cast(User, request.user)
        form = TokenForm(request.POST or None)
        key = ""
        if request.method == "POST" and form.is_valid():
            _token, key = create_token(user, form.cleaned_data["name"], form.cleaned_data["scope"])
            form = TokenForm()
        return self.page(
            request,
            "admin/data/tokens.html",
            422 if form.is_bound else 200,
            title=_("API tokens"),
            form=form,
            key=key,
            tokens=ApiToken.objects.filter(user=user),
        )

    def revoke(self, request: HttpRequest, pk: int) -> HttpResponse:
        """End a token of mine."""
        self.demand(request.method == "POST")
        token = self.find(ApiToken.objects.filter(user=cast(User, request.user), revoked_at__isnull=True), pk)
        token.revoked_at = timezone.now()
        token.save(update_fields=["revoked_at"])
        messages.success(request, _("The token was revoked; whatever used it can't get in any more."))
        return redirect("admin:projects_apitoken_changelist")
