"""The engine: the scope of a server, from its first session to the end of the last, and what doors and operators see of it.

Three rooms lie behind it: `Requests` says which request is what, `Admission` who may open a session, and `Sessions` which
there are. Below them is a `Connection` for each, and what all of them share, the `Services`.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from ..concurrency.outbox import AGE_SAMPLES
from ..errors import ConfigurationError, ServerShuttingDown
from ..log import get_logger
from .admission import Admission
from .events import EngineEvents
from .flusher import CONNECTIONS_PER_TURN
from .requests import Requests
from .services import Services
from .sessions import Sessions
from .watchdog import Watchdog

if TYPE_CHECKING:
    from ..config import Config
    from .connection import Connection
    from .door import HttpExchange, WebSocketUpgrade
    from .instrument import SessionInstrument
    from .roles import Receiver

__all__ = ["Engine"]

logger = get_logger("trio_sio.engine")

LONGEST_TIME: Final = 3600.0  # seconds beyond which a time for the heartbeat or a handshake looks like milliseconds
GOODBYES_PER_TURN: Final = 64  # how many sessions a drain ends before other tasks get a turn: each takes a tenth of a millisecond
SECONDS_PER_LAG: Final = 1.0  # an instrument is told how late the loop is once in so many seconds
POLLS_WITHIN: Final = 4  # the part of drain_timeout for which a poll is waited for; the official client polls again at once


class Engine:
    """Every Engine.IO session of one server.

    Args:
      config: How to behave.
      open_session: Makes the `Receiver` of a new session; synchronous; must not send yet.
      is_socketio: Whether messages are Socket.IO packets, for the log.

    Attributes:
      config: As given.
      draining: Set when no new session is taken any more; doors then end idle keep-alive connections.
      drained: Set when every session is over; until then doors accept, as polling clients fetch their goodbye and
        newcomers are told to come back later.
      services: What all connections share.
      sessions: Those that there are, and what they take.
      counters: What has happened since the start.
      on_connection_error, on_initial_headers, on_headers: See `EngineEvents`.
    """

    def __init__(self, config: Config, open_session: Callable[[Connection], Receiver], *, is_socketio: bool = False) -> None:
        self.config = config
        self.services = Services(config, is_socketio=is_socketio)
        self.counters = self.services.counters
        self.sessions = Sessions(self.services, open_session)
        self.draining, self.drained = self.sessions.draining, self.sessions.drained
        events = EngineEvents()
        self.on_connection_error = events.on_connection_error
        self.on_initial_headers = events.on_initial_headers
        self.on_headers = events.on_headers
        self._admission = Admission(config, self.sessions)
        self._drains = False  # and an instrument was told so
        self._requests = Requests(self.services, self.sessions, self._admission, events)
        path = config.path.rstrip("/")
        self._paths = (path + "/", path)

    @property
    def clients_count(self) -> int:
        """How many sessions there are (Node: ``engine.clientsCount``)."""
        return len(self.sessions.by_id)

    @property
    def unconnected_count(self) -> int:
        """How many of them have joined no namespace yet, and how many handshakes are under way."""
        return len(self.sessions.newcomers)

    @property
    def connections(self) -> Collection[Connection]:
        """Every session for which something runs now, those that say goodbye included."""
        return tuple(self.sessions.running)

    def owns(self, path: str) -> bool:
        """Tell whether ``path`` is the engine's; exactly, not as a prefix."""
        return path in self._paths

    def require_room_for(self, other: str) -> None:
        """Do nothing if ``other`` can be served beside the engine.

        Raises:
          ConfigurationError: if the engine takes the path at which that begins.
        """
        if self.owns("/"):
            raise ConfigurationError(
                f'Config.path is "/", so the root of {other} could not be reached; leave it out, '
                'or give the engine a path of its own, such as Config(path="/socket.io").'
            )

    # The scope of a server.

    def _doubt_times(self) -> None:
        for name in ("ping_interval", "ping_timeout", "connect_timeout", "upgrade_timeout"):
            if LONGEST_TIME < (seconds := getattr(self.config, name)) < math.inf:
                logger.warning(
                    "Config.%s is %g seconds, which is %.1f hours: times are in seconds here, and in milliseconds in Node.",
                    name,
                    seconds,
                    seconds / 3600,
                )

    @asynccontextmanager
    async def running(self, *services: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
        """Run what all connections share, and ``services``.

        Leaving it drains: no new sessions, a goodbye to every client, then whatever is left after `drain_timeout` is
        cancelled. Cancelling it skips all that.
        """
        shared, sessions = self.services, self.sessions
        self._doubt_times()
        blocked = None if shared.instrument is None else shared.instrument.loop_blocked
        with Watchdog().watching(blocked):
            async with trio.open_nursery() as outermost:
                for service in (shared.flusher.run, shared.timers.run, self._check_ages, *services):
                    outermost.start_soon(service)
                if shared.instrument is not None:
                    outermost.start_soon(self._tell_lag, shared.instrument)
                async with trio.open_nursery() as finishers, trio.open_nursery() as connections:
                    shared.finishers.open(finishers)
                    sessions.open(connections)
                    try:
                        yield
                        await self.drain()
                    finally:
                        self._end()
                        sessions.cancel()
                        shared.finishers.cancel()
                outermost.cancel_scope.cancel()

    def _end(self) -> None:
        # Not earlier: what the application asks before it lets a client in may be what drains the server.
        self._admission.cancel()
        instrument = self.services.instrument
        if instrument is not None and self._drains and not self.sessions.drained.is_set():
            instrument.drain_ended(len(self.sessions.running))
        self.sessions.conclude()

    def _begin_to_drain(self) -> None:
        sessions = self.sessions
        if self.services.instrument is not None and not sessions.draining.is_set():
            self._drains = True
            self.services.instrument.drain_began(len(sessions.running))
        sessions.draining.set()

    async def drain(self) -> None:
        """Take no new sessions, end all there are, and wait until they are done, for `drain_timeout` at most.

        Several may drain at once: leaving the server does, and so does whoever calls this. What one of them has given up
        the others do not wait for either.
        """
        sessions = self.sessions
        self._begin_to_drain()
        with trio.move_on_after(self.config.drain_timeout) as scope:
            linger = self.config.drain_timeout / POLLS_WITHIN
            # All leave their rooms before the first disconnection hook runs, or N goodbyes would make N² packets.
            async for connection in _in_turns(sessions.running):
                connection.withdraw()
            async for connection in _in_turns(sessions.running):
                connection.end(ServerShuttingDown("the server drains"), linger=linger)
                connection.hurry(linger)
            await sessions.wait_over()
        if scope.cancelled_caught and not sessions.drained.is_set():
            logger.warning("%d connections were not done within drain_timeout and are cancelled.", len(sessions.running))
            self.services.cleanups.unshield()
            for connection in list(sessions.running):
                connection.cancel()
        self._end()

    @trio.lowlevel.enable_ki_protection
    async def _check_ages(self) -> None:
        """End the sessions whose clients do not take their packets, until cancelled."""
        while True:
            # The intervals count, not the time: a process that was busy must not blame its clients.
            await trio.sleep(self.config.limits.outbox_age / AGE_SAMPLES)
            await self._check_age_of(list(self.sessions.running))

    async def _tell_lag(self, instrument: SessionInstrument) -> None:
        """Tell ``instrument`` how late this loop is, until cancelled."""
        while True:
            due = trio.current_time() + SECONDS_PER_LAG
            await trio.sleep_until(due)
            lag = max(trio.current_time() - due, 0.0)
            self.services.timers.lag.note(lag)
            instrument.loop_lag(lag)

    async def _check_age_of(self, connections: list[Connection]) -> None:
        for number, connection in enumerate(connections, 1):
            try:
                connection.check_age()
            except Exception:
                logger.exception("Checking the outbox of one connection failed; the others go on.")
            if number % CONNECTIONS_PER_TURN == 0:
                await trio.lowlevel.checkpoint()

    # What doors call. Neither is a frame of its own below each connection, which would take memory for as long as it lives.

    def handle_http(self, exchange: HttpExchange) -> Awaitable[None]:
        """Answer one HTTP request to the engine's path. Never raises because of the client."""
        return self._requests.handle_http(exchange)

    def open_websocket(self, upgrade: WebSocketUpgrade) -> Awaitable[Awaitable[None] | None]:
        """Answer one WebSocket handshake; return what carries its session until the wire is done with, if there is one.

        That is to be awaited in the same task, at once: so whatever answers a handshake is gone by then.
        """
        return self._requests.open_websocket(upgrade)

    async def handle_websocket(self, upgrade: WebSocketUpgrade) -> None:
        """Answer one WebSocket handshake, and carry the session until the wire is done with."""
        session = await self.open_websocket(upgrade)
        if session is not None:
            await session

    def start_finisher(self, function: Callable[..., Awaitable[object]], *args: object) -> None:
        """Start ``function(*args)`` as a task of the server, not of a connection; it must let no exception out."""
        self.services.finishers.start_soon(function, *args)


async def _in_turns(connections: Collection[Connection]) -> AsyncIterator[Connection]:
    """Give each of ``connections``, and others a turn now and then."""
    for number, connection in enumerate(list(connections), 1):
        yield connection
        if number % GOODBYES_PER_TURN == 0:
            await trio.lowlevel.checkpoint()
