"""Authentication that ends: until when a socket may stay, as its token says it.

Tokens say that by the wall clock, and here everything waits by Trio's. So the wall clock is read once, when the time begins to
count; whatever becomes of it afterwards has no effect on a socket that is there.
"""

from __future__ import annotations

import datetime
import math
from typing import TYPE_CHECKING, Final

from .handshake import wall_clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..concurrency.timers import Timer, Timers

__all__ = ["Expiry", "seconds_left", "stamp_of"]

# Seconds since 1970 that somebody may mean: from 1973, below which are spans, to 5138, above which are milliseconds.
_FIRST: Final = 1e8
_LAST: Final = 1e11


def stamp_of(when: float | datetime.datetime | None) -> float | None:
    """Return ``when`` in seconds since 1970; ``None`` if that is without limit: there is one spelling of it from here on.

    Raises:
      TypeError: if it is no time.
      ValueError: if it is one that nobody can mean.
    """
    if when is None or when == math.inf:
        return None
    if isinstance(when, datetime.datetime):
        if when.utcoffset() is None:
            raise ValueError(f"{when!r} has no time zone, so it is not known when that is; write datetime.now(UTC) + ..., for example.")
        when = when.timestamp()
    if isinstance(when, bool) or not isinstance(when, int | float):
        raise TypeError(f"{when!r:.80} is no time; give seconds since 1970, as `exp` of a JWT, or a datetime with a time zone.")
    if not _FIRST <= when <= _LAST:
        hint = "that looks like milliseconds" if when > _LAST else "for a span write time.time() + ..."
        raise ValueError(f"{when!r} is no time in seconds since 1970; {hint}.")
    return float(when)


def seconds_left(stamp: float) -> float:
    """Return how many seconds there are until ``stamp``, below zero if it is over."""
    return stamp - wall_clock()


class Expiry:
    """When one socket ends because its time is over.

    A time that is given counts at once. One that a client brings with it, from when it was here before, is that of its old token,
    and connection middleware may be about to look at a new one: so that counts only once the client is let in.

    Args:
      stamp: When, in seconds since 1970.

    Attributes:
      stamp: As given.
    """

    __slots__ = ("_timer", "stamp")

    def __init__(self, stamp: float) -> None:
        self.stamp = stamp
        self._timer: Timer | None = None

    def start(self, timers: Timers, expire: Callable[[], None]) -> None:
        """Count, if it does not yet.

        Args:
          timers: Those of its engine.
          expire: Ends the socket; is called here and now if the time is over.
        """
        if self._timer is None:
            left = seconds_left(self.stamp)
            self._timer = timers.call_after(left, expire)
            if left <= 0:
                expire()

    def cancel(self) -> None:
        """Let the socket not end because of this."""
        if self._timer is not None:
            self._timer.cancel()
