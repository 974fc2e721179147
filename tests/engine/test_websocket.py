"""Who writes to a WebSocket, and until when: the flusher, the writer task, and neither after the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import trio
import trio.testing

from trio_sio import Config, EngineServer, Session
from trio_sio.concurrency.outbox import Outbox
from trio_sio.engine.door import MessageSink, WebSocketPipe
from trio_sio.engine.services import Services
from trio_sio.engine.websocket import WebSocketTransport
from trio_sio.errors import ConnectionFault
from trio_sio.protocol.frames import EncodedPacket
from trio_sio.testing import open_test_server

CONFIG = Config(path="/socket.io", close_timeout=5)
PACKET = EncodedPacket(b"4x")


class Pipe:
    """A wire that never blocks, except that it refuses the first packet; ``stuck``: then it takes nothing more."""

    nonblocking = True
    progress = 0

    def __init__(self, *, stuck: bool) -> None:
        self.by_flusher = 0
        self.by_writer = 0
        self.ended = trio.Event()
        self._stuck = stuck

    def try_send_nowait(self, packets: list[EncodedPacket]) -> bool:
        self.by_flusher += 1
        return self.by_flusher > 1

    async def send(self, packets: list[EncodedPacket]) -> None:
        await trio.lowlevel.checkpoint()
        self.by_writer += 1
        if self._stuck:
            await trio.sleep_forever()

    async def pump(self, sink: MessageSink, write: Callable[[], None]) -> None:
        await self.ended.wait()

    async def linger(self) -> None:
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        self.ended.set()


class Nowhere:
    def text(self, payload: bytes) -> None:
        raise AssertionError(payload)

    binary = text


def ended(fault: ConnectionFault) -> None:
    """Nobody asks how it ended."""


def transport_over(pipe: Pipe) -> tuple[Services, Outbox[EncodedPacket], WebSocketTransport]:
    services = Services(CONFIG)
    outbox: Outbox[EncodedPacket] = Outbox(CONFIG.limits.outbox_packets, CONFIG.limits.outbox_bytes)
    transport = WebSocketTransport(services, "", cast("WebSocketPipe", pipe), outbox)
    outbox.notify = transport.notify
    return services, outbox, transport


async def serve(session: Session) -> None:
    async for _ in session:
        pass


async def test_the_flusher_gets_the_wire_back_from_the_writer() -> None:
    pipe = Pipe(stuck=False)
    services, outbox, transport = transport_over(pipe)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(services.flusher.run)
        nursery.start_soon(transport.run, nursery, Nowhere(), ended)
        for _ in range(3):
            outbox.put(PACKET)
            await trio.testing.wait_all_tasks_blocked()

        assert (pipe.by_flusher, pipe.by_writer) == (3, 1)
        nursery.cancel_scope.cancel()


async def test_a_writer_that_is_stuck_ends_with_the_wire() -> None:
    pipe = Pipe(stuck=True)
    services, outbox, transport = transport_over(pipe)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(services.flusher.run)
        async with trio.open_nursery() as connection:
            connection.start_soon(transport.run, connection, Nowhere(), ended)
            outbox.put(PACKET)
            await trio.testing.wait_all_tasks_blocked()
            assert pipe.by_writer == 1
            pipe.ended.set()
            await trio.testing.wait_all_tasks_blocked()

            assert not connection.child_tasks
            connection.cancel_scope.cancel()
        nursery.cancel_scope.cancel()


async def test_a_client_that_never_answers_a_close_frame_has_close_timeout(autojump_clock: trio.testing.MockClock) -> None:
    sessions = list[Session]()

    async def keep(session: Session) -> None:
        sessions.append(session)
        await serve(session)

    async with open_test_server(EngineServer(keep, config=CONFIG)) as server, await server.websocket() as client:
        await client.receive()
        sessions[0].close()
        await trio.sleep(4.9)
        assert server.server.engine.sessions.running
        await trio.sleep(0.2)

        assert not server.server.engine.sessions.running
