"""`trio_sio.doors.trio_websocket.serve`: a trio-websocket server of which no client can end more than its own connection."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio
import trio.testing
import trustme
import wsproto.utilities
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest

from tests.doors.test_trio_websocket import BOUND, TARGET, Application, closed, joined
from tests.level import level, unchanged
from trio_sio import Config, Server
from trio_sio.doors.trio_websocket import serve
from trio_sio.testing import RawWebSocket, UpgradeRefused
from trio_sio.testing.level import restored

Other = Callable[[WebSocketRequest], Awaitable[object]]


class Served:
    """An application that `serve` serves.

    Attributes:
      application: It.
      port: Where.
      returned: Set when `serve` has returned.
      serving: Cancels it.
    """

    def __init__(self, config: Config | None) -> None:
        self.application = Application(config)
        self.port = 0
        self.returned = trio.Event()
        self.serving = trio.CancelScope()

    @property
    def server(self) -> Server:
        return self.application.server

    async def stream(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def connect(self, target: str = TARGET) -> RawWebSocket:
        stream = await self.stream()
        try:
            return await RawWebSocket.open(stream, target, host=f"127.0.0.1:{self.port}")
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise

    async def join(self) -> RawWebSocket:
        websocket = await self.connect()
        await joined(websocket)
        return websocket


@asynccontextmanager
async def served(config: Config | None = None, other: Other | None = None) -> AsyncIterator[Served]:
    """Serve while the block runs, then drain; afterwards nothing may be left, and meanwhile nothing of what a client was."""
    here = Served(config)

    async def run(*, task_status: trio.TaskStatus[list[str]]) -> None:
        with here.serving:
            await serve(here.server, "127.0.0.1", 0, other=other, task_status=task_status)
        here.returned.set()

    async with here.server, unchanged(here.server), trio.open_nursery() as nursery:
        (url,) = await nursery.start(run)
        assert url.startswith("http://127.0.0.1:")
        here.port = int(url.rpartition(":")[2])
        before = level(here.server)
        yield here
        if not here.returned.is_set():
            await restored(here.server, before)
        with trio.fail_after(BOUND):
            await here.server.drain()
            await here.returned.wait()


async def lives(websocket: RawWebSocket) -> None:
    with trio.fail_after(BOUND):
        await websocket.send('42["echo","here"]')
        assert await websocket.receive() == '42["echo","here"]'


async def ended(stream: trio.abc.Stream) -> None:
    """Wait until the server has closed ``stream``, and close it."""
    with trio.fail_after(BOUND), suppress(trio.BrokenResourceError):
        while await stream.receive_some():
            pass
    await trio.aclose_forcefully(stream)


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, bool]]:
    """Return level, and whether there is a traceback, of each line of the door."""
    return [(one.levelname, bool(one.exc_info)) for one in caplog.records if one.name == "trio_sio.doors.trio_websocket"]


def fail_at(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    """Let a method of trio-websocket's connections raise; those that exist already have looked it up."""

    async def fail(self: WebSocketConnection, *args: object) -> None:
        raise error

    monkeypatch.setattr(WebSocketConnection, name, fail)


FAILURES = [
    (ZeroDivisionError("here"), ("ERROR", True)),
    (ExceptionGroup("two", [KeyError(1), ValueError(2)]), ("ERROR", True)),
    (wsproto.utilities.LocalProtocolError("Connection is closed"), ("DEBUG", False)),
    (UnicodeDecodeError("ascii", b"\xff", 0, 1, "ordinal not in range(128)"), ("DEBUG", False)),
    (ConnectionResetError("gone"), ("DEBUG", False)),
    (trio.BrokenResourceError(), ("DEBUG", False)),
]


@pytest.mark.hostile("R33", "R34", door="trio-websocket")
@pytest.mark.parametrize(("error", "line"), FAILURES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("when", ["handshake", "session"])
async def test_an_exception_in_a_task_of_the_host_ends_one_connection(
    when: str, error: Exception, line: tuple[str, bool], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "trio_sio.doors.trio_websocket")
    async with served() as here:
        bystander = await here.join()
        with monkeypatch.context() as patch:
            if when == "handshake":
                fail_at(patch, "_handle_request_event", error)
                stream: trio.abc.Stream = await here.stream()
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
                await stream.send_all(b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            else:
                fail_at(patch, "_handle_ping_event", error)
                websocket = await here.join()
                await websocket.send_frame(9, b"ping")
                stream = websocket.stream
            await ended(stream)
        await lives(bystander)
        await lives(another := await here.join())
        assert told(caplog) == [line]
        if when == "session":
            with trio.fail_after(BOUND):
                await here.application.gone.wait()
            assert len(here.application.reasons) == 1
        for websocket in (bystander, another):
            await websocket.close()


async def test_a_failure_that_can_be_repeated_fills_no_log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_sio.doors.trio_websocket")
    fail_at(monkeypatch, "_reader_task", ZeroDivisionError())
    async with served() as here:
        for _ in range(3):
            await ended(await here.stream())
        assert told(caplog) == [("ERROR", True), ("DEBUG", False), ("DEBUG", False)]


async def test_sessions_and_draining() -> None:
    async with served() as here:
        websockets = [await here.join() for _ in range(3)]
        for websocket in websockets:
            await lives(websocket)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.server.drain)
            for websocket in websockets:
                assert await closed(websocket) == 1001
        with trio.fail_after(BOUND):
            await here.returned.wait()
        assert here.application.reasons == ["server shutting down"] * 3


@pytest.mark.parametrize("end", ["drained", "cancelled"])
async def test_a_server_that_nobody_has_entered(end: str) -> None:
    @asynccontextmanager
    async def lifespan(server: Server) -> AsyncIterator[None]:
        try:
            yield
        finally:
            raise OSError("the disk is full")

    server = Server(lifespan=lifespan)
    with trio.fail_after(BOUND), pytest.RaisesGroup(pytest.RaisesExc(OSError, match="the disk is full"), flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, server, "127.0.0.1", 0)
            assert server.running
            if end == "drained":
                await server.drain()
            else:
                nursery.cancel_scope.cancel()
    assert not server.running


async def test_what_is_cancelled_leaves_nothing() -> None:
    async with served() as here:
        websocket = await here.join()
        idle = await here.stream()
        here.serving.cancel()
        await ended(websocket.stream)
        await ended(idle)
        await here.returned.wait()
        with trio.fail_after(BOUND):
            await here.application.gone.wait()


async def test_a_client_that_leaves_before_its_handshake_is_forgotten_at_once() -> None:
    async with served(Config(header_timeout=3_600)) as here:
        before = level(here.server)
        stream = await here.stream()
        await stream.send_all(b"GET / HTTP/1.1\r\n")
        await trio.testing.wait_all_tasks_blocked()
        assert level(here.server) != before
        await stream.aclose()
        await restored(here.server, before)


async def test_a_client_that_does_not_shake_hands_is_let_go() -> None:
    async with served(Config(header_timeout=0.1)) as here:
        await ended(await here.stream())


async def test_a_connection_without_handshake_does_not_hold_up_the_end() -> None:
    async with served(Config(header_timeout=3_600)) as here:
        stream = await here.stream()
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(BOUND):
            await here.server.drain()
            await here.returned.wait()
        await ended(stream)


async def test_the_largest_message_is_the_configs() -> None:
    async with served(Config(max_http_buffer_size=2_000_000)) as here:
        websocket = await here.join()
        message = f'42["echo","{"x" * 1_500_000}"]'
        await websocket.send(message)
        assert await websocket.receive() == message
        await websocket.close()


async def test_tls() -> None:
    authority = trustme.CA()
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(ours)
    theirs = ssl.create_default_context()
    authority.configure_trust(theirs)
    application = Application()
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(partial(serve, application.server, "127.0.0.1", 0, ours))
        assert url.startswith("https://127.0.0.1:")
        port = int(url.rpartition(":")[2])
        plain = await trio.open_tcp_stream("127.0.0.1", port)
        await plain.send_all(b"this is no TLS\r\n\r\n")
        await ended(plain)
        stream = trio.SSLStream(await trio.open_tcp_stream("127.0.0.1", port), theirs, server_hostname="localhost", https_compatible=True)
        websocket = await RawWebSocket.open(stream, TARGET)
        await joined(websocket)
        assert application.sockets[0].handshake.secure
        await lives(websocket)
        async with trio.open_nursery() as ending:
            ending.start_soon(application.server.drain)
            assert await closed(websocket) == 1001


# Another protocol on the same port.


async def shout(request: WebSocketRequest) -> None:
    websocket = await request.accept()
    with suppress(ConnectionClosed):
        while True:
            message = await websocket.get_message()
            if message == "stop":
                return
            if message == "fail":
                raise ZeroDivisionError
            if message == "careless":
                await websocket.aclose()
                await websocket.get_message()
            await websocket.send_message(str(message).upper())


async def careless(request: WebSocketRequest) -> None:
    websocket = await request.accept()
    while True:
        await websocket.send_message(await websocket.get_message())


async def test_other_paths_are_anothers() -> None:
    async with served(other=shout) as here:
        session = await here.join()
        other = await here.connect("/shout?EIO=4&transport=websocket")
        await other.send("hello")
        assert await other.receive() == "HELLO"
        await lives(session)
        await other.send("stop")
        assert await closed(other) == 1000
        await session.close()


async def test_without_another_they_are_not_found() -> None:
    async with served() as here:
        with pytest.raises(UpgradeRefused) as info:
            await here.connect("/shout")
        assert info.value.response.status == 404


async def test_what_fails_in_another_ends_its_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with served(other=shout) as here:
        bystander = await here.join()
        for _ in range(2):
            other = await here.connect("/")
            await other.send("fail")
            assert await closed(other) == 1000
        await lives(bystander)
        await bystander.close()
    # Those of an application are told each time.
    assert told(caplog) == [("ERROR", True)] * 2


async def test_another_need_not_expect_that_clients_leave(caplog: pytest.LogCaptureFixture) -> None:
    async with served(other=careless) as here:
        bystander = await here.join()
        other = await here.connect("/")
        await other.close()
        await lives(bystander)
        await bystander.close()
    assert told(caplog) == []
