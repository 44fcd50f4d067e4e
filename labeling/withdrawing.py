"""Withdraw what one person labeled in some time: found by agreement, gone in one step, undone from a list (ATTACKS 28).

It is a rejection of many images by a worker (labeling/review_jobs.py), chosen as the Data tab's filter would.
"""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from labeling import review, review_jobs
from labeling.data_tab import last_job
from labeling.images import ImageFilter, filtered_tasks, who_labeled
from labeling.models import ReviewJob, Status
from projects.access import get_project_to_review
from projects.forms import ConsoleForm
from projects.frame import frame
from projects.models import Project

SHOWN = 20


class Moment(forms.DateTimeInput):
    """A date and a time, as browsers choose them."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%dT%H:%M", attrs={"step": 60})


class Person(forms.ModelChoiceField):
    """A person, by name."""

    def label_from_instance(self, obj: Any) -> str:
        """Return how people know them."""
        return obj.get_full_name() or obj.username


class WithdrawForm(ConsoleForm):
    """Whose labels, and of what time."""

    labeler = Person(User.objects.none(), label=gettext_lazy("Labels given by"))
    since = forms.DateTimeField(label=gettext_lazy("From"), required=False, widget=Moment)
    until = forms.DateTimeField(label=gettext_lazy("Until"), required=False, widget=Moment)
    approved = forms.BooleanField(
        label=gettext_lazy("Also labels that a reviewer has approved"), required=False,
        help_text=gettext_lazy("Somebody has looked at those, so they stay unless you say so."),
    )  # fmt: skip

    def __init__(self, project: Project, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        cast(Person, self.fields["labeler"]).queryset = who_labeled(project).order_by("username")

    def clean(self) -> dict[str, Any]:
        """Refuse a time that ends before it begins."""
        given = super().clean() or {}
        if given.get("since") and given.get("until") and given["since"] >= given["until"]:
            self.add_error("until", _("This lies before the beginning."))
        return given

    def query(self) -> dict[str, str]:
        """Return the Data tab's filter that leaves these images."""
        given = self.cleaned_data
        statuses = [Status.LABELED, Status.NEEDS_REVIEW, *([Status.APPROVED] if given["approved"] else [])]
        query = {"labeler": str(given["labeler"].pk), "status": ",".join(statuses)}
        return query | {name: given[name].isoformat() for name in ("since", "until") if given[name]}


@require_http_methods(["GET", "POST"])
@never_cache
def withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    """Say how many images it concerns (GET), withdraw their labels or undo that (POST)."""
    project = get_project_to_review(request.user, pk)
    user = cast(User, request.user)
    if request.method == "POST" and "undo" in request.POST:
        return _undo(request, project, user)
    given = request.POST if request.method == "POST" else request.GET
    form = WithdrawForm(project, given if "labeler" in given else None)
    found: dict[str, Any] | None = None
    if form.is_bound and form.is_valid():
        query = form.query()
        n_images = filtered_tasks(project, ImageFilter.parse(query)).count()
        if request.method == "POST" and n_images:
            return _begin(request, project, user, query, n_images)
        found = {"n": n_images, "query": urlencode(query)}
    context = {"form": form, "found": found, "job": last_job(project, request), "withdrawals": _past(project, user)}
    return render(request, "admin/project/withdraw.html", frame(request, project, "dashboard", **context))


def _begin(request: HttpRequest, project: Project, user: User, query: dict[str, str], n_images: int) -> HttpResponse:
    try:
        review_jobs.enqueue(project, user, review_jobs.WITHDRAW, query, timezone.now(), n_images)
    except review_jobs.Busy as error:
        messages.error(request, str(error))
    return redirect("admin:projects_project_withdraw", project.pk)


def _undo(request: HttpRequest, project: Project, user: User) -> HttpResponse:
    number = request.POST["undo"]
    mine = ReviewJob.objects.filter(project=project, by=user, action=review_jobs.WITHDRAW, state=ReviewJob.State.DONE)
    job = get_object_or_404(mine, pk=int(number) if number.isascii() and number.isdigit() and len(number) < 19 else 0)
    query = {"first": job.first_event, "last": job.last_event}
    try:
        n_images = review.count_undoable(project, user, job.first_event, job.last_event)
        review_jobs.enqueue(project, user, "undo", query, timezone.now(), n_images)
    except review_jobs.Busy as error:
        messages.error(request, str(error))
    return redirect("admin:projects_project_withdraw", project.pk)


def _past(project: Project, user: User) -> list[dict[str, Any]]:
    """Return the withdrawals of this project, newest first."""
    jobs = ReviewJob.objects.filter(project=project)
    rows = list(jobs.filter(action=review_jobs.WITHDRAW).select_related("by").order_by("-pk")[:SHOWN])
    people = User.objects.in_bulk([int(job.query["labeler"]) for job in rows])
    undone = {job.query["first"]: job for job in jobs.filter(action="undo", state=ReviewJob.State.DONE).order_by("pk")}
    found = []
    for job in rows:
        wanted = ImageFilter.parse(job.query)
        labeler = people.get(int(job.query["labeler"]))
        back = undone.get(job.first_event)
        is_done = job.state == ReviewJob.State.DONE and job.count
        found.append(
            {
                "job": job,
                "labeler": (labeler.get_full_name() or labeler.username) if labeler else "",
                "since": wanted.since,
                "until": wanted.until,
                "undone": back,
                "can_undo": is_done and back is None and job.by_id == user.pk,
            }
        )
    return found
