"""L0 for the tests of the library itself: what `trio_sio.testing.level` measures, and the instances of our classes."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from trio_sio import EngineServer, Server
from trio_sio.testing.level import Level, level
from trio_sio.testing.level import unchanged as level_unchanged

__all__ = ["Level", "level", "live_objects", "unchanged"]

OUR_CLASSES = ("Connection", "PollingTransport", "WebSocketTransport", "Probe", "NativePipe", "SocketWire", "Socket", "Client", "Exchange")


def live_objects() -> dict[str, int]:
    """Count the live instances of our classes, by name."""
    gc.collect()
    counts = dict.fromkeys(OUR_CLASSES, 0)
    for item in gc.get_objects():
        name = type(item).__name__
        if name in counts and type(item).__module__.startswith("trio_sio"):
            counts[name] += 1
    return counts


@asynccontextmanager
async def unchanged(host: Server | EngineServer, *, objects: bool = False) -> AsyncIterator[None]:
    """Require that ``host`` holds after the block what it held before it.

    Args:
      host: A running server.
      objects: Whether instances of our classes are counted too (slow).
    """
    before = live_objects() if objects else {}
    async with level_unchanged(host):
        yield
    if objects:
        assert live_objects() == before
