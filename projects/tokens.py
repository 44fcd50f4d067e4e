"""Keys to the API: made once, shown once, kept as a digest."""

import hashlib
import secrets
from datetime import timedelta

from django.contrib.auth.models import User
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import TokenAuthentication as KeyAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from projects.models import ApiToken

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
USED_EVERY = timedelta(minutes=1)


def digest_of(key: str) -> str:
    """Return what is kept of a key. Keys are 256 random bits, so one fast hash is enough."""
    return hashlib.sha256(key.encode()).hexdigest()


def create_token(user: User, name: str = "", scope: str = ApiToken.Scope.ALL) -> tuple[ApiToken, str]:
    """Make a token and return it with its key, which can't be read again."""
    key = secrets.token_urlsafe(32)
    token = ApiToken.objects.create(user=user, name=name, scope=scope, digest=digest_of(key), hint=key[:6])
    return token, key


class TokenAuthentication(KeyAuthentication):
    """``Authorization: Token <key>``; the scope limits what the key may do below its user's rights."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        """Return the user and the token, or None when the request has no key."""
        result = super().authenticate(request)
        if result:
            self._check_scope(request, result[1])
        return result

    def authenticate_credentials(self, key: str) -> tuple[User, ApiToken]:
        """Find the token by the digest of its key."""
        token = ApiToken.objects.select_related("user").filter(digest=digest_of(key), revoked_at__isnull=True).first()
        if token is None or not token.user.is_active:
            raise AuthenticationFailed(_("This token is not valid, or was revoked. Make a new one."))
        now = timezone.now()
        if token.last_used_at is None or now - token.last_used_at > USED_EVERY:
            ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
        return token.user, token

    def _check_scope(self, request: Request, token: ApiToken) -> None:
        if token.scope == ApiToken.Scope.READ and request.method not in SAFE_METHODS:
            raise PermissionDenied(_("This token can only read."))
        view = request.parser_context.get("view") if request.parser_context else None
        if token.scope == ApiToken.Scope.LABEL and getattr(view, "action", "") not in getattr(
            view, "label_actions", ()
        ):
            raise PermissionDenied(_("This token can only label."))
