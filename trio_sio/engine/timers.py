"""One task for all the time-outs of a server that are rarely reached.

A sleeping task per connection and time-out costs 3 KB and 9 µs; an entry here costs a fraction of that.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import count

import trio

from ..log import get_logger
from .wakeup import Wakeup

__all__ = ["Timer", "Timers"]

logger = get_logger("trio_sio.engine")


class Timer:
    """One pending call; `cancel` it when what it guards against did not happen."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Do not call it any more; idempotent."""
        self.callback = None


class Timers:
    """Calls synchronous functions later, in Trio's time."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._sooner = Wakeup()

    def __len__(self) -> int:
        """How many calls are pending."""
        return sum(timer.callback is not None for _, _, timer in self._heap)

    def call_after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback()`` once ``seconds`` have passed; never when they are infinite."""
        timer = Timer(callback)
        if seconds != math.inf:
            due = trio.current_time() + seconds
            heapq.heappush(self._heap, (due, next(self._order), timer))
            if self._heap[0][2] is timer:
                self._sooner.wake()
        return timer

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Call what is due, until cancelled."""
        while True:
            while self._heap and (self._heap[0][2].callback is None or self._heap[0][0] <= trio.current_time()):
                self._fire(heapq.heappop(self._heap)[2])
            with trio.move_on_at(self._heap[0][0] if self._heap else math.inf):
                await self._sooner.wait()
            await trio.lowlevel.checkpoint()

    def _fire(self, timer: Timer) -> None:
        callback, timer.callback = timer.callback, None
        if callback is None:
            return
        try:
            callback()
        except Exception:
            logger.exception("A time-out's action failed; the server goes on.")
