"""Where stores may be reached: never this machine's own network, unless the operator names the place (ATTACKS 14).

The check is made when connecting, on the address that is then used. So a name that answers differently the second
time, a redirect or an address written as a number gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import urllib3
from django.conf import settings
from django.utils.translation import gettext as _
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NameResolutionError, NewConnectionError

from projects.stores.base import StoreDown, StoreError, shown

if TYPE_CHECKING:
    Connection = urllib3.connection.HTTPConnection
else:
    Connection = object

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Refused(StoreDown):
    """The endpoint leads into a network that stores may not use."""


def is_unguarded() -> bool:
    """Whether the operator lets stores lie anywhere; the environment's proxies are then used too."""
    return "*" in settings.PRIVATE_ENDPOINTS


def check_url(url: str) -> str:
    """Return an endpoint's address without a slash at its end. Raises StoreError if it is none."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or "@" in parts.netloc or parts.query or parts.fragment or any(ord(char) <= 32 for char in url):
        raise StoreError(
            _("“%(url)s” is not an endpoint. Write it as “https://storage.example.com”.") % {"url": shown(url)}
        )
    return url.rstrip("/")


def permitted(host: str, port: int | None) -> list[str]:
    """Return the addresses of a host that may be connected to. Raises Refused if there are only others."""
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    allowed = [address for address in addresses if _may_use(host, port, ipaddress.ip_address(address.split("%")[0]))]
    if not allowed:
        raise Refused(
            _(
                "“%(host)s” lies in this site's own network, where datastores may not be."
                " Its operator can allow it by the setting PRIVATE_ENDPOINTS."
            )
            % {"host": shown(host)}
        )
    return allowed


def _may_use(host: str, port: int | None, address: Address) -> bool:
    return is_unguarded() or _is_public(address) or any(_names(e, host, port, address) for e in _allowed())


def _allowed() -> list[str]:
    return [entry.strip().lower() for entry in settings.PRIVATE_ENDPOINTS]


def _names(entry: str, host: str, port: int | None, address: Address) -> bool:
    """Whether an entry of PRIVATE_ENDPOINTS (a host, a host with its port, or a network) names this place."""
    try:
        return address in ipaddress.ip_network(entry)
    except ValueError:
        return entry in (host.lower(), f"{host.lower()}:{port}")


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved


class _Guard(Connection):
    """A connection that asks before it connects, and connects to the address that it asked about."""

    def _new_conn(self) -> socket.socket:
        name = self._dns_host
        try:
            addresses = permitted(name, self.port)
        except OSError as error:
            problem = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
            raise NameResolutionError(name, self, problem) from error
        failure: NewConnectionError | None = None
        for address in addresses:
            self._dns_host = address
            try:
                return super()._new_conn()
            except NewConnectionError as error:
                failure = error
            finally:
                self._dns_host = name
        assert failure is not None
        raise failure


def guard_pools(pools: dict[str, Any]) -> dict[str, Any]:
    """Return urllib3's connection pools for each scheme with connections that ask before they connect."""
    return {
        scheme: type(
            f"Guarded{pool.__name__}",
            (pool,),
            {"ConnectionCls": type("GuardedConnection", (_Guard, pool.ConnectionCls), {})},
        )
        for scheme, pool in pools.items()
    }


POOLS = guard_pools({"http": urllib3.HTTPConnectionPool, "https": urllib3.HTTPSConnectionPool})


class GuardedAdapter(HTTPAdapter):
    """Sends the requests of a session straight to permitted addresses, past any proxy of the environment."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools guarded ones."""
        super().init_poolmanager(*args, **kwargs)
        if not is_unguarded():
            self.poolmanager.pool_classes_by_scheme = POOLS

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Send without a proxy: it would connect in our place."""
        if not is_unguarded():
            kwargs["proxies"] = {}
        return super().send(request, *args, **kwargs)
