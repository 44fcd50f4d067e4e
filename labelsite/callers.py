"""Whose request it is: the address that counts against those who guess passwords."""

from ipaddress import ip_address

from django.conf import settings
from django.http import HttpRequest


def caller_address(request: HttpRequest) -> str:
    """Return the address that the request came from; behind a proxy, the one that the proxy says.

    The proxy's own address would be everybody's: who guesses passwords would shut out the person whose name is used.
    Only the last address is the proxy's word, those before it are whatever the caller sent.
    """
    said = request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip() if settings.BEHIND_PROXY else ""
    try:
        return str(ip_address(said))
    except ValueError:
        return str(request.META.get("REMOTE_ADDR", ""))
