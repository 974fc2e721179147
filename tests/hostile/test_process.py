"""Faults of the process, of handlers and of cancellation: section P of the catalogue."""

from __future__ import annotations

import json
import logging
import math
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import pytest
import trio
import trio.testing

from tests.level import level, unchanged
from trio_sio import (
    Config,
    Context,
    Disconnected,
    EncodeError,
    Next,
    Route,
    RoutingTable,
    Server,
    Socket,
    on_connection,
    on_disconnection,
    on_message,
)
from trio_sio.doors.native.http import handle_connection
from trio_sio.doors.native.websocket import NativePipe
from trio_sio.doors.native.wire import SocketWire
from trio_sio.engine.connection import Connection
from trio_sio.engine.outbox import Outbox
from trio_sio.namespaces.client import Client
from trio_sio.protocol.socketio import Decoder, encode_event
from trio_sio.routing.dispatch import NamespaceRoutes
from trio_sio.testing import HttpResponse, RawHttp, RawWebSocket, WebSocketClosed, open_test_client, open_test_server
from trio_sio.testing.client import ClientSocket

BOUND: Final = 5.0


@dataclass
class Record:
    """What the handlers saw.

    Attributes:
      steps: What they did, in this order.
      reasons: Why sockets were disconnected.
    """

    steps: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)


class Application:
    """Misbehaves on demand."""

    def __init__(self, record: Record, socket: Socket) -> None:
        self.record = record
        self.socket = socket

    @on_message("echo")
    def echo(self, value: object) -> object:
        return value

    @on_message("fail")
    async def fail(self) -> None:
        raise LookupError("a bug of the application")

    @on_message("disconnect twice")
    async def disconnect_twice(self) -> None:
        await self.socket.disconnect()
        await self.socket.disconnect()
        await self.socket.disconnect(close=True)

    @on_message("ask oneself")
    async def ask_oneself(self) -> object:
        await self.socket.emit("note", 1)
        await self.socket.namespace.to(self.socket.id).emit("note", 2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait_for, "said while the handler runs")
            answer = await self.socket.emit_with_ack("question")
        return answer  # noqa: RET504  # not inside the nursery block

    async def _wait_for(self, event: str) -> None:
        self.record.steps.append(str(await self.socket.once(event)))

    @on_message("ask for ever")
    async def ask_for_ever(self) -> None:
        try:
            await self.socket.emit_with_ack("question")
        except (Disconnected, trio.TooSlowError) as error:
            self.record.steps.append(type(error).__name__)
        finally:
            self.record.steps.append(f"{len(self.socket._answers or ())} answers awaited")

    @on_disconnection
    async def gone(self, reason: str) -> None:
        self.record.reasons[reason] += 1
        await self.socket.emit("nobody hears this")
        await self.socket.disconnect()
        with pytest.raises(Disconnected):
            await self.socket.emit_with_ack("nobody answers this")
        with pytest.raises(Disconnected):
            self.socket.start_soon(trio.sleep_forever)


@pytest.fixture
def record() -> Record:
    """What the handlers of this test saw."""
    return Record()


@pytest.fixture
def server(record: Record) -> Server:
    """A server with `Application` in the main namespace, not running yet."""
    return Server(RoutingTable(Route("/", partial(Application, record))))


def failures(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return what was logged with a traceback, or as an error."""
    return [entry for entry in caplog.records if entry.exc_info or entry.levelno >= logging.ERROR]


@asynccontextmanager
async def listening(server: Server) -> AsyncIterator[int]:
    """Serve on a port of our own and yield it."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(server.serve, "127.0.0.1", 0)
        yield listeners[0].sockname[1]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def tcp_client(port: int) -> AsyncIterator[ClientSocket]:
    """A client on a real socket."""
    async with open_test_client(await trio.open_tcp_stream("127.0.0.1", port)) as client:
        yield client


# Handlers.


@pytest.mark.hostile("P04")
async def test_a_handler_raises(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    async with open_test_server(server) as memory, memory.client() as bystander, unchanged(server), memory.client() as client:
        assert await client.emit_with_ack("fail") == {"status": "error", "message": "Internal server error"}
        (failure,) = failures(caplog)
        assert "'fail'" in failure.getMessage()
        assert client.id in failure.getMessage()
        assert await client.emit_with_ack("echo", 1) == 1
        assert await bystander.emit_with_ack("echo", 2) == 2


@pytest.mark.hostile("P12", "P13")
async def test_a_handler_disconnects_itself_again_and_again(server: Server, record: Record, caplog: pytest.LogCaptureFixture) -> None:
    async with open_test_server(server) as memory, unchanged(server), memory.client() as client:
        await client.emit("disconnect twice")
        assert (await client.closed()).disconnected
        assert await client.connection.closed() == 1005
    assert record.reasons == {"server namespace disconnect": 1}
    assert not failures(caplog)


@pytest.mark.hostile("P27")
async def test_a_handler_awaits_what_its_own_client_says(server: Server, record: Record) -> None:
    async with open_test_server(server) as memory, memory.client() as client:
        client.on("question", lambda: "answer")
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def ask() -> None:
                assert await client.emit_with_ack("ask oneself") == "answer"

            assert await client.once("note") == (1,)
            assert await client.once("note") == (2,)
            await client.emit("said while the handler runs", 3)
    assert record.steps == ["(3,)"]


@pytest.mark.hostile("S44", "P15", "P17")
async def test_the_client_goes_instead_of_answering(server: Server, record: Record) -> None:
    async with open_test_server(server) as memory, unchanged(server), memory.client() as client:
        await client.emit("ask for ever")
        await client.once("question")
        await client.disconnect()
        await client.connection.send("1")
        await client.connection.closed()
    assert record.steps == ["Disconnected", "0 answers awaited"]


@pytest.mark.hostile("S44")
async def test_the_client_never_answers(server: Server, record: Record, autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(server) as memory, unchanged(server), memory.client() as client:
        start = trio.current_time()
        await client.emit("ask for ever")
        assert await client.emit_with_ack("echo", 1) == 1
        assert trio.current_time() - start == pytest.approx(server.config.ack_timeout)
    assert record.steps == ["TooSlowError", "0 answers awaited"]


@pytest.mark.hostile("P15")
async def test_a_handler_is_cancelled_while_it_waits_for_an_ack(server: Server, record: Record) -> None:
    async with open_test_server(server) as memory, unchanged(server), memory.client() as client:
        await client.emit("ask for ever")
        await client.once("question")
        await client.connection.abort()
        await trio.testing.wait_all_tasks_blocked()
        # An abrupt end cancels; what the handler was waiting for failed in the same moment.
        assert record.steps[-1] == "0 answers awaited"
        assert record.reasons == {"transport close": 1}


class Cyclic(list[object]):
    """A list that contains itself."""

    def __init__(self) -> None:
        super().__init__()
        self.append(self)


@pytest.mark.hostile("P18")
@pytest.mark.parametrize("value", [{1, 2}, Cyclic(), {1: 2}, object(), [{"a": {3}}]], ids=["set", "cycle", "int key", "object", "nested"])
async def test_emitting_what_cannot_be_encoded(value: object) -> None:
    sockets: list[Socket] = []

    class Keeper:
        def __init__(self, socket: Socket) -> None:
            self.socket = socket

        @on_connection
        def joined(self) -> None:
            sockets.append(self.socket)

        @on_message("echo")
        def echo(self, value: object) -> object:
            return value

    async with open_test_server(RoutingTable(Route("/", Keeper))) as memory, memory.client() as client:
        assert await client.emit_with_ack("echo", 1) == 1
        (socket,) = sockets
        for emit in (socket.emit, socket.emit_with_ack, socket.namespace.emit, socket.broadcast.emit):
            with pytest.raises(EncodeError):
                await emit("event", value)
        with pytest.raises(EncodeError):
            socket.emit_nowait("event", value)
        assert not socket.outbox
        assert await client.emit_with_ack("echo", 2) == 2
        assert client.pending == ()


@pytest.mark.hostile("P18", "S30")
async def test_emitting_odd_values() -> None:
    class Odd:
        @on_message("odd")
        def odd(self) -> list[object]:
            return [math.nan, math.inf, -math.inf, 2**70, "\ud800", -0.0]

        @on_message("binary")
        def binary(self) -> tuple[object, ...]:
            return b"a", bytearray(b"b"), memoryview(b"c"), type("Bytes", (bytes,), {})(b"d")

        @on_message("again")
        def again(self, value: object) -> object:
            return value

    async with open_test_server(RoutingTable(Route("/", Odd()))) as memory, memory.client() as client:
        assert await client.emit_with_ack("odd") == [None, None, None, float(2**70), "\ud800", 0]
        assert await client.emit_with_ack("binary") == (b"a", b"b", b"c", b"d")
        # What came in can go out again.
        assert await client.emit_with_ack("again", {"a": "\ud800\0", "__proto__": 1}) == {"a": "\ud800\0", "__proto__": 1}


@pytest.mark.hostile("P19")
async def test_changing_a_value_after_it_was_emitted() -> None:
    class Changes:
        @on_message("change")
        async def change(self, socket: Socket) -> None:
            value: dict[str, Any] = {"a": [1], "b": bytearray(b"x")}
            socket.emit_nowait("event", value)
            value["a"].append(2)
            value["b"][:] = b"y"
            socket.emit_nowait("event", value)

    async with open_test_server(RoutingTable(Route("/", Changes()))) as memory, memory.client() as client:
        await client.emit("change")
        assert await client.once("event") == ({"a": [1], "b": b"x"},)
        assert await client.once("event") == ({"a": [1, 2], "b": b"y"},)


# Connecting and leaving.


class Slow:
    """Stops where it is told to, and notes down how it goes on.

    Args:
      where: ``"middleware"``, ``"connection hook"`` or ``"disconnection hook"``.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.steps: list[str] = []
        self.stopped = trio.Event()
        self._news = trio.Event()

    async def wait_for(self, steps: int) -> None:
        """Return when there were that many steps."""
        while len(self.steps) < steps:
            await self._news.wait()

    def _step(self, step: str) -> None:
        self.steps.append(step)
        self._news.set()
        self._news = trio.Event()

    async def _stop(self, where: str) -> None:
        self._step(where)
        if where == self.where:
            self.stopped.set()
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                self._step("cancelled")
                raise

    async def middleware(self, ctx: Context, call_next: Next) -> object:
        await self._stop("middleware")
        return await call_next()

    @on_connection
    async def joined(self) -> None:
        await self._stop("connection hook")

    @on_disconnection
    async def gone(self, reason: str) -> None:
        await self._stop("disconnection hook")
        self._step(reason)

    def server(self, config: Config | None = None) -> Server:
        """Return a server whose namespace ``/slow`` is this, not running yet."""
        return Server(RoutingTable(Route("/slow", self, middleware=[self.middleware])), config=config)


async def leave_by_reset(websocket: RawWebSocket) -> None:
    await trio.aclose_forcefully(websocket.stream)


async def leave_by_close_packet(websocket: RawWebSocket) -> None:
    await websocket.send("1")


async def leave_by_close_frame(websocket: RawWebSocket) -> None:
    await websocket.start_close()


async def leave_by_bad_packet(websocket: RawWebSocket) -> None:
    await websocket.send("x")


LEAVE: Final = [leave_by_reset, leave_by_close_packet, leave_by_close_frame, leave_by_bad_packet]


@pytest.mark.hostile("P10")
@pytest.mark.parametrize("leave", LEAVE)
async def test_the_client_leaves_while_middleware_runs(leave: Callable[[RawWebSocket], Awaitable[None]]) -> None:
    slow = Slow("middleware")
    server = slow.server()
    async with open_test_server(server) as memory, unchanged(server):
        websocket = await memory.websocket()
        await websocket.send("40/slow,")
        await slow.stopped.wait()
        assert not server.of("/slow").sockets
        await leave(websocket)
        await trio.testing.wait_all_tasks_blocked()
        assert slow.steps == ["middleware", "cancelled"]
        await trio.aclose_forcefully(websocket.stream)


@pytest.mark.hostile("P10")
@pytest.mark.parametrize("leave", [*LEAVE, pytest.param(lambda websocket: websocket.send("41/slow,"), id="disconnect")])
async def test_the_client_says_goodbye_while_the_connection_hook_runs(
    leave: Callable[[RawWebSocket], Awaitable[None]], autojump_clock: trio.testing.MockClock
) -> None:
    slow = Slow("connection hook")
    server = slow.server()
    async with open_test_server(server) as memory, unchanged(server):
        websocket = await memory.websocket()
        await websocket.send("40/slow,")
        await slow.stopped.wait()
        assert len(server.of("/slow").sockets) == 1
        await leave(websocket)
        start = trio.current_time()
        await slow.wait_for(5)
        # A goodbye leaves time for what came before it; nobody sent anything, but the hook cannot know.
        assert trio.current_time() - start == pytest.approx(server.config.cleanup_timeout)
        assert slow.steps[:-1] == ["middleware", "connection hook", "cancelled", "disconnection hook"]
        assert not server.of("/slow").sockets
        await trio.aclose_forcefully(websocket.stream)


@pytest.mark.hostile("P10")
async def test_the_client_is_lost_while_the_connection_hook_runs() -> None:
    slow = Slow("connection hook")
    server = slow.server()
    async with listening(server) as port, unchanged(server):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        websocket = await RawWebSocket.open(stream, "/socket.io/?EIO=4&transport=websocket")
        await websocket.send("40/slow,")
        await slow.stopped.wait()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()
        await slow.wait_for(5)
        assert slow.steps == ["middleware", "connection hook", "cancelled", "disconnection hook", "transport close"]


@pytest.mark.hostile("P08")
async def test_middleware_hangs(autojump_clock: trio.testing.MockClock) -> None:
    slow = Slow("middleware")
    server = slow.server(Config(ping_interval=1_000))
    async with open_test_server(server) as memory, unchanged(server), await memory.websocket() as websocket:
        start = trio.current_time()
        assert str(await websocket.receive()).startswith("0")
        await websocket.send("40/slow,")
        with pytest.raises(WebSocketClosed):
            await websocket.receive()
        assert trio.current_time() - start == pytest.approx(server.config.connect_timeout)
        assert slow.steps == ["middleware", "cancelled"]


@pytest.mark.hostile("P11")
async def test_the_disconnection_hook_hangs(autojump_clock: trio.testing.MockClock) -> None:
    slow = Slow("disconnection hook")
    server = slow.server()
    async with open_test_server(server) as memory:
        before = level(server)
        async with memory.client("/slow") as client:
            await client.connection.abort()
        await slow.stopped.wait()
        start = trio.current_time()
        # Only the task waits for the hook: neither the session, nor the socket, nor its rooms do.
        assert level(server)._replace(running=0, tasks=0, cleanups=0) == before._replace(tasks=0)
        await slow.wait_for(4)
        assert slow.steps == ["middleware", "connection hook", "disconnection hook", "cancelled"]
        assert trio.current_time() - start == pytest.approx(server.config.cleanup_timeout)
        await trio.testing.wait_all_tasks_blocked()
        assert level(server) == before


# A send that is cancelled.

BLOB: Final = "x" * 50_000


class Flood:
    """Emits numbered events, more than anybody takes."""

    def __init__(self) -> None:
        self.sent = 0
        self.scope = trio.CancelScope()
        self.stopped = trio.Event()
        self.socket: Socket

    @on_connection
    def joined(self, socket: Socket) -> None:
        self.socket = socket

    @on_message("flood")
    async def flood(self) -> None:
        try:
            with self.scope:
                while True:
                    await self.socket.emit("n", self.sent, BLOB)
                    self.sent += 1
        finally:
            self.stopped.set()

    @on_message("echo")
    def echo(self, value: object) -> object:
        return value

    async def fill(self) -> None:
        """Return when an emit has to wait for room."""
        with trio.fail_after(BOUND):
            while not self.socket.outbox._waiters:  # noqa: ASYNC110
                await trio.sleep(0.005)

    def expected(self, first: int = 0) -> bytes:
        """Return the frames from number ``first`` on, more of them than were sent."""
        return b"".join(encode_event("/", ("n", number, BLOB)).websocket for number in range(first, self.sent + 10))


Open = Callable[[Server], AbstractAsyncContextManager[RawWebSocket]]


async def join_main(websocket: RawWebSocket) -> None:
    assert str(await websocket.receive()).startswith("0")
    await websocket.send("40")
    assert str(await websocket.receive()).startswith("40")


@asynccontextmanager
async def over_tcp(server: Server) -> AsyncIterator[RawWebSocket]:
    """A client on a real socket, which is as small as the kernel allows."""
    async with listening(server) as port:
        sock = trio.socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        await sock.connect(("127.0.0.1", port))
        async with await RawWebSocket.open(trio.SocketStream(sock), "/socket.io/?EIO=4&transport=websocket") as websocket:
            await join_main(websocket)
            yield websocket


@asynccontextmanager
async def in_lockstep(server: Server) -> AsyncIterator[RawWebSocket]:
    """A client on a stream without any buffer: what was not received has not been sent."""
    async with open_test_server(server) as memory, trio.open_nursery() as nursery:
        ours, theirs = trio.testing.lockstep_stream_pair()
        nursery.start_soon(partial(handle_connection, memory._door, theirs, None, address="test", secure=False))
        async with await RawWebSocket.open(ours, "/socket.io/?EIO=4&transport=websocket") as websocket:
            await join_main(websocket)
            yield websocket


async def receive_all(stream: trio.abc.ReceiveStream) -> bytes:
    """Return what arrives until the end, whatever the end is."""
    received = bytearray()
    with suppress(trio.BrokenResourceError), trio.fail_after(BOUND):
        while data := await stream.receive_some(65_536):
            received += data
    return bytes(received)


@pytest.mark.hostile("P14", "P15")
@pytest.mark.parametrize("open_websocket", [over_tcp, in_lockstep])
async def test_a_handler_is_cancelled_while_it_waits_for_room(open_websocket: Open) -> None:
    flood = Flood()
    server = Server(RoutingTable(Route("/", flood)))
    async with open_websocket(server) as websocket:
        await websocket.send('42["flood"]')
        await flood.fill()
        flood.scope.cancel()
        await flood.stopped.wait()
        await websocket.send('421["echo","alive"]')
        with trio.fail_after(BOUND):
            for number in range(flood.sent):
                assert await websocket.receive() == f'42["n",{number},"{BLOB}"]'
            # What was cancelled was not sent at all.
            assert await websocket.receive() == '431["alive"]'


@pytest.mark.hostile("P14", "W30")
@pytest.mark.parametrize("open_websocket", [over_tcp, in_lockstep])
async def test_a_connection_is_cancelled_amid_a_frame(open_websocket: Open, caplog: pytest.LogCaptureFixture) -> None:
    flood = Flood()
    server = Server(RoutingTable(Route("/", flood)))
    async with open_websocket(server) as websocket, trio.open_nursery() as nursery:
        await websocket.send('42["flood"]')
        await flood.fill()
        # Somebody else, whom nobody cancels, waits for room as well.
        nursery.start_soon(flood.socket.emit, "from elsewhere", BLOB)
        received = bytes(await websocket.stream.receive_some(1_000))
        flood.socket.client.connection.cancel()
        received += await receive_all(websocket.stream)
        assert flood.stopped.is_set()
        assert not server.engine._running
        # What left is a beginning of what was to leave: no frame after half a frame, not even a close frame.
        assert flood.expected().startswith(received)
        assert len(received) % len(encode_event("/", ("n", 10, BLOB)).websocket)
    assert not failures(caplog)


@pytest.mark.hostile("P14")
@pytest.mark.parametrize("open_websocket", [over_tcp, in_lockstep])
async def test_a_write_makes_no_progress(
    open_websocket: Open, mock_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    mock_clock.rate = 1
    flood = Flood()
    server = Server(RoutingTable(Route("/", flood)), config=Config(ping_interval=1_000))
    async with open_websocket(server) as websocket:
        await websocket.send('42["flood"]')
        await flood.fill()
        mock_clock.jump(server.config.write_stall_timeout)
        await flood.stopped.wait()
        received = await receive_all(websocket.stream)
        assert flood.expected().startswith(received)
    assert not failures(caplog)


# A bug of our own.


class Bug(Exception):
    """What a bug of ours raises."""


@dataclass
class Layer:
    """Where a bug strikes.

    Attributes:
      owner: The class.
      method: The method that raises once.
      strike: What the victim does to run into it; by default an event with an ack.
    """

    owner: type
    method: str
    opens: bool = False

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.method}"


LAYERS: Final = [
    Layer(SocketWire, "readable"),
    Layer(NativePipe, "_feed", opens=True),
    Layer(Connection, "text"),
    Layer(Client, "text"),
    Layer(Decoder, "text"),
    Layer(Client, "_event"),
    Layer(Socket, "receive"),
    Layer(Client, "queued"),
    Layer(NamespaceRoutes, "receive"),
    Layer(Socket, "_dispatch", opens=True),
    Layer(Socket, "_connect", opens=True),
    Layer(Connection, "_heartbeat", opens=True),
    Layer(Outbox, "take"),
    Layer(NativePipe, "try_send_nowait"),
    Layer(SocketWire, "try_send"),
]


@pytest.mark.hostile("P22")
@pytest.mark.parametrize("layer", LAYERS, ids=str)
async def test_a_bug_of_ours_ends_one_connection(
    layer: Layer, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(server) as port, tcp_client(port) as bystander:
        assert await bystander.emit_with_ack("echo", 1) == 1
        async with unchanged(server), trio.open_nursery() as nursery:
            if layer.opens:
                strike_once(monkeypatch, layer)
            victim = await RawWebSocket.open(await trio.open_tcp_stream("127.0.0.1", port), "/socket.io/?EIO=4&transport=websocket")
            with pytest.raises(WebSocketClosed), trio.fail_after(BOUND):
                await victim.receive()
                await victim.send("40")
                await victim.receive()
                if not layer.opens:
                    strike_once(monkeypatch, layer)
                await victim.send('421["echo",1]')
                await victim.receive()
            await trio.aclose_forcefully(victim.stream)
            assert await bystander.emit_with_ack("echo", 2) == 2
            nursery.cancel_scope.cancel()
        monkeypatch.undo()
    (failure,) = failures(caplog)
    assert failure.exc_info is not None
    assert isinstance(leaf(failure.exc_info[1]), Bug)


def strike_once(monkeypatch: pytest.MonkeyPatch, layer: Layer) -> None:
    """Let the next call of a method raise, the first one only."""
    right = getattr(layer.owner, layer.method)
    struck = False

    def wrong(*args: Any) -> Any:
        nonlocal struck
        if struck:
            return right(*args)
        struck = True
        raise Bug(str(layer))

    monkeypatch.setattr(layer.owner, layer.method, wrong)


def leaf(error: BaseException | None) -> BaseException | None:
    """Return the only exception in ``error``, whatever groups it is in."""
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    return error


@pytest.mark.hostile("P22")
async def test_a_bug_of_ours_ends_one_polling_session(
    server: Server, record: Record, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(server) as port, tcp_client(port) as bystander:
        assert await bystander.emit_with_ack("echo", 1) == 1
        async with unchanged(server), RawHttp(await trio.open_tcp_stream("127.0.0.1", port)) as http:
            opened = await http.request("GET", "/socket.io/?EIO=4&transport=polling")
            target = f"/socket.io/?EIO=4&transport=polling&sid={json.loads(opened.body[1:])['sid']}"
            await http.request("POST", target, body="40")
            strike_once(monkeypatch, Layer(Decoder, "text"))
            assert (await http.request("POST", target, body='42["echo",1]')).status == 400
            assert await bystander.emit_with_ack("echo", 2) == 2
    assert record.reasons["forced close"] == 1
    (failure,) = failures(caplog)
    assert failure.exc_info is not None
    assert isinstance(failure.exc_info[1], Bug)


@pytest.mark.hostile("P22")
async def test_a_server_is_cancelled_with_everybody_connected(server: Server, record: Record, caplog: pytest.LogCaptureFixture) -> None:
    async with trio.open_nursery() as clients, listening(server) as port:
        for _ in range(20):
            client = await clients.start(stay_connected, port)  # noqa: ASYNC111  # cancelling with everybody connected is the test
            assert await client.emit_with_ack("echo", 1) == 1
    assert record.reasons == {"server shutting down": 20}
    assert not failures(caplog)


async def stay_connected(port: int, task_status: trio.TaskStatus[ClientSocket]) -> None:
    """Be a client until the server ends that."""
    async with tcp_client(port) as client:
        task_status.started(client)
        await client.closed()


# Stopping.


class Busy:
    """Answers everybody, and announces who leaves."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()

    @on_connection
    async def joined(self, socket: Socket) -> None:
        await socket.join("lobby")

    @on_message("say")
    async def say(self, number: int) -> int:
        return number

    @on_disconnection
    async def gone(self, socket: Socket, reason: str) -> None:
        self.reasons[reason] += 1
        # A goodbye of each to all would be forty thousand packets: the rooms are empty by now.
        await socket.namespace.to("lobby").emit("left", socket.id)


CLIENTS: Final = 200
LAST_WORDS: Final = b'42["last words"]'


class Crowd:
    """Clients that talk until the server says goodbye.

    Attributes:
      talking: How many have been answered at least once.
      goodbyes: How each of them was told that it was over, and whether it had heard the last words.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.talking = 0
        self.everybody_talks = trio.Event()
        self.goodbyes: Counter[object] = Counter()

    def _talks(self) -> None:
        self.talking += 1
        if self.talking == CLIENTS:
            self.everybody_talks.set()

    async def websocket(self) -> None:
        """Be a client on a WebSocket."""
        stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        async with await RawWebSocket.open(stream, "/socket.io/?EIO=4&transport=websocket") as websocket:
            await join_main(websocket)
            await websocket.send('420["say",0]')
            answered, last_words = False, False
            try:
                while True:
                    message = str(await websocket.receive())
                    assert not message.startswith('42["left"')
                    last_words = last_words or message == LAST_WORDS.decode()
                    if message.startswith("43"):
                        if not answered:
                            self._talks()
                        answered = True
                        # When the goodbye is there already, what came before it is still to be read.
                        with suppress(WebSocketClosed, trio.BrokenResourceError):
                            await websocket.send('420["say",0]')
            except WebSocketClosed as closed:
                self.goodbyes[closed.code, "last words heard" if last_words else "no last words"] += 1

    async def polling(self) -> None:
        """Be a client that polls."""
        target = "/socket.io/?EIO=4&transport=polling"
        opened = await self._request("GET", target)
        target += "&sid=" + json.loads(opened.body[1:])["sid"]
        await self._request("POST", target, "40")
        packets: list[bytes] = []
        while packets[-1:] != [b"1"]:
            packets += (await self._request("GET", target)).body.split(b"\x1e")
            if len(packets) == 1:
                await self._request("POST", target, '420["say",0]')
            elif packets[-1] == b"430[0]":
                self._talks()
        assert [packet[:2] for packet in packets] == [b"40", b"43", b"42", b"1"]
        self.goodbyes["1", "last words heard" if LAST_WORDS in packets else "no last words"] += 1

    async def be_turned_away(self) -> HttpResponse:
        """Come while the server drains."""
        return await self._request("GET", "/socket.io/?EIO=4&transport=polling")

    async def _request(self, method: str, target: str, body: str = "") -> HttpResponse:
        async with RawHttp(await trio.open_tcp_stream("127.0.0.1", self._port)) as http:
            return await http.request(method, target, body=body)


@pytest.mark.hostile("P01")
async def test_two_hundred_busy_clients_when_the_server_stops(caplog: pytest.LogCaptureFixture) -> None:
    busy = Busy()
    server = Server(RoutingTable(Route("/", busy)))
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(server.serve, "127.0.0.1", 0)
        port = listeners[0].sockname[1]
        crowd = Crowd(port)
        for number in range(CLIENTS):
            nursery.start_soon(crowd.websocket if number % 2 else crowd.polling)
        with trio.fail_after(30):
            await crowd.everybody_talks.wait()
            transports = [connection.polling for connection in server.engine._sessions.values() if connection.polling is not None]
            assert len(transports) == CLIENTS // 2
            # A poll is the only way to reach them, so they shall have one pending.
            while any(transport._poll is None for transport in transports):  # noqa: ASYNC110
                await trio.sleep(0.005)
        await server.emit("last words")
        with trio.fail_after(server.config.drain_timeout / 2):
            async with trio.open_nursery() as draining:
                draining.start_soon(server.drain)
                await trio.lowlevel.checkpoint()
                response = await crowd.be_turned_away()
        assert (response.status, response.headers["retry-after"], response.headers["connection"]) == (503, "5", "close")
        with pytest.raises(OSError):
            await trio.open_tcp_stream("127.0.0.1", port)
    assert crowd.goodbyes == {(1001, "last words heard"): CLIENTS // 2, ("1", "last words heard"): CLIENTS // 2}
    assert busy.reasons == {"server shutting down": CLIENTS}
    assert server.engine.clients_count == 0
    assert not failures(caplog)
