"""What a pattern finds in a datastore, before anything is made of it (SPEC D2)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from django.conf import settings
from django.core import signing
from django.core.cache import cache
from django.urls import reverse

from projects.frame import hash_of, remember_found
from projects.models import Datastore
from projects.patterns import is_image_name
from projects.patterns import parse as parse_pattern
from projects.stores import Entry

N_SAMPLES = 12
SECONDS = 1.0
KEPT_SECONDS = 120
THUMB_SALT = "projects.finding.thumb"


@dataclass(slots=True)
class Found:
    """What was found so far. ``after`` is the last file looked at; ``is_complete`` when there is no more to see."""

    n_images: int = 0
    n_others: int = 0
    samples: list[Entry] = field(default_factory=list)
    after: str = ""
    is_complete: bool = False

    @property
    def n_left_out(self) -> int:
        """How many images are beyond what a project holds (SPEC D5)."""
        return max(self.n_images - settings.MAX_IMAGES_PER_PROJECT, 0)


def look(datastore: Datastore, pattern: str, goes_on: bool = False, seconds: float = SECONDS) -> Found:
    """Return what the pattern finds, looking for some seconds; with ``goes_on`` from where the last look ended.

    Counting ends when it is known that a project can't hold more. Raises PatternError and StoreError.
    """
    parsed = parse_pattern(pattern)
    key = f"look-{datastore.pk}-{hash_of(pattern)}"
    found: Found = (goes_on and cache.get(key)) or Found()
    deadline = time.monotonic() + seconds
    for page in datastore.open().pages(parsed.head, after=found.after):
        for entry in page:
            if not parsed.matches(entry.key):
                continue
            if not is_image_name(entry.key):
                found.n_others += 1
                continue
            found.n_images += 1
            if len(found.samples) < N_SAMPLES:
                found.samples.append(entry)
        found.after = page[-1].key
        if time.monotonic() > deadline or found.n_left_out:
            break
    else:
        found.is_complete = True
        remember_found(datastore.pk, pattern, min(found.n_images, settings.MAX_IMAGES_PER_PROJECT))
    cache.set(key, found, KEPT_SECONDS)
    return found


def thumb_url(datastore: Datastore, entry: Entry) -> str:
    """Return the address of a small picture of a file that a person was shown; it can't be made up (ATTACKS 12)."""
    token = signing.dumps([datastore.pk, entry.key, entry.etag], salt=THUMB_SALT, compress=True)
    return reverse("admin:projects_datastore_thumb", args=[token])


def read_thumb(token: str) -> tuple[int, str, str]:
    """Return (datastore id, key, etag) of such an address. Raises signing.BadSignature."""
    pk, key, etag = signing.loads(token, salt=THUMB_SALT)
    return pk, key, etag
