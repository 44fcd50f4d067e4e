"""Secrets of datastores, encrypted at rest with a key derived from SECRET_KEY."""

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.utils.translation import gettext as _


class SecretLost(Exception):
    """A secret was encrypted with another SECRET_KEY."""


@lru_cache(maxsize=4)
def _cipher(secret_key: str) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"labelsite datastore secrets")
    return Fernet(base64.urlsafe_b64encode(derived.derive(secret_key.encode())))


def encrypt(text: str) -> str:
    """Return the text encrypted, as ASCII."""
    return _cipher(settings.SECRET_KEY).encrypt(text.encode()).decode()


def decrypt(encrypted: str) -> str:
    """Return the text; former keys are tried too. Raises SecretLost if none of them encrypted it."""
    ciphers = MultiFernet([_cipher(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])
    try:
        return ciphers.decrypt(encrypted.encode()).decode()
    except InvalidToken:
        raise SecretLost(_("SECRET_KEY has changed since this secret was saved. Enter the secret again.")) from None
