"""What becomes of an exception that a function of the application raised in the name of one socket, on either side."""

from __future__ import annotations

import logging

from ..errors import Disconnected
from .groups import unwrap

__all__ = ["log_failure"]


def log_failure(
    what: str, where: str, exc: BaseException, logger: logging.LoggerAdapter[logging.Logger], *, whose: str = "", ended: str | None
) -> None:
    """Log an exception that nothing handles, with its traceback; unless all it says is that the socket has ended.

    Args:
      what: What raised it, as the subject of a sentence.
      where: The rest of that sentence, such as ``"on event 'x'"``.
      exc: The exception.
      logger: Of the part of the package that ran it.
      whose: In whose name it ran, such as ``", socket id"``.
      ended: Why that has ended or is about to, such as ``"the client left"``; ``None``: it goes on.
    """
    if ended is not None and isinstance(exc, Exception) and isinstance(unwrap(exc), Disconnected):
        logger.info("%s stopped %s: %s meanwhile%s", what, where, ended, whose)
    else:
        logger.error("%s failed %s%s", what, where, whose, exc_info=exc)
