"""A stream with a plain socket below it: what comes, and how it ends, as the stream itself would have it."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Iterator

import pytest
import trio
import trio.testing

from tests.doors.sockets import open_readiness
from trio_sio.doors.native.buffered import BufferedStream
from trio_sio.doors.native.watched import WatchedStream
from trio_sio.engine.door import ClientGone


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as theirs:
        ours, _ = listener.accept()
        with ours:
            ours.setblocking(False)
            yield ours, theirs


@pytest.fixture(params=["awaited", "watched"])
async def buffered(pair: tuple[socket.socket, socket.socket], request: pytest.FixtureRequest) -> AsyncIterator[BufferedStream]:
    sock = pair[0]
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
    if request.param == "awaited":
        yield BufferedStream(stream, 10, sock=sock)
        return
    async with open_readiness() as readiness:
        watched = WatchedStream(stream, 10, b"", sock, readiness, 1_000)
        yield watched
        watched.release()


async def test_what_comes_is_received_until_the_end(pair: tuple[socket.socket, socket.socket], buffered: BufferedStream) -> None:
    theirs = pair[1]

    async def send() -> None:
        await trio.testing.wait_all_tasks_blocked()
        theirs.sendall(b"later")

    theirs.sendall(b"now")
    with trio.fail_after(5):
        assert await buffered.receive(2)
        assert await buffered.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            assert await buffered.receive()
        assert buffered.take(100) == b"nowlater"
        theirs.shutdown(socket.SHUT_WR)
        assert not await buffered.receive()
        assert not await buffered.receive()


async def test_a_wait_for_more_may_be_cancelled_and_loses_nothing(
    pair: tuple[socket.socket, socket.socket], buffered: BufferedStream
) -> None:
    theirs = pair[1]
    with trio.move_on_after(0) as scope:
        await buffered.receive()
    assert scope.cancelled_caught

    theirs.sendall(b"a")

    with trio.fail_after(5):
        assert await buffered.receive()
    assert buffered.take(100) == b"a"


async def test_a_client_that_resets_has_gone(pair: tuple[socket.socket, socket.socket], buffered: BufferedStream) -> None:
    theirs = pair[1]
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()

    with trio.fail_after(5), pytest.raises(ClientGone):
        await buffered.receive()
    with pytest.raises(ClientGone):
        await buffered.send(b"nobody hears this")


@pytest.mark.parametrize("meanwhile", [False, True], ids=["before", "meanwhile"])
async def test_a_connection_that_is_closed_here_brings_nothing(buffered: BufferedStream, meanwhile: bool) -> None:
    async def close() -> None:
        await trio.testing.wait_all_tasks_blocked()
        buffered.release()
        await trio.aclose_forcefully(buffered.stream)

    with trio.fail_after(5):
        if not meanwhile:
            await close()
        async with trio.open_nursery() as nursery:
            if meanwhile:
                nursery.start_soon(close)
            with pytest.raises(ClientGone):
                await buffered.receive()
