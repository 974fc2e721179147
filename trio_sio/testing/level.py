"""L0: what a server holds, before something happened and after it. Whatever comes, nothing may be left."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import trio

from ..engine_server import EngineServer
from ..namespaces.adapter import InMemoryAdapter
from ..namespaces.client import Client
from ..server import Server

__all__ = ["Level", "level", "restored", "unchanged"]

PATIENCE: Final = 5.0
_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 1.0


class Level(NamedTuple):
    """What a server holds; compare two of them.

    Attributes:
      sessions: Session ids that a client could use.
      running: Connections whose tasks are not done.
      sockets: Sockets, of all namespaces, the connecting ones among them.
      rooms: Rooms with somebody in them, of all namespaces.
      timers: Time-outs that are pending, and heartbeats.
      watched: Plain sockets that are received from.
      cleanups: Disconnection hooks that are running.
      buffered: Bytes in inboxes and outboxes.
      tasks: Tasks of this `trio.run`, whoever started them. A socket without one, as nothing has happened to it, counts as one: it is
        there with its first event.
      descriptors: Open file descriptors of this process.
    """

    sessions: int
    running: int
    sockets: int
    rooms: int
    timers: int
    watched: int
    cleanups: int
    buffered: int
    tasks: int
    descriptors: int

    def difference(self, before: Level) -> str:
        """Say what is not as it was before: ``sessions: 1 instead of 0``; nothing if all is."""
        pairs = zip(self._fields, self, before, strict=True)
        return ", ".join(f"{name}: {now} instead of {then}" for name, now, then in pairs if now != then)


def level(host: Server | EngineServer) -> Level:
    """Count what ``host``, and this process, hold right now.

    Args:
      host: A server, running or not.
    """
    engine = host.engine
    namespaces = list(host.namespaces) if isinstance(host, Server) else []
    readiness = host.readiness
    clients = [connection.receiver for connection in engine.sessions.running if isinstance(connection.receiver, Client)]
    return Level(
        sessions=engine.clients_count,
        running=len(engine.sessions.running),
        sockets=sum(namespace.population for namespace in namespaces),
        rooms=sum(len(namespace.adapter._members) for namespace in namespaces if isinstance(namespace.adapter, InMemoryAdapter)),
        timers=len(engine.services.timers) + engine.services.timers.alarms,
        watched=0 if readiness is None else len(readiness),
        cleanups=len(engine.services.cleanups._scopes),
        buffered=sum(connection.outbox.bytes for connection in engine.sessions.running) + sum(client.inbox.bytes for client in clients),
        tasks=trio.lowlevel.current_statistics().tasks_living + sum(client.resting for client in clients),
        descriptors=len(os.listdir("/dev/fd")),
    )


async def restored(host: Server | EngineServer, before: Level, patience: float = PATIENCE) -> None:
    """Wait until ``host`` holds what it held ``before``.

    Args:
      host: As for `level`.
      before: What `level` returned.
      patience: For how long, in seconds: what is under way may end in its own time. With a mock clock it costs nothing.

    Raises:
      AssertionError: if it still holds something else after that; the message names what.
    """
    deadline, pause = trio.current_time() + patience, _FIRST_PAUSE
    while (difference := level(host).difference(before)) and trio.current_time() < deadline:
        # Nothing tells when the last descriptor is closed, so look again and again.
        await trio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    if difference:
        raise AssertionError(difference)


@asynccontextmanager
async def unchanged(host: Server | EngineServer, patience: float = PATIENCE) -> AsyncIterator[None]:
    """Require that ``host`` holds after the block what it held before it.

    Args:
      host: A running server.
      patience: As for `restored`.

    Raises:
      AssertionError: if it does not; the message names what is left.
    """
    before = level(host)
    yield
    await restored(host, before, patience)
