"""Several doors at once: one server, whose rooms do not know where their members came from."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
import trio
from hypercorn.config import Config as HypercornConfig
from quart_trio import QuartTrio

from tests.level import unchanged
from trio_sio import Config, Server, Socket
from trio_sio.doors import hypercorn, trio_websocket
from trio_sio.doors.asgi import ASGIFramework
from trio_sio.testing import RawHttp, RawWebSocket, WebSocketClosed

TARGET = "/socket.io/?EIO=4&transport=websocket"
BOUND = 5.0


class Doors:
    """One server at three doors.

    Attributes:
      server: The server.
      ports: Where it listens, by door.
    """

    def __init__(self) -> None:
        self.server = Server(config=Config(ping_interval=1_000))
        self.ports: dict[str, int] = {}
        self.server.on_connection(self._joined)
        self.server.on("say")(self._say)

    async def _joined(self, socket: Socket) -> None:
        await socket.join("lobby")

    async def _say(self, socket: Socket, word: str) -> None:
        await socket.to("lobby").emit("said", word)

    async def open(self, nursery: trio.Nursery) -> None:
        """Listen at every door."""
        listeners = await nursery.start(self.server.serve, "127.0.0.1", 0)
        config = HypercornConfig()
        config.bind = ["127.0.0.1:0"]
        config.errorlog = None
        urls: list[str] = await nursery.start(hypercorn.serve, self.server.asgi(self._pages()), config)
        urls += await nursery.start(trio_websocket.serve, self.server, "127.0.0.1", 0)
        hypercorn_port, trio_websocket_port = (int(url.rpartition(":")[2]) for url in urls)
        self.ports = {"native": listeners[0].sockname[1], "hypercorn": hypercorn_port, "trio-websocket": trio_websocket_port}

    def _pages(self) -> ASGIFramework:
        pages = QuartTrio("pages")

        async def announce(word: str) -> str:
            await self.server.to("lobby").emit("announced", word)
            return "told"

        pages.add_url_rule("/announce/<word>", "announce", announce)
        return cast("ASGIFramework", pages)

    async def join(self, door: str) -> RawWebSocket:
        websocket = await RawWebSocket.open(await trio.open_tcp_stream("127.0.0.1", self.ports[door]), TARGET)
        await websocket.receive()
        await websocket.send("40")
        await websocket.receive()
        return websocket


@asynccontextmanager
async def opened() -> AsyncIterator[Doors]:
    """Run the server, with everything gone in the end."""
    doors = Doors()
    async with doors.server, unchanged(doors.server), trio.open_nursery() as nursery:
        await doors.open(nursery)
        yield doors
        nursery.cancel_scope.cancel()


async def heard(websocket: RawWebSocket) -> list[object]:
    with trio.fail_after(BOUND):
        packet = await websocket.receive()
    assert isinstance(packet, str)
    message: list[object] = json.loads(packet.removeprefix("42"))
    return message


async def test_a_room_reaches_through_every_door() -> None:
    async with opened() as doors:
        websockets = {door: await doors.join(door) for door in doors.ports}
        for speaker, websocket in websockets.items():
            await websocket.send(f'42["say","hello from {speaker}"]')
            for door, other in websockets.items():
                if door != speaker:
                    assert await heard(other) == ["said", f"hello from {speaker}"]
        for websocket in websockets.values():
            await websocket.close()


async def test_a_quart_route_speaks_to_all() -> None:
    async with opened() as doors:
        websockets = [await doors.join(door) for door in doors.ports]
        async with RawHttp(await trio.open_tcp_stream("127.0.0.1", doors.ports["hypercorn"])) as http:
            response = await http.request("GET", "/announce/lunch")
        assert (response.status, response.body) == (200, b"told")
        for websocket in websockets:
            assert await heard(websocket) == ["announced", "lunch"]
            await websocket.close()


async def test_draining_says_goodbye_at_every_door() -> None:
    async with opened() as doors:
        websockets = [await doors.join(door) for door in doors.ports]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(doors.server.drain)
            for websocket in websockets:
                with trio.fail_after(BOUND), pytest.raises(WebSocketClosed) as info:
                    await websocket.receive()
                assert info.value.code == 1001
                await trio.aclose_forcefully(websocket.stream)


@pytest.mark.slow
async def test_hosts_that_are_cancelled_leave_nothing() -> None:
    doors = Doors()
    async with doors.server, unchanged(doors.server):
        async with trio.open_nursery() as hosting:
            await doors.open(hosting)
            websockets = [await doors.join(door) for door in doors.ports]
            for websocket in websockets:
                await websocket.send('42["say","in the middle of it"]')
            hosting.cancel_scope.cancel()
        for websocket in websockets:
            await trio.aclose_forcefully(websocket.stream)
