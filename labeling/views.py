"""The labelers' pages: thin doors to queue, submit and pages."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotFound, JsonResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from django.views.decorators.vary import vary_on_headers
from django_htmx.middleware import HtmxDetails

from labeling import home as home_page
from labeling import queue
from labeling.answers import InvalidAnswer
from labeling.doors import labeler_required, my_page
from labeling.models import LabelerSettings, LabelPage
from labeling.pages import layout_for, page_data
from labeling.pictures import get_image, preview_response
from labeling.queue import Lapsed, Paused
from labeling.submit import Reviewed, correct, correctable_tasks, submit
from projects import previews
from projects.access import get_project_to_label
from projects.markdown import render_markdown
from projects.models import Project
from projects.stores import StoreError


class LabelerRequest(HttpRequest):
    """A request whose user has logged in."""

    user: User
    htmx: HtmxDetails


@labeler_required
@require_GET
@never_cache
def home(request: LabelerRequest) -> HttpResponse:
    """The projects that I may label, with what is left (SPEC L1)."""
    return render(request, "labeling/home.html", home_page.home_data(request.user))


@labeler_required
@require_GET
@never_cache
@vary_on_headers("HX-Request")
def label(request: LabelerRequest, pk: int) -> HttpResponse:
    """My page of the project: the one that I left, or the next."""
    return _render_next(request, get_project_to_label(request.user, pk))


def _render_next(request: LabelerRequest, project: Project) -> HttpResponse:
    count = layout_for(project, request.user)
    try:
        page = queue.claim(project, request.user, count)
        reason = "" if page else "empty"
    except Paused:
        page, reason = None, "paused"
    return _render(request, page_data(project, request.user, page, reason=reason, count=count))


def _render(request: LabelerRequest, data: dict[str, Any]) -> HttpResponse:
    template = "labeling/_page.html" if request.htmx else "labeling/page.html"
    return render(request, template, {"data": data})


def _refuse(code: str, detail: str, status: int, item: int | None = None) -> JsonResponse:
    return JsonResponse({"code": code, "detail": detail, "item": item}, status=status)


def _lapsed() -> JsonResponse:
    detail = _(
        "This page was handed to someone else, as its time ran out. Nothing was stored; your labels are still here."
    )
    return _refuse("lapsed", detail, 409)


def _paused() -> JsonResponse:
    return _refuse("paused", _("The project is paused. Your labels stay on this page until it runs again."), 409)


@labeler_required
@require_POST
def submit_page(request: LabelerRequest, pk: int) -> HttpResponse:
    """Store the answers of my page and show the next one."""
    return _store(request, pk, is_correction=False)


@labeler_required
@require_POST
def correct_page(request: LabelerRequest, pk: int) -> HttpResponse:
    """Store other answers for a page that I submitted before (SPEC L5)."""
    return _store(request, pk, is_correction=True)


def _store(request: LabelerRequest, pk: int, *, is_correction: bool) -> HttpResponse:
    page = my_page(request.user, pk)
    if page is None:
        return _lapsed()
    try:
        items = json.loads(request.POST.get("items", ""))
    except ValueError:
        return _refuse("invalid", _("The answers could not be read."), 400)
    try:
        if is_correction:
            correct(page, items, request.user)
        else:
            submit(page, items, request.POST.get("seconds"))
    except InvalidAnswer as error:
        return _refuse("invalid", str(error), 400, error.item)
    except Paused:
        return _paused()
    except Lapsed:
        return _lapsed()
    except Reviewed:
        return _refuse("changed", _("These images were reviewed meanwhile, and can't be corrected any more."), 409)
    return _render_next(request, page.project)


@labeler_required
@require_POST
def renew(request: LabelerRequest, pk: int) -> HttpResponse:
    """Keep my page: I am still at work."""
    page = my_page(request.user, pk)
    try:
        if page is None:
            raise Lapsed
        queue.renew(page)
    except Lapsed:
        return _lapsed()
    return JsonResponse({"lease_expires_at": page.expires_at.isoformat()})


@labeler_required
@require_POST
def release(request: LabelerRequest, pk: int) -> HttpResponse:
    """Give my page back."""
    page = my_page(request.user, pk)
    try:
        if page is None:
            raise Lapsed
        queue.release(page)
    except Lapsed:
        return _lapsed()
    return HttpResponse(status=204)


@labeler_required
@require_POST
def layout(request: LabelerRequest, pk: int) -> HttpResponse:
    """Show another number of images at a time; what I have labeled stays on the page (SPEC L2)."""
    page = my_page(request.user, pk)
    try:
        count = int(request.POST.get("layout", ""))
        keep = [int(task) for task in json.loads(request.POST.get("keep", "[]"))]
    except (ValueError, TypeError):
        return _refuse("invalid", _("Choose 1, 4, 6 or 9 images per page."), 400)
    if count not in (1, 4, 6, 9):
        return _refuse("invalid", _("Choose 1, 4, 6 or 9 images per page."), 400)
    if page is None:
        return _lapsed()
    LabelerSettings.objects.update_or_create(user=request.user, defaults={"layout": count})
    count = layout_for(page.project, request.user)
    try:
        page = queue.resize(page, request.user, count, keep)
    except Lapsed:
        return _lapsed()
    return _render(request, page_data(page.project, request.user, page, count=count))


@labeler_required
@require_GET
@never_cache
def previous(request: LabelerRequest, pk: int) -> HttpResponse:
    """The page that I submitted before this one, to correct it; 204 when there is none (SPEC L5)."""
    project = get_project_to_label(request.user, pk)
    mine = LabelPage.objects.filter(project=project, labeler=request.user, status=LabelPage.Status.SUBMITTED)
    before = mine.filter(pk=request.GET["before"]).first() if request.GET.get("before", "").isdigit() else None
    if before is not None:
        mine = mine.filter(submitted_at__lt=before.submitted_at)
    page = mine.select_related("labeler").order_by("-submitted_at").first()
    tasks = correctable_tasks(page) if page else []
    if page is None or not tasks:
        return HttpResponse(status=204)
    return _render(request, page_data(project, request.user, page, correcting=tasks))


@labeler_required
@require_GET
@vary_on_headers("HX-Request")
def instructions(request: LabelerRequest, pk: int) -> HttpResponse:
    """How to label in this project (SPEC I1): for the drawer, or as a page of its own."""
    project = get_project_to_label(request.user, pk)
    context = {"project": project, "text": render_markdown(project.instructions_text)}
    template = "labeling/_instructions.html" if request.htmx else "labeling/instructions.html"
    return render(request, template, context)


@labeler_required
@require_GET
def preview(request: LabelerRequest, pk: int, size: str) -> HttpResponseBase:
    """A re-encoded picture of an image that I may see; made now if the worker has not made it yet."""
    try:
        return preview_response(get_image(request.user, pk), size)
    except previews.Unreadable as error:
        return HttpResponseNotFound(str(error), content_type="text/plain; charset=utf-8")
    except StoreError as error:
        return HttpResponse(str(error), status=503, content_type="text/plain; charset=utf-8")


def root(request: HttpRequest) -> HttpResponse:
    """The site's front door leads managers to their projects and labelers to their pages."""
    is_staff = request.user.is_authenticated and request.user.is_staff
    return redirect("admin:projects_project_changelist" if is_staff else "labeling:home")
