"""A server whose clients are wires of memory that take everything at once: the way of a message, without a kernel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import trio
import trio.testing

from tests.protocol.client_frames import frame
from trio_sio import Server
from trio_sio.doors.native.websocket import NativePipe
from trio_sio.errors import TransportError
from trio_sio.protocol.http import Headers, Request, Response

__all__ = ["Walker", "open_walkers"]


class Walker:
    """One client, which is the wire and the request to become one, too.

    Attributes:
      sends: What each call of the kernel would have got, one of the frames of short texts after the other.
    """

    nonblocking = True
    in_flight = 0
    detached = False

    def __init__(self, server: Server) -> None:
        self.request = Request("GET", "/socket.io/", b"EIO=4&transport=websocket", Headers([(b"host", b"localhost")]))
        self.sends: list[bytes] = []
        self._server = server
        self._feed: Callable[[bytes], bool]
        self._paused = False
        self._stopped = trio.Event()

    def emit(self, *packets: str) -> None:
        """Let ``packets`` arrive together."""
        has_more = self._feed(b"".join(frame(1, packet.encode()) for packet in packets))
        while has_more:
            assert not self._paused
            has_more = self._feed(b"")

    def take(self) -> list[list[str]]:
        """Return the packets of each call of the kernel since the last time."""
        sends, self.sends = self.sends, []
        return [_texts(data) for data in sends]

    async def wait_sent(self) -> int:
        """Return once anything has left, and how many turns of the scheduler that took."""
        for turns in range(1, 1_000):
            await trio.lowlevel.checkpoint()
            if self.sends:
                return turns
        raise AssertionError("nothing has left")

    # What an engine sees.

    async def accept(self, headers: Sequence[tuple[bytes, bytes]] = ()) -> NativePipe:
        await trio.lowlevel.checkpoint()
        return NativePipe(self, self._server.config, b"")

    async def refuse(self, response: Response) -> None:
        raise AssertionError(response)

    async def receive(self, feed: Callable[[bytes], bool], received: bytes) -> None:
        self._feed = feed
        await self._stopped.wait()

    def stop(self, error: TransportError | None = None) -> None:
        self._stopped.set()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    def try_send(self, data: bytes) -> int:
        self.sends.append(data)
        return len(data)

    async def send(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.sends.append(data)

    async def discard(self) -> None:
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        self.stop()


def _texts(data: bytes) -> list[str]:
    """Return the payloads of unmasked frames; those of close frames as ``"close"``."""
    texts, position = list[str](), 0
    while position < len(data):
        kind, length = data[position], data[position + 1]
        assert length < 126
        texts.append("close" if kind == 0x88 else data[position + 2 : position + 2 + length].decode())
        position += 2 + length
    return texts


@asynccontextmanager
async def open_walkers(server: Server, count: int) -> AsyncIterator[list[Walker]]:
    """Run ``server`` with so many clients, all of which have joined the main namespace; nothing runs any more."""
    async with trio.open_nursery() as nursery, server:
        walkers = [Walker(server) for _ in range(count)]
        for walker in walkers:
            nursery.start_soon(server.engine.handle_websocket, walker)
        await trio.testing.wait_all_tasks_blocked()
        for walker in walkers:
            walker.emit("40")
        await trio.testing.wait_all_tasks_blocked()
        for walker in walkers:
            walker.sends.clear()
        yield walkers
        nursery.cancel_scope.cancel()
