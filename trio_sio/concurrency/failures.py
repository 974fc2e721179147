"""What becomes of an exception that a function of the application raised in the name of one socket, on either side."""

from __future__ import annotations

import logging

from ..errors import Disconnected
from .groups import unwrap

__all__ = ["log_failure", "says_that_it_ended"]


def says_that_it_ended(exc: BaseException) -> bool:
    """Tell whether all that ``exc`` says is that the socket which something waited for has ended."""
    return isinstance(exc, Exception) and isinstance(unwrap(exc), Disconnected)


def log_failure(
    what: str, where: str, exc: BaseException, logger: logging.LoggerAdapter[logging.Logger], *, whose: str = "", ended: str | None
) -> None:
    """Log an exception that nothing handles, with its traceback; or in one line that a socket has ended.

    Args:
      what: What raised it, as the subject of a sentence.
      where: The rest of that sentence, such as ``"on event 'x'"``.
      exc: The exception.
      logger: Of the part of the package that ran it.
      whose: In whose name it ran, such as ``", socket id"``.
      ended: Where that is all (`says_that_it_ended`): what has happened, such as ``"the client left"``.
    """
    if ended is not None:
        logger.info("%s stopped %s: %s meanwhile%s", what, where, ended, whose)
    else:
        logger.error("%s failed %s%s", what, where, whose, exc_info=exc)
