"""Cancelled, left and ended at every step of a connection."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio.testing

from tests.client.fake_server import Connection, open_fake_server, open_packet
from tests.client.misbehaving import answer_first
from tests.client.sessions import open_session
from tests.level import unchanged
from trio_sio import Config, EngineServer
from trio_sio import Session as ServerSession
from trio_sio.client.session import SessionClosed
from trio_sio.client.target import Target
from trio_sio.config import TransportName
from trio_sio.protocol.engineio import text_message
from trio_sio.testing import InMemoryServer, open_test_server

pytestmark = pytest.mark.hostile("P36")


async def complete(connection: Connection) -> None:
    """Serve both transports and the upgrade, a step at a time."""
    while True:
        request = await connection.request()
        await trio.sleep(1)
        if request.query["transport"] == "websocket":
            await connection.accept(request)
            await trio.sleep(1)
            if "sid" not in request.query:
                await connection.send_message(open_packet().decode())
            while True:
                if await connection.message() == "2probe":
                    await trio.sleep(1)
                    await connection.send_message("3probe")
        elif "sid" not in request.query:
            await connection.respond(open_packet(upgrades=["websocket"]))
        elif request.method == "GET":
            await trio.sleep(2)
            await connection.respond(b"6")
        else:
            await connection.respond()


@pytest.mark.parametrize("transports", [("polling",), ("websocket",), ("polling", "websocket")])
@pytest.mark.parametrize("after", [0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5])
async def test_cancelled_at_each_step(transports: tuple[TransportName, ...], after: float, autojump_clock: trio.testing.MockClock) -> None:
    async with open_fake_server(complete) as target:
        with trio.move_on_after(after) as scope:
            async with open_session(target, transports=transports) as session:
                await session.send(text_message("x"))
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert trio.current_time() <= after + 2


@pytest.mark.parametrize("transports", [("polling",), ("websocket",), ("polling", "websocket")])
@pytest.mark.parametrize("after", [0, 1.5, 2.5, 3.5, 4.5, 5.5])
async def test_left_at_each_step(transports: tuple[TransportName, ...], after: float, autojump_clock: trio.testing.MockClock) -> None:
    async with open_fake_server(complete) as target:
        async with open_session(target, transports=transports, close_timeout=5) as session:
            await session.send(text_message("x"))
            await trio.sleep(after)
            left = trio.current_time()
        assert trio.current_time() - left <= 5
        assert session.closed is not None
        assert session.closed.reason == "io client disconnect"


async def test_cancelled_while_it_is_left(autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await connection.accept(await connection.request())
        await connection.send_message(open_packet().decode())
        await trio.sleep_forever()

    async with open_fake_server(script) as target:
        with trio.CancelScope() as scope:
            async with open_session(target, transports=["websocket"], close_timeout=5):
                scope.deadline = trio.current_time() + 2
        assert scope.cancelled_caught
        assert trio.current_time() <= 3


async def test_ended_twice(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fake_server(partial(answer_first, first=open_packet())) as target:
        async with open_session(target, transports=["polling"]) as session:
            session.end("parse error", "the first")
            session.end("transport close", "the second")
            with pytest.raises(SessionClosed, match="the first") as caught:
                await session.receive()
        assert caught.value.reason == "parse error"
        session.end("transport close", "the third")
        assert session.closed is not None
        assert session.closed.detail == "the first"


class Watched:
    """Our own server in memory; it remembers the client's ends of all connections."""

    def __init__(self, server: InMemoryServer) -> None:
        self.streams: list[trio.abc.Stream] = []
        self._server = server

    async def connect_stream(self) -> trio.abc.Stream:
        """Open a connection."""
        stream = await self._server.connect_stream()
        self.streams.append(stream)
        return stream


@pytest.mark.parametrize("transports", [("polling",), ("websocket",), ("polling", "websocket")])
async def test_cancelled_at_every_turn_of_the_scheduler(
    transports: tuple[TransportName, ...], autojump_clock: trio.testing.MockClock
) -> None:
    async def echo(session: ServerSession) -> None:
        async for message in session:
            await session.send(message)

    async def cancel_after(turns: int, scope: trio.CancelScope) -> None:
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    cancelled, turns = True, 0
    while cancelled:
        # A session whose id never arrived is only ended by its server.
        config = Config(ping_interval=1, ping_timeout=1)
        async with open_test_server(EngineServer(echo, config=config)) as server, unchanged(server.server):
            watched = Watched(server)
            start = trio.current_time()
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(cancel_after, turns, scope)
                    async with open_session(Target(watched), transports=transports) as session:
                        await session.send(text_message("x"))
                        await session.receive()
                    nursery.cancel_scope.cancel()
            assert trio.current_time() - start <= 2
            for stream in watched.streams:
                with pytest.raises(trio.ClosedResourceError), trio.fail_after(5):
                    await stream.receive_some(1)
        cancelled = scope.cancelled_caught
        turns += 1
    assert turns > 10
