"""The wire over a socket, for which the shared readiness task receives; on real sockets."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing

import pytest
import trio
import trio.testing

if not hasattr(select, "epoll"):
    pytest.skip("needs epoll", allow_module_level=True)

from tests.doors.sockets import Reader, open_readiness, receive, reset, settle, tcp_pair
from trio_sio.concurrency.streams import RECEIVE_SIZE, SECONDS_PER_TURN
from trio_sio.doors.native.wire import SocketWire
from trio_sio.errors import ConnectionReset, TransportError


@asynccontextmanager
async def open_wire(stall: float = 30) -> AsyncIterator[tuple[socket.socket, SocketWire, list[bytes], list[object]]]:
    client, server = tcp_pair()
    fed, ends = list[bytes](), list[object]()
    async with open_readiness() as readiness, trio.open_nursery() as nursery:
        wire = SocketWire(server, readiness, stall)
        nursery.start_soon(receive, wire, fed, ends)
        await settle()
        yield client, wire, fed, ends
        wire.close()
        client.close()
        await settle()
        assert len(readiness) == 0


async def test_closing_a_parked_wire_wakes_its_reader_and_frees_the_descriptor_at_once() -> None:
    async with open_wire() as (_, wire, _, ends):
        wire.close()
        assert wire.socket.fileno() == -1
        assert len(wire._readiness) == 0
        await settle()

        assert ends == ["end"]
        wire.close()


async def test_a_new_socket_with_the_number_of_a_closed_one_is_undisturbed() -> None:
    async with open_wire() as (_, wire, fed, _):
        number = wire.socket.fileno()
        wire.close()
        pair = socket.socketpair()
        # The kernel gives out the lowest free number, which is the one just freed.
        assert number in {sock.fileno() for sock in pair}
        theirs, ours = pair if pair[1].fileno() == number else pair[::-1]
        with closing(theirs):
            new_fed, new_ends = list[bytes](), list[object]()
            async with trio.open_nursery() as nursery:
                new = SocketWire(ours, wire._readiness, 30)
                nursery.start_soon(receive, new, new_fed, new_ends)
                await settle()
                wire.close()
                wire.stop()
                wire.pause()
                theirs.send(b"hello")
                await settle()
                assert (new_fed, fed) == ([b"hello"], [])
                new.close()
            assert new_ends == ["end"]


@pytest.mark.parametrize("paused", [False, True])
async def test_a_reset_ends_receiving(paused: bool) -> None:
    async with open_wire() as (client, wire, _, ends):
        if paused:
            wire.pause()
        reset(client)
        await settle()

        assert ends == [ConnectionReset]


async def test_the_end_of_the_stream_ends_receiving_once_what_came_before_was_fed() -> None:
    async with open_wire() as (client, wire, fed, ends):
        wire.pause()
        client.send(b"last words")
        client.close()
        await settle()
        assert (fed, ends) == ([], [])
        wire.resume()
        await settle()

        assert (fed, ends) == ([b"last words"], ["end"])


async def test_a_wire_that_is_paused_before_it_receives_stays_paused() -> None:
    client, server = tcp_pair()
    fed, ends = list[bytes](), list[object]()
    with closing(client):
        async with open_readiness() as readiness, trio.open_nursery() as nursery:
            wire = SocketWire(server, readiness, 30)
            wire.pause()
            client.send(b"a")
            nursery.start_soon(receive, wire, fed, ends)
            await settle()
            assert fed == []
            wire.resume()
            await settle()
            assert fed == [b"a"]
            wire.close()


def noting_size(order: list[tuple[str, int]], name: str) -> Callable[[bytes], bool]:
    def feed(data: bytes) -> bool:
        order.append((name, len(data)))
        return False

    return feed


async def test_a_busy_client_gets_one_receive_per_turn() -> None:
    client, server = socket.socketpair()
    other_client, other_server = socket.socketpair()
    order = list[tuple[str, int]]()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * RECEIVE_SIZE)
    for sock in (client, server, other_client, other_server):
        sock.setblocking(False)
    assert client.send(bytes(3 * RECEIVE_SIZE)) > RECEIVE_SIZE
    other_client.send(b"x")
    async with open_readiness() as readiness, trio.open_nursery() as nursery:
        busy, quiet = SocketWire(server, readiness, 30), SocketWire(other_server, readiness, 30)
        nursery.start_soon(busy.receive, noting_size(order, "busy"), b"")
        nursery.start_soon(quiet.receive, noting_size(order, "quiet"), b"")
        await settle()
        busy.close()
        quiet.close()
    client.close()
    other_client.close()

    before = order[: order.index(("quiet", 1))]
    assert sum(size for _, size in before) <= RECEIVE_SIZE
    assert len(order) > 2


async def test_a_client_that_takes_nothing_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async with open_wire(stall=7) as (_, wire, _, _):
        start = trio.current_time()
        with pytest.raises(TransportError, match="took nothing for write_stall_timeout"):
            await wire.send(bytes(64 * 1024 * 1024))

        assert trio.current_time() == start + 7


async def test_closing_ends_a_send_that_waits() -> None:
    errors = list[str]()
    async with open_wire() as (_, wire, _, _), trio.open_nursery() as nursery:

        async def send() -> None:
            with pytest.raises(TransportError) as raised:
                await wire.send(bytes(64 * 1024 * 1024))
            errors.append(str(raised.value))

        nursery.start_soon(send)
        await settle()
        wire.close()

    assert errors == ["the connection was closed"]


# Turns.


class Chunk:
    """What a receiver makes of chunks that take it several turns each."""

    def __init__(self, turns: int, order: list[str], name: str = "busy") -> None:
        self.half = trio.Event()
        self.left = 0
        self.chunks = 0
        self._turns = turns
        self._order = order
        self._name = name

    def feed(self, data: bytes) -> bool:
        assert bool(data) == (self.left == 0), "received before the last chunk was used up"
        if data:
            self.chunks += 1
            self.left = self._turns
        self.left -= 1
        self._order.append(self._name)
        if self.left == self._turns // 2:
            self.half.set()
        return self.left > 0


async def test_a_chunk_that_takes_several_turns_is_used_up_before_the_next_is_received() -> None:
    client, server = socket.socketpair()
    client.setblocking(False)
    server.setblocking(False)
    chunk, order = Chunk(5, []), list[str]()
    with closing(client):
        async with open_readiness() as readiness, trio.open_nursery() as nursery:
            wire = SocketWire(server, readiness, 30)
            nursery.start_soon(wire.receive, chunk.feed, b"behind the handshake")
            await settle()
            assert (chunk.chunks, chunk.left) == (1, 0)
            for number in range(2, 5):
                client.send(b"x")
                await settle()
                assert (chunk.chunks, chunk.left) == (number, 0)
            wire.close()
    assert not order


@pytest.mark.hostile("R80")
async def test_others_have_their_turn_between_those_of_a_chunk() -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    order = list[str]()
    for client, server in pairs:
        client.setblocking(False)
        server.setblocking(False)
    async with open_readiness() as readiness, trio.open_nursery() as nursery:
        wires = [SocketWire(server, readiness, 30) for _, server in pairs]
        busy = [Chunk(100, order, name) for name in "ab"]
        for wire, chunk in zip(wires, busy, strict=False):
            nursery.start_soon(wire.receive, chunk.feed, b"")
        nursery.start_soon(wires[2].receive, Chunk(1, order, "quiet").feed, b"")
        await settle()
        pairs[0][0].send(b"x")
        pairs[1][0].send(b"x")
        with trio.fail_after(5):
            await busy[1].half.wait()
        pairs[2][0].send(b"x")
        await settle()
        for wire in wires:
            wire.close()
    for client, _ in pairs:
        client.close()

    assert order.count("a") == order.count("b") == 100
    # One turn of Trio's to notice it, one to feed it; each gives the busy ones a turn, too.
    assert order.index("quiet") <= 100 + 2 * 5


@pytest.mark.parametrize("paused_by", ["the receiver", "somebody else"])
async def test_what_is_left_of_a_chunk_stays_while_paused(paused_by: str) -> None:
    client, server = socket.socketpair()
    client.setblocking(False)
    server.setblocking(False)
    fed = list[bytes]()
    with closing(client):
        async with open_readiness() as readiness, trio.open_nursery() as nursery:
            wire = SocketWire(server, readiness, 30)

            def feed(data: bytes) -> bool:
                fed.append(data)
                if paused_by == "the receiver" and data == b"a":
                    wire.pause()
                return len(fed) < 3

            nursery.start_soon(wire.receive, feed, b"")
            await settle()
            if paused_by == "somebody else":
                wire.pause()
                client.send(b"a")
                await settle()
                assert fed == []
                wire.resume()
                await settle()
                assert fed == [b"a", b"", b""]
            else:
                client.send(b"a")
                await settle()
                client.send(b"b")
                await settle()
                assert fed == [b"a"]
                wire.resume()
                await settle()
                assert fed == [b"a", b"", b"", b"b"]
            wire.close()


async def test_who_is_paused_by_another_in_the_same_turn_receives_nothing() -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    fed = list[bytes]()
    for client, server in pairs:
        client.setblocking(False)
        server.setblocking(False)
    async with open_readiness() as readiness, trio.open_nursery() as nursery:
        wires = [SocketWire(server, readiness, 30) for _, server in pairs]

        def pause_the_other(data: bytes) -> bool:
            fed.append(data)
            for wire in wires:
                wire.pause()
            return False

        for wire in wires:
            nursery.start_soon(wire.receive, pause_the_other, b"")
        await settle()
        for client, _ in pairs:
            client.send(b"x")
        await settle()
        assert fed == [b"x"]
        for wire in wires:
            wire.resume()
        await settle()
        assert fed == [b"x", b"x"]
        for wire in wires:
            wire.close()
    for client, _ in pairs:
        client.close()


async def test_a_turn_that_takes_long_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """By real time, which here passes with each reader; and none is forgotten, or taken for another."""
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    pairs = [socket.socketpair() for _ in range(6)]
    turns, begun, done = list[int](), trio.Event(), trio.Event()
    turn = 0

    async def count_turns() -> None:
        nonlocal turn
        while True:
            turn += 1
            await trio.lowlevel.checkpoint()

    class Slow(Reader):
        def readable(self) -> None:
            nonlocal now
            now += SECONDS_PER_TURN
            super().readable()
            turns.append(turn)
            begun.set()
            if len(turns) == 5:
                done.set()

    async with open_readiness() as readiness, trio.open_nursery() as nursery:
        readers = [Slow(server) for _, server in pairs]
        for reader in readers:
            readiness.register(reader)
        for client, _ in pairs:
            client.send(b"x")
        nursery.start_soon(count_turns)
        with trio.fail_after(5):
            await begun.wait()
        # While others have their turn one leaves, and its descriptor goes to another one, to whom nothing has come.
        gone, number = readers[-1], pairs[-1][1].fileno()
        readiness.unregister(gone)
        gone.socket.close()
        stranger_client, stranger = socket.socketpair()
        if stranger.fileno() != number:
            stranger_client, stranger = stranger, stranger_client
        assert stranger.fileno() == number
        newcomer = Reader(stranger, lambda: None)
        stranger.setblocking(False)
        readiness.register(newcomer)
        with trio.fail_after(5):
            await done.wait()
        nursery.cancel_scope.cancel()

    assert [reader.received for reader in readers] == [[b"x"]] * 5 + [[]]
    assert (newcomer.received, newcomer.errors) == ([], [])
    assert len(set(turns)) >= 2
    for client, server in [*pairs, (stranger_client, stranger)]:
        client.close()
        server.close()
