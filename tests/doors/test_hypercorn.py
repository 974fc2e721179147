"""hypercorn behind the firewall: exceptions are injected, and clients do not read."""

from __future__ import annotations

import gc
import importlib.metadata
import logging
import socket
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import h2.exceptions
import h11
import hpack.exceptions
import hyperframe.exceptions
import priority.priority
import pytest
import trio
import trio.testing
import trustme
import wsproto.utilities
from hypercorn.config import Config as HypercornConfig
from hypercorn.config import Sockets
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.utils import LifespanFailureError, LifespanTimeoutError
from quart_trio import QuartTrio

from tests.level import level, unchanged
from trio_sio import Config, ConfigurationError, Server, Socket
from trio_sio.doors.asgi.messages import ASGIFramework, Message, Receive, Scope, Send
from trio_sio.doors.hypercorn import serve
from trio_sio.doors.hypercorn.application import announce
from trio_sio.doors.hypercorn.worker import PatientStream
from trio_sio.testing import RawHttp, RawWebSocket, WebSocketClosed
from trio_sio.testing.level import restored

TARGET = "/socket.io/?EIO=4&transport=websocket"
POLLING = "/socket.io/?EIO=4&transport=polling"
BOUND = 5.0


def hypercorn_config(**options: object) -> HypercornConfig:
    config = HypercornConfig()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    for name, value in options.items():
        setattr(config, name, value)
    return config


class Served:
    """A server under hypercorn.

    Attributes:
      server: The server.
      port: Where it listens.
      stop: Set it to stop gracefully.
      stopped: Set when `serve` has returned.
      serving: Cancels `serve`.
      sockets: Those that joined.
      reasons: Why some are gone.
    """

    def __init__(self, config: Config | None = None) -> None:
        self.server = Server(config=config)
        self.port = 0
        self.stop = trio.Event()
        self.stopped = trio.Event()
        self.serving = trio.CancelScope()
        self.sockets: list[Socket] = []
        self.reasons: list[str] = []
        self.while_leaving: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        self.server.on_connection(self._joined)
        self.server.on_disconnection(self._left)
        self.server.on("echo")(self._echo)

    async def _joined(self, socket: Socket) -> None:
        self.sockets.append(socket)

    async def _left(self, socket: Socket, reason: str) -> None:
        await self.while_leaving()
        self.reasons.append(reason)

    async def _echo(self, socket: Socket, word: str) -> str:
        return word

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def join(self, stream: trio.SocketStream | None = None) -> RawWebSocket:
        websocket = await RawWebSocket.open(stream or await self.connect(), TARGET)
        await websocket.receive()
        await websocket.send("40")
        assert str(await websocket.receive()).startswith("40")
        return websocket

    async def request(self, target: str) -> int:
        async with RawHttp(await self.connect()) as http:
            return (await http.request("GET", target, headers={"Connection": "close"})).status


async def lives(websocket: RawWebSocket) -> None:
    with trio.fail_after(BOUND):
        await websocket.send('420["echo","word"]')
        assert await websocket.receive() == '430["word"]'


async def rest(stream: trio.abc.ReceiveStream) -> bytes:
    """Receive until the end of the stream."""
    data = bytearray()
    with trio.fail_after(BOUND), suppress(trio.BrokenResourceError):
        while piece := await stream.receive_some():
            data += piece
    return bytes(data)


@asynccontextmanager
async def served(
    config: Config | None = None, app: Callable[[Server], ASGIFramework] = Server.asgi, write_stall_timeout: float = 30, **options: object
) -> AsyncIterator[Served]:
    """Serve while the block runs; afterwards nothing may be left."""
    here = Served(config)

    async def run(*, task_status: trio.TaskStatus[list[str]]) -> None:
        with here.serving:
            await serve(
                app(here.server),
                hypercorn_config(**options),
                shutdown_trigger=here.stop.wait,
                write_stall_timeout=write_stall_timeout,
                task_status=task_status,
            )
        here.stopped.set()

    async with trio.open_nursery() as nursery:
        before = level(here.server)
        (url,) = await nursery.start(run)
        here.port = int(url.rpartition(":")[2])
        yield here
        here.stop.set()
        with trio.fail_after(BOUND):
            await here.stopped.wait()
    # The watches over plain sockets that the native door would use are not used here, and the services are gone.
    await restored(here.server, before)


# The firewall.


def failing(error: Callable[[], BaseException], number: int) -> Callable[[TCPServer], Awaitable[None]]:
    """Return a way for hypercorn to read from its connections that raises at the one with this number."""
    original = TCPServer._read_data
    connections = iter(range(1_000))

    async def read(self: TCPServer) -> None:
        if next(connections) == number:
            await self.stream.receive_some(1)
            raise error()
        await original(self)

    return read


@pytest.mark.parametrize(
    "error", [lambda: ZeroDivisionError("here"), lambda: ExceptionGroup("many", [KeyError(1), ValueError(2)])], ids=["one", "group"]
)
async def test_an_exception_ends_one_connection(
    error: Callable[[], BaseException], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(TCPServer, "_read_data", failing(error, 1))
    async with served() as here:
        bystander = await here.join()
        stream = await here.connect()
        await stream.send_all(b"x")
        await rest(stream)
        await stream.aclose()
        await lives(bystander)
        assert await here.request("/elsewhere") == 404
        await bystander.close()
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.name == "trio_sio.doors.hypercorn"
    assert record.getMessage().startswith("One connection failed; it is closed, and the others go on.")
    assert record.exc_info


async def test_a_failure_that_can_be_repeated_fills_no_log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    errors = iter([ZeroDivisionError("1"), ZeroDivisionError("2"), KeyError("3")])

    async def read(self: TCPServer) -> None:
        raise next(errors)

    caplog.set_level(logging.DEBUG, "trio_sio.doors.hypercorn")
    monkeypatch.setattr(TCPServer, "_read_data", read)
    async with served() as here:
        for _ in range(3):
            stream = await here.connect()
            await rest(stream)
            await stream.aclose()
    told = [(record.levelname, record.exc_info is not None) for record in caplog.records if record.name == "trio_sio.doors.hypercorn"]
    assert told == [("ERROR", True), ("DEBUG", False), ("ERROR", True)]


@pytest.mark.hostile("R34")
@pytest.mark.parametrize(
    "error",
    [
        h11.LocalProtocolError("Can't send data when our state is ERROR"),
        h2.exceptions.NoSuchStreamError(1),
        h2.exceptions.RFC1122Error(),
        hpack.exceptions.HPACKDecodingError(),
        hyperframe.exceptions.InvalidFrameError(),
        priority.priority.BadWeightError(),
        wsproto.utilities.LocalProtocolError("Connection is closed"),
        UnicodeDecodeError("ascii", b"\xff", 0, 1, "ordinal not in range(128)"),
    ],
    ids=lambda error: type(error).__module__,
)
async def test_a_client_that_breaks_the_rules_is_no_failure(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(TCPServer, "_read_data", failing(lambda: ExceptionGroup("one", [error]), 1))
    async with served() as here:
        bystander = await here.join()
        stream = await here.connect()
        await stream.send_all(b"x")
        await rest(stream)
        await stream.aclose()
        await lives(bystander)
        await bystander.close()
    (record,) = [record for record in caplog.records if record.name == "trio_sio.doors.hypercorn"]
    assert (record.levelname, record.exc_info) == ("DEBUG", None)
    assert record.getMessage().startswith("A client left, or broke the rules of its protocol; its connection is closed: ")


@pytest.mark.slow
async def test_an_exception_next_to_a_session_ends_the_session(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    fail = trio.Event()
    original = TCPServer.run

    async def run(self: TCPServer) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raise_when_told)
            await original(self)
            nursery.cancel_scope.cancel()

    async def raise_when_told() -> None:
        await fail.wait()
        raise ZeroDivisionError

    async with served() as here:
        bystander = await here.join()
        monkeypatch.setattr(TCPServer, "run", run)
        websocket = await here.join()
        fail.set()
        await rest(websocket.stream)
        await trio.aclose_forcefully(websocket.stream)
        await lives(bystander)
        await trio.testing.wait_all_tasks_blocked()
        assert len(here.reasons) == 1
        await bystander.close()
    assert [record.levelname for record in caplog.records if record.levelno >= logging.WARNING] == ["ERROR"]


async def test_a_client_that_leaves_is_no_error(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(TCPServer, "_read_data", failing(lambda: ConnectionResetError("gone"), 0))
    async with served() as here:
        stream = await here.connect()
        await stream.send_all(b"x")
        await rest(stream)
        await stream.aclose()
        assert await here.request("/elsewhere") == 404
    assert not [record for record in caplog.records if record.levelno >= logging.INFO and record.name.startswith("trio_sio.doors")]


# Writes.


async def reluctant(here: Served) -> RawWebSocket:
    """Join, then take nothing of a lot."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    await sock.connect(("127.0.0.1", here.port))
    websocket = await here.join(trio.SocketStream(sock))
    here.sockets[-1].emit_nowait("big", "x" * 3_500_000)
    return websocket


async def test_a_client_that_takes_nothing_is_let_go() -> None:
    async with served(write_stall_timeout=0.2) as here:
        bystander = await here.join()
        before = level(here.server)
        websocket = await reluctant(here)
        await restored(here.server, before._replace(descriptors=before.descriptors + 1))
        assert len(here.reasons) == 1
        await rest(websocket.stream)
        await trio.aclose_forcefully(websocket.stream)
        await lives(bystander)
        await bystander.close()


@pytest.mark.slow
@pytest.mark.hostile("W30", door="hypercorn")
@pytest.mark.parametrize("way", ["cancel", "stop"])
async def test_a_client_that_takes_nothing_does_not_hold_up_the_end(way: str) -> None:
    async with served(Config(drain_timeout=0.2), write_stall_timeout=3_600, graceful_timeout=0.2) as here:
        websocket = await reluctant(here)
        await trio.testing.wait_all_tasks_blocked()
        if way == "cancel":
            here.serving.cancel()
        else:
            here.stop.set()
        with trio.fail_after(BOUND):
            await here.stopped.wait()
        # Half a frame is out, and nothing else follows it.
        assert set((await rest(websocket.stream))[100:]) == {ord("x")}
        await trio.aclose_forcefully(websocket.stream)


class Sluggish(trio.abc.SendStream):
    """Takes a certain time for each piece, and for closing."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.taken = 0
        self.closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.sleep(self.seconds)
        self.taken += len(data)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.closed = True
        await trio.sleep(self.seconds)


def wire(seconds: float) -> tuple[Sluggish, PatientStream]:
    stream = Sluggish(seconds)
    return stream, PatientStream(cast("Any", stream), 30)


async def test_a_slow_write_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    stream, wired = wire(29)
    with trio.CancelScope(shield=True):
        await wired.send_all(b"x" * 100_000)
    assert stream.taken == 100_000
    assert not stream.closed
    assert trio.current_time() == 7 * 29


async def test_a_shielded_write_without_progress_ends(autojump_clock: trio.testing.MockClock) -> None:
    stream, wired = wire(31)
    with trio.CancelScope(shield=True), pytest.raises(trio.BrokenResourceError, match="no progress"):
        await wired.send_all(b"x" * 100_000)
    assert (stream.taken, stream.closed) == (0, True)
    assert trio.current_time() == 30


async def test_hurrying_shortens_the_present_write_and_the_next(autojump_clock: trio.testing.MockClock) -> None:
    _, wired = wire(29)
    async with trio.open_nursery() as nursery:

        async def write() -> None:
            with trio.CancelScope(shield=True), pytest.raises(trio.BrokenResourceError):
                await wired.send_all(b"x")

        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        wired.hurry(1)
    assert trio.current_time() == 1
    with pytest.raises(trio.BrokenResourceError):
        await wired.send_all(b"x")
    assert trio.current_time() == 2


async def test_closing_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    stream, wired = wire(1_000)
    with trio.CancelScope(shield=True):
        await wired.aclose()
    assert stream.closed
    assert trio.current_time() == 30


# Starting and stopping.


def below_quart(server: Server) -> ASGIFramework:
    quart_app: Any = QuartTrio("below_quart")
    quart_app.asgi_app = server.asgi(quart_app.asgi_app)
    return cast("ASGIFramework", quart_app)


@pytest.mark.parametrize("app", [Server.asgi, below_quart])
async def test_clients_hear_of_the_end_before_their_connections_close(app: Callable[[Server], ASGIFramework]) -> None:
    async with served(app=app, graceful_timeout=3_600) as here:
        statuses: list[int] = []

        async def look_around() -> None:
            # hypercorn listens, and serves; we do not take anybody else.
            statuses.append(await here.request(POLLING))

        here.while_leaving = look_around
        websocket = await here.join()
        idle = RawHttp(await here.connect())
        await idle.request("GET", "/somewhere")
        here.stop.set()
        with trio.fail_after(BOUND), pytest.raises(WebSocketClosed) as info:
            await websocket.receive()
        assert info.value.code == 1001
        await rest(idle.stream)
        with trio.fail_after(BOUND):
            await here.stopped.wait()
        assert (statuses, here.reasons) == ([503], ["server shutting down"])
        assert not here.server.running
        for stream in (websocket.stream, idle.stream):
            await trio.aclose_forcefully(stream)


@pytest.mark.parametrize("app", [Server.asgi, below_quart])
async def test_connections_are_not_kept_for_longer_than_keep_alive_timeout(app: Callable[[Server], ASGIFramework]) -> None:
    async with served(app=app, keep_alive_timeout=0.1) as here:
        kept = RawHttp(await here.connect())
        for _ in range(2):
            assert (await kept.request("GET", "/somewhere")).status == 404
        assert await rest(kept.stream) == b""
        await kept.stream.aclose()


@pytest.mark.parametrize(("more", "told_at"), [(False, 30), (True, 0)])
async def test_a_disconnect_waits_for_the_last_message_only(more: bool, told_at: float, autojump_clock: trio.testing.MockClock) -> None:
    sending = trio.Event()

    async def send(message: Message) -> None:
        sending.set()
        await trio.sleep_forever()

    async def receive() -> Message:
        await sending.wait()
        return {"type": "http.disconnect"}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, {"type": "http.response.body", "more_body": more})
            await receive()
            assert trio.current_time() == told_at
            nursery.cancel_scope.cancel()

    await announce(app, [], [], 30, {"type": "http"}, receive, send)


@pytest.mark.slow
async def test_what_is_cancelled_leaves_nothing() -> None:
    server = Server()
    async with server, trio.open_nursery() as nursery, unchanged(server):
        port, scope = await nursery.start(serving, server)
        streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(2)]
        websocket = await RawWebSocket.open(streams[0], TARGET)
        await websocket.receive()
        assert (await RawHttp(streams[1]).request("GET", "/elsewhere")).status == 404
        scope.cancel()
        for stream in streams:
            await rest(stream)
            await trio.aclose_forcefully(stream)


async def serving(server: Server, *, task_status: trio.TaskStatus[tuple[int, trio.CancelScope]]) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            (url,) = await nursery.start(serve, server.asgi(), hypercorn_config())
            task_status.started((int(url.rpartition(":")[2]), scope))


async def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "key"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with trio.open_nursery() as nursery:
        server = Server()
        config = hypercorn_config(certfile=str(tmp_path / "key"), keyfile=str(tmp_path / "key"))
        (url,) = await nursery.start(serve, server.asgi(), config)
        assert url.startswith("https://127.0.0.1:")
        plain = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
        async with RawHttp(trio.SSLStream(plain, context, server_hostname="localhost")) as http:
            assert (await http.request("GET", POLLING)).status == 200
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("version", ["0.17.3", "0.19.0", "0.180.0", "1.0"])
async def test_another_version_is_refused(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    with trio.fail_after(BOUND), pytest.raises(RuntimeError, match=rf"tested with 0\.18; this is {version}\. Install it with"):
        await serve(Server().asgi(), hypercorn_config())


async def test_http_3_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="leave quic_bind empty"):
        await serve(Server().asgi(), hypercorn_config(quic_bind=["127.0.0.1:0"]))


async def test_an_address_that_is_taken() -> None:
    server = Server()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = hypercorn_config(bind=[f"127.0.0.1:{taken.getsockname()[1]}"])
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):
            with pytest.raises(OSError, match="in use"):
                await serve(server.asgi(), config)
            # hypercorn leaves the socket that it could not bind to the garbage collector.
            gc.collect()
    # It can still be started, as its lifespan had not begun.
    async with server:
        pass


async def test_an_application_that_cannot_start() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(LifespanFailureError, match="no database"):
        await serve(app, hypercorn_config())


@pytest.mark.parametrize("behind", [False, True], ids=["alone", "behind ours"])
@pytest.mark.parametrize("how", ["says so", "raises", "raises a group", "says so and raises"])
async def test_an_application_that_cannot_stop(how: str, behind: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if "says so" in how:
            await send({"type": "lifespan.shutdown.failed", "message": "the disk is full"})
        if "raises" in how:
            error = OSError("the disk is full")
            raise ExceptionGroup("stopping", [error]) if "group" in how else error

    server = Server()
    stop = trio.Event()
    stop.set()
    with trio.fail_after(BOUND), pytest.raises(LifespanFailureError, match="the disk is full"):
        await serve(server.asgi(app) if behind else app, hypercorn_config(), shutdown_trigger=stop.wait)
    assert not server.running


async def test_an_application_that_dies_is_not_served_on() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise ZeroDivisionError

    with trio.fail_after(BOUND), pytest.raises(LifespanFailureError, match="ZeroDivisionError"):
        await serve(app, hypercorn_config())


@pytest.mark.parametrize("app", [Server.asgi, below_quart])
async def test_a_lifespan_that_raises_in_the_end(app: Callable[[Server], ASGIFramework]) -> None:
    @asynccontextmanager
    async def lifespan(server: Server) -> AsyncIterator[None]:
        yield
        raise OSError("the disk is full")

    stop = trio.Event()
    stop.set()
    with trio.fail_after(BOUND), pytest.raises(LifespanFailureError, match="the disk is full"):
        await serve(app(Server(lifespan=lifespan)), hypercorn_config(), shutdown_trigger=stop.wait)


async def test_what_quart_does_after_serving_raises() -> None:
    site: Any = QuartTrio("failing")
    server = Server()
    site.asgi_app = server.asgi(site.asgi_app)

    async def fail() -> None:
        raise OSError("the disk is full")

    site.after_serving(fail)
    stop = trio.Event()
    stop.set()
    with trio.fail_after(BOUND), pytest.raises(LifespanFailureError, match="the disk is full"):
        await serve(site, hypercorn_config(), shutdown_trigger=stop.wait)


async def test_an_application_that_does_not_start_in_time(autojump_clock: trio.testing.MockClock) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep_forever()

    with pytest.raises(LifespanTimeoutError, match="startup_timeout"):
        await serve(app, hypercorn_config(startup_timeout=30))
    assert trio.current_time() == 30


async def test_several_failures_come_in_a_group() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()

    async def fail() -> None:
        async with trio.open_nursery() as nursery:
            for error in (KeyError(1), ValueError(2)):
                nursery.start_soon(raising, error)

    async def raising(error: Exception) -> None:
        raise error

    with pytest.RaisesGroup(KeyError, ValueError, flatten_subgroups=True):
        await serve(app, hypercorn_config(), shutdown_trigger=fail)


async def test_a_socket_that_cannot_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    server, config = Server(), hypercorn_config()
    create_sockets = config.create_sockets

    with socket.socket() as rival:
        rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        rival.bind(("127.0.0.1", 0))
        config.bind = [f"127.0.0.1:{rival.getsockname()[1]}"]

        def create_too_late() -> Sockets:
            sockets = create_sockets()
            rival.listen()
            return sockets

        monkeypatch.setattr(config, "create_sockets", create_too_late)
        with pytest.raises(OSError, match="in use"):
            await serve(server.asgi(), config)
    # It can still be started, as its lifespan had not begun.
    async with server:
        pass


# The files of Unix sockets.


@pytest.mark.parametrize("way", ["stop", "cancel", "fail"])
async def test_the_file_of_a_unix_socket_is_removed(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sock"
    monkeypatch.chdir(tmp_path)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert path.is_socket()
        await receive()
        if way == "fail":
            await send({"type": "lifespan.startup.failed"})
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def stop() -> None:
        await (await trio.open_unix_socket(path)).aclose()
        # Elsewhere by then.
        monkeypatch.chdir("/")
        if way == "cancel":
            scope.cancel()

    with trio.CancelScope() as scope, suppress(LifespanFailureError):
        await serve(app, hypercorn_config(bind=["unix:sock"]), shutdown_trigger=stop)
    assert not path.exists()


@pytest.mark.parametrize("inherited", [False, True], ids=["another's", "inherited"])
async def test_the_file_of_another_stays(inherited: bool, tmp_path: Path) -> None:
    path = tmp_path / "sock"

    async def take_over() -> None:
        if not inherited:
            path.rename(tmp_path / "old")
            successor.bind(str(path))

    with socket.socket(socket.AF_UNIX) as successor, socket.socket(socket.AF_UNIX) as given:
        bind = f"unix:{path}"
        if inherited:
            given.bind(str(path))
            bind = f"fd://{given.detach()}"
        await serve(Server().asgi(), hypercorn_config(bind=[bind]), shutdown_trigger=take_over)
        assert path.is_socket()
