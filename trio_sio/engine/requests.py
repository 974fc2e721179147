"""Requests to the engine: which of them opens a session, which belongs to one, and which is refused."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final

import trio

from ..concurrency.outbox import Outbox
from ..errors import ConnectionFault, ServerShuttingDown, outcome_of
from ..log import SID_SHOWN, get_logger
from ..protocol.http import Request, Response
from .connection import Connection
from .cookie import cookie_headers
from .door import ClientGone, HttpExchange, WebSocketPipe, WebSocketUpgrade
from .hosts import HostPolicy
from .notices import Notices
from .origins import OriginPolicy
from .polling import PollingTransport
from .proxies import forwarded
from .query import Query, read_query
from .refusals import BAD_METHOD, BAD_REQUEST, FORBIDDEN, UNKNOWN_SID, UNSUPPORTED_PROTOCOL, Rejected, TooMany, TurnedAway
from .states import ConnectionState
from .upgrade import Probe
from .websocket import WebSocketTransport

if TYPE_CHECKING:
    from .admission import Admission
    from .events import EngineEvents
    from .services import Services
    from .sessions import Sessions

__all__ = ["Requests"]

logger = get_logger("trio_sio.engine")

Fields = list[tuple[bytes, bytes]]


class Requests:
    """Answers the requests to the engine's path.

    Args:
      services: What sessions share.
      sessions: Those that are open.
      admission: Lets new ones in.
      events: Whom the application has told to be told.
    """

    def __init__(self, services: Services, sessions: Sessions, admission: Admission, events: EngineEvents) -> None:
        self._services = services
        self._config = services.config
        self._sessions = sessions
        self._admission = admission
        self._events = events
        self._hosts = HostPolicy(services.config)
        self._origins = OriginPolicy(services.config)
        self._outdated = Notices()  # the addresses of clients that speak another version

    async def handle_http(self, exchange: HttpExchange) -> None:
        """See `Engine.handle_http`."""
        request = forwarded(exchange.request, self._config.trusted_proxies)
        headers: Fields = []
        try:
            try:
                headers = self._check_origin(request)
                preflight = self._origins.preflight(request)
                if preflight is not None:
                    await exchange.respond(Response(204, headers=[*headers, *preflight]))
                    return
                query = read_query(request, self._config)
                if query.sid is None:
                    await self._open_polling(exchange, request, query, headers)
                else:
                    await self._continue_polling(exchange, request, query, query.sid, headers)
            except (Rejected, TurnedAway) as refused:
                self._note_refused(request, refused)
                await exchange.respond(refused.response(headers))
        except ClientGone as gone:
            logger.debug("%s %s: the client went away (%s).", request.method, request.path, gone)

    async def open_websocket(self, upgrade: WebSocketUpgrade) -> Awaitable[None] | None:
        """See `Engine.open_websocket`."""
        request = forwarded(upgrade.request, self._config.trusted_proxies)
        headers: Fields = []
        try:
            try:
                headers = self._check_origin(request)
                query = read_query(request, self._config)
                if query.transport != "websocket":
                    raise Rejected(BAD_REQUEST, "an upgrade to a WebSocket for another transport")
                if query.sid is None:
                    return await self._open_websocket(upgrade, request, query)
                return await self._upgrade(upgrade, request, query, query.sid)
            except (Rejected, TurnedAway) as refused:
                self._note_refused(request, refused)
                await upgrade.refuse(refused.response(headers))
        except ClientGone as gone:
            logger.debug("WebSocket %s: the client went away (%s).", request.path, gone)
        return None

    def _check_origin(self, request: Request) -> Fields:
        if not self._hosts.allows(request):
            raise Rejected(FORBIDDEN, "a host that is not in Config.allowed_hosts")
        headers = self._origins.headers(request)
        if headers is None:
            raise Rejected(FORBIDDEN, "a foreign origin")
        return headers

    def _note_refused(self, request: Request, refused: Rejected | TurnedAway) -> None:
        counters, level = self._services.counters, logging.INFO
        if (instrument := self._services.instrument) is not None:
            if isinstance(refused, TurnedAway):
                instrument.session_refused(request, str(refused), refused.status)
            else:
                instrument.session_refused(request, refused.refusal.message, refused.refusal.status)
        if isinstance(refused, TurnedAway):
            counters.turned_away[refused.status] += 1
            if not isinstance(refused, TooMany):
                return  # that there is no room is not the client's doing
        else:
            counters.refusals[refused.refusal.code] += 1
            self._events.refused(request, refused)
            # A client of another version tries again for ever; its owner needs to be told once.
            if refused.refusal is UNSUPPORTED_PROTOCOL and not self._outdated.is_new(str(request.address)):
                level = logging.DEBUG
        logger.log(level, "Refused %s %.200r from %s: %s", request.method, request.path, request.address, refused)

    # Polling.

    async def _open_polling(self, exchange: HttpExchange, request: Request, query: Query, headers: Fields) -> None:
        if request.method != "GET":
            raise Rejected(BAD_METHOD)
        if query.transport != "polling":
            raise Rejected(BAD_REQUEST, "no upgrade to a WebSocket")
        with self._admission.enter(request) as handshake:
            sid = await handshake.admit(request)
        connection = self._make_connection(sid, request, query)
        transport = PollingTransport(connection)
        self._sessions.begin(connection, transport)
        self._sessions.start(connection)
        await transport.get(exchange, [*headers, *self._first_headers(sid, request)])

    async def _continue_polling(self, exchange: HttpExchange, request: Request, query: Query, sid: str, headers: Fields) -> None:
        transport = self._find(sid).transport
        if isinstance(transport, Probe):
            transport = transport.polling
        if query.transport != "polling" or not isinstance(transport, PollingTransport):
            raise Rejected(BAD_REQUEST, "the session uses another transport")
        headers = [*headers, *self._events.headers(request)]
        if exchange.request.method == "GET":
            await transport.get(exchange, headers)
        elif exchange.request.method == "POST":
            await transport.post(exchange, headers)
        else:
            await exchange.respond(Response(405, headers=[(b"Allow", b"GET, POST"), *headers]))

    # WebSockets.

    async def _open_websocket(self, upgrade: WebSocketUpgrade, request: Request, query: Query) -> Awaitable[None]:
        with self._admission.enter(request) as handshake:
            sid = await handshake.admit(request)
            pipe = await upgrade.accept(self._first_headers(sid, request))
        if handshake.is_over:
            return self._turn_away(pipe, outcome_of(ServerShuttingDown()).close_code if self._sessions.draining.is_set() else None)
        connection = self._make_connection(sid, request, query)
        transport = WebSocketTransport(self._services, sid, pipe, connection.outbox, base64=query.base64)
        self._sessions.begin(connection, transport)
        if not upgrade.detached:
            return connection.run(transport)
        self._sessions.start(connection)
        return self._carry(connection, transport)

    async def _carry(self, connection: Connection, transport: WebSocketTransport) -> None:
        """Run the wire of a session that has a task of its own."""
        try:
            async with trio.open_nursery() as nursery:
                await transport.run(nursery, connection, connection.end)
                nursery.cancel_scope.cancel()
        finally:
            connection.end(ServerShuttingDown("the host ended the connection"))

    async def _upgrade(self, upgrade: WebSocketUpgrade, request: Request, query: Query, sid: str) -> Awaitable[None]:
        connection = self._find(sid)
        if "websocket" not in self._config.upgrades:
            raise Rejected(BAD_REQUEST, "upgrades are switched off")
        pipe = await upgrade.accept(self._events.headers(request))
        polling = connection.transport
        if connection.state is not ConnectionState.OPEN or not isinstance(polling, PollingTransport):
            # The protocol's test suite wants a handshake that succeeds and a socket that closes.
            return self._turn_away(pipe, None)
        return Probe(connection, polling, pipe, base64=query.base64).run()

    async def _turn_away(self, pipe: WebSocketPipe, code: int | None) -> None:
        transport = WebSocketTransport(self._services, "", pipe, Outbox(0, 0))
        transport.close(code)
        async with trio.open_nursery() as nursery:
            await transport.run(nursery, _NOWHERE, _nobody_cares)
            nursery.cancel_scope.cancel()

    # Sessions.

    def _find(self, sid: str) -> Connection:
        connection = self._sessions.by_id.get(sid)
        if connection is None:
            # It may be that of a session on another server, and whoever has it whole has the session.
            raise Rejected(UNKNOWN_SID, f"session id {sid[:SID_SHOWN]!r}…")
        return connection

    def _make_connection(self, sid: str, request: Request, query: Query) -> Connection:
        return Connection(self._services, self._sessions, sid, request, query.fields)

    def _first_headers(self, sid: str, request: Request) -> Fields:
        return [*cookie_headers(self._config, sid), *self._events.headers(request, initial=True)]


class _Nowhere:
    """The sink of a WebSocket that nobody listens to."""

    def text(self, payload: bytes) -> None:
        """Drop it."""

    def binary(self, payload: bytes) -> None:
        """Drop it."""


_NOWHERE: Final = _Nowhere()


def _nobody_cares(fault: ConnectionFault) -> None:
    """How a WebSocket ended that nobody listens to."""
