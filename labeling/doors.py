"""Who may pass a door of the labelers' pages."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils.translation import gettext as _


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
