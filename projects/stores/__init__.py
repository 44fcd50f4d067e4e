"""Storage access: list in pages, browse, open, write. Keys are data, never paths of this machine.

Every kind of datastore is one module here; the clouds' libraries are imported when the first such store is opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from types import SimpleNamespace
from typing import cast

import orjson
from django.utils.translation import gettext as _

from projects.secrets import SecretLost
from projects.stores.base import CHUNK, Datastore, Entry, Folder, Page, Store, StoreDown, StoreError
from projects.stores.local import LocalStore, open_store

__all__ = [
    "CHUNK",
    "Datastore",
    "Entry",
    "Folder",
    "LocalStore",
    "Page",
    "Store",
    "StoreDown",
    "StoreError",
    "store_for",
]

CLOUDS = {"azure": "AzureStore", "s3": "S3Store", "gcs": "GoogleStore"}


def store_for(datastore: Datastore) -> Store:
    """Return the store of a datastore; nothing is connected to yet. Raises StoreError for what can't be one."""
    if datastore.kind == "local":
        return open_store(datastore)
    if datastore.kind not in CLOUDS:
        raise StoreError(_("“%(kind)s” is not a kind of datastore.") % {"kind": datastore.kind})
    try:
        secret = datastore.secret
    except SecretLost as error:
        raise StoreError(str(error)) from None
    if not isinstance(datastore.options, dict):
        raise StoreError(_("Options are an object of names and values."))
    options = orjson.dumps(datastore.options, option=orjson.OPT_SORT_KEYS)
    return _cloud_store(os.getpid(), datastore.kind, datastore.container, datastore.prefix, options, secret)


@lru_cache(maxsize=16)
def _cloud_store(process: int, kind: str, container: str, prefix: str, options: bytes, secret: str) -> Store:
    """Keep the clients: making one takes longer than most calls. Each process has its own connections."""
    make = cast(Callable[[object], Store], getattr(import_module(f"projects.stores.{kind}"), CLOUDS[kind]))
    return make(SimpleNamespace(container=container, prefix=prefix, options=orjson.loads(options), secret=secret))
