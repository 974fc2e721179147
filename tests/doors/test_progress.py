"""How far a message has come that is still on its way: what keeps a slow client from being taken for a dead one."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from contextlib import closing

import pytest
import trio
import trio.testing

from tests.doors.test_websocket import CONFIG, MemoryWire
from tests.protocol.client_frames import Sink, frame
from trio_sio.doors.native.buffered import BufferedStream
from trio_sio.doors.native.websocket import NativePipe
from trio_sio.doors.native.wire import SocketWire, StreamWire


class WatchedWire(MemoryWire):
    """Notes after each piece how far the pipe says that it has come."""

    pipe: NativePipe
    seen: list[int]

    async def receive(self, feed: Callable[[bytes], bool], received: bytes) -> None:
        self.seen = []
        for piece in self._pieces:
            feed(piece)
            self.seen.append(self.pipe.progress)
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("frames", "cuts", "seen"),
    [
        ([frame(1, b"x" * 100)], [50, 105], [50, 105, 0]),
        ([frame(1, b"x" * 100), frame(1, b"y" * 50)], [106, 116], [0, 10, 0]),
        ([frame(1, b"x" * 40, fin=False), frame(0, b"y" * 60)], [16, 46, 56], [16, 40, 50, 0]),
        ([frame(9, b"p" * 20)], [10], [10, 0]),
    ],
    ids=["one frame", "two messages", "fragments", "a ping"],
)
async def test_what_has_arrived_of_a_message_is_counted_until_it_is_complete(frames: list[bytes], cuts: list[int], seen: list[int]) -> None:
    data = b"".join(frames)
    wire = WatchedWire([data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)])
    wire.pipe = NativePipe(wire, CONFIG, b"")
    await wire.pipe.pump(Sink(), lambda: None)

    assert wire.seen == seen


async def test_what_a_socket_has_taken_is_counted_until_all_is_out() -> None:
    if not hasattr(select, "epoll"):
        pytest.skip("needs epoll")
    from trio_sio.doors.native.readiness import Readiness

    client, server = socket.socketpair()
    client.setblocking(False)
    server.setblocking(False)
    seen, received, size = [], 0, 2_000_000
    with closing(client), closing(server):
        wire = SocketWire(server, Readiness(), 7)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.send, bytes(size))
            await trio.testing.wait_all_tasks_blocked(0.005)
            while wire.in_flight:
                seen.append(wire.in_flight)
                received += len(client.recv(100_000))
                await trio.testing.wait_all_tasks_blocked(0.005)

        assert len(seen) > 5
        assert seen == sorted(seen)
        assert received <= seen[-1] < size


async def test_what_a_stream_has_taken_is_counted_until_all_is_out() -> None:
    client, server = trio.testing.lockstep_stream_pair()
    wire, seen = StreamWire(BufferedStream(server, 7)), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.send, bytes(50_000))
        for _ in range(7):
            await client.receive_some(10_000)
            await trio.testing.wait_all_tasks_blocked()
            seen.append(wire.in_flight)
        assert seen == [0, 16_384, 16_384, 32_768, 32_768, 49_152, 0]
