"""Who a client is, and whom it asked for, when there are proxies in between.

Theory of operation: every proxy appends to ``X-Forwarded-For`` the address that it was connected from. So only the last
entries, one for each proxy of our own, can be believed; whatever stands before them the client may have made up. The
address of the client is the first of those. When there are fewer, or when it is no address, then the request did not
come the way that `Config.trusted_proxies` says, and nothing that was forwarded counts.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Final

from .addresses import parse_address

if TYPE_CHECKING:
    from ..protocol.http import Headers, Request

__all__ = ["forwarded", "requested_host"]

_HOP: Final = re.compile(r"\[([0-9a-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+)(?::[0-9]{1,5})?|([0-9a-f:.]+)", re.IGNORECASE)


def forwarded(request: Request, trusted_proxies: int) -> Request:
    """Return ``request`` with the address of the client in place of that of a proxy.

    Args:
      request: As it came over the wire.
      trusted_proxies: See `Config.trusted_proxies`.
    """
    address = _client_address(request.headers, trusted_proxies) if trusted_proxies else None
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
    ip = None if hop is None else parse_address(hop[1] or hop[2] or hop[3])
    return None if ip is None else str(ip)
