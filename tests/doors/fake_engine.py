"""An engine that only records what a door hands in, and does what a test tells it to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

import trio

from trio_sio.config import Config
from trio_sio.engine.door import BodyTooLarge, ClientGone, HttpExchange, WebSocketUpgrade
from trio_sio.protocol.http import Request, Response

if TYPE_CHECKING:
    from trio_sio.engine.engine import Engine

Http = Callable[[HttpExchange], Awaitable[None]]
WebSocket = Callable[[WebSocketUpgrade], Awaitable[None]]


class FakeEngine:
    """Answers requests with their method, query and body, and refuses WebSockets, unless a test brings its own handlers."""

    def __init__(
        self,
        config: Config | None = None,
        http: Http | None = None,
        websocket: WebSocket | None = None,
        finishers: trio.Nursery | None = None,
    ) -> None:
        self.config = config or Config()
        self.draining = trio.Event()
        self.drained = trio.Event()
        self.requests: list[Request] = []
        self._http = http or self._echo
        self._websocket = websocket or self._refuse
        self._finishers = finishers

    def as_engine(self) -> Engine:
        """Return this object under the type that doors expect."""
        return cast("Engine", self)

    def owns(self, path: str) -> bool:
        return path in ("/socket.io", "/socket.io/")

    async def handle_http(self, exchange: HttpExchange) -> None:
        self.requests.append(exchange.request)
        await self._http(exchange)

    async def open_websocket(self, upgrade: WebSocketUpgrade) -> None:
        await self.handle_websocket(upgrade)

    async def handle_websocket(self, upgrade: WebSocketUpgrade) -> None:
        self.requests.append(upgrade.request)
        await self._websocket(upgrade)

    def start_finisher(self, function: Callable[..., Awaitable[object]], *args: object) -> None:
        assert self._finishers is not None
        self._finishers.start_soon(function, *args)

    async def _echo(self, exchange: HttpExchange) -> None:
        try:
            body = await exchange.read_body(self.config.max_http_buffer_size)
        except BodyTooLarge:
            await exchange.respond(Response(413))
        except ClientGone:
            return
        else:
            await exchange.respond(Response(200, exchange.request.method.encode() + b" " + exchange.request.query_string + b" " + body))

    async def _refuse(self, upgrade: WebSocketUpgrade) -> None:
        await upgrade.refuse(Response(400, b"no websocket"))
