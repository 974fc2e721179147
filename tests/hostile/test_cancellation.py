"""Clients that leave, hooks that hang and sends that are cancelled: section P of the catalogue."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from itertools import accumulate
from typing import Final

import pytest
import trio
import trio.testing

from tests.hostile.process import failures, join_main, listening
from tests.hostile.victim import BOUND
from tests.level import level, unchanged
from trio_sio import Config, Context, Next, Route, RoutingTable, Server, Socket, on_connection, on_disconnection, on_message
from trio_sio.protocol.socketio import encode_event
from trio_sio.testing import RawWebSocket, WebSocketClosed, open_test_server

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
        async with memory.strict_client("/slow") as client:
            await client.connection.abort()
        await slow.stopped.wait()
        start = trio.current_time()
        # Only the task waits for the hook, and what warns about it: neither the session, nor the socket, nor its rooms do.
        assert level(server)._replace(running=0, tasks=0, cleanups=0, timers=0) == before._replace(tasks=0)
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

    def expected(self) -> list[bytes]:
        """Return the frames, more of them than were sent."""
        return [encode_event("/", ("n", number, BLOB)).websocket for number in range(self.sent + 10)]


Open = Callable[[Server], AbstractAsyncContextManager[RawWebSocket]]


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
    async with open_test_server(server) as memory:
        stream = await memory.connect_lockstep_stream()
        async with await RawWebSocket.open(stream, "/socket.io/?EIO=4&transport=websocket") as websocket:
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
        assert not server.engine.sessions.running
        # What left is a beginning of what was to leave: no frame after half a frame, not even a close frame.
        frames = flood.expected()
        assert b"".join(frames).startswith(received)
        assert len(received) not in set(accumulate(map(len, frames)))
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
        assert b"".join(flood.expected()).startswith(received)
    assert not failures(caplog)
