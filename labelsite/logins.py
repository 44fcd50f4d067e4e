"""Who has logged in: sessions and accounts as Django keeps them, read by statements that are put together once.

Every request asks for both, and a labeler's page comes with nine previews.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.db.models import DateTimeField, Model, Q
from django.utils import timezone

from projects.prepared import Prepared, Slot

_sessions = Prepared(
    lambda: Session.objects.filter(session_key=Slot("key"), expire_date__gt=Slot("now", DateTimeField()))
)
_users = Prepared(lambda: User.objects.filter(pk=Slot("user")))
_own = Permission.objects.filter(user=Slot("user"))
_of_groups = Permission.objects.filter(group__user=Slot("user"))
_permissions = Prepared(
    lambda: (
        Permission.objects.filter(Q(pk__in=_own.values("pk")) | Q(pk__in=_of_groups.values("pk")))
        .select_related("content_type")
        .order_by()
    )
)


class SessionStore(db.SessionStore):
    """Sessions in the database."""

    def _get_session_from_db(self) -> Session | None:
        for session in _sessions(key=self.session_key, now=timezone.now()):
            return session
        self._session_key = None
        return None


class Backend(ModelBackend):
    """Accounts with a password and groups."""

    def get_user(self, user_id: int) -> User | None:
        """Return the account, unless it is gone or switched off."""
        return next(filter(self.user_can_authenticate, _users(user=user_id)), None)

    def get_all_permissions(self, user_obj: Any, obj: Model | None = None) -> set[str]:
        """Return what the account may do, by its own rights and those of its groups: the console asks on each page."""
        if obj is None and user_obj.is_active and not user_obj.is_superuser and not hasattr(user_obj, "_perm_cache"):
            found = _permissions(user=user_obj.pk)
            user_obj._perm_cache = {f"{one.content_type.app_label}.{one.codename}" for one in found}
        return super().get_all_permissions(user_obj, obj)
