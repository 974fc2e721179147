"""The engine: every Engine.IO session of one server, and the tasks that serve them all."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from ..concurrency.cleanup import Cleanups
from ..concurrency.timers import Timers
from ..errors import ConfigurationError, ConnectionFault, ServerShuttingDown, outcome_of
from ..log import get_logger
from ..protocol.http import Request, Response
from .addresses import AddressLimits, TooMany, forwarded
from .admission import (
    BAD_METHOD,
    BAD_REQUEST,
    FORBIDDEN,
    NOT_RUNNING,
    UNKNOWN_SID,
    UNSUPPORTED_PROTOCOL,
    Query,
    Refused,
    Unavailable,
    read_query,
    refusal,
    too_many,
    unavailable,
)
from .compression import Compressor
from .connection import Connection, Receiver, State, Transport, TransportState
from .cookies import cookie_headers
from .counters import Counters
from .door import ClientGone, HttpExchange, WebSocketPipe, WebSocketUpgrade
from .events import EngineEvents
from .flusher import Flusher
from .handshakes import Handshakes
from .hosts import HostPolicy
from .newcomers import Newcomers
from .notices import Notices
from .origins import OriginPolicy
from .outbox import AGE_SAMPLES, Outbox
from .polling import PollingTransport
from .upgrade import Probe
from .websocket import WebSocketTransport

if TYPE_CHECKING:
    from ..config import Config

__all__ = ["Engine"]

logger = get_logger("trio_sio.engine")

CONNECTIONS_PER_TURN: Final = 256  # how many outboxes are looked at before other tasks get a turn
GOODBYES_PER_TURN: Final = 64  # how many sessions a drain ends before other tasks get a turn: each takes a tenth of a millisecond
POLLS_WITHIN: Final = 4  # the part of drain_timeout for which a poll is waited for; the official client polls again at once


class Engine:
    """Every Engine.IO session of one server.

    Args:
      config: How to behave.
      open_session: Makes the `Receiver` of a new session; synchronous; must not send yet.

    Attributes:
      draining: Set when no new session is taken any more; doors then end idle keep-alive connections.
      drained: Set when every session is over; until then doors accept, as polling clients fetch their goodbye and
        newcomers are told to come back later.
      flusher, timers, cleanups, compressor: What all connections share.
      counters: What has happened since the start.
      newcomers: Handshakes under way, and the sessions that have joined no namespace yet.
      addresses: What each address takes.
      on_connection_error, on_initial_headers, on_headers: See `EngineEvents`.
      is_socketio: Whether messages are Socket.IO packets, for the log.
    """

    is_socketio = False

    def __init__(self, config: Config, open_session: Callable[[Connection], Receiver]) -> None:
        self.config = config
        self.open_session = open_session
        self.draining = trio.Event()
        self.drained = trio.Event()
        self.flusher = Flusher()
        self.timers = Timers()
        self.cleanups = Cleanups(config.cleanup_timeout)
        self.compressor = Compressor(config.compression)
        self.counters = Counters()
        self.newcomers = Newcomers(config.limits.unconnected_sessions)
        self.addresses = AddressLimits(config.limits)
        self._events = EngineEvents()
        self.on_connection_error = self._events.on_connection_error
        self.on_initial_headers = self._events.on_initial_headers
        self.on_headers = self._events.on_headers
        self._sessions: dict[str, Connection] = {}
        self._hosts = HostPolicy(config)
        self._origins = OriginPolicy(config)
        self._running: set[Connection] = set()
        self._all_done: trio.Event | None = None
        self._nursery: trio.Nursery | None = None
        self._finishers: trio.Nursery | None = None
        self._handshakes = Handshakes(self)
        self._outdated = Notices()  # the addresses of clients that speak another version
        path = config.path.rstrip("/")
        self._paths = (path + "/", path)

    @property
    def clients_count(self) -> int:
        """How many sessions there are (Node: ``engine.clientsCount``)."""
        return len(self._sessions)

    @property
    def unconnected_count(self) -> int:
        """How many of them have joined no namespace yet, and how many handshakes are under way."""
        return len(self.newcomers)

    @property
    def connections(self) -> Collection[Connection]:
        """Every session for which something runs now, those that say goodbye included."""
        return tuple(self._running)

    @property
    def is_running(self) -> bool:
        """Whether it takes requests: it was entered and not left."""
        return self._nursery is not None

    def knows(self, sid: str) -> bool:
        """Tell whether there is a session with this id."""
        return sid in self._sessions

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

    @asynccontextmanager
    async def running(self, *services: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
        """Run what all connections share, and ``services``.

        Leaving it drains: no new sessions, a goodbye to every client, then whatever is left after `drain_timeout` is
        cancelled. Cancelling it skips all that.
        """
        async with trio.open_nursery() as shared:
            for service in (self.flusher.run, self.timers.run, self._check_ages, *services):
                shared.start_soon(service)
            async with trio.open_nursery() as finishers, trio.open_nursery() as nursery:
                self._nursery, self._finishers = nursery, finishers
                try:
                    yield
                    await self.drain()
                finally:
                    self.draining.set()
                    self._end()
                    nursery.cancel_scope.cancel()
                    finishers.cancel_scope.cancel()
                    self._nursery = self._finishers = None
            shared.cancel_scope.cancel()

    def _end(self) -> None:
        # Not earlier: what the application asks before it lets a client in may be what drains the server.
        self._handshakes.cancel()
        self.drained.set()

    async def drain(self) -> None:
        """Take no new sessions, end all there are, and wait until they are done, for `drain_timeout` at most.

        Several may drain at once: leaving the server does, and so does whoever calls this. What one of them has given up
        the others do not wait for either.
        """
        self.draining.set()
        with trio.move_on_after(self.config.drain_timeout) as scope:
            linger = self.config.drain_timeout / POLLS_WITHIN
            # All leave their rooms before the first disconnection hook runs, or N goodbyes would make N² packets.
            async for connection in _in_turns(self._running):
                connection.withdraw()
            async for connection in _in_turns(self._running):
                connection.end(ServerShuttingDown("the server drains"), linger=linger)
                if connection.polling is not None:
                    connection.polling.hurry(linger)
            while self._running and not self.drained.is_set():
                if self._all_done is None:
                    self._all_done = trio.Event()
                await self._all_done.wait()
        if scope.cancelled_caught and not self.drained.is_set():
            logger.warning("%d connections were not done within drain_timeout and are cancelled.", len(self._running))
            self.cleanups.unshield()
            for connection in list(self._running):
                connection.cancel()
        self._end()
        if self._all_done is not None:
            self._all_done.set()

    @trio.lowlevel.enable_ki_protection
    async def _check_ages(self) -> None:
        """End the sessions whose clients do not take their packets, until cancelled."""
        while True:
            # The intervals count, not the time: a process that was busy must not blame its clients.
            await trio.sleep(self.config.limits.outbox_age / AGE_SAMPLES)
            await self._check_age_of(list(self._running))

    async def _check_age_of(self, connections: list[Connection]) -> None:
        for number, connection in enumerate(connections, 1):
            try:
                connection.check_age()
            except Exception:
                logger.exception("Checking the outbox of one connection failed; the others go on.")
            if number % CONNECTIONS_PER_TURN == 0:
                await trio.lowlevel.checkpoint()

    # What doors call.

    async def handle_http(self, exchange: HttpExchange) -> None:
        """Answer one HTTP request to the engine's path. Never raises because of the client."""
        request = forwarded(exchange.request, self.config.trusted_proxies)
        headers: list[tuple[bytes, bytes]] = []
        try:
            try:
                headers = self._check_origin(request)
                preflight = self._origins.preflight(request)
                if preflight is not None:
                    await exchange.respond(Response(204, headers=[*headers, *preflight]))
                    return
                query = read_query(request, self.config)
                if query.sid is None:
                    await self._open_polling(exchange, request, query, headers)
                else:
                    await self._continue_polling(exchange, request, query, query.sid, headers)
            except Refused as refused:
                self._log_refused(request, refused)
                await exchange.respond(refusal(refused.refusal, headers))
            except Unavailable as why:
                self.counters.turned_away[503] += 1
                await exchange.respond(unavailable(str(why), headers))
            except TooMany as limited:
                self._log_refused(request, limited)
                await exchange.respond(too_many(str(limited), limited.retry_after, headers))
        except ClientGone as gone:
            logger.debug("%s %s: the client went away (%s).", request.method, request.path, gone)

    async def handle_websocket(self, upgrade: WebSocketUpgrade) -> None:
        """Answer one WebSocket handshake, and carry the session until the wire is done with."""
        request = forwarded(upgrade.request, self.config.trusted_proxies)
        headers: list[tuple[bytes, bytes]] = []
        try:
            try:
                headers = self._check_origin(request)
                query = read_query(request, self.config)
                if query.transport != "websocket":
                    raise Refused(BAD_REQUEST, "an upgrade to a WebSocket for another transport")
                if query.sid is None:
                    await self._open_websocket(upgrade, request, query, headers)
                else:
                    await self._upgrade(upgrade, request, query, query.sid)
            except Refused as refused:
                self._log_refused(request, refused)
                await upgrade.refuse(refusal(refused.refusal, headers))
            except Unavailable as why:
                self.counters.turned_away[503] += 1
                await upgrade.refuse(unavailable(str(why), headers))
            except TooMany as limited:
                self._log_refused(request, limited)
                await upgrade.refuse(too_many(str(limited), limited.retry_after, headers))
        except ClientGone as gone:
            logger.debug("WebSocket %s: the client went away (%s).", request.path, gone)

    # What connections call.

    async def run_finisher(self, function: Callable[[], Awaitable[object]]) -> None:
        """Run ``function()`` as a task of the server, not of a connection, and wait until it is done."""
        done = trio.Event()

        async def run() -> None:
            try:
                await function()
            except Exception:
                logger.exception("A handler that outlives its socket failed.")
            finally:
                done.set()

        self.start_finisher(run)
        await done.wait()

    def start_finisher(self, function: Callable[..., Awaitable[object]], *args: object) -> None:
        """Start ``function(*args)`` as a task of the server, not of a connection; it must let no exception out."""
        if self._finishers is None:
            raise RuntimeError(NOT_RUNNING)
        self._finishers.start_soon(function, *args)

    def forget(self, connection: Connection) -> None:
        """Let the session id of ``connection`` be unknown from now on; idempotent."""
        self._sessions.pop(connection.sid, None)

    # Opening sessions.

    def _check_origin(self, request: Request) -> list[tuple[bytes, bytes]]:
        if not self._hosts.allows(request):
            raise Refused(FORBIDDEN, "a host that is not in Config.allowed_hosts")
        headers = self._origins.headers(request)
        if headers is None:
            raise Refused(FORBIDDEN, "a foreign origin")
        return headers

    def _begin(self, connection: Connection, transport: Transport) -> None:
        connection.opened(transport)
        self._sessions[connection.sid] = connection
        self._running.add(connection)
        self.counters.handshakes += 1
        self.addresses.enter(connection.request.address)

    def _start(self, connection: Connection) -> None:
        assert self._nursery is not None, "without it no handshake is admitted"
        self._nursery.start_soon(self._supervise, connection, None)

    async def _open_polling(self, exchange: HttpExchange, request: Request, query: Query, headers: list[tuple[bytes, bytes]]) -> None:
        if request.method != "GET":
            raise Refused(BAD_METHOD)
        if query.transport != "polling":
            raise Refused(BAD_REQUEST, "no upgrade to a WebSocket")
        with self._handshakes.enter(request) as handshake:
            sid = await handshake.admit(request)
        connection = Connection(self, sid, request, query.fields, TransportState.POLLING)
        transport = connection.polling = PollingTransport(connection)
        self._begin(connection, transport)
        self._start(connection)
        await transport.get(exchange, [*headers, *cookie_headers(self.config, sid), *self._events.headers(request, initial=True)])

    async def _continue_polling(
        self, exchange: HttpExchange, request: Request, query: Query, sid: str, headers: list[tuple[bytes, bytes]]
    ) -> None:
        connection = self._find(sid)
        transport = connection.polling
        if query.transport != "polling" or transport is None or connection.transport_state is TransportState.WEBSOCKET:
            raise Refused(BAD_REQUEST, "the session uses another transport")
        headers = [*headers, *self._events.headers(request)]
        if exchange.request.method == "GET":
            await transport.get(exchange, headers)
        elif exchange.request.method == "POST":
            await transport.post(exchange, headers)
        else:
            await exchange.respond(Response(405, headers=[(b"Allow", b"GET, POST"), *headers]))

    async def _open_websocket(self, upgrade: WebSocketUpgrade, request: Request, query: Query, headers: list[tuple[bytes, bytes]]) -> None:
        with self._handshakes.enter(request) as handshake:
            sid = await handshake.admit(request)
            pipe = await upgrade.accept([*cookie_headers(self.config, sid), *self._events.headers(request, initial=True)])
        if handshake.is_over:
            await self._turn_away(pipe, outcome_of(ServerShuttingDown()).close_code if self.draining.is_set() else None)
            return
        connection = Connection(self, sid, request, query.fields, TransportState.WEBSOCKET)
        transport = WebSocketTransport(self, pipe, connection.outbox, base64=query.base64)
        self._begin(connection, transport)
        if not upgrade.detached:
            await self._supervise(connection, transport)
            return
        self._start(connection)
        try:
            async with trio.open_nursery() as nursery:
                await transport.run(nursery, connection, connection.end)
                nursery.cancel_scope.cancel()
        finally:
            connection.end(ServerShuttingDown("the host ended the connection"))

    async def _upgrade(self, upgrade: WebSocketUpgrade, request: Request, query: Query, sid: str) -> None:
        connection = self._find(sid)
        transport = connection.polling
        if "websocket" not in self.config.upgrades:
            raise Refused(BAD_REQUEST, "upgrades are switched off")
        pipe = await upgrade.accept(self._events.headers(request))
        if transport is None or connection.state is not State.OPEN or connection.transport_state is not TransportState.POLLING:
            # The protocol's test suite wants a handshake that succeeds and a socket that closes.
            await self._turn_away(pipe, None)
            return
        await Probe(connection, transport, pipe, base64=query.base64).run()

    async def _turn_away(self, pipe: WebSocketPipe, code: int | None) -> None:
        transport = WebSocketTransport(self, pipe, Outbox(self.config.limits))
        transport.close(code)
        async with trio.open_nursery() as nursery:
            await transport.run(nursery, _NOWHERE, _nobody_cares)
            nursery.cancel_scope.cancel()

    def _find(self, sid: str) -> Connection:
        connection = self._sessions.get(sid)
        if connection is None:
            # It may be that of a session on another server, and whoever has it whole has the session.
            raise Refused(UNKNOWN_SID, f"session id {sid[:6]!r}…")
        return connection

    @trio.lowlevel.enable_ki_protection
    async def _supervise(self, connection: Connection, wire: WebSocketTransport | None) -> None:
        """Run one connection behind a firewall: whatever fails in it, the others go on."""
        try:
            await connection.run(wire)
        except* Exception:
            logger.exception("Connection %s… failed; the others go on.", connection.sid[:6])
        finally:
            self._running.discard(connection)
            self.counters.dropped_packets += connection.outbox.dropped
            if connection.fault is not None:
                self.counters.closed[outcome_of(connection.fault).reason] += 1
            self.addresses.leave(connection.request.address)
            if not self._running and self._all_done is not None:
                self._all_done.set()

    def _log_refused(self, request: Request, refused: Refused | TooMany) -> None:
        level = logging.INFO
        if isinstance(refused, TooMany):
            self.counters.turned_away[429] += 1
        else:
            self.counters.refusals[refused.refusal.code] += 1
            self._events.refused(request, refused)
            # A client of another version tries again for ever; its owner needs to be told once.
            if refused.refusal is UNSUPPORTED_PROTOCOL and not self._outdated.is_new(str(request.address)):
                level = logging.DEBUG
        logger.log(level, "Refused %s %.200r from %s: %s", request.method, request.path, request.address, refused)


async def _in_turns(connections: Collection[Connection]) -> AsyncIterator[Connection]:
    """Give each of ``connections``, and others a turn now and then."""
    for number, connection in enumerate(list(connections), 1):
        yield connection
        if number % GOODBYES_PER_TURN == 0:
            await trio.lowlevel.checkpoint()


class _Nowhere:
    """The sink of a WebSocket that nobody listens to."""

    def text(self, payload: bytes) -> None:
        """Drop it."""

    def binary(self, payload: bytes) -> None:
        """Drop it."""


_NOWHERE: Final = _Nowhere()


def _nobody_cares(fault: ConnectionFault) -> None:
    """How a WebSocket ended that nobody listens to."""
