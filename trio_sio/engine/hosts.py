"""By which names the server may be asked: what keeps a page out whose own name points here (DNS rebinding).

Such a page is of the server's own origin to the browser, and to `OriginPolicy`: its ``Origin`` and its ``Host`` are one
name. Only that the name is a stranger's gives it away.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..log import get_logger
from ..origin import split_host
from .notices import Notices
from .proxies import requested_host

if TYPE_CHECKING:
    from ..config import Config
    from ..protocol.http import Request

__all__ = ["HostPolicy"]

logger = get_logger("trio_sio.engine")


class HostPolicy:
    """Decides about the ``Host`` of requests: see `Config.allowed_hosts`."""

    def __init__(self, config: Config) -> None:
        self._trusted_proxies = config.trusted_proxies
        self._notices = Notices()
        self._allowed = None if config.allowed_hosts is None else frozenset(_entry(host) for host in config.allowed_hosts)

    def allows(self, request: Request) -> bool:
        """Tell whether ``request`` asks for one of the names that are allowed."""
        if self._allowed is None:
            return True
        host = requested_host(request, self._trusted_proxies)
        asked = split_host(host)
        if asked is not None and (asked in self._allowed or (asked[0], _ANY) in self._allowed):
            return True
        logger.log(
            logging.WARNING if self._notices.is_new(host) else logging.DEBUG,
            "Refused a request for the host %.200r. If that is a name of yours, add it to Config(allowed_hosts=[...]).",
            host,
        )
        return False


_ANY = "any"


def _entry(host: str) -> tuple[str, str | None]:
    """Return ``host`` as `split_host` does, with `_ANY` for a port that is left out."""
    split = split_host(host)
    assert split is not None
    return (split[0], _ANY) if host.lower() == split[0] else split
