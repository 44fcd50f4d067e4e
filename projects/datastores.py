"""Rules of datastores that hold at every door: where a local folder may lie, and when a secret is asked for again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from projects.stores import LocalStore, StoreError

if TYPE_CHECKING:
    from projects.models import Datastore


def check_place(datastore: Datastore) -> None:
    """Refuse what can't be opened, and a folder that the site may not use or that would open its own data to managers.

    Raises ValidationError. The default datastore lies inside DATA_DIR, and so may others below it; anything else
    there (the database, the key, previews, exports being written) is the site's own.
    """
    if datastore.kind != datastore.Kind.LOCAL:
        try:
            datastore.open()
        except StoreError as error:
            raise ValidationError(str(error)) from error
        return
    if not Path(datastore.container).is_absolute():
        raise ValidationError({"container": _("Give the folder's full path, from “/” on.")})
    try:
        store = datastore.open()
    except StoreError as error:
        raise ValidationError({"container": str(error)}) from error
    assert isinstance(store, LocalStore)
    own = Path(settings.DATA_DIR)
    holds_own = LocalStore(os.path.realpath(own)).lies_below(os.path.realpath(store.root))
    if holds_own or (store.lies_below(own) and not store.lies_below(own / "datastore") and not datastore.is_default):
        raise ValidationError(
            {"container": _("This folder holds labelsite's own data. Choose a folder of its own for the images.")}
        )


def check_secret(datastore: Datastore, stored: Datastore | None, is_secret_given: bool) -> None:
    """Ask for the secret again when the place changes, so that it is never sent to where somebody else points it."""
    if stored is None or not stored.encrypted_secret or is_secret_given:
        return
    if any(getattr(stored, name) != getattr(datastore, name) for name in ("kind", "container", "options")):
        raise ValidationError(_("The place has changed, so enter the secret again."))
