"""The wire over any Trio stream: what TLS and the in-memory tests run on. The one over sockets is in test_socket_wire.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from trio_sio.concurrency.streams import DISCARDED_BYTES
from trio_sio.doors.native.buffered import BufferedStream
from trio_sio.doors.native.wire import StreamWire
from trio_sio.errors import ConnectionReset, TransportError


def noting(fed: list[bytes]) -> Callable[[bytes], bool]:
    """A function that takes what a wire receives, and has never more work with it."""

    def feed(data: bytes) -> bool:
        fed.append(data)
        return False

    return feed


MemoryStream = trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]


class Ends:
    """The two ends of a wire whose server side receives in the background."""

    def __init__(self, client: MemoryStream, wire: StreamWire) -> None:
        self.client = client
        self.wire = wire
        self.fed: list[bytes] = []
        self.ends: list[object] = []

    async def receive(self) -> None:
        try:
            await self.wire.receive(noting(self.fed), b"")
        except TransportError as error:
            self.ends.append(type(error))
        else:
            self.ends.append("end")

    async def arrives(self, data: bytes) -> None:
        await self.client.send_all(data)
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def open_wire() -> AsyncIterator[Ends]:
    client, server = trio.testing.memory_stream_pair()
    ends = Ends(client, StreamWire(BufferedStream(server, 7)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.receive)
        await trio.testing.wait_all_tasks_blocked()
        yield ends
        nursery.cancel_scope.cancel()


async def test_what_arrives_is_fed_until_the_end() -> None:
    async with open_wire() as ends:
        await ends.arrives(b"a")
        await ends.arrives(b"b")
        await ends.client.send_eof()
        await trio.testing.wait_all_tasks_blocked()

        assert (ends.fed, ends.ends) == ([b"a", b"b"], ["end"])


async def test_a_paused_wire_stops_after_the_receive_that_is_under_way() -> None:
    async with open_wire() as ends:
        ends.wire.pause()
        await ends.arrives(b"a")
        await ends.arrives(b"b")
        assert ends.fed == [b"a"]
        ends.wire.pause()
        ends.wire.resume()
        ends.wire.resume()
        await trio.testing.wait_all_tasks_blocked()

        assert ends.fed == [b"a", b"b"]


@pytest.mark.parametrize("how", ["stop", "close"])
@pytest.mark.parametrize("paused", [False, True])
async def test_stopping_ends_receiving(how: str, paused: bool) -> None:
    async with open_wire() as ends:
        if paused:
            ends.wire.pause()
            await ends.arrives(b"a")
        getattr(ends.wire, how)()
        await trio.testing.wait_all_tasks_blocked()

        assert ends.ends == ["end"]


async def test_a_stream_that_breaks_is_a_reset() -> None:
    async with open_wire() as ends:
        stream = ends.wire._buffered.stream
        assert isinstance(stream, trio.StapledStream)
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()

        assert ends.ends == [ConnectionReset]


def test_it_never_sends_without_blocking() -> None:
    wire = StreamWire(BufferedStream(trio.testing.memory_stream_pair()[0], 7))

    assert not wire.nonblocking
    assert wire.try_send(b"a") == 0


async def test_a_client_that_takes_nothing_is_given_up_and_nothing_is_sent_after_that(autojump_clock: trio.testing.MockClock) -> None:
    _, server = trio.testing.lockstep_stream_pair()
    wire, start = StreamWire(BufferedStream(server, 7)), trio.current_time()
    for _ in range(2):
        with pytest.raises(TransportError):
            await wire.send(b"a")

    assert trio.current_time() == start + 7


async def test_what_still_arrives_is_discarded_up_to_a_bound() -> None:
    client, server = trio.testing.memory_stream_pair()
    wire = StreamWire(BufferedStream(server, 7))
    await client.send_all(bytes(2 * DISCARDED_BYTES))
    await wire.discard()

    assert len(await server.receive_some(None)) == DISCARDED_BYTES


async def test_whoever_discards_lets_the_client_see_the_end() -> None:
    client, server = trio.testing.memory_stream_pair()
    wire = StreamWire(BufferedStream(server, 7))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.discard)

        assert await client.receive_some() == b""

        # Only the client's own end lets it return.
        await client.send_eof()


@pytest.mark.parametrize("gone", ["client", "server"])
async def test_discarding_from_somebody_who_has_gone_returns(gone: str) -> None:
    client, server = trio.testing.memory_stream_pair()
    await (client if gone == "client" else server).aclose()
    await StreamWire(BufferedStream(server, 7)).discard()
