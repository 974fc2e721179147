"""What becomes of an exception that the application raised in the name of one socket: what is logged, and what its client may know."""

from __future__ import annotations

import logging
from typing import Final, Protocol

from ..concurrency.failures import log_failure, says_that_it_ended
from ..errors import BadMessage, Refused

__all__ = ["UNKNOWN_EVENT", "error_object", "log_bad_message", "log_failure_of", "log_refusal", "quote"]

UNKNOWN_EVENT: Final = {"status": "error", "message": "Unknown event"}
"""The ack of an event that no handler is for."""


class Concerned(Protocol):
    """The socket in whose name something ran."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def connected(self) -> bool:
        """Whether its client is still there."""


def log_failure_of(what: str, where: str, socket: Concerned, exc: BaseException, logger: logging.LoggerAdapter[logging.Logger]) -> None:
    """`log_failure`, for a socket.

    Args:
      what: What raised it, as the subject of a sentence.
      where: The rest of that sentence, such as ``"on event 'x'"``.
      socket: In whose name it ran.
      exc: The exception.
      logger: Of the part of the package that ran it.
    """
    ended = "the client left" if says_that_it_ended(exc) and not socket.connected else None
    log_failure(what, where, exc, logger, whose=f", socket {socket.id}", ended=ended)


def log_bad_message(what: str, event: str, socket: Concerned, exc: BadMessage, logger: logging.LoggerAdapter[logging.Logger]) -> None:
    """Log that an event of a client is not what ``what`` takes: no mistake of the application's, and no traceback."""
    logger.info("%s refused event %s of socket %s: %.200r at %.200r", what, quote(event), socket.id, exc.message, exc.path)


def log_refusal(what: str, event: str, socket: Concerned, exc: Refused, logger: logging.LoggerAdapter[logging.Logger]) -> None:
    """Log that ``what`` refused an event on purpose: that is no failure."""
    logger.debug("%s refused event %s of socket %s: %.200r", what, quote(event), socket.id, exc.message)


def error_object(exc: Exception) -> dict[str, object]:
    """Return the ack that tells about ``exc``; nothing of it leaves the server, except for a `BadMessage` and a `Refused`."""
    if isinstance(exc, Refused):
        answer: dict[str, object] = {"status": "error", "message": exc.message}
        return answer if exc.data is None else {**answer, "data": exc.data}
    if not isinstance(exc, BadMessage):
        return {"status": "error", "message": "Internal server error"}
    answer = {"status": "error", "message": exc.message}
    return {**answer, "path": exc.path} if exc.path else answer


def quote(text: object) -> str:
    """Return text that a client chose in a form that is safe to log: escaped, and cut to 80 characters."""
    quoted = repr(text[:80] if isinstance(text, str) else text)
    return quoted if len(quoted) <= 80 else f"{quoted[:77]}..."
