"""Who a client is, by its address: through proxies, and how much of the server one address may take.

Theory of operation: every proxy appends to ``X-Forwarded-For`` the address that it was connected from. So only the last
entries, one for each proxy of our own, can be believed; whatever stands before them the client may have made up. The
address of the client is the first of those. When there are fewer, or when it is no address, then the request did not
come the way that `Config.trusted_proxies` says, and nothing that was forwarded counts.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import math
import re
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from ..limits import Limits
    from ..protocol.http import Headers, Request

__all__ = ["AddressLimits", "TooMany", "forwarded", "requested_host"]

MINUTE: Final = 60.0
REMEMBERED_ADDRESSES: Final = 65_536  # addresses whose handshakes are counted at once; who has more than that has no limit anyway
RETRY_AFTER: Final = 5  # seconds until a client may look whether a session of its address has ended

_NETWORK_OCTETS: Final = 8  # of IPv6 a /64: what one customer has at least, and so what one client can choose from; of IPv4 all

_HOP: Final = re.compile(r"\[([0-9a-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+)(?::[0-9]{1,5})?|([0-9a-f:.]+)", re.IGNORECASE)


def forwarded(request: Request, trusted_proxies: int) -> Request:
    """Return ``request`` with the address of the client in place of that of a proxy.

    Args:
      request: As it came over the wire.
      trusted_proxies: See `Config.trusted_proxies`.
    """
    address = _client_address(request.headers, trusted_proxies)
    return request if address is None else dataclasses.replace(request, address=address)


def requested_host(request: Request, trusted_proxies: int) -> str:
    """Return the host and port that the client asked for; empty when nobody tells.

    Args:
      request: The request; its headers are as they came over the wire.
      trusted_proxies: See `Config.trusted_proxies`.
    """
    host = request.headers.get("x-forwarded-host")
    if host is None or _client_address(request.headers, trusted_proxies) is None:
        return request.headers.get("host", "")
    # Proxies append their own, or leave alone what the first of them has set.
    hosts = host.rsplit(",", trusted_proxies)[-trusted_proxies:]
    return hosts[0].strip()


def _client_address(headers: Headers, trusted_proxies: int) -> str | None:
    hops = headers.get("x-forwarded-for")
    if not trusted_proxies or hops is None:
        return None
    last = hops.rsplit(",", trusted_proxies)
    if len(last) < trusted_proxies:
        return None
    hop = _HOP.fullmatch(last[-trusted_proxies].strip())
    ip = None if hop is None else _parse(hop[1] or hop[2] or hop[3])
    return None if ip is None else str(ip)


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    # A socket for both families shows IPv4 clients in this way.
    return getattr(ip, "ipv4_mapped", None) or ip


def _key(address: str | None) -> bytes | str | None:
    """Return what all addresses of one client have in common."""
    ip = None if address is None else _parse(address)
    return address if ip is None else ip.packed[:_NETWORK_OCTETS]


class TooMany(Exception):
    """An address takes more than its share; answered with 429.

    Args:
      why: For the log and for the client's developer.
      retry_after: Seconds after which it may try again.
    """

    def __init__(self, why: str, retry_after: int) -> None:
        super().__init__(why)
        self.retry_after = retry_after


class AddressLimits:
    """Counts what each address takes: `Limits.connections_per_address` and `Limits.handshakes_per_address`.

    An IPv6 address counts as its /64 network. Clients without an address (on a Unix socket) count as one: that is what
    they are to somebody who forgot `Config.trusted_proxies`, and a limit that can be left out is none.
    """

    def __init__(self, limits: Limits) -> None:
        self._connections = limits.connections_per_address
        self._handshakes = limits.handshakes_per_address
        self._open: Counter[bytes | str | None] = Counter()
        # When the minute of an address ends, and how many handshakes it had in it; those that end first are first.
        self._minutes: OrderedDict[bytes | str | None, tuple[float, int]] = OrderedDict()

    def count_handshake(self, address: str | None) -> None:
        """Count a handshake of ``address``, before anything is done for it.

        Raises:
          TooMany: if there were `Limits.handshakes_per_address` in the minute that began with the first of them.
        """
        if self._handshakes is None:
            return
        now = trio.current_time()
        while self._minutes and next(iter(self._minutes.values()))[0] <= now:
            self._minutes.popitem(last=False)
        key = _key(address)
        end, count = self._minutes.get(key, (now + MINUTE, 0))
        if count >= self._handshakes:
            raise TooMany("Too many handshakes from this address.", math.ceil(end - now))
        if not count and len(self._minutes) >= REMEMBERED_ADDRESSES:
            self._minutes.popitem(last=False)
        self._minutes[key] = end, count + 1

    def check_connections(self, address: str | None) -> None:
        """Require that ``address`` may have one more session.

        Raises:
          TooMany: if it has `Limits.connections_per_address` already.
        """
        if self._connections is not None and self._open[_key(address)] >= self._connections:
            raise TooMany("Too many connections from this address.", RETRY_AFTER)

    def enter(self, address: str | None) -> None:
        """Count a session of ``address``, or a WebSocket that is to become one, until `leave`."""
        if self._connections is not None:
            self._open[_key(address)] += 1

    def leave(self, address: str | None) -> None:
        """Take back what `enter` counted."""
        if self._connections is not None:
            key = _key(address)
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]
