"""A plain socket that speaks HTTP, received for by the readiness task."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import closing

import pytest
import trio
import trio.testing

from tests.doors.sockets import Reader, open_readiness, reset, settle, tcp_pair
from trio_sio import Config
from trio_sio.concurrency.timers import Timers
from trio_sio.doors.native.readiness import Readiness
from trio_sio.doors.native.watched import WatchedStream
from trio_sio.doors.native.websocket import open_pipe
from trio_sio.engine.door import ClientGone

MOST = 1_000


class Connection:
    """Both ends of one, and how the last wait of ours went."""

    def __init__(self, readiness: Readiness) -> None:
        self.readiness = readiness
        self.client, self.sock = tcp_pair()
        self.stream = WatchedStream(trio.SocketStream(trio.socket.from_stdlib_socket(self.sock)), 10, b"", self.sock, readiness, MOST)

    async def outcome(self, wait: Callable[[], object]) -> object:
        """Return what ``wait`` comes to, which must not take long."""
        try:
            with trio.fail_after(5):
                return await wait()  # type: ignore[misc]
        except ClientGone:
            return ClientGone


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    async with open_readiness() as readiness:
        made = Connection(readiness)
        with closing(made.client), closing(made.sock):
            yield made
            made.stream.release()
            assert len(readiness) == 0


@pytest.fixture
async def timers() -> AsyncIterator[Timers]:
    timers = Timers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        yield timers
        nursery.cancel_scope.cancel()


# Whoever polls waits for this.


async def test_a_wait_for_packets_ends_when_it_is_woken(connection: Connection) -> None:
    stream, told = connection.stream, list[bool]()

    async def wait() -> None:
        told.append(await stream.wait_woken())

    for _ in range(2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await settle()
            connection.client.send(b"a")  # pipelined, which wakes nobody
            await settle()
            stream.wake()

    assert told == [True, True]
    assert stream.buffer == b"aa"


@pytest.mark.parametrize(
    "leave", [reset, socket.socket.close, lambda client: client.shutdown(socket.SHUT_WR)], ids=["reset", "end", "half"]
)
async def test_a_wait_for_packets_ends_when_the_client_goes(connection: Connection, leave: Callable[[socket.socket], None]) -> None:
    told = list[bool]()

    async def wait() -> None:
        told.append(await connection.stream.wait_woken())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await settle()
        assert not told
        leave(connection.client)

    assert told == [False]
    await settle()  # an end that nobody has asked for does not spin
    assert not await connection.stream.wait_woken()


# What comes while nobody waits for it.


async def test_what_is_pipelined_waits_within_a_bound(connection: Connection) -> None:
    client, stream = connection.client, connection.stream
    with trio.move_on_after(0):
        await stream.receive()  # from now on it is watched
    client.send(b"x" * 5 * MOST)
    await settle()
    assert len(stream.buffer) == MOST

    while len(stream.buffer) < 5 * MOST:
        assert await connection.outcome(stream.receive)
    client.send(b"y" * MOST)
    await settle()
    assert len(stream.buffer) == 5 * MOST

    stream.take(5 * MOST)
    assert await connection.outcome(stream.receive)
    assert stream.take(2 * MOST) == b"y" * MOST


async def test_a_reset_is_seen_while_nothing_is_received(connection: Connection) -> None:
    with trio.move_on_after(0):
        await connection.stream.receive()
    connection.client.send(b"x" * 5 * MOST)
    await settle()
    reset(connection.client)
    await settle()

    assert len(connection.readiness) == 0
    assert not await connection.stream.wait_woken()
    assert await connection.outcome(connection.stream.receive) is ClientGone


async def test_an_end_that_was_seen_before_is_an_end(connection: Connection) -> None:
    with trio.move_on_after(0):
        await connection.stream.receive()
    connection.client.close()
    await settle()

    assert connection.stream.ended
    assert await connection.outcome(connection.stream.receive) is False


# Between two requests.


async def test_a_rest_ends_with_what_comes(connection: Connection, timers: Timers) -> None:
    line = timers.line()
    for byte in (b"a", b"b"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.stream.rest, 30, line)
            await settle()
            connection.client.send(byte)
        assert connection.stream.take(10) == byte
        assert len(line) == 0
    assert not connection.stream.receive_nowait()


async def test_a_rest_ends_when_its_time_is_over(timers: Timers, connection: Connection) -> None:
    line = timers.line()
    for _ in range(2):
        with trio.fail_after(5):
            await connection.stream.rest(0.01, line)
        assert not connection.stream.buffer
        assert not connection.stream.ended


@pytest.mark.parametrize("timeout", [30, float("inf")])
async def test_a_rest_may_be_called_off(connection: Connection, timers: Timers, timeout: float) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.stream.rest, timeout, timers.line())
        await settle()
        connection.stream.cancel()
    assert not connection.stream.ended


async def test_a_rest_that_is_cancelled_leaves_nothing(connection: Connection, timers: Timers) -> None:
    line = timers.line()
    with trio.move_on_after(0.01):
        await connection.stream.rest(30, line)
    assert len(line) == 0


@pytest.mark.parametrize("leave", [reset, socket.socket.close], ids=["reset", "end"])
async def test_a_rest_ends_with_the_client(connection: Connection, timers: Timers, leave: Callable[[socket.socket], None]) -> None:
    async def go() -> None:
        await settle()
        leave(connection.client)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(go)
        outcome = await connection.outcome(lambda: connection.stream.rest(30, timers.line()))
    assert outcome is (ClientGone if leave is reset else None)
    assert not connection.stream.buffer


# Who watches.


async def test_a_socket_that_is_released_is_free_for_others(connection: Connection) -> None:
    with trio.move_on_after(0):
        await connection.stream.receive()
    connection.stream.release()
    reader = Reader(connection.sock)
    connection.readiness.register(reader)
    connection.client.send(b"a")
    await settle()
    connection.readiness.unregister(reader)

    assert reader.received == [b"a"]
    assert not connection.stream.buffer


async def test_a_websocket_gets_a_socket_that_nobody_watches(connection: Connection) -> None:
    with trio.move_on_after(0):
        await connection.stream.receive()
    connection.client.send(b"a")
    await settle()
    pipe = open_pipe(connection.stream, connection.sock, Config(), connection.readiness)

    assert len(connection.readiness) == 0
    assert not connection.stream.buffer  # the WebSocket has it
    pipe.abort()


async def test_a_failure_ends_this_connection(connection: Connection) -> None:
    with trio.move_on_after(0):
        await connection.stream.receive()
    connection.stream.failed(RuntimeError("a bug"))

    assert len(connection.readiness) == 0
    assert await connection.outcome(connection.stream.receive) is ClientGone


@pytest.mark.parametrize("meanwhile", [False, True], ids=["before", "meanwhile"])
async def test_what_still_comes_after_the_servers_scope_is_received(meanwhile: bool) -> None:
    made, received = list[Connection](), list[object]()

    async def receive() -> None:
        received.append(await made[0].outcome(made[0].stream.receive))

    async with trio.open_nursery() as nursery:
        async with open_readiness() as readiness:
            made.append(Connection(readiness))
            if meanwhile:
                nursery.start_soon(receive)
                await settle()
        if not meanwhile:
            nursery.start_soon(receive)
        await settle()
        made[0].client.send(b"a")
    with closing(made[0].client), closing(made[0].sock):
        assert received == [True]
        assert made[0].stream.buffer == b"a"
