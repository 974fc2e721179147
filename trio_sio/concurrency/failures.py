"""What becomes of an exception that a function of the application raised in the name of one socket, on either side."""

from __future__ import annotations

import logging

from ..errors import Disconnected
from .groups import unwrap

__all__ = ["log_failure"]


def log_failure(what: str, where: str, exc: BaseException, logger: logging.LoggerAdapter[logging.Logger], *, ended: bool) -> None:
    """Log an exception that nothing handles, with its traceback; unless all it says is that the socket has ended.

    Args:
      what: What raised it, as the subject of a sentence.
      where: The rest of that sentence, such as ``"on event 'x', socket id"``.
      exc: The exception.
      logger: Of the part of the package that ran it.
      ended: Whether the socket has ended, or is about to.
    """
    if ended and isinstance(exc, Exception) and isinstance(unwrap(exc), Disconnected):
        logger.info("%s stopped %s: the socket ended meanwhile", what, where)
    else:
        logger.error("%s failed %s", what, where, exc_info=exc)
