"""What is between TLS and a plain socket: it sends in order and all of it, and gives up when nothing moves."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest
import trio
import trio.testing
import trustme

from tests.doors.sockets import reset, tcp_pair
from trio_sio.doors.native.below_tls import SocketBelowTls
from trio_sio.doors.native.buffered import BufferedStream
from trio_sio.engine.door import ClientGone

TIMEOUT = 30
BOUND = 5
MUCH = bytes(range(256)) * 20_000


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    theirs, ours = tcp_pair()
    with theirs, ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
        yield theirs, ours


def below(sock: socket.socket) -> SocketBelowTls:
    return SocketBelowTls(trio.SocketStream(trio.socket.from_stdlib_socket(sock)), sock, TIMEOUT)


async def test_all_of_it_is_sent_however_little_the_kernel_takes(pair: tuple[socket.socket, socket.socket]) -> None:
    theirs, ours = pair
    received = bytearray()

    async def receive() -> None:
        while len(received) < len(MUCH):
            await trio.lowlevel.wait_readable(theirs)
            received.extend(theirs.recv(4096))

    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await below(ours).send_all(MUCH)
    assert received == MUCH


async def test_sending_is_a_checkpoint_and_may_be_cancelled(pair: tuple[socket.socket, socket.socket]) -> None:
    stream = below(pair[1])
    with trio.testing.assert_checkpoints():
        await stream.send_all(b"a")
    with trio.CancelScope() as before:
        before.cancel()
        await stream.send_all(b"b")
    with trio.move_on_after(0.01) as amid:
        await stream.send_all(MUCH)

    assert before.cancelled_caught
    assert amid.cancelled_caught
    assert pair[0].recv(2) == b"a\x00"


async def test_a_peer_that_resets_has_broken_it(pair: tuple[socket.socket, socket.socket]) -> None:
    theirs, ours = pair
    reset(theirs)

    with pytest.raises(trio.BrokenResourceError):
        await below(ours).send_all(b"a")


@pytest.mark.parametrize("meanwhile", [False, True], ids=["before", "meanwhile"])
async def test_what_is_closed_here_sends_nothing(pair: tuple[socket.socket, socket.socket], meanwhile: bool) -> None:
    stream = below(pair[1])

    async def close() -> None:
        await trio.testing.wait_all_tasks_blocked()
        await stream.aclose()

    with trio.fail_after(BOUND):
        if not meanwhile:
            await close()
        async with trio.open_nursery() as nursery:
            if meanwhile:
                nursery.start_soon(close)
            with pytest.raises(trio.ClosedResourceError):
                await stream.send_all(MUCH)


async def test_a_client_that_takes_nothing_is_given_up(
    pair: tuple[socket.socket, socket.socket], autojump_clock: trio.testing.MockClock
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority = trustme.CA()
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    theirs, ours = pair
    autojump_clock.autojump_threshold = 0.05  # the kernel needs some time
    client = trio.SSLStream(trio.SocketStream(trio.socket.from_stdlib_socket(theirs)), trusting, server_hostname="localhost")
    server = trio.SSLStream(below(ours), context, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.do_handshake)
        await server.do_handshake()
    start = trio.current_time()

    with pytest.raises(ClientGone, match="no progress for write_stall_timeout"):
        await BufferedStream(server, TIMEOUT).send(MUCH)

    assert TIMEOUT <= trio.current_time() - start < 2 * TIMEOUT
