"""The admin site: the managers' console (SPEC P1)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

from django.conf import settings
from django.contrib.admin import ModelAdmin
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.sites import UnfoldAdminSite


class ConsoleSite(UnfoldAdminSite):
    """The admin in unfold's theme; who may not enter finds nothing here (SPEC R2)."""

    site_title = gettext_lazy("labelsite")
    site_header = gettext_lazy("labelsite")
    enable_nav_sidebar = True

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Callable[..., Any]:
        """Answer 404 to people who have logged in and may not enter, or not this page; ask others to log in."""
        inner = super().admin_view(view, cacheable)
        area = getattr(view, "__self__", None)  # the pages of a model are methods of its admin

        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if request.user.is_authenticated:
                if not self.has_permission(request):
                    raise Http404(_("There is no such page."))
                if isinstance(area, ModelAdmin) and not area.has_module_permission(request):
                    raise Http404(_("There is no such page."))
            try:
                return inner(request, *args, **kwargs)
            except PermissionDenied:
                raise Http404(_("There is no such page.")) from None

        return update_wrapper(guarded, inner)

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> Any:
        """Return Django's list of all there is, put together when somebody looks: the side bar has taken its place."""
        return SimpleLazyObject(partial(super().get_app_list, request, app_label))

    def get_urls(self) -> list[Any]:
        """All but Django's door from a row to its page: it would tell which rows there are, whosever they are."""
        return [url for url in super().get_urls() if getattr(url, "name", "") != "view_on_site"]

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """There is one place to log in: the site's."""
        if not request.user.is_authenticated:
            return redirect_to_login(request.GET.get("next") or reverse("admin:index"), settings.LOGIN_URL)
        if not self.has_permission(request):
            raise Http404(_("There is no such page."))
        return redirect("admin:index")

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseRedirect:
        """The managers' home is the list of projects."""
        return redirect("admin:projects_project_changelist")
