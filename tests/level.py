"""L0: what a server holds, before a test and after it."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import trio

from trio_sio.host import Host
from trio_sio.namespaces.adapter import InMemoryAdapter
from trio_sio.server import Server

__all__ = ["Level", "level", "live_objects", "unchanged"]

PATIENCE = 5.0  # seconds for what is under way to end; reached only by a failing test
OUR_CLASSES = ("Connection", "PollingTransport", "WebSocketTransport", "Probe", "NativePipe", "SocketWire", "Socket", "Client", "Exchange")


class Level(NamedTuple):
    """What a server holds; compare two of them."""

    sessions: int
    running: int
    sockets: int
    rooms: int
    timers: int
    watched: int
    cleanups: int
    tasks: int
    descriptors: int


def level(host: Host) -> Level:
    """Count what ``host``, and this process, hold right now."""
    engine = host.engine
    namespaces = list(host.namespaces) if isinstance(host, Server) else []
    readiness = host._readiness
    return Level(
        sessions=engine.clients_count,
        running=len(engine._running),
        sockets=sum(namespace.population for namespace in namespaces),
        rooms=sum(len(namespace.adapter._members) for namespace in namespaces if isinstance(namespace.adapter, InMemoryAdapter)),
        timers=len(engine.timers),
        watched=0 if readiness is None else len(readiness),
        cleanups=len(engine.cleanups._scopes),
        tasks=trio.lowlevel.current_statistics().tasks_living,
        descriptors=len(os.listdir("/proc/self/fd")),
    )


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
async def unchanged(host: Host, *, objects: bool = False) -> AsyncIterator[None]:
    """Require that ``host`` holds after the block what it held before it, within `PATIENCE`.

    Args:
      host: A running server.
      objects: Whether instances of our classes are counted too (slow).
    """
    before, objects_before = level(host), live_objects() if objects else {}
    yield
    deadline = trio.current_time() + PATIENCE
    while level(host) != before and trio.current_time() < deadline:  # noqa: ASYNC110
        # Nothing tells when the last descriptor is closed, so look again and again.
        await trio.sleep(0.005)
    assert level(host) == before
    if objects:
        assert live_objects() == objects_before
