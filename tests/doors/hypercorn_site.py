"""A server under hypercorn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import trio
import trio.testing
from hypercorn.config import Config as HypercornConfig
from quart_trio import QuartTrio

from tests.level import level
from trio_sio import Config, Server, Socket
from trio_sio.doors.asgi.messages import ASGIFramework, Receive, Scope, Send
from trio_sio.doors.hypercorn import serve
from trio_sio.testing import RawHttp, RawWebSocket
from trio_sio.testing.level import restored

__all__ = ["BOUND", "POLLING", "TARGET", "Served", "behind", "below_quart", "hypercorn_config", "lives", "rest", "served"]

TARGET = "/socket.io/?EIO=4&transport=websocket"
POLLING = "/socket.io/?EIO=4&transport=polling"
BOUND = 5.0


def hypercorn_config(**options: object) -> HypercornConfig:
    config = HypercornConfig()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    for name, value in options.items():
        setattr(config, name, value)
    return config


class Served:
    """A server under hypercorn.

    Attributes:
      server: The server.
      port: Where it listens.
      stop: Set it to stop gracefully.
      stopped: Set when `serve` has returned.
      serving: Cancels `serve`.
      sockets: Those that joined.
      reasons: Why some are gone.
    """

    def __init__(self, config: Config | None = None) -> None:
        # So that clients which poll no more do not hold up the end.
        self.server = Server(config=config or Config(drain_timeout=0.4))
        self.port = 0
        self.stop = trio.Event()
        self.stopped = trio.Event()
        self.serving = trio.CancelScope()
        self.sockets: list[Socket] = []
        self.reasons: list[str] = []
        self.while_leaving: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        self.server.on_connection(self._joined)
        self.server.on_disconnection(self._left)
        self.server.on("echo")(self._echo)

    async def _joined(self, socket: Socket) -> None:
        self.sockets.append(socket)

    async def _left(self, socket: Socket, reason: str) -> None:
        await self.while_leaving()
        self.reasons.append(reason)

    async def _echo(self, socket: Socket, word: str) -> str:
        return word

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def join(self, stream: trio.SocketStream | None = None) -> RawWebSocket:
        websocket = await RawWebSocket.open(stream or await self.connect(), TARGET)
        await websocket.receive()
        await websocket.send("40")
        assert str(await websocket.receive()).startswith("40")
        return websocket

    async def request(self, target: str) -> int:
        async with RawHttp(await self.connect()) as http:
            return (await http.request("GET", target, headers={"Connection": "close"})).status


async def lives(websocket: RawWebSocket) -> None:
    with trio.fail_after(BOUND):
        await websocket.send('420["echo","word"]')
        assert await websocket.receive() == '430["word"]'


async def rest(stream: trio.abc.ReceiveStream) -> bytes:
    """Receive until the end of the stream."""
    data = bytearray()
    with trio.fail_after(BOUND), suppress(trio.BrokenResourceError):
        while piece := await stream.receive_some():
            data += piece
    return bytes(data)


@asynccontextmanager
async def served(
    config: Config | None = None, app: Callable[[Server], ASGIFramework] = Server.asgi, write_stall_timeout: float = 30, **options: object
) -> AsyncIterator[Served]:
    """Serve while the block runs; afterwards nothing may be left."""
    here = Served(config)

    async def run(*, task_status: trio.TaskStatus[list[str]]) -> None:
        with here.serving:
            await serve(
                app(here.server),
                hypercorn_config(**options),
                shutdown_trigger=here.stop.wait,
                write_stall_timeout=write_stall_timeout,
                task_status=task_status,
            )
        here.stopped.set()

    async with trio.open_nursery() as nursery:
        before = level(here.server)
        (url,) = await nursery.start(run)
        here.port = int(url.rpartition(":")[2])
        yield here
        here.stop.set()
        with trio.fail_after(BOUND):
            await here.stopped.wait()
    # The watches over plain sockets are gone with the services.
    await restored(here.server, before)


def below_quart(server: Server) -> ASGIFramework:
    """Put the server before a Quart application, as Quart has it."""
    quart_app: Any = QuartTrio("below_quart")
    quart_app.asgi_app = server.asgi(quart_app.asgi_app)
    return cast("ASGIFramework", quart_app)


def behind(server: Server) -> ASGIFramework:
    """Put something before the server, so that hypercorn carries all connections."""
    app = server.asgi()

    async def first(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return first
