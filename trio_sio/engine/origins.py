"""Which pages may talk to the server: checked on every request and every WebSocket handshake, before any state is made.

Browsers say with ``Origin`` which page a request comes from. Without that header it is not a browser's cross-origin
request, and it may go on. With it, the page must be the server's own (same host and port), or listed in `Config.cors`,
or a page on one loopback port that talks to a server on another. CORS headers alone would not do: browsers do not apply
them to WebSockets.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from typing import TYPE_CHECKING, Final

from ..log import get_logger
from .addresses import requested_host

if TYPE_CHECKING:
    from ..config import Config
    from .door import Request

__all__ = ["OriginPolicy"]

logger = get_logger("trio_sio.engine")

REMEMBERED_ORIGINS: Final = 1_000  # refused origins that are warned about; after that, at DEBUG

_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^\s/?#@:\[\]]+)(?::([0-9]{1,5}))?", re.IGNORECASE)
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^\s/?#@:\[\]]+)(?::([0-9]{1,5}))?", re.IGNORECASE)
_DEFAULT_PORTS: Final = {"http": "80", "ws": "80", "https": "443", "wss": "443"}


class OriginPolicy:
    """Decides about the ``Origin`` of requests, and makes the CORS headers of the answers."""

    def __init__(self, config: Config) -> None:
        self._cors = config.cors
        self._allow_loopback = config.allow_loopback_origins
        self._trusted_proxies = config.trusted_proxies
        self._refused: set[str] = set()

    def headers(self, request: Request) -> list[tuple[bytes, bytes]] | None:
        """Return the CORS headers that every answer to ``request`` carries, or ``None`` if its page is refused."""
        origin = request.headers.get("origin")
        if origin is None:
            return []
        if self._cors is not None and self._cors.allows(origin):
            return self._cors_headers(origin)
        same_host, loopback = _compare(origin, requested_host(request, self._trusted_proxies))
        if same_host:
            return []
        if loopback and self._allow_loopback:
            return [(b"Access-Control-Allow-Origin", origin.encode("latin-1")), (b"Vary", b"Origin")]
        self._warn(origin)
        return None

    def preflight(self, request: Request) -> list[tuple[bytes, bytes]] | None:
        """Return the further headers that answer a CORS pre-flight request; ``None`` if it is none."""
        asked = request.headers.get("access-control-request-method")
        if request.method != "OPTIONS" or asked is None or "origin" not in request.headers:
            return None
        cors = self._cors
        methods = ",".join(cors.methods) if cors is not None else "GET,POST"
        fields = [(b"Access-Control-Allow-Methods", methods.encode("ascii"))]
        wanted = request.headers.get("access-control-request-headers")
        if cors is not None and cors.headers is not None:
            wanted = ",".join(cors.headers)
        if wanted:
            fields.append((b"Access-Control-Allow-Headers", wanted.encode("latin-1")))
        if cors is not None and cors.max_age is not None:
            fields.append((b"Access-Control-Max-Age", b"%d" % cors.max_age))
        return fields

    def _cors_headers(self, origin: str) -> list[tuple[bytes, bytes]]:
        cors = self._cors
        assert cors is not None
        if cors.origins == "*":
            return [(b"Access-Control-Allow-Origin", b"*")]
        fields = [(b"Access-Control-Allow-Origin", origin.encode("latin-1")), (b"Vary", b"Origin")]
        if cors.credentials:
            fields.append((b"Access-Control-Allow-Credentials", b"true"))
        return fields

    def _warn(self, origin: str) -> None:
        known = origin in self._refused or len(self._refused) >= REMEMBERED_ORIGINS
        if not known:
            self._refused.add(origin)
        logger.log(
            logging.DEBUG if known else logging.WARNING,
            "Refused a request from a page of %.200r. If that page is yours, add its origin: Config(cors=CORS(origins=[...])).",
            origin,
        )


def _compare(origin: str, requested: str) -> tuple[bool, bool]:
    """Tell whether ``origin`` is the requested host and port, and whether both are loopback hosts."""
    page, host = _ORIGIN.fullmatch(origin), _HOST.fullmatch(requested)
    if page is None or host is None:
        return False, False
    scheme, page_host, page_port = page.group(1).lower(), page.group(2).lower(), page.group(3)
    own_host, own_port = host.group(1).lower(), host.group(2)
    if page_port == _DEFAULT_PORTS.get(scheme):
        page_port = None
    # Behind a proxy that ends TLS the request itself does not tell which default port was dropped.
    if own_port in ("80", "443"):
        own_port = None
    return (page_host, page_port) == (own_host, own_port), _is_loopback(page_host) and _is_loopback(own_host)


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
