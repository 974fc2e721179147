"""The benchmark's application at one of its doors. python door_server.py DOOR PORT"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import hypercorn.trio
import trio
from hypercorn.config import Config as HypercornConfig
from trio_sio_server import make_server
from trio_websocket import serve_websocket

from trio_sio import Server
from trio_sio.doors.asgi import ASGIFramework
from trio_sio.doors.hypercorn import serve

HOST: Final = "127.0.0.1"


async def native(server: Server, port: int) -> None:
    """Listen ourselves."""
    await server.serve(HOST, port)


async def asgi(host: Callable[[Any, HypercornConfig], Awaitable[None]], server: Server, port: int) -> None:
    """Be an application of ``host``."""
    config = HypercornConfig()
    config.bind = [f"{HOST}:{port}"]
    config.errorlog = None
    app: ASGIFramework = server.asgi()
    await host(app, config)


async def trio_websocket(server: Server, port: int) -> None:
    """Take over what a trio-websocket server accepts."""
    async with server:
        await serve_websocket(server.handle_trio_websocket, HOST, port, ssl_context=None)


DOORS: Final[dict[str, Callable[[Server, int], Awaitable[None]]]] = {
    "native": native,
    "hypercorn": partial(asgi, serve),
    "ASGI": partial(asgi, hypercorn.trio.serve),
    "trio-websocket": trio_websocket,
}

HTTP_DOORS: Final = ("native", "hypercorn", "ASGI")


if __name__ == "__main__":
    trio.run(DOORS[sys.argv[1]], make_server(), int(sys.argv[2]))
