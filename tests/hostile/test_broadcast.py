"""Broadcasts to members that are slow, dead or just leaving: section P of the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.hostile.http import hang_up
from tests.hostile.journal import Journal
from tests.hostile.process import failures
from tests.hostile.victim import BOUND, PollingSession, Victim, WebSocketSession
from tests.level import unchanged
from trio_sio import Config, Limits, Route, RoutingTable, Server, Socket, on_connection, on_disconnection
from trio_sio.protocol.parsers import JSON
from trio_sio.testing import open_test_server

BLOB = "x" * 100_000


class Member:
    """Is in the room from the beginning."""

    def __init__(self, ends: list[str], socket: Socket) -> None:
        self.ends = ends
        self.socket = socket

    @on_connection
    async def joined(self) -> None:
        await self.socket.join("room")

    @on_disconnection
    async def gone(self, reason: str) -> None:
        self.ends.append(reason)


class Talker(Member):
    """Says goodbye to the room as well."""

    @on_disconnection
    async def gone(self, reason: str) -> None:
        await super().gone(reason)
        await self.socket.namespace.to("room").emit("left")


@pytest.fixture
def ends() -> list[str]:
    """Why members were disconnected."""
    return []


@pytest.fixture
def routes(ends: list[str]) -> Sequence[Route]:
    """``/room``: whoever joins it is in a room."""
    return [Route("/room", partial(Member, ends))]


async def receive(session: WebSocketSession | PollingSession) -> str:
    return str(await session.receive()) if isinstance(session, WebSocketSession) else (await session.poll()).decode()


async def enter(session: WebSocketSession | PollingSession) -> None:
    await session.send("40/room,")
    assert (await receive(session)).startswith("40/room,")


@pytest.mark.hostile("P20")
@pytest.mark.http
@pytest.mark.parametrize("settings", [{"limits": Limits(outbox_bytes=1_000_000), "close_timeout": 0.3}], ids=["outbox-1M"])
async def test_members_that_do_not_take_their_share(
    victim: Victim, ends: list[str], journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy, polling = await victim.websocket(), await victim.polling()
    slow, dead, closing, leaving = [await victim.websocket() for _ in range(4)]
    for session in (healthy, polling, slow, dead, closing, leaving):
        await enter(session)
    encoded: list[str] = []
    encode: Any = JSON.encode_event

    def count(namespace: str, values: Sequence[Any], *args: Any, **options: Any) -> Any:
        encoded.append(values[0])
        return encode(namespace, values, *args, **options)

    monkeypatch.setattr(type(JSON), "encode_event", staticmethod(count))

    await hang_up(dead.websocket.stream, reset=True)
    await closing.websocket.start_close()
    await leaving.send("41/room,")
    number = 0
    with trio.fail_after(BOUND):
        while "slow consumer" not in ends:
            await victim.server.of("/room").to("room").emit("n", number, BLOB)
            for session in (healthy, polling):
                assert await receive(session) == f'42/room,["n",{number},"{BLOB}"]'
            number += 1

    assert encoded == ["n"] * number
    assert sorted(ends) == ["client namespace disconnect", "slow consumer", "transport close", "transport close"]
    journal.expect("INFO .* ended: slow consumer")
    await healthy.assert_lives()


@pytest.mark.hostile("P21")
async def test_members_come_and_go_during_a_broadcast(caplog: pytest.LogCaptureFixture) -> None:
    ends: list[str] = []
    config = Config(limits=Limits(outbox_packets=8))
    server = Server(RoutingTable(Route("/", partial(Talker, ends))), config=config)
    async with open_test_server(server) as memory, unchanged(server):
        sockets = server.of("/").sockets
        async with trio.open_nursery() as nursery:
            websockets = [await memory.websocket() for _ in range(20)]
            for websocket in websockets:
                await websocket.send("40")
            await trio.testing.wait_all_tasks_blocked()
            assert len(sockets) == 20

            async def roam(socket: Socket) -> None:
                for _ in range(20):
                    await socket.leave("room")
                    await socket.join("room", "another")

            for socket in list(sockets.values()):
                nursery.start_soon(roam, socket)
            for _ in range(20):
                await server.to("room").emit("n")
                await server.in_("another").fetch_sockets()
        await trio.testing.wait_all_tasks_blocked()
        # With the last of these every member is a slow consumer, in one and the same loop.
        for _ in range(config.limits.outbox_packets + 1):
            server.to("room").emit_nowait("n", BLOB)
        await trio.testing.wait_all_tasks_blocked()
        assert not sockets
        assert ends == ["slow consumer"] * 20
        for websocket in websockets:
            await trio.aclose_forcefully(websocket.stream)
    assert not failures(caplog)
