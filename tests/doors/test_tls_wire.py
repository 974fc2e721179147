"""A WebSocket under TLS without a stream in between: every byte once and in order, however little the kernel takes."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import Any, cast

import pytest
import trio
import trio.testing
import trustme
from hypothesis import given
from hypothesis import strategies as st

from tests.doors.sockets import tcp_pair
from trio_sio.doors.native.below_tls import SocketBelowTls
from trio_sio.doors.native.readiness import Readiness
from trio_sio.doors.native.tls import RECORD, Tls
from trio_sio.doors.native.tls_wire import MOST_UNSENT, TlsWire
from trio_sio.errors import ConnectionReset, TransportError
from trio_sio.protocol.websocket import FrameSender, SendState

BOUND = 5
TIMEOUT = 30
ANSWER = b"!"


@cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of the server, and of a client that trusts it."""
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority = trustme.CA()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    return server, client


class Peer:
    """The client's side of TLS, in memory."""

    def __init__(self) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.state = contexts()[1].wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def says(self, data: bytes) -> bytes:
        """What it sends to say ``data``."""
        self.state.write(data)
        return self.outgoing.read()

    def reads(self) -> bytes:
        """What it can read of what has come."""
        read = bytearray()
        try:
            while part := self.state.read(65_536):
                read += part
        except ssl.SSLWantReadError:
            pass
        return bytes(read)


class Talkative(Tls):
    """Has something to say for itself each time that something arrives, as when keys are renewed: here it is a byte that can be seen."""

    def answer(self) -> bytes:
        self._state.write(ANSWER)
        return super().answer()


class Kernel:
    """A socket that takes as many bytes as there is room for."""

    def __init__(self) -> None:
        self.room = 0
        self.arrived = b""
        self.sent = bytearray()
        self.is_shut = False

    def send(self, data: bytes) -> int:
        taken = min(self.room, len(data))
        if not taken:
            raise BlockingIOError
        self.sent += data[:taken]
        self.room -= taken
        return taken

    def recv(self, size: int) -> bytes:
        arrived, self.arrived = self.arrived[:size], self.arrived[size:]
        return arrived

    def shutdown(self, how: int) -> None:
        assert how == socket.SHUT_RD
        self.is_shut = True


class Unwatched:
    """Nobody tells who is ready: the test calls `readable`."""

    def register(self, reader: object) -> None: ...

    unregister = pause = resume = register


class Below:
    def __init__(self, sock: Any, tls: Tls) -> None:
        self.socket = sock
        self.tls = tls


def made(kind: type[Tls] = Tls) -> tuple[TlsWire, Kernel, Peer]:
    """A wire after the handshake, and what is on both of its sides."""
    peer, incoming, outgoing = Peer(), ssl.MemoryBIO(), ssl.MemoryBIO()
    state = contexts()[0].wrap_bio(incoming, outgoing, server_side=True)
    pending = [(peer.state, peer.outgoing, incoming), (state, outgoing, peer.incoming)] * 3
    for side, ours, theirs in pending:
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
        theirs.write(ours.read())
    kernel = Kernel()
    below = cast("SocketBelowTls", Below(kernel, kind(state, incoming, outgoing)))
    return TlsWire(below, cast("Readiness", Unwatched()), TIMEOUT), kernel, peer


def has_stopped(wire: TlsWire) -> bool:
    return wire._stopped


def noted(wire: TlsWire, *, has_more: bool = False) -> list[bytes]:
    """What is fed from now on; ``has_more``: it is more than fits into a turn."""
    fed: list[bytes] = []

    def feed(data: bytes) -> bool:
        fed.append(data)
        return has_more

    wire._feed = feed
    return fed


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("say"), st.sampled_from([1, 2, 100, 16_384, 16_385, 65_536, 65_537, 200_000])),
            st.tuples(st.just("room"), st.sampled_from([1, 5, 30, 1_000, 16_406, 70_000])),
            st.tuples(st.just("pong"), st.just(3)),
            st.tuples(st.just("hear"), st.just(1)),
        ),
        max_size=30,
    )
)
def test_every_byte_leaves_once_and_in_order(operations: list[tuple[str, int]]) -> None:
    """Whatever the kernel takes of it, and whatever TLS itself has to say meanwhile."""
    wire, kernel, peer = made(Talkative)
    sender, said, heard = FrameSender(), bytearray(), 0
    fed = noted(wire)

    def go_on() -> None:
        if sender.state is not SendState.IDLE:
            sender.sent(wire.try_send(sender.take()))

    for number, (operation, size) in enumerate(operations):
        if operation == "say":
            data = bytes([number]) * size
            said += data
            sent = wire.try_send(data) if sender.state is SendState.IDLE else 0
            if sent < size:
                sender.push(data[sent:])
        elif operation == "room":
            kernel.room += size
            go_on()
        elif operation == "pong" and sender.state is not SendState.IDLE:
            sender.push(bytes([number]) * size)
            said += bytes([number]) * size
        elif operation == "hear":
            heard += 1
            kernel.arrived = peer.says(b"x")
            wire.readable()
    kernel.room = 10**9
    go_on()
    wire.try_send(b"")  # what TLS has said last may still wait

    peer.incoming.write(bytes(kernel.sent))
    received = peer.reads()
    assert sender.state is SendState.IDLE
    assert received.count(ANSWER) == said.count(ANSWER) + heard
    assert received.replace(ANSWER, b"") == said.replace(ANSWER, b"")
    assert b"".join(fed) == b"x" * heard


def test_progress_is_what_the_kernel_has_whole() -> None:
    wire, kernel, _ = made()
    kernel.room = 40_000
    assert wire.try_send(b"a" * 70_000) == 2 * RECORD
    kernel.room = 0
    assert wire.try_send(b"a" * 37_232) == 0
    kernel.room = 40_000
    assert wire.try_send(b"a" * 37_232) == 37_232


def test_who_makes_tls_say_more_than_it_takes_is_given_up() -> None:
    wire, kernel, peer = made(Talkative)
    wire._feed = lambda data: False
    for _ in range(MOST_UNSENT):
        kernel.arrived = peer.says(b"x")
        wire.readable()
        if wire._stopped:
            break
    assert isinstance(wire._error, ConnectionReset)
    assert len(wire._unsent) < MOST_UNSENT + 100


def test_what_is_no_tls_breaks_the_connection() -> None:
    wire, kernel, peer = made()
    fed = noted(wire)
    whole = bytearray(peer.says(b"hello"))
    whole[-1] ^= 1
    kernel.arrived = bytes(whole)
    wire.readable()
    assert isinstance(wire._error, ConnectionReset)
    assert fed == []
    with pytest.raises(TransportError):
        kernel.room = 10**6
        wire.try_send(b"a")


def test_a_record_that_comes_in_parts_is_fed_when_it_is_whole() -> None:
    wire, kernel, peer = made()
    fed = noted(wire)
    for byte in (whole := peer.says(b"hello") + peer.says(b"you")):
        kernel.arrived = bytes([byte])
        wire.readable()
    kernel.arrived = b""
    assert fed == [b"hello", b"you"]
    assert len(whole) > 8


def test_records_that_come_together_are_fed_together() -> None:
    wire, kernel, peer = made()
    fed = noted(wire)
    kernel.arrived = b"".join(peer.says(bytes([number])) for number in range(100))
    wire.readable()
    assert fed == [bytes(range(100))]


def test_who_says_goodbye_has_ended_once_what_came_before_is_used() -> None:
    wire, kernel, peer = made()
    fed = noted(wire, has_more=True)
    last = peer.says(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        peer.state.unwrap()
    kernel.arrived = last + peer.outgoing.read()
    wire.readable()
    assert fed == [b"last"]
    assert kernel.is_shut
    assert not has_stopped(wire)

    wire._has_more = False
    kernel.arrived = b"anything"
    wire.readable()
    assert fed == [b"last"]
    assert has_stopped(wire)
    assert wire._error is None
    assert kernel.arrived


# Over real sockets.


@asynccontextmanager
async def connected(*, to_us: bytes = b"") -> AsyncIterator[tuple[TlsWire, trio.SSLStream[trio.SocketStream]]]:
    """A wire in place of a stream that has shaken hands, and the client; ``to_us``: what that has said already, and nobody has read."""
    theirs, ours = tcp_pair()
    readiness = Readiness()
    with theirs, ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
        below = SocketBelowTls(trio.SocketStream(trio.socket.from_stdlib_socket(ours)), ours, TIMEOUT)
        stream = trio.SSLStream(trio.SocketStream(trio.socket.from_stdlib_socket(theirs)), contexts()[1], server_hostname="localhost")
        encrypted = below.encrypted(contexts()[0])
        with trio.fail_after(BOUND):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.do_handshake)
                await encrypted.do_handshake()
            await encrypted.send_all(b"101")
            assert await stream.receive_some() == b"101"
            if to_us:
                await stream.send_all(to_us)
                assert await encrypted.receive_some(1) == to_us[:1]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(readiness.run)
                yield TlsWire(below, readiness, TIMEOUT), stream
                nursery.cancel_scope.cancel()


class Sink:
    """What is fed; `until` waits for so much of it."""

    def __init__(self) -> None:
        self.fed = bytearray()
        self._changed = trio.lowlevel.ParkingLot()

    def __call__(self, data: bytes) -> bool:
        self.fed += data
        self._changed.unpark_all()
        return False

    async def until(self, size: int) -> None:
        while len(self.fed) < size:
            await self._changed.park()


async def test_what_the_stream_has_received_and_not_given_out_is_fed_first() -> None:
    sink = Sink()
    async with connected(to_us=b"abc") as (wire, stream), trio.open_nursery() as nursery:
        nursery.start_soon(wire.receive, sink, b"a")
        await sink.until(3)
        await stream.send_all(b"d" * 100_000)
        await sink.until(100_003)
        assert sink.fed == b"abc" + b"d" * 100_000
        wire.close()


async def test_all_of_it_is_sent_to_who_takes_it_slowly() -> None:
    much = bytes(range(256)) * 4_000
    async with connected() as (wire, stream), trio.open_nursery() as nursery:
        nursery.start_soon(wire.receive, Sink(), b"")
        nursery.start_soon(wire.send, much)
        received = bytearray()
        while len(received) < len(much):
            received += await stream.receive_some(1_000)
        assert received == much
        assert wire.in_flight == 0
        wire.close()


async def test_nothing_is_received_while_it_is_paused() -> None:
    sink = Sink()
    async with connected() as (wire, stream), trio.open_nursery() as nursery:
        nursery.start_soon(wire.receive, sink, b"")
        await trio.testing.wait_all_tasks_blocked()
        wire.pause()
        await stream.send_all(b"a")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not sink.fed
        wire.resume()
        await sink.until(1)
        wire.close()


async def test_who_discards_says_so_in_tls_and_the_client_sees_an_end_and_no_break() -> None:
    async with connected() as (wire, stream), trio.open_nursery() as nursery:
        nursery.start_soon(wire.discard)
        assert await stream.receive_some() == b""
        await stream.transport_stream.send_eof()


async def test_a_client_that_says_goodbye_and_waits_for_ours_has_ended() -> None:
    async with connected() as (wire, stream), trio.open_nursery() as nursery:

        async def say_goodbye() -> None:
            with suppress(trio.BrokenResourceError):  # it gets none
                await stream.unwrap()

        nursery.start_soon(say_goodbye)
        await wire.receive(Sink(), b"")
        wire.close()


@pytest.mark.parametrize("gone", ["end", "reset"])
async def test_a_connection_that_ends_without_a_word(gone: str) -> None:
    async with connected() as (wire, stream):
        sock = stream.transport_stream.socket
        if gone == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        if gone == "end":
            await wire.receive(Sink(), b"")
        else:
            with pytest.raises(ConnectionReset):
                await wire.receive(Sink(), b"")
