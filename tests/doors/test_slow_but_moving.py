"""Slow clients are served and stalled ones are not: a deadline means no progress for so long, not so long in all.

In memory, where time costs nothing, with streams that hold nothing: what a client has not received, the server has not
got rid of.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio
import trio.testing

from trio_sio import Config, EngineServer, Session
from trio_sio.testing import InMemoryServer, open_test_server
from trio_sio.testing.raw import HttpResponse, RawHttp, RawWebSocket, WebSocketClosed

POLLING = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"
MESSAGE = "x" * (1_000_000 - 1)  # with its type, the largest that `Config.max_http_buffer_size` lets pass
RATE = 30_000  # bytes a second: a bad mobile network
CRAWL = 0.1  # likewise: a client that only keeps the server busy

# Seconds after the beginning of a session when the message begins: in peace, and just before a ping.
BEGINNINGS = [0, 24]


class SlowStream(trio.abc.Stream):
    """A stream over which only so much passes; heads of HTTP requests are not counted.

    Attributes:
      up: Bytes a second that are sent; below one it is a byte at a time.
      down: Likewise, received.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.up = self.down = math.inf
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        data = bytes(data)
        sent = data.find(b"\r\n\r\n") + 4 if data.startswith(b"POST ") else 0
        await self._stream.send_all(data[:sent])
        while sent < len(data):
            size = len(data) if self.up == math.inf else max(int(self.up), 1)
            await self._stream.send_all(data[sent : sent + size])
            await trio.sleep(size / self.up)
            sent += size

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._stream.receive_some(max_bytes if self.down == math.inf else max(int(self.down), 1))
        await trio.sleep(len(data) / self.down)
        return data

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


class Served:
    """A server with one session.

    Attributes:
      session: It, once it is open.
      messages: What it has received.
    """

    session: Session

    def __init__(self, server: InMemoryServer, nursery: trio.Nursery) -> None:
        self.messages: list[str | bytes] = []
        self.nursery = nursery
        self._over = trio.Event()
        self._server = server

    async def handle(self, session: Session) -> None:
        """Note what the session receives, until it is over."""
        self.session = session
        async for message in session:
            self.messages.append(message)
        self._over.set()

    async def over(self) -> str | None:
        """Return why the session ended, once it has."""
        with trio.fail_after(1_000):
            await self._over.wait()
        return self.session.reason

    async def connect(self) -> SlowStream:
        """Open a connection that holds nothing: each side sends only as fast as the other receives."""
        return SlowStream(await self._server.connect_lockstep_stream())


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    served: Served

    async def handler(session: Session) -> None:
        await served.handle(session)

    async with open_test_server(EngineServer(handler, config=Config(path="/socket.io"))) as server, trio.open_nursery() as nursery:
        served = Served(server, nursery)
        yield served
        nursery.cancel_scope.cancel()


class Poller:
    """A client that polls on one connection and posts on others, one at a time; it answers pings once it can.

    Attributes:
      stream: The connection that it polls on.
      packets: What it has received, pings left out.
      heard: Set when that is not nothing.
    """

    stream: SlowStream

    def __init__(self, served: Served) -> None:
        self.packets: list[bytes] = []
        self.heard = trio.Event()
        self._served = served
        self._posting = trio.Lock()
        self._target = ""

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Open a session, then poll until it is over."""
        self.stream = await self._served.connect()
        http = RawHttp(self.stream)
        opened = await http.request("GET", POLLING)
        self._target = f"{POLLING}&sid={json.loads(opened.body[1:])['sid']}"
        task_status.started()
        with suppress(trio.BrokenResourceError):
            while (response := await http.request("GET", self._target)).status == 200:
                packets = response.body.split(b"\x1e")
                self.packets += [packet for packet in packets if packet != b"2"]
                if self.packets:
                    self.heard.set()
                if b"2" in packets:
                    self._served.nursery.start_soon(self.post, "3")

    async def post(self, body: str, rate: float = math.inf) -> HttpResponse:
        """Send ``body`` with so many bytes a second; return the response, which may come before all is sent."""
        async with self._posting, RawHttp(await self._served.connect()) as http, trio.open_nursery() as nursery:
            assert isinstance(http.stream, SlowStream)
            http.stream.up = rate
            nursery.start_soon(partial(http.send, "POST", self._target, body=body))
            response = await http.receive()
            nursery.cancel_scope.cancel()
        return response


async def open_poller(served: Served) -> Poller:
    poller = Poller(served)
    await served.nursery.start(poller.run)
    await trio.testing.wait_all_tasks_blocked()
    return poller


class Socket:
    """A client with a WebSocket, which answers pings as soon as it sees them.

    Attributes:
      stream: Its connection.
      messages: What it has received, pings left out.
      heard: Set when that is not nothing.
    """

    def __init__(self, stream: SlowStream, websocket: RawWebSocket) -> None:
        self.stream = stream
        self.websocket = websocket
        self.messages: list[str | bytes] = []
        self.heard = trio.Event()

    async def run(self) -> None:
        """Receive until the server closes."""
        with suppress(WebSocketClosed):
            while True:
                message = await self.websocket.receive()
                if message == "2":
                    await self.websocket.send("3")
                else:
                    self.messages.append(message)
                    self.heard.set()


async def open_socket(served: Served) -> Socket:
    stream = await served.connect()
    socket = Socket(stream, await RawWebSocket.open(stream, WEBSOCKET))
    assert str(await socket.websocket.receive()).startswith("0{")
    served.nursery.start_soon(socket.run)
    await trio.testing.wait_all_tasks_blocked()
    return socket


# What a client sends.


@pytest.mark.hostile("H26")
@pytest.mark.parametrize("beginning", BEGINNINGS)
async def test_a_post_of_a_megabyte_is_taken_however_long_it_needs(beginning: float, autojump_clock: trio.testing.MockClock) -> None:
    async with serving() as served:
        poller = await open_poller(served)
        await trio.sleep(beginning)
        start = trio.current_time()
        response = await poller.post(f"4{MESSAGE}", RATE)

        assert response.status == 200
        assert trio.current_time() - start >= 33  # and http_stall_timeout is 20
        assert served.messages == [MESSAGE]
        await trio.sleep(100)
        assert served.session.reason is None


@pytest.mark.hostile("H26")
async def test_a_post_of_one_byte_in_ten_seconds_is_not(autojump_clock: trio.testing.MockClock) -> None:
    async with serving() as served:
        poller = await open_poller(served)
        start = trio.current_time()
        response = await poller.post(f"4{MESSAGE}", CRAWL)

        assert (response.status, response.headers["connection"]) == (408, "close")
        assert trio.current_time() == start + 20
        assert (served.session.reason, served.messages) == ("transport error", [])


@pytest.mark.parametrize(("rate", "status"), [(1_024 / 19, 200), (1_024 / 21, 408)])
async def test_the_slowest_post_that_counts_as_moving(rate: float, status: int, autojump_clock: trio.testing.MockClock) -> None:
    async with serving() as served:
        poller = await open_poller(served)
        response = await poller.post("4" + "x" * 5_000, rate)

        assert response.status == status
        assert len(served.messages) == (status == 200)


@pytest.mark.hostile("H27")
async def test_a_head_of_one_byte_a_second_is_ended_by_header_timeout(autojump_clock: trio.testing.MockClock) -> None:
    async with serving() as served, trio.open_nursery() as nursery:
        stream = await served.connect()
        stream.up = 1
        start = trio.current_time()
        nursery.start_soon(stream.send_all, f"GET {POLLING} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 408 ")
        assert trio.current_time() == start + 10
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("beginning", BEGINNINGS)
async def test_a_websocket_message_of_a_megabyte_is_taken(beginning: float, autojump_clock: trio.testing.MockClock) -> None:
    async with serving() as served:
        socket = await open_socket(served)
        await trio.sleep(beginning)
        start = trio.current_time()
        socket.stream.up = RATE
        await socket.websocket.send(f"4{MESSAGE}")
        socket.stream.up = math.inf
        await trio.testing.wait_all_tasks_blocked()

        assert trio.current_time() - start >= 33
        assert served.messages == [MESSAGE]
        await trio.sleep(100)
        assert served.session.reason is None


async def test_a_websocket_message_of_one_byte_in_ten_seconds_ends_with_ping_timeout(autojump_clock: trio.testing.MockClock) -> None:
    async with serving() as served:
        socket = await open_socket(served)
        start = trio.current_time()
        socket.stream.up = CRAWL
        served.nursery.start_soon(socket.websocket.send, f"4{MESSAGE}")

        assert await served.over() == "ping timeout"
        assert trio.current_time() == start + 25 + 20


async def test_a_websocket_message_that_stops_coming_ends_with_ping_timeout(autojump_clock: trio.testing.MockClock) -> None:
    async with serving() as served:
        socket = await open_socket(served)
        start = trio.current_time()
        await trio.sleep(24)
        socket.stream.up = RATE
        served.nursery.start_soon(socket.websocket.send, f"4{MESSAGE}")
        await trio.sleep(20)
        socket.stream.up = CRAWL

        assert await served.over() == "ping timeout"
        assert trio.current_time() == start + 25 + 20 + 20  # the ping, its time-out with progress, and one without


# What a client receives.


@pytest.mark.parametrize("beginning", BEGINNINGS)
async def test_a_poll_of_a_megabyte_is_handed_over_however_long_it_needs(beginning: float, autojump_clock: trio.testing.MockClock) -> None:
    async with serving() as served:
        poller = await open_poller(served)
        await trio.sleep(beginning)
        start = trio.current_time()
        poller.stream.down = RATE
        await served.session.send(MESSAGE)
        await poller.heard.wait()
        poller.stream.down = math.inf

        assert trio.current_time() - start >= 33  # and write_stall_timeout is 30
        assert poller.packets == [b"4" + MESSAGE.encode()]
        await trio.sleep(100)
        assert served.session.reason is None


@pytest.mark.hostile("W22")
async def test_a_poll_of_one_byte_in_ten_seconds_is_ended_by_write_stall_timeout(autojump_clock: trio.testing.MockClock) -> None:
    async with serving() as served:
        poller = await open_poller(served)
        poller.stream.down = CRAWL
        start = trio.current_time()
        await served.session.send(MESSAGE)

        assert await served.over() == "transport error"
        assert trio.current_time() == start + 30


@pytest.mark.parametrize("beginning", BEGINNINGS)
async def test_a_websocket_reader_of_a_megabyte_is_served(beginning: float, autojump_clock: trio.testing.MockClock) -> None:
    async with serving() as served:
        socket = await open_socket(served)
        await trio.sleep(beginning)
        start = trio.current_time()
        socket.stream.down = RATE
        await served.session.send(MESSAGE)
        await socket.heard.wait()
        socket.stream.down = math.inf

        assert trio.current_time() - start >= 33
        assert socket.messages == [f"4{MESSAGE}"]
        await trio.sleep(100)
        assert served.session.reason is None


@pytest.mark.hostile("W22")
async def test_a_websocket_reader_of_one_byte_in_ten_seconds_is_ended_by_write_stall_timeout(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serving() as served:
        socket = await open_socket(served)
        socket.stream.down = CRAWL
        start = trio.current_time()
        await served.session.send(MESSAGE)

        assert await served.over() == "transport error"
        assert trio.current_time() == start + 30
