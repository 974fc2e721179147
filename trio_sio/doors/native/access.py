"""One line per request, at DEBUG: what was asked for, by whom, what the answer was, and how long it took."""

from __future__ import annotations

import logging
from typing import Final

import trio

from ...log import SID_SHOWN, get_logger
from ...protocol.http import Request

__all__ = ["began", "log_access"]

logger = get_logger("trio_sio.doors.native.access")

_PLAIN: Final = frozenset({"EIO", "transport", "t"})


def began() -> float:
    """Return when a request begins whose head has come, in Trio's time; any time if nobody will ask."""
    return trio.current_time() if logger.isEnabledFor(logging.DEBUG) else 0.0


def log_access(request: Request, status: int, began: float) -> None:
    """Log that ``request`` was answered.

    Args:
      request: The request. Of its query only names are shown, besides what Engine.IO itself puts there: values may be secrets.
      status: The status of the response.
      began: What `began` has returned.
    """
    if not logger.isEnabledFor(logging.DEBUG):
        return
    query = "&".join(_shown(field) for field in request.query_string.decode("latin-1").split("&"))
    target = f"{request.path}?{query}" if query else request.path
    milliseconds = (trio.current_time() - began) * 1_000
    logger.debug("%s %.300r from %s: %d in %.1f ms", request.method, target, request.address, status, milliseconds)


def _shown(field: str) -> str:
    name, equals, value = field.partition("=")
    if name in _PLAIN or not field:
        return field
    if not equals:
        return "…"  # a name, or a value without one
    return f"{name}={value[:SID_SHOWN] if name == 'sid' else ''}…"
