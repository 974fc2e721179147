"""Five hundred clients on real sockets, ended in every way there is: afterwards nothing of them is left."""

from __future__ import annotations

import json
import resource
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import pytest
import trio
import trio.testing

from tests.level import level, unchanged
from trio_sio import Config, Route, RoutingTable, Server, Socket, on_connection, on_disconnection, on_message
from trio_sio.engine.polling import PollingTransport
from trio_sio.testing import RawHttp, RawWebSocket, WebSocketClosed

CLIENTS: Final = 500
# Reached by a failing test only; the clock is moved by one minute on purpose.
PATIENCE: Final = 120.0
# As many handshakes at once as a listener's queue holds even on a small machine.
HANDSHAKES: Final = trio.CapacityLimiter(64)


@dataclass
class Record:
    """What the server's handlers saw."""

    waiting: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


class Player:
    """What the server does for each client: rooms, a task, and perhaps a handler that is still waiting at the end."""

    def __init__(self, record: Record, socket: Socket) -> None:
        self.record = record
        self.socket = socket

    @on_connection
    async def joined(self) -> None:
        await self.socket.join("lobby", f"table {len(self.socket.namespace.sockets) % 10}")
        self.socket.start_soon(trio.sleep_forever)

    @on_message("wait")
    async def wait(self) -> None:
        await self.socket.join("waiting")
        self.record.waiting += 1
        await trio.sleep_forever()

    @on_disconnection
    async def gone(self, reason: str) -> None:
        self.record.reasons[reason] += 1


class Peer:
    """One client. It answers no pings.

    Attributes:
      websocket: Its WebSocket, if it has one.
      poll: The connection on which a GET is pending, if one is.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._sid = ""
        self._streams: list[trio.SocketStream] = []
        self._http: RawHttp
        self.websocket: RawWebSocket
        self.poll: RawHttp

    async def connect(self) -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        self._streams.append(stream)
        return stream

    async def close(self) -> None:
        """Close whatever is still open."""
        for stream in self._streams:
            await trio.aclose_forcefully(stream)

    def _target(self, transport: str) -> str:
        return f"/socket.io/?EIO=4&transport={transport}" + (f"&sid={self._sid}" if self._sid else "")

    # How it comes.

    async def open_websocket(self) -> None:
        self.websocket = await RawWebSocket.open(await self.connect(), self._target("websocket"))
        assert str(await self.websocket.receive()).startswith("0")
        await self.websocket.send("40")
        assert str(await self.websocket.receive()).startswith("40")

    async def open_polling(self) -> None:
        self._http = RawHttp(await self.connect())
        opened = await self._http.request("GET", self._target("polling"))
        self._sid = json.loads(opened.body[1:])["sid"]
        await self.post("40")
        joined = await self._http.request("GET", self._target("polling"))
        assert joined.body.startswith(b"40"), joined

    async def start_poll(self) -> None:
        self.poll = RawHttp(await self.connect())
        await self.poll.send("GET", self._target("polling"))

    async def open_and_poll(self) -> None:
        await self.open_polling()
        await self.start_poll()

    async def open_and_probe(self) -> None:
        await self.open_polling()
        self.websocket = await RawWebSocket.open(await self.connect(), self._target("websocket"))
        await self.websocket.send("2probe")
        assert await self.websocket.receive() == "3probe"

    async def open_and_upgrade(self) -> None:
        await self.open_and_probe()
        await self.websocket.send("5")

    # What it says.

    async def post(self, payload: str) -> None:
        response = await self._http.request("POST", self._target("polling"), body=payload)
        assert (response.status, response.body) == (200, b"ok")

    async def send_and_wait_closed(self, *messages: str) -> None:
        for message in messages:
            await self.websocket.send(message)
        await self.wait_closed()

    async def wait_closed(self) -> None:
        with pytest.raises(WebSocketClosed):
            while True:
                assert await self.websocket.receive() in {"2", "6"}

    async def end_poll(self, body: bytes) -> None:
        response = await self.poll.receive()
        assert (response.status, response.body) == (200, body)


async def finish(stream: trio.abc.Stream) -> None:
    """End our side of ``stream`` with a FIN and wait for the server's."""
    assert isinstance(stream, trio.SocketStream)
    await stream.send_eof()
    while await stream.receive_some(65_536):
        pass


def reset(stream: trio.abc.Stream) -> None:
    """End ``stream`` with a RST."""
    assert isinstance(stream, trio.SocketStream)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


# How it goes: each returns when the client knows of the end, or has gone itself.


async def fin(peer: Peer) -> None:
    await finish(peer.websocket.stream)


async def rst(peer: Peer) -> None:
    reset(peer.websocket.stream)


async def close_frame(peer: Peer) -> None:
    assert await peer.websocket.close(1000) == 1000


async def close_packet(peer: Peer) -> None:
    await peer.send_and_wait_closed("1")


async def disconnect_and_fin(peer: Peer) -> None:
    await peer.websocket.send("41")
    await finish(peer.websocket.stream)


async def disconnect_and_stay(peer: Peer) -> None:
    await peer.send_and_wait_closed("41")


async def fall_silent(peer: Peer) -> None:
    await peer.wait_closed()


async def poll_fin(peer: Peer) -> None:
    await finish(peer.poll.stream)


async def poll_rst(peer: Peer) -> None:
    reset(peer.poll.stream)


async def poll_close_packet(peer: Peer) -> None:
    await peer.post("1")
    await peer.end_poll(b"6")


async def post_close_packet(peer: Peer) -> None:
    await peer.post("1")


async def post_disconnect_and_leave(peer: Peer) -> None:
    await peer.post("41")


async def poll_silently(peer: Peer) -> None:
    await peer.end_poll(b"2")
    await peer.start_poll()
    await peer.end_poll(b"1")


async def say_nothing(peer: Peer) -> None:
    await trio.lowlevel.checkpoint()


async def probe_rst_and_close_packet(peer: Peer) -> None:
    reset(peer.websocket.stream)
    await peer.post("1")


async def probe_close_packet(peer: Peer) -> None:
    await peer.post("1")
    await peer.wait_closed()


@dataclass(frozen=True)
class Kind:
    """One way through life.

    Attributes:
      come: From nothing to a joined namespace.
      go: From there to the end.
      reason: What the disconnection hook is told.
      waits: Whether its handler is still waiting when it goes.
    """

    come: Callable[[Peer], Awaitable[None]]
    go: Callable[[Peer], Awaitable[None]]
    reason: str
    waits: bool = False

    @property
    def stays(self) -> bool:
        """Whether only the ping time-out ends its session."""
        return self.reason == SILENT or self.go in {disconnect_and_stay, post_disconnect_and_leave}


CLOSE, ERROR, LEFT, SILENT = "transport close", "transport error", "client namespace disconnect", "ping timeout"

KINDS: Final = (
    Kind(Peer.open_websocket, fin, CLOSE),
    Kind(Peer.open_websocket, fin, CLOSE, waits=True),
    Kind(Peer.open_websocket, rst, CLOSE),
    Kind(Peer.open_websocket, rst, CLOSE, waits=True),
    Kind(Peer.open_websocket, close_frame, CLOSE),
    Kind(Peer.open_websocket, close_packet, CLOSE),
    Kind(Peer.open_websocket, close_packet, CLOSE, waits=True),
    Kind(Peer.open_websocket, disconnect_and_fin, LEFT),
    Kind(Peer.open_websocket, disconnect_and_fin, LEFT, waits=True),
    Kind(Peer.open_websocket, disconnect_and_stay, LEFT),
    Kind(Peer.open_websocket, fall_silent, SILENT),
    Kind(Peer.open_websocket, fall_silent, SILENT, waits=True),
    Kind(Peer.open_and_poll, poll_fin, ERROR),
    Kind(Peer.open_and_poll, poll_rst, ERROR),
    Kind(Peer.open_and_poll, poll_rst, ERROR, waits=True),
    Kind(Peer.open_and_poll, poll_close_packet, CLOSE),
    Kind(Peer.open_and_poll, poll_silently, SILENT),
    Kind(Peer.open_polling, post_close_packet, CLOSE, waits=True),
    Kind(Peer.open_polling, post_disconnect_and_leave, LEFT),
    Kind(Peer.open_polling, say_nothing, SILENT),
    Kind(Peer.open_and_probe, probe_rst_and_close_packet, CLOSE),
    Kind(Peer.open_and_probe, probe_close_packet, CLOSE),
    Kind(Peer.open_and_probe, fall_silent, SILENT),
    Kind(Peer.open_and_upgrade, rst, CLOSE),
    Kind(Peer.open_and_upgrade, close_packet, CLOSE, waits=True),
)


class Crowd:
    """All peers; every one of them goes only when all have come."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._missing = CLIENTS
        self.complete = trio.Event()
        self.may_go = trio.Event()

    async def live(self, kind: Kind) -> None:
        """Be one peer."""
        peer = Peer(self._port)
        try:
            async with HANDSHAKES:
                await kind.come(peer)
                if kind.waits:
                    await (peer.post if kind.come in {Peer.open_polling, Peer.open_and_poll} else peer.websocket.send)('42["wait"]')
            self._missing -= 1
            if not self._missing:
                self.complete.set()
            await self.may_go.wait()
            await kind.go(peer)
        finally:
            await peer.close()  # noqa: ASYNC102  # only closes, without waiting for anybody


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Allow as many open files as the system does: each client has up to three, and so has the server for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def polls(server: Server) -> int:
    """Count the polls that wait for packets."""
    connections = server.engine.sessions.by_id.values()
    transports = [one.transport for one in connections if isinstance(one.transport, PollingTransport)]
    return sum(transport._poll is not None and not transport._woken for transport in transports)


async def until(condition: Callable[[], bool]) -> None:
    """Return when ``condition()`` holds. The bytes under way between the two ends of a socket tell nobody, so look again and again."""
    while not condition():  # noqa: ASYNC110
        await trio.sleep(0.005)


@pytest.mark.slow
@pytest.mark.usefixtures("many_descriptors")
async def test_nothing_is_left_of_five_hundred_clients(mock_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    # Time passes as usual, except where the test skips what it would only wait for.
    mock_clock.rate = 1
    record = Record()
    server = Server(RoutingTable(Route("/", partial(Player, record))), config=Config())
    listeners = await nursery.start(server.serve, "127.0.0.1", 0)
    everybody = [KINDS[number % len(KINDS)] for number in range(CLIENTS)]
    sessions = server.engine.sessions.by_id
    with trio.fail_after(PATIENCE):
        async with unchanged(server, objects=True), trio.open_nursery() as clients:
            crowd = Crowd(listeners[0].sockname[1])
            for kind in everybody:
                clients.start_soon(crowd.live, kind)
            await crowd.complete.wait()
            await until(lambda: record.waiting == sum(kind.waits for kind in everybody))
            before = level(server)
            assert (before.sessions, before.sockets, before.rooms) == (CLIENTS, CLIENTS, 10 + len({"lobby", "waiting"}))

            crowd.may_go.set()
            await until(lambda: len(sessions) == sum(kind.stays for kind in everybody))
            mock_clock.jump(server.config.ping_interval)
            await until(lambda: all(connection.heartbeat.unanswered for connection in sessions.values()))
            # Who polls gets the ping, and polls again.
            await until(lambda: polls(server) == sum(kind.go is poll_silently for kind in everybody))
            mock_clock.jump(server.config.ping_timeout)
    assert record.reasons == Counter(kind.reason for kind in everybody)
    nursery.cancel_scope.cancel()
