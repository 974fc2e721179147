"""Loggers that cannot end what they report about.

A handler of `logging` may raise: a full disk, a closed stream, a bug in the application's own class. Here that would end
the connection that had something to say, and where a failure is logged that would be one too many: the whole server.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from typing import Any, Final

__all__ = ["SID_SHOWN", "get_logger"]

SID_SHOWN: Final = 6  # characters of a session id that a line may show: whoever has it whole has the session


class _Logger(logging.LoggerAdapter[logging.Logger]):
    """A logger of this package; what its handlers raise is reported once per process, on the standard error stream."""

    _reported = False

    def log(self, level: int, msg: object, *args: object, stacklevel: int = 1, **kwargs: Any) -> None:
        """Log ``msg``; arguments as of `logging.Logger.log`."""
        try:
            self.logger.log(level, msg, *args, stacklevel=stacklevel + 1, **kwargs)
        except Exception as exc:
            if not _Logger._reported:
                _Logger._reported = True
                _report(exc)


def _report(exc: Exception) -> None:
    text = "A logging handler raised. What it was to log is lost, and this is not reported again: repair the handler.\n"
    # There is no such stream under pythonw, and it may be what broke.
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text + "".join(traceback.format_exception(exc)))


def get_logger(name: str) -> logging.LoggerAdapter[logging.Logger]:
    """Return the logger of a part of this package: `logging.getLogger`, except that logging never raises.

    Args:
      name: ``"trio_sio."`` and the part.
    """
    return _Logger(logging.getLogger(name))
