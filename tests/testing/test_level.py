"""L0 notices everything that a server may hold."""

from __future__ import annotations

import os
import tempfile

import pytest
import trio
import trio.testing

from trio_sio import EngineServer, Server, Session, Socket
from trio_sio.testing import level, open_test_server, unchanged


def make_server() -> Server:
    server = Server()

    @server.on("join")
    async def join(socket: Socket, room: str) -> None:
        await socket.join(room)

    return server


async def test_a_client_and_what_it_brings(autojump_clock: trio.testing.MockClock) -> None:
    server = make_server()
    async with open_test_server(server) as memory:
        before = level(server)
        async with memory.strict_client() as client:
            await client.emit_with_ack("join", "lobby")
            during = level(server)
            assert (during.sessions, during.running, during.sockets, during.rooms) == (1, 1, 1, 1)
            assert during.tasks > before.tasks
            difference = during.difference(before)
            assert difference.startswith(
                "sessions: 1 instead of 0, running: 1 instead of 0, sockets: 1 instead of 0, rooms: 1 instead of 0"
            )
        await trio.testing.wait_all_tasks_blocked()
        assert level(server) == before
        assert level(server).difference(before) == ""


async def test_bytes_that_wait(autojump_clock: trio.testing.MockClock) -> None:
    server = make_server()
    async with open_test_server(server) as memory, memory.strict_client() as client:
        (socket,) = server.of("/").sockets.values()
        socket.emit_nowait("news", "x" * 1_000)
        assert 1_000 < level(server).buffered < 1_100
        await client.once("news")
        assert level(server).buffered == 0


async def test_an_engine_alone() -> None:
    async def serve(session: Session) -> None:
        async for _ in session:
            pass

    server = EngineServer(serve)
    async with open_test_server(server) as memory, unchanged(server), await memory.websocket() as websocket:
        await websocket.receive()
        assert level(server).sessions == 1


async def test_a_task_and_a_descriptor_of_others(autojump_clock: trio.testing.MockClock) -> None:
    server = make_server()
    with tempfile.TemporaryFile() as file:
        async with open_test_server(server), trio.open_nursery() as nursery:
            with pytest.raises(AssertionError, match=r"^tasks: (\d+) instead of \d+$"):
                async with unchanged(server):
                    nursery.start_soon(trio.sleep_forever)
            with pytest.raises(AssertionError, match=r"^descriptors: (\d+) instead of \d+$"):
                async with unchanged(server):
                    descriptor = os.dup(file.fileno())
            os.close(descriptor)
            nursery.cancel_scope.cancel()


async def test_it_waits_as_long_as_it_is_told(autojump_clock: trio.testing.MockClock) -> None:
    server = make_server()
    async with open_test_server(server), trio.open_nursery() as nursery:
        async with unchanged(server, patience=100):
            nursery.start_soon(trio.sleep, 60)
        start = trio.current_time()
        with pytest.raises(AssertionError):
            async with unchanged(server, patience=10):
                nursery.start_soon(trio.sleep, 60)
        assert 10 <= trio.current_time() - start < 12
        nursery.cancel_scope.cancel()
