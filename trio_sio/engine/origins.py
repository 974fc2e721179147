"""Which pages may talk to the server: checked on every request and every WebSocket handshake, before any state is made.

Browsers say with ``Origin`` which page a request comes from. Without that header it is not a browser's cross-origin
request, and it may go on. With it, the page must be the server's own (same host and port), or listed in `Config.cors`,
or a page on one loopback port that talks to a server on another. CORS headers alone would not do: browsers do not apply
them to WebSockets.
"""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING

from ..log import get_logger
from ..origin import split_host, split_origin
from .notices import Notices
from .proxies import requested_host

if TYPE_CHECKING:
    from ..config import Config
    from ..protocol.http import Request

__all__ = ["OriginPolicy", "is_loopback"]

logger = get_logger("trio_sio.engine")


class OriginPolicy:
    """Decides about the ``Origin`` of requests, and makes the CORS headers of the answers."""

    def __init__(self, config: Config) -> None:
        self._cors = config.cors
        self._allow_loopback = config.allow_loopback_origins
        self._trusted_proxies = config.trusted_proxies
        self._notices = Notices()

    def headers(self, request: Request) -> list[tuple[bytes, bytes]] | None:
        """Return the CORS headers that every answer to ``request`` carries, or ``None`` if its page is refused."""
        origin = request.headers.get("origin")
        if origin is None:
            return []
        if self._is_listed(origin):
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

    def _is_listed(self, origin: str) -> bool:
        if self._cors is None:
            return False
        try:
            return self._cors.allows(origin)
        except Exception:
            logger.exception("The function of CORS.origins failed, so a page of %.200r is not let in by it.", origin)
            return False

    def _warn(self, origin: str) -> None:
        logger.log(
            logging.WARNING if self._notices.is_new(origin) else logging.DEBUG,
            "Refused a request from a page of %.200r. If that page is yours, add its origin: Config(cors=CORS(origins=[...])).",
            origin,
        )


def _compare(origin: str, requested: str) -> tuple[bool, bool]:
    """Tell whether ``origin`` is the requested host and port, and whether both are loopback hosts."""
    page, own = split_origin(origin), split_host(requested)
    if page is None or own is None:
        return False, False
    return page == own, is_loopback(page[0]) and is_loopback(own[0])


def is_loopback(host: str) -> bool:
    """Tell whether ``host``, a name or an address, is this machine itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
