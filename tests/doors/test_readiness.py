"""The shared readiness task, on real sockets: each rule of it was a bug in somebody's server."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing

import pytest
import trio
import trio.testing

if not hasattr(select, "epoll"):
    pytest.skip("needs epoll", allow_module_level=True)

from tests.doors.test_wire import noting
from trio_sio.concurrency.streams import RECEIVE_SIZE, SECONDS_PER_TURN
from trio_sio.doors.native import readiness as readiness_module
from trio_sio.doors.native.readiness import Readiness
from trio_sio.doors.native.wire import SocketWire
from trio_sio.errors import ConnectionReset, TransportError


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """A client and a server, connected and non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    client.setblocking(False)
    server.setblocking(False)
    return client, server


def reset(client: socket.socket) -> None:
    """Close in the way that makes the kernel send a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


async def settle() -> None:
    """Return when nothing runs and nothing is ready: never, if a task spins."""
    with trio.fail_after(5):
        await trio.testing.wait_all_tasks_blocked(0.005)


class Reader:
    """Receives what there is, and notes it."""

    def __init__(self, sock: socket.socket, act: Callable[[], object] | None = None) -> None:
        self.socket = sock
        self.received: list[bytes] = []
        self.hangups = 0
        self.errors: list[Exception] = []
        self._act = act

    def readable(self) -> None:
        self.received.append(self.socket.recv(RECEIVE_SIZE))
        if self._act is not None:
            self._act()

    def hung_up(self) -> None:
        self.hangups += 1

    def failed(self, error: Exception) -> None:
        self.errors.append(error)


@asynccontextmanager
async def open_readiness() -> AsyncIterator[Readiness]:
    readiness = Readiness()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(readiness.run)
        yield readiness
        nursery.cancel_scope.cancel()


async def test_what_arrives_is_fed_to_its_reader() -> None:
    (client, server), (other_client, other_server) = tcp_pair(), tcp_pair()
    with closing(client), closing(server), closing(other_client), closing(other_server):
        async with open_readiness() as readiness:
            reader, other = Reader(server), Reader(other_server)
            readiness.register(reader)
            readiness.register(other)
            for data in (b"a", b"b"):
                client.send(data)
                await settle()

            assert (reader.received, other.received) == ([b"a", b"b"], [])


async def test_nothing_is_received_for_a_paused_socket_and_nothing_spins() -> None:
    client, server = tcp_pair()
    with closing(client), closing(server):
        async with open_readiness() as readiness:
            reader = Reader(server)
            readiness.register(reader)
            readiness.pause(reader)
            client.send(b"a")
            await settle()
            assert reader.received == []
            readiness.resume(reader)
            await settle()

            assert reader.received == [b"a"]


async def test_the_end_of_the_stream_while_paused_spins_not_and_is_not_missed() -> None:
    client, server = tcp_pair()
    with closing(client), closing(server):
        async with open_readiness() as readiness:
            reader = Reader(server, lambda: readiness.unregister(reader))
            readiness.register(reader)
            readiness.pause(reader)
            client.shutdown(socket.SHUT_WR)
            await settle()
            assert (reader.received, reader.hangups) == ([], 0)
            readiness.resume(reader)
            await settle()

            assert reader.received == [b""]


async def test_a_reset_while_paused_is_told() -> None:
    client, server = tcp_pair()
    with closing(server):
        async with open_readiness() as readiness:
            reader = Reader(server)
            readiness.register(reader)
            readiness.pause(reader)
            reset(client)
            await settle()

            assert (reader.received, reader.hangups) == ([], 1)


async def test_a_reader_that_was_closed_earlier_in_the_turn_is_left_alone() -> None:
    (client, server), (other_client, other_server) = tcp_pair(), tcp_pair()
    with closing(client), closing(other_client):
        async with open_readiness() as readiness:
            readers = dict[str, Reader]()

            def close(name: str) -> None:
                reader = readers[name]
                readiness.unregister(reader)
                reader.socket.close()

            readers["a"] = Reader(server, lambda: close("b"))
            readers["b"] = Reader(other_server, lambda: close("a"))
            client.send(b"a")
            other_client.send(b"b")
            # Both are ready before the first turn; whoever comes first closes the other.
            for reader in readers.values():
                readiness.register(reader)
            await settle()

            assert sorted(len(reader.received) for reader in readers.values()) == [0, 1]
            assert [error for reader in readers.values() for error in reader.errors] == []
            assert len(readiness) == 1
            for reader in readers.values():
                reader.socket.close()


async def test_a_descriptor_that_was_used_before_belongs_to_its_new_reader_only() -> None:
    client, server = tcp_pair()
    with closing(client), closing(server):
        async with open_readiness() as readiness:
            old, new = Reader(server), Reader(server)  # one number, two owners
            readiness.register(old)
            readiness.unregister(old)
            readiness.register(new)
            readiness.pause(old)
            readiness.unregister(old)
            client.send(b"a")
            await settle()

            assert (old.received, new.received) == ([], [b"a"])


async def test_a_reader_that_fails_is_told_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    (client, server), (other_client, other_server) = tcp_pair(), tcp_pair()
    with closing(client), closing(server), closing(other_client), closing(other_server):
        async with open_readiness() as readiness:
            broken, other = Reader(server, lambda: list[int]().remove(1)), Reader(other_server)
            readiness.register(broken)
            readiness.register(other)
            client.send(b"a")
            other_client.send(b"b")
            await settle()

            assert [type(error) for error in broken.errors] == [ValueError]
            assert other.received == [b"b"]
    assert "the others go on" in caplog.text


async def test_sockets_per_turn_are_bounded_and_all_get_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness_module, "SOCKETS_PER_TURN", 1)
    pairs, turns = [tcp_pair() for _ in range(3)], list[str]()

    class Greedy(Reader):
        """Always has more to receive."""

        def readable(self) -> None:
            turns.append(str(pairs.index(next(pair for pair in pairs if pair[1] is self.socket))))

    async def other() -> None:
        while True:
            turns.append("-")
            await trio.lowlevel.checkpoint()

    async with open_readiness() as readiness, trio.open_nursery() as nursery:
        for client, server in pairs:
            client.send(b"a")
            readiness.register(Greedy(server))
        nursery.start_soon(other)
        for _ in range(60):
            await trio.lowlevel.checkpoint()
        seen = turns[:30]  # and not what the end brings
        nursery.cancel_scope.cancel()
    for pair in pairs:
        for sock in pair:
            sock.close()

    served = [turn for turn in seen if turn != "-"]
    assert set(served[:3]) == {"0", "1", "2"}
    # Between two sockets the other task ran, or Trio had it last in one turn and first in the next.
    assert not any(set(seen[at : at + 3]) <= {"0", "1", "2"} for at in range(len(seen) - 2))


async def test_the_epoll_ends_with_its_task() -> None:
    async with open_readiness() as readiness:
        pass

    assert readiness._epoll.closed


async def test_a_wire_that_begins_to_receive_after_that_ends() -> None:
    client, server = tcp_pair()
    with closing(client), closing(server):
        async with open_readiness() as readiness:
            pass
        fed, ends = list[bytes](), list[object]()
        await receive(SocketWire(server, readiness, 30), fed, ends)

    assert (fed, ends) == ([], [ConnectionReset])


# The wire on top of it.


async def receive(wire: SocketWire, fed: list[bytes], ends: list[object]) -> None:
    try:
        await wire.receive(noting(fed), b"")
    except TransportError as error:
        ends.append(type(error))
    else:
        ends.append("end")


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
