"""Starts the server that a case names, at the door that it names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import hypercorn.config
import hypercorn.trio
import pytest
import trio

from tests.conformance.raw.apps import engine_server, socket_server
from tests.conformance.raw.cases import Setup
from tests.conformance.raw.peer import RawDoor
from trio_sio import EngineServer, Server
from trio_sio.doors.hypercorn import serve as serve_hypercorn
from trio_sio.doors.trio_websocket import serve


async def start_native(nursery: trio.Nursery, server: EngineServer | Server) -> int:
    listeners = await nursery.start(server.serve, "127.0.0.1", 0)
    return int(listeners[0].sockname[1])


async def start_hypercorn(host: Any, nursery: trio.Nursery, server: EngineServer | Server) -> int:
    config = hypercorn.config.Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    binds: list[str] = await nursery.start(host, server.asgi(), config)
    port = urlsplit(binds[0]).port
    assert port is not None
    return port


async def start_trio_websocket(nursery: trio.Nursery, server: EngineServer | Server) -> int:
    urls: list[str] = await nursery.start(serve, server, "127.0.0.1", 0)
    return int(urls[0].rpartition(":")[2])


START: Final[dict[str, Callable[[trio.Nursery, EngineServer | Server], Awaitable[int]]]] = {
    "native": start_native,
    "hypercorn": partial(start_hypercorn, serve_hypercorn),
    "asgi": partial(start_hypercorn, hypercorn.trio.serve),
    "trio-websocket": start_trio_websocket,
}


@pytest.fixture
async def raw_door(request: pytest.FixtureRequest) -> AsyncIterator[RawDoor]:
    """The server of one case, running, as its raw client sees it."""
    setup: Setup = request.param
    settings = {"ping_interval": setup.timing.ping_interval, "ping_timeout": setup.timing.ping_timeout, **setup.settings}
    path, server = ("/engine.io", engine_server(settings)) if setup.suite == "eio" else ("/socket.io", socket_server(settings))
    async with trio.open_nursery() as nursery:
        port = await START[setup.door](nursery, server)
        async with RawDoor(port, path, setup.timing) as door:
            yield door
        nursery.cancel_scope.cancel()
