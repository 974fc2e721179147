"""One task for all the time-outs of a server that are rarely reached, and for what many do at equal intervals.

A sleeping task per connection and time-out costs 3 KB and 9 µs; an entry here costs a fraction of that.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import count
from typing import Final

import trio

from ..log import get_logger
from .lag import Lag
from .lines import Line
from .wakeup import Wakeup

__all__ = ["Timer", "Timers"]

logger = get_logger("trio_sio.engine")

CALLS_PER_TURN: Final = 256  # how many of those that are due are called before other tasks get a turn


class Timer:
    """One pending call; `cancel` it when what it guards against did not happen."""

    __slots__ = ("_timers", "callback")

    def __init__(self, callback: Callable[[], None], timers: Timers | None) -> None:
        self._timers = timers  # that hold it
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Do not call it any more; idempotent."""
        if self.callback is not None:
            self.callback = None
            if self._timers is not None:
                self._timers._count_cancelled()  # the two are one thing


class Timers:
    """Calls synchronous functions later, in Trio's time.

    What was cancelled leaves the heap when it is due, or as soon as it is more than half of all there is: so nothing piles
    up behind a call that is far off, and cancelling costs no search.

    Attributes:
      lag: How late the first of what was due was called, each time.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._cancelled = 0  # how many of these are
        self._order = count()
        self._lines: list[Line] = []
        self._sleeps_until = -math.inf  # as long as it does
        self._sooner = Wakeup()
        self.lag = Lag()

    def __len__(self) -> int:
        """How many calls are pending."""
        return len(self._heap) - self._cancelled

    @property
    def alarms(self) -> int:
        """How many alarms are set, in all lines."""
        return sum(map(len, self._lines))

    def call_after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback()`` once ``seconds`` have passed; never when they are infinite."""
        if seconds == math.inf:
            return Timer(callback, None)
        timer = Timer(callback, self)
        due = trio.current_time() + seconds
        heapq.heappush(self._heap, (due, next(self._order), timer))
        self._wake_before(due)
        return timer

    def line(self) -> Line:
        """Return a new line; see `Line`."""
        line = Line(self._wake_before)
        self._lines.append(line)
        return line

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Call what is due, until cancelled."""
        try:
            while True:
                if not self._call_due():
                    self._sleeps_until = due = self._next()
                    with trio.move_on_at(due) as sleep:
                        await self._sooner.wait()
                    self._sleeps_until = -math.inf
                    if sleep.cancelled_caught:
                        self.lag.note(trio.current_time() - due)
                await trio.lowlevel.checkpoint()
        finally:
            # Nothing is due any more, and what waits here holds on to sessions.
            for _, _, timer in self._heap:
                timer.callback = None
            self._heap, self._cancelled = [], 0
            for line in self._lines:
                line.clear()

    def _wake_before(self, due: float) -> None:
        """Do not sleep any longer than until ``due``."""
        if due < self._sleeps_until:
            self._sleeps_until = due
            self._sooner.wake()

    def _next(self) -> float:
        due = min((line.due for line in self._lines), default=math.inf)
        return min(due, self._heap[0][0]) if self._heap else due

    def _call_due(self) -> bool:
        """Call what is due, and ring the alarms that are, up to `CALLS_PER_TURN`; tell whether there may be more."""
        now = trio.current_time()
        calls = 0
        while self._heap and calls < CALLS_PER_TURN and (self._heap[0][2].callback is None or self._heap[0][0] <= now):
            self._fire(heapq.heappop(self._heap)[2])
            calls += 1
        for line in self._lines:
            while line.due <= now and calls < CALLS_PER_TURN:
                line.ring()
                calls += 1
        return calls >= CALLS_PER_TURN

    def _count_cancelled(self) -> None:
        self._cancelled += 1
        if 2 * self._cancelled > len(self._heap):
            # As many calls as this looks at were cancelled since the last time, so it costs each of them no more than a few.
            self._heap = [entry for entry in self._heap if entry[2].callback is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def _fire(self, timer: Timer) -> None:
        callback, timer.callback = timer.callback, None
        if callback is None:
            self._cancelled -= 1
            return
        try:
            callback()
        except Exception:
            logger.exception("A time-out's action failed; the server goes on.")
