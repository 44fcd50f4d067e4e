"""Doors of the console to datastores: what a path finds, browsing, thumbnails, uploads and the test of a connection."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core import signing
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from projects import previews
from projects.finding import look, read_thumb, thumb_url
from projects.forms import DataForm, DatastoreForm
from projects.models import Dataset, Datastore
from projects.patterns import PatternError, is_image_name
from projects.stores import StoreError
from projects.uploads import UploadReport, receive

N_THUMBS = 8
DAY = 24 * 3600


def for_managers(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Let in who may look into datastores; for others there is nothing here."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.has_perm("projects.view_datastore"):
            raise Http404(_("There is no such page."))
        return view(request, *args, **kwargs)

    return guarded


def _datastore(request: HttpRequest, pk: str | int) -> Datastore | None:
    usable = Datastore.objects.usable_by(request.user)
    return usable.filter(pk=pk).first() if str(pk).isdecimal() and len(str(pk)) < 19 else None


def _place(request: HttpRequest) -> tuple[Datastore | None, str]:
    """Return the datastore and pattern that a form speaks of, whichever source it has chosen."""
    asked = request.GET
    if asked.get("source") == DataForm.DATASET:
        pk = asked.get("dataset", "")
        dataset = (
            Dataset.objects.usable_by(request.user).select_related("datastore").filter(pk=pk).first()
            if pk.isdecimal() and len(pk) < 19
            else None
        )
        return (dataset.datastore, dataset.pattern) if dataset else (None, "")
    if asked.get("source") == DataForm.UPLOAD:
        return _datastore(request, asked.get("upload_datastore", "")), f"{asked.get('upload_folder', '').strip('/')}/**"
    return _datastore(request, asked.get("datastore", "")), asked.get("pattern", "")


@for_managers
@require_GET
@never_cache
def found(request: HttpRequest) -> HttpResponse:
    """How many images a path finds, with the first few, while nothing is made yet (SPEC D2)."""
    datastore, pattern = _place(request)
    context: dict[str, Any] = {"query": request.GET.urlencode()}
    if datastore is not None:
        try:
            seen = look(datastore, pattern[:1000], goes_on="goes_on" in request.GET)
        except (PatternError, StoreError) as error:
            context["error"] = str(error)
        else:
            context |= {"found": seen, "thumbs": [(thumb_url(datastore, e), e.key) for e in seen.samples]}
    context["is_upload"] = request.GET.get("source") == DataForm.UPLOAD
    return render(request, "admin/data/_found.html", context)


@for_managers
@require_GET
@never_cache
def browse(request: HttpRequest) -> HttpResponse:
    """One folder of a datastore, to choose from (SPEC D2)."""
    datastore = _datastore(request, request.GET.get("datastore", ""))
    folder = request.GET.get("folder", "").strip("/")
    context: dict[str, Any] = {"datastore": datastore, "folder": folder}
    if datastore is None:
        context["error"] = _("Choose a datastore first.")
        return render(request, "admin/data/_browse.html", context)
    try:
        level = datastore.open().browse(folder)
    except StoreError as error:
        return render(request, "admin/data/_browse.html", context | {"error": str(error)})
    images = [entry for entry in level.files if is_image_name(entry.key)]
    parts = folder.split("/") if folder else []
    context |= {
        "crumbs": [(part, "/".join(parts[: place + 1])) for place, part in enumerate(parts)],
        "folders": [(name, f"{folder}/{name}" if folder else name) for name in level.folders],
        "n_images": len(images),
        "n_files": len(level.files),
        "is_cut": level.is_cut,
        "thumbs": [(thumb_url(datastore, entry), entry.key) for entry in images[:N_THUMBS]],
        "deep": f"{folder}/**" if folder else "**/*.*",
    }
    return render(request, "admin/data/_browse.html", context)


@for_managers
@require_GET
def thumb(request: HttpRequest, token: str) -> HttpResponseBase:
    """A small re-encoded picture of a file that was shown to a manager just now."""
    try:
        pk, key, etag = read_thumb(token)
    except signing.BadSignature:
        raise Http404(_("There is no such image.")) from None
    datastore = _datastore(request, pk)
    if datastore is None:
        raise Http404(_("There is no such image."))
    try:
        path = previews.ensure(datastore.open(), datastore.pk, key, etag, 512)
    except (previews.Unreadable, StoreError) as error:
        raise Http404(str(error)) from error
    response = FileResponse(path.open("rb"), content_type="image/jpeg")
    response["Cache-Control"] = f"private, max-age={DAY}, immutable"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


@for_managers
@require_POST
def upload(request: HttpRequest) -> HttpResponse:
    """Take in some of a person's files; the page sends a folder in several of these (SPEC D3).

    ``files`` with ``paths`` beside them: browsers send bare names, and a folder has subfolders.
    """
    datastore = _datastore(request, request.POST.get("datastore", ""))
    if datastore is None:
        return JsonResponse({"detail": _("Choose a datastore first.")}, status=400)
    files = request.FILES.getlist("files")
    try:
        paths = json.loads(request.POST.get("paths", "[]"))
    except ValueError:
        paths = None
    if not files or not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        return JsonResponse({"detail": _("No file came with this. Choose files, a folder or a zip.")}, status=400)
    names = paths if len(paths) == len(files) else [file.name for file in files]
    try:
        report = receive(
            datastore.open(),
            request.POST.get("folder", ""),
            list(zip(names, files, strict=True)),  # type: ignore[arg-type]
            overwrite=request.POST.get("overwrite") == "on",
        )
    except StoreError as error:
        return JsonResponse({"detail": str(error)}, status=400)
    return JsonResponse(_told(report))


def _told(report: UploadReport) -> dict[str, Any]:
    return {
        "stored": len(report.stored),
        "kept": len(report.kept),
        "refused": [{"name": name, "reason": reason} for name, reason in report.refused[:200]],
        "n_refused": len(report.refused),
    }


@for_managers
@require_POST
def test_connection(request: HttpRequest) -> HttpResponse:
    """Try the datastore as it stands in the form, saved or not, and say in words what is wrong (SPEC D1)."""
    pk = request.POST.get("pk", "")
    stored = _datastore(request, pk) if pk else None
    if stored is not None and not may_edit(request, stored):
        raise Http404(_("There is no such datastore."))
    form = DatastoreForm(request.POST, instance=stored)
    wrong = [str(error) for name, errors in form.errors.items() if name != "name" for error in errors]
    try:
        if not wrong:
            form.instance.open().check()
    except StoreError as error:
        wrong = [str(error)]
    if wrong:
        return render(request, "admin/data/_test.html", {"words": " ".join(wrong)})
    return render(request, "admin/data/_test.html", {"is_ok": True, "words": _("The datastore can be reached.")})


def may_edit(request: HttpRequest, datastore: Datastore) -> bool:
    """Whether this person may change a datastore: managers their own, superusers all (SPEC R3)."""
    user = request.user
    is_own = datastore.created_by_id is not None and datastore.created_by_id == user.pk
    return user.is_superuser or (is_own and user.has_perm("projects.change_datastore"))
