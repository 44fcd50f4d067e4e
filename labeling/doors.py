"""Who may pass a door of the labelers' pages, and to which page it leads."""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponseBase, JsonResponse
from django.utils.translation import gettext as _

from labeling.models import LabelPage
from projects.models import Project, is_administrator
from projects.prepared import Prepared, Slot

MAX_ID = 2**63 - 1


def labeler_required(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Let in who has logged in. A page whose session ran out is told so in place, and keeps its work (SPEC L8)."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        if request.headers.get("HX-Request"):
            detail = _("You were logged out. Log in again; your labels stay on this page.")
            return JsonResponse({"code": "login", "detail": detail, "item": None}, status=401)
        return redirect_to_login(request.get_full_path())

    return guarded


def my_page(user: User, pk: int | str) -> LabelPage | None:
    """Return my page with its project, or None for one that is not mine or isn't there.

    404 when its project is no longer mine.
    """
    if int(pk) > MAX_ID:
        return None
    for page in _my_page(is_administrator(user))(page=int(pk), user=user.pk):
        page.labeler = user
        return page
    if LabelPage.objects.filter(pk=pk, labeler=user).exists():
        raise Http404(_("There is no such project."))
    return None


@cache
def _my_page(may_label_all: bool) -> Prepared[LabelPage]:
    projects = Project.objects.all()
    if not may_label_all:
        projects = Project.objects.all().granted_to(Slot("user"), "label_project")
    return Prepared(
        lambda: LabelPage.objects.filter(pk=Slot("page"), labeler=Slot("user"), project__in=projects).select_related(
            "project"
        )
    )
