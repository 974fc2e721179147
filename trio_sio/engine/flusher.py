"""Append and flush: one task writes for every connection, once per tick.

Whoever emits only appends to an outbox, which marks its connection as dirty. This task then hands everything that is
pending to the kernel with one non-blocking call per dirty connection. Writing at each emit instead costs three to six
times as much under load (measured; see docs). What the kernel refuses is the connection's writer's business.

Events that came together leave together. Who handles one of several that are here already says so (`Flusher.busy`), and what
is dirty then waits until they are handled: four broadcasts are one call per member and not four, which is most of what they
cost. It waits for a few turns of the scheduler at most, in which a handler that only emits handles as many events, and no
longer than a millisecond. So a handler that waits for something else delays nobody by more than that, and without a second
event there is nothing to wait for.
"""

from __future__ import annotations

from typing import Final, Protocol

import trio

from ..concurrency.wakeup import Wakeup
from ..log import get_logger

__all__ = ["TURNS_POSTPONED", "Flushable", "Flusher"]

logger = get_logger("trio_sio.engine")

CONNECTIONS_PER_TURN = 256  # how many connections are flushed before other tasks get a turn
FEW = 64  # so many that are marked meanwhile go before the rest: an answer does not wait behind a broadcast to thousands

TURNS_POSTPONED: Final = 8
"""How many turns of the scheduler a flush may be put off: fewer than one socket handles events in a single turn, so outboxes are
no fuller for it than those of a handler that never waits."""

SECONDS_POSTPONED = 0.001


class Flushable(Protocol):
    """Something with pending output that can be written without blocking."""

    def flush(self) -> None:
        """Write what the kernel takes now; never block, never raise for a fault of the wire."""


class Flusher:
    """Flushes what was marked, soon.

    Attributes:
      busy: Who handles events, of which more are here than the one that it is at; ``None`` again as soon as that is over.
    """

    __slots__ = ("_dirty", "_work", "busy")

    def __init__(self) -> None:
        self._dirty: list[Flushable] = []
        self._work = Wakeup()
        self.busy: object | None = None

    def mark(self, dirty: Flushable) -> None:
        """Have ``dirty.flush()`` called in the next tick, or soon after it."""
        if not self._dirty:
            self._work.wake()
        self._dirty.append(dirty)

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Flush what is marked, until cancelled."""
        while True:
            await self._work.wait()
            if self.busy is not None:
                await self._let_more_come()
            batch, self._dirty = self._dirty, []
            dirty: Flushable | None
            for number, dirty in enumerate(batch, 1):
                try:
                    dirty.flush()
                except Exception:
                    logger.exception("Flushing one connection failed; the others go on.")
                if number % CONNECTIONS_PER_TURN == 0:
                    await trio.lowlevel.checkpoint()
                    if len(self._dirty) <= FEW:
                        # The loop goes on with them.
                        batch[number:number], self._dirty = self._dirty, []
            # Nothing of these connections must stay alive until others are flushed.
            batch, dirty = [], None
            # Between two waits there must be a point where this task can be cancelled and others run.
            if self._dirty:
                await trio.lowlevel.checkpoint()

    async def _let_more_come(self) -> None:
        end = trio.current_time() + SECONDS_POSTPONED
        for _ in range(TURNS_POSTPONED):
            await trio.lowlevel.checkpoint()
            if self.busy is None or trio.current_time() >= end:
                break
        # Who takes longer is waited for again with the next event that it takes.
        self.busy = None
