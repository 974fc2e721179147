"""Every door from outside: the program that hosts the server ends, in order or not, and what that means for its clients.

Each case runs at every door, and under hosts that have nothing of ours but the application.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import pytest
import trio
import trio.testing

from tests.conformance.doors import DOORS, HTTP_DOORS, OTHER_HOSTS, Door, DoorName
from tests.level import level
from trio_sio import Config, Server, Socket
from trio_sio.testing import RawHttp, RawWebSocket, WebSocketClosed
from trio_sio.testing.level import restored

HOSTS: Final = (*DOORS, *OTHER_HOSTS)
WITH_POLLING: Final = (*HTTP_DOORS, *OTHER_HOSTS)
BOUND: Final = 5.0
POLLING: Final = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET: Final = "/socket.io/?EIO=4&transport=websocket"


class Clients:
    """A server at one door, with clients in every state.

    Args:
      kind: Where they come in.
      nursery: Of the program that hosts the server.

    Attributes:
      door: The server, running.
      cancelled: The ids of sockets whose handler was cancelled.
      reasons: Why sockets are gone, by their ids.
      answers: What the poll that waits is answered with, where there are polls.
      goodbyes: What WebSockets hear in the end, and with which code they are closed: one is idle, one has a handler that
        does not end.
    """

    def __init__(self, kind: DoorName, nursery: trio.Nursery) -> None:
        self.door = Door(kind, self._make_server, nursery)
        self.cancelled: list[str] = []
        self.reasons: dict[str, list[str]] = {}
        self.answers: list[bytes] = []
        self.goodbyes: list[tuple[list[str | bytes], int]] = []
        self._working = trio.Event()

    def _make_server(self) -> Server:
        server = Server(config=Config(ping_interval=1_000, drain_timeout=4, close_timeout=1))
        server.on_connection(self._joined)
        server.on_disconnection(self._left)
        server.on("work")(self._work)
        return server

    async def _joined(self, socket: Socket) -> None:
        self.reasons[socket.id] = []

    async def _left(self, socket: Socket, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        self.reasons[socket.id].append(reason)

    async def _work(self, socket: Socket) -> None:
        self._working.set()
        try:
            await trio.sleep_forever()
        finally:
            self.cancelled.append(socket.id)

    async def join(self, outside: trio.Nursery) -> None:
        """Let them come in; ``outside`` is where they wait for the end."""
        await self.door.start()
        for work in ('42["nothing"]', '42["work"]'):
            websocket = await RawWebSocket.open(await self._connect(), WEBSOCKET)
            for message in ("40", work):
                await websocket.receive()
                await websocket.send(message)
            outside.start_soon(self._listen, websocket)
        await self._working.wait()
        if self.door.kind in WITH_POLLING:
            http = RawHttp(await self._connect())
            opened = await http.request("GET", POLLING)
            target = f"{POLLING}&sid={json.loads(opened.body[1:])['sid']}"
            await http.request("POST", target, body="40")
            await http.request("GET", target)
            outside.start_soon(self._poll, http, target)
        await trio.testing.wait_all_tasks_blocked()

    def check_ends(self) -> None:
        """Assert that each socket was told once, and that the handler that was running did not go on."""
        assert list(self.reasons.values()) == [["server shutting down"]] * (2 + (self.door.kind in WITH_POLLING))
        assert len(self.cancelled) == 1

    async def _connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.door.port)

    async def _poll(self, http: RawHttp, target: str) -> None:
        async with http:
            with trio.fail_after(BOUND), suppress(trio.BrokenResourceError):
                self.answers.append((await http.request("GET", target)).body)

    async def _listen(self, websocket: RawWebSocket) -> None:
        messages = []
        with trio.fail_after(BOUND), pytest.raises(WebSocketClosed) as closed:
            while True:
                messages.append(await websocket.receive())
        self.goodbyes.append((messages, closed.value.code))
        await trio.aclose_forcefully(websocket.stream)


@asynccontextmanager
async def clients_of(kind: DoorName) -> AsyncIterator[tuple[Clients, trio.Nursery]]:
    """Host a server with clients while the block runs; afterwards nothing may be left of either."""
    before = level(Server())
    async with trio.open_nursery() as outside, trio.open_nursery() as hosting:
        clients = Clients(kind, hosting)
        await clients.join(outside)
        yield clients, hosting
    await restored(clients.door.server, before)


@pytest.mark.slow
@pytest.mark.parametrize("kind", HOSTS)
async def test_a_program_that_is_cancelled(kind: DoorName) -> None:
    async with clients_of(kind) as (clients, hosting):
        hosting.cancel_scope.cancel()
    # It is immediate; only an ASGI host is told to close its WebSockets, since it would not do that by itself.
    code = 1006 if kind in ("native", "hypercorn", "trio-websocket") else 1001
    assert clients.goodbyes == [([], code)] * 2
    assert clients.answers == []
    clients.check_ends()


@pytest.mark.parametrize("kind", HOSTS)
async def test_a_program_that_drains(kind: DoorName) -> None:
    async with clients_of(kind) as (clients, _):
        await clients.door.stop()
    assert clients.goodbyes == [([], 1001)] * 2
    assert clients.answers == [b"1"] * (kind in WITH_POLLING)
    clients.check_ends()
