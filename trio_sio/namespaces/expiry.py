"""Authentication that ends: until when a socket may stay, as its token says it.

Tokens say that by the wall clock, and here everything waits by Trio's. So the wall clock is read once, when the time is
given; whatever becomes of it afterwards has no effect on a socket that is there.
"""

from __future__ import annotations

import datetime
import math
from typing import TYPE_CHECKING, Final

from .handshake import wall_clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..concurrency.timers import Timers

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

    Args:
      stamp: When, in seconds since 1970.
      timers: Those of its engine.
      expire: Ends it.

    Attributes:
      stamp: As given.
    """

    __slots__ = ("_timer", "stamp")

    def __init__(self, stamp: float, timers: Timers, expire: Callable[[], None]) -> None:
        self.stamp = stamp
        self._timer = timers.call_after(seconds_left(stamp), expire)

    def cancel(self) -> None:
        """Let it not end because of this."""
        self._timer.cancel()
