"""How often a person may call the API: counted in windows, so that a call costs one look into the cache."""

from __future__ import annotations

import math
import time
from typing import Any

from django.conf import settings
from django.core.cache import cache
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def read_rate(rate: str) -> tuple[int, int]:
    """Return (calls, seconds) of a rate such as ``60/min``."""
    calls, _slash, period = rate.partition("/")
    return int(calls), SECONDS[period[:1]]


class RateThrottle(BaseThrottle):
    """So many calls in a window of the clock, by person, or by address for those who have not logged in."""

    scope = "user"
    _wait = 0.0

    def _ident(self, request: Request) -> str:
        return f"user-{request.user.pk}" if request.user.is_authenticated else f"address-{self.get_ident(request)}"

    def allow_request(self, request: Request, view: Any) -> bool:
        """Count the call, and say whether it is within the rate."""
        rates: dict[str, str] = settings.REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]  # type: ignore[assignment]
        calls, seconds = read_rate(rates[self.scope])
        now = time.time()
        window = int(now // seconds)
        self._wait = (window + 1) * seconds - now
        key = f"throttle-{self.scope}-{self._ident(request)}-{window}"
        if cache.add(key, 1, timeout=seconds):
            return calls >= 1
        try:
            return cache.incr(key) <= calls
        except ValueError:  # it has just run out
            return True

    def wait(self) -> float:
        """Return the seconds until the next window, for ``Retry-After``."""
        return math.ceil(self._wait)


class CallThrottle(RateThrottle):
    """Every call counts; strangers have a rate of their own."""

    def allow_request(self, request: Request, view: Any) -> bool:
        """Count the call under the rate of people or of strangers."""
        self.scope = "user" if request.user.is_authenticated else "anon"
        return super().allow_request(request, view)


class JobThrottle(RateThrottle):
    """Calls that start long work, or reach out to another machine, count once more, under a lower rate."""

    scope = "jobs"
