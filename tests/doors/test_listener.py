"""Accepting real connections: the firewall, TLS, draining, and a process without free descriptors."""

from __future__ import annotations

import errno
import logging
import math
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

import pytest
import trio
import trustme

from tests.doors.fake_engine import FakeEngine
from trio_sio import Server
from trio_sio.config import Config
from trio_sio.doors.native.http import NativeDoor
from trio_sio.doors.native.listener import Listener, open_listeners, serve, serve_listeners
from trio_sio.doors.native.site import Site
from trio_sio.engine.door import HttpExchange
from trio_sio.protocol.http import Response

GET = b"GET /socket.io/ HTTP/1.1\r\nHost: h\r\n\r\n"


async def respond(exchange: HttpExchange) -> None:
    if exchange.request.method == "POST":
        raise RuntimeError("a bug")
    await exchange.respond(Response(200, b"fine"))


def door_to(engine: FakeEngine) -> NativeDoor:
    return NativeDoor(engine.as_engine(), Site(None, None, "/socket.io"))


@asynccontextmanager
async def serving(
    engine: FakeEngine, listeners: list[Listener] | None = None, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, int]]:
    """Serve ``engine``; yields the address, drains in the end, and so proves that serving then returns."""
    async with trio.open_nursery() as nursery:
        opened = listeners or await open_listeners("127.0.0.1", 0)
        started = await nursery.start(partial(serve_listeners, door_to(engine), opened, ssl_context=ssl_context))
        assert started == opened
        address = started[0].sockname
        assert isinstance(address, tuple)
        yield address
        engine.draining.set()
        engine.drained.set()


async def fetch(stream: trio.abc.Stream, request: bytes = GET) -> bytes:
    await stream.send_all(request)
    return bytes(await stream.receive_some())


async def test_serving_starts_with_its_addresses_and_ends_with_draining() -> None:
    engine = FakeEngine(http=respond)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(serve, door_to(engine), "127.0.0.1", 0)
        host, port = listener.sockname
        async with await trio.open_tcp_stream(host, port) as stream:
            assert (await fetch(stream)).endswith(b"fine")
            assert engine.requests[0].address == "127.0.0.1"
            assert not engine.requests[0].secure
            engine.draining.set()
            assert await stream.receive_some() == b""
        # As long as it drains, polling clients fetch their last packets and newcomers are told when to come back.
        async with await trio.open_tcp_stream(host, port) as stream:
            assert b"\r\nConnection: close\r\n" in await fetch(stream)
        engine.drained.set()
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream(host, port)


async def test_cancelling_closes_the_listeners() -> None:
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(serve, door_to(FakeEngine(http=respond)), "127.0.0.1", 0)
        nursery.cancel_scope.cancel()
    assert listener.socket.fileno() == -1


async def test_a_stall_timeout_of_months() -> None:
    # More milliseconds than the kernel can count.
    engine = FakeEngine(Config(write_stall_timeout=3_000_000), http=respond)
    async with serving(engine) as address, await trio.open_tcp_stream(*address) as stream:
        assert (await fetch(stream)).endswith(b"fine")


@pytest.mark.parametrize(("seconds", "milliseconds"), [(20, 20_000), (0.0001, 1), (math.inf, 0)])
async def test_the_kernel_gives_up_a_peer_that_acknowledges_nothing(
    seconds: float, milliseconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(_door: NativeDoor, _stream: trio.SocketStream, sock: socket.socket, **_origin: object) -> None:
        found.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))

    found = list[int]()
    monkeypatch.setattr("trio_sio.doors.native.listener.open_session", look)
    async with serving(FakeEngine(Config(write_stall_timeout=seconds))) as address, await trio.open_tcp_stream(*address) as stream:
        assert await stream.receive_some() == b""

    assert found == [milliseconds]


async def test_all_addresses_of_a_name() -> None:
    listeners = await open_listeners(None, 0)
    try:
        assert {listener.socket.family for listener in listeners} <= {socket.AF_INET, socket.AF_INET6}
        assert all(isinstance(listener.sockname, tuple) and listener.sockname[1] for listener in listeners)
    finally:
        for listener in listeners:
            listener.close()


async def test_a_port_in_use_is_an_error() -> None:
    (listener,) = await open_listeners("127.0.0.1", 0)
    try:
        with pytest.raises(OSError) as info:
            await open_listeners(*cast("tuple[str, int]", listener.sockname))
        assert info.value.errno == errno.EADDRINUSE
    finally:
        listener.close()


@pytest.mark.hostile("P22")
async def test_an_error_ends_one_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine(http=respond)
    async with serving(engine) as address, await trio.open_tcp_stream(*address) as healthy:
        assert (await fetch(healthy)).endswith(b"fine")
        async with await trio.open_tcp_stream(*address) as unlucky:
            assert b" 500 " in await fetch(unlucky, GET.replace(b"GET", b"POST"))
            assert await unlucky.receive_some() == b""
        assert (await fetch(healthy)).endswith(b"fine")
    (record,) = [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None


async def test_tls() -> None:
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    engine = FakeEngine(http=respond)
    async with serving(engine, ssl_context=server_context) as address:
        plain = await trio.open_tcp_stream(*address)
        encrypted = trio.SSLStream(plain, client_context, server_hostname="localhost", https_compatible=True)
        async with encrypted:
            assert (await fetch(encrypted)).endswith(b"fine")
            assert engine.requests[0].secure
        async with await trio.open_tcp_stream(*address) as stream:
            await stream.send_all(GET)  # not a TLS hello: an alert or nothing comes back, then the end
            while await stream.receive_some():
                pass
    assert len(engine.requests) == 1


@pytest.mark.hostile("W28")
async def test_a_tls_handshake_has_a_deadline() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    async with (
        serving(FakeEngine(Config(header_timeout=0)), ssl_context=context) as address,
        await trio.open_tcp_stream(*address) as stream,
    ):
        assert await stream.receive_some() == b""


class _FailingSocket(socket.socket):
    """A listening socket whose first accepts fail."""

    def fail_with(self, *errors: int) -> None:
        self._errors = list(errors)

    def accept(self) -> tuple[socket.socket, object]:
        if self._errors:
            raise OSError(self._errors.pop(0), "as told")
        return super().accept()


def _listening(*errors: int) -> Listener:
    sock = _FailingSocket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    sock.fail_with(*errors)
    return Listener(sock)


@pytest.mark.hostile("P23")
async def test_a_process_without_free_descriptors_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    listener = _listening(errno.EMFILE, errno.ENFILE, errno.ECONNABORTED)
    async with serving(FakeEngine(http=respond), [listener]) as address, await trio.open_tcp_stream(*address) as stream:
        assert (await fetch(stream)).endswith(b"fine")
    assert [record.levelno for record in caplog.records if record.levelno > logging.DEBUG] == [logging.ERROR]


async def test_an_unexpected_accept_error_is_raised() -> None:
    with pytest.RaisesGroup(pytest.RaisesGroup(pytest.RaisesGroup(OSError))):
        async with serving(FakeEngine(http=respond), [_listening(errno.EINVAL)]) as address, await trio.open_tcp_stream(*address):
            await trio.sleep_forever()


async def test_a_refusal_of_an_upgrade_can_be_read_by_who_has_sent_much_behind_the_request() -> None:
    head = (
        b"GET /socket.io/?EIO=3&transport=websocket HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    server = Server()
    async with server, trio.open_nursery() as nursery:
        (listener,) = await nursery.start(server.serve, "127.0.0.1", 0)
        for _ in range(5):
            with trio.fail_after(10):
                stream = await trio.open_tcp_stream("127.0.0.1", listener.sockname[1])
                async with stream:
                    await stream.send_all(head + bytes(100_000))
                    answer = b""
                    while b"}" not in answer:
                        answer += await stream.receive_some()
                    await stream.send_all(bytes(1_000))  # which nobody has to read for the client to see what was said
                    assert answer.startswith(b"HTTP/1.1 400 ")
                    assert await stream.receive_some() == b""
        nursery.cancel_scope.cancel()
