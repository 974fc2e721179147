"""How late an event loop is."""

from __future__ import annotations

import trio

__all__ = ["Lag"]

WINDOW = 30.0  # seconds; what is remembered is of this window and of the one before


class Lag:
    """By how much what was due had to wait for its turn, as far as somebody has noted that.

    Attributes:
      latest: Seconds, the last time.
    """

    __slots__ = ("_before", "_ends", "_most", "latest")

    def __init__(self) -> None:
        self.latest = 0.0
        self._most = self._before = 0.0  # in this window, and in the one before
        self._ends = 0.0

    @property
    def most(self) -> float:
        """Seconds, the worst of the last half minute or so, a minute at most."""
        if trio.lowlevel.in_trio_run():  # otherwise there is no clock: not yet, or not any more
            self._begin_window()
        return max(self._most, self._before)

    def note(self, seconds: float) -> None:
        """Take one measurement."""
        self._begin_window()
        self.latest = max(seconds, 0.0)
        self._most = max(self._most, self.latest)

    def _begin_window(self) -> None:
        now = trio.current_time()
        if now >= self._ends:
            self._before = self._most if now < self._ends + WINDOW else 0.0
            self._most = 0.0
            self._ends = now + WINDOW
