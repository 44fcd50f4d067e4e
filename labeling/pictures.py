"""Images as answers to a browser or a program: re-encoded previews to be shown, originals to be saved only."""

from __future__ import annotations

from functools import cache

from django.http import FileResponse, Http404, HttpResponseBase
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from projects import previews
from projects.models import Image, Person, Project, is_administrator
from projects.prepared import Prepared, Slot
from projects.stores import StoreError

URL_SECONDS = 300
YEAR = 365 * 24 * 3600
SANDBOX = "default-src 'none'; sandbox"


def get_image(user: Person, pk: int | str, project: int | str | None = None) -> Image:
    """Return an image of a project that the person may label or review, else 404."""
    found = _image(is_administrator(user))(image=int(pk), user=user.pk) if user.is_active else []
    for image in found:
        if project is None or image.project_id == int(project):
            return image
    raise Http404(_("There is no such image."))


@cache
def _image(may_see_all: bool) -> Prepared[Image]:
    projects = Project.objects.all()
    if not may_see_all:
        user = Slot("user")
        projects = projects.granted_to(user, "label_project") | projects.granted_to(user, "review_project")
    images = Image.objects.filter(pk=Slot("image"), project__in=projects)
    return Prepared(lambda: images.select_related("project__dataset__datastore"))


def preview_response(image: Image, size: str) -> HttpResponseBase:
    """Return a re-encoded picture, made now if the worker has not made it. Raises previews.Unreadable, StoreError."""
    datastore = image.project.dataset.datastore
    wanted: previews.Size = int(size) if size.isdigit() else "full"
    path = previews.preview_path(datastore.pk, image.path, image.etag, wanted)
    if not path.exists():
        path = previews.ensure(datastore.open(), datastore.pk, image.path, image.etag, wanted)
    response = FileResponse(path.open("rb"), content_type="image/jpeg")
    response["Cache-Control"] = f"private, max-age={YEAR}, immutable"
    response["Content-Security-Policy"] = SANDBOX
    return response


def original_response(image: Image) -> HttpResponseBase:
    """Return the file as it is, to be saved: a browser never shows it as a page. 404 when it can't be read.

    What lies in a cloud is fetched from there, by an address that works for some minutes.
    """
    try:
        store = image.project.dataset.datastore.open()
        if url := store.url(image.path, URL_SECONDS):
            return redirect(url)
        content = store.open(image.path)
    except StoreError as error:
        raise Http404(str(error)) from error
    response = FileResponse(content, as_attachment=True, filename=image.name, content_type="application/octet-stream")
    response["Content-Security-Policy"] = SANDBOX
    return response
