"""Append and flush: one task writes for every connection, once per tick.

Whoever emits only appends to an outbox, which marks its connection as dirty. This task then hands everything that is
pending to the kernel with one non-blocking call per dirty connection. Writing at each emit instead costs three to six
times as much under load (measured; see docs). What the kernel refuses is the connection's writer's business.
"""

from __future__ import annotations

from typing import Protocol

import trio

from ..concurrency.wakeup import Wakeup
from ..log import get_logger

__all__ = ["Flushable", "Flusher"]

logger = get_logger("trio_sio.engine")

CONNECTIONS_PER_TURN = 256  # how many connections are flushed before other tasks get a turn


class Flushable(Protocol):
    """Something with pending output that can be written without blocking."""

    def flush(self) -> None:
        """Write what the kernel takes now; never block, never raise for a fault of the wire."""


class Flusher:
    """Flushes what was marked, soon."""

    __slots__ = ("_dirty", "_work")

    def __init__(self) -> None:
        self._dirty: list[Flushable] = []
        self._work = Wakeup()

    def mark(self, dirty: Flushable) -> None:
        """Have ``dirty.flush()`` called in the next tick."""
        if not self._dirty:
            self._work.wake()
        self._dirty.append(dirty)

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Flush what is marked, until cancelled."""
        while True:
            await self._work.wait()
            batch, self._dirty = self._dirty, []
            dirty: Flushable | None
            for number, dirty in enumerate(batch, 1):
                try:
                    dirty.flush()
                except Exception:
                    logger.exception("Flushing one connection failed; the others go on.")
                if number % CONNECTIONS_PER_TURN == 0:
                    await trio.lowlevel.checkpoint()
            # Nothing of these connections must stay alive until others are flushed.
            batch, dirty = [], None
            # Between two waits there must be a point where this task can be cancelled and others run.
            if self._dirty:
                await trio.lowlevel.checkpoint()
