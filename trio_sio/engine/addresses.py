"""How much of the server one address may take."""

from __future__ import annotations

import ipaddress
import math
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Final

import trio

from ..limits import MINUTE
from .refusals import TooMany

if TYPE_CHECKING:
    from ..limits import Limits

__all__ = ["AddressLimits", "network_of", "parse_address"]

REMEMBERED_ADDRESSES: Final = 65_536  # addresses whose handshakes are counted at once; who has more than that has no limit anyway

_NETWORK_OCTETS: Final = 8  # of IPv6 a /64: what one customer has at least, and so what one client can choose from; of IPv4 all


def parse_address(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return what ``address`` says; ``None`` if it is no IP address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    # A socket for both families shows IPv4 clients in this way.
    return getattr(ip, "ipv4_mapped", None) or ip


def network_of(address: str | None) -> bytes | str | None:
    """Return what all addresses of one client have in common: of IPv6 the /64 network."""
    ip = None if address is None else parse_address(address)
    return address if ip is None else ip.packed[:_NETWORK_OCTETS]


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
        key = network_of(address)
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
        if self._connections is not None and self._open[network_of(address)] >= self._connections:
            raise TooMany("Too many connections from this address.")

    def enter(self, address: str | None) -> None:
        """Count a session of ``address``, or a WebSocket that is to become one, until `leave`."""
        if self._connections is not None:
            self._open[network_of(address)] += 1

    def leave(self, address: str | None) -> None:
        """Take back what `enter` counted."""
        if self._connections is not None:
            key = network_of(address)
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]
