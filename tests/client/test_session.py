"""A session with our own server: what is sent arrives, in order, and leaving ends it in each of the ways there are."""

from __future__ import annotations

import logging
import math
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trio
import trio.testing
import trustme

from tests.client.fake_server import Connection, open_fake_server, open_packet
from tests.client.sessions import MESSAGES_KEPT, Session, open_session
from tests.level import unchanged
from trio_sio import Config, EngineServer
from trio_sio import Session as ServerSession
from trio_sio.client import session as client
from trio_sio.client.polling import PollingTransport
from trio_sio.client.session import OUTBOX_PACKETS, SessionClosed
from trio_sio.client.target import Target
from trio_sio.client.transports import Opened
from trio_sio.config import TransportName
from trio_sio.errors import ConfigurationError, EncodeError
from trio_sio.protocol.engineio import Handshake, binary_message, text_message
from trio_sio.protocol.frames import EncodedPacket, text_frame
from trio_sio.testing import InMemoryServer, open_test_server

WAYS: Final[dict[str, tuple[TransportName, ...]]] = {
    "polling": ("polling",),
    "websocket": ("websocket",),
    "upgrade": ("polling", "websocket"),
}
MESSAGES: Final[list[str | bytes]] = ["", "a", "ünïcödé ☃ 🎈", b"", b"\0\xff", "x" * 300_000, bytes(range(256)) * 1_000, "last"]

NODE_SERVER: Final = """
const { createServer } = require("node:http");
const { Server } = require("engine.io");
const http = createServer();
const engine = new Server({ pingInterval: 200, pingTimeout: 1000, maxHttpBufferSize: 500000 });
engine.attach(http, { path: "/socket.io/" });
engine.on("connection", (socket) => {
  socket.on("message", (data) => socket.send(data));
  socket.on("heartbeat", () => console.log("heartbeat"));
  socket.on("close", (reason) => console.log("closed: " + reason));
});
http.listen(0, "127.0.0.1", () => console.log(http.address().port));
"""


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def packet(message: str | bytes) -> EncodedPacket:
    return text_message(message) if isinstance(message, str) else binary_message(message)


class Echo:
    """A server that echoes, and notes how sessions end."""

    def __init__(self, config: Config | None = None) -> None:
        self.taken: list[str | bytes] = []
        self.reasons: list[str] = []
        self.ended = trio.Event()
        self.sessions: list[ServerSession] = []
        self.server = EngineServer(self._handle, config=config or Config())

    async def _handle(self, session: ServerSession) -> None:
        self.sessions.append(session)
        async for message in session:
            self.taken.append(message)
            await session.send(message)
        self.reasons.append(str(session.reason))
        self.ended.set()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[InMemoryServer]:
        """Serve; leaving proves that no session and no task is left."""
        async with open_test_server(self.server) as running, unchanged(running.server):
            yield running


async def opened(session: Session, way: str) -> None:
    """Wait until the session is carried by what ``way`` ends with."""
    if way == "upgrade" and session.transport == "polling":
        moved = trio.Event()
        session.on_upgrade = lambda _: moved.set()
        await moved.wait()
    assert session.transport == ("polling" if way == "polling" else "websocket")


async def exchange(session: Session) -> None:
    """Send all kinds of messages and take them back."""
    for message in MESSAGES:
        await session.send(packet(message))
    assert [await session.receive() for _ in MESSAGES] == MESSAGES


async def test_every_kind_of_message(way: str, autojump_clock: trio.testing.MockClock) -> None:
    echo = Echo()
    async with echo.run() as server, open_session(Target(server), transports=WAYS[way]) as session:
        assert session.sid == echo.sessions[0].id
        assert session.handshake == Handshake(session.sid, ("websocket",) if way != "websocket" else (), 25, 20, 1_000_000)
        await opened(session, way)
        await exchange(session)


async def test_over_a_real_port(way: str) -> None:
    echo = Echo()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery, echo.server:
            (listener,) = await nursery.start(echo.server.serve, "127.0.0.1", 0)
            async with open_session(Target(f"http://127.0.0.1:{listener.sockname[1]}"), transports=WAYS[way]) as session:
                await opened(session, way)
                await exchange(session)
            await echo.ended.wait()
            assert echo.reasons == ["transport close"]
            await echo.server.drain()


async def test_encrypted(way: str) -> None:
    authority = trustme.CA()
    theirs, ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(theirs)
    authority.configure_trust(ours)
    echo = Echo()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery, echo.server:
            (listener,) = await nursery.start(partial(echo.server.serve, "127.0.0.1", 0, ssl_context=theirs))
            target = Target(f"wss://localhost:{listener.sockname[1]}", ssl_context=ours)
            async with open_session(target, transports=WAYS[way]) as session:
                await opened(session, way)
                await exchange(session)
            await echo.ended.wait()
            assert echo.reasons == ["transport close"]
            await echo.server.drain()


class Lines:
    """What a process says, line by line."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._rest = b""

    async def next(self) -> str:
        """Return the next line."""
        while b"\n" not in self._rest:
            self._rest += await self._stream.receive_some()
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()


@pytest.mark.needs("node", "socket.io")
@pytest.mark.slow
async def test_the_official_server(way: str) -> None:
    root = Path(__file__).parent.parent.parent
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            run = partial(trio.run_process, ["node", "-e", NODE_SERVER], cwd=root, stdout=subprocess.PIPE, check=False)
            process: trio.Process = await nursery.start(run)
            assert process.stdout is not None
            said = Lines(process.stdout)
            port = int(await said.next())
            async with open_session(Target(f"http://127.0.0.1:{port}"), transports=WAYS[way]) as session:
                assert session.handshake.max_payload == 500_000
                await opened(session, way)
                await exchange(session)
                # A pong that is wrong, or missing, ends the session.
                for _ in range(3):
                    assert await said.next() == "heartbeat"
                await exchange(session)
            # "transport error" when a ping of this server falls between the two close frames; never "ping timeout".
            while (last := await said.next()) == "heartbeat":
                pass
            assert last in ("closed: transport close", "closed: transport error")
            nursery.cancel_scope.cancel()


# Heartbeat.


async def test_the_deadline(mock_clock: trio.testing.MockClock) -> None:
    """It is never nearer for a message that comes on, and there is none while nothing is read."""
    transport = PollingTransport(Target("http://localhost"), 1_000)
    handshake = Handshake("sid", (), ping_interval=25, ping_timeout=20, max_payload=1_000_000)
    session = client.Session(Opened(transport, handshake, iter(())), Session(), None, 1)
    heartbeat = session._heartbeat
    assert heartbeat.deadline == math.inf
    session._expect_ping()
    assert heartbeat.deadline == 45
    mock_clock.jump(10)
    transport.progress.on_progress()
    assert heartbeat.deadline == 45
    mock_clock.jump(30)
    transport.progress.on_progress()
    assert heartbeat.deadline == 60
    session.accept(False)
    with trio.move_on_after(0):
        await session._take(["4a"])
    transport.progress.on_progress()
    assert heartbeat.deadline == math.inf
    session._expect_ping()
    assert heartbeat.deadline == 85


async def test_pings_are_answered(way: str, autojump_clock: trio.testing.MockClock) -> None:
    echo = Echo(Config(ping_interval=5, ping_timeout=3))
    async with echo.run() as server, open_session(Target(server), transports=WAYS[way]) as session:
        await opened(session, way)
        await trio.sleep(100)
        await exchange(session)


async def test_a_server_without_pings_is_given_up(way: str, autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        request = await connection.request()
        if request.query["transport"] == "websocket":
            await connection.accept(request)
            await connection.send_message(open_packet(pingInterval=5_000, pingTimeout=3_000).decode())
            await trio.sleep(4)
            await connection.send_message("2")
            await connection.frame()
        else:
            await connection.respond(open_packet(pingInterval=5_000, pingTimeout=3_000))
            await connection.request()
            await trio.sleep(4)
            await connection.respond(b"2")
        await trio.sleep_forever()

    async with open_fake_server(script) as target:
        start = trio.current_time()
        async with open_session(target, transports=WAYS[way]) as session:
            with pytest.raises(SessionClosed) as caught:
                await session.receive()
            assert caught.value.reason == "ping timeout"
            assert trio.current_time() - start == pytest.approx(12)


@pytest.mark.parametrize(("piece", "comes"), [(300, True), (100, False)])
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_ping_may_wait_behind_a_large_message_as_long_as_that_comes_on(
    transport: TransportName, piece: int, comes: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """At least 1,024 bytes of it in the time that a ping may be missing, as the server has it."""
    message = "4" + "x" * 20_000

    async def script(connection: Connection) -> None:
        request = await connection.request()
        if request.query["transport"] == "websocket":
            await connection.accept(request)
            await connection.send_message(open_packet(pingInterval=5_000, pingTimeout=3_000).decode())
            answer = text_frame(message.encode()) + text_frame(b"2")
        elif request.method == "POST":
            await connection.respond()
            return
        else:
            await connection.respond(open_packet(pingInterval=5_000, pingTimeout=3_000))
            await connection.request()
            body = message.encode() + b"\x1e2"
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        for start in range(0, len(answer), piece):
            await connection.send(answer[start : start + piece])
            await trio.sleep(0.5)
        await connection.wait_ended()

    async with open_fake_server(script) as target, open_session(target, transports=[transport], close_timeout=1) as session:
        start = trio.current_time()
        if comes:
            assert await session.receive() == message[1:]
            assert trio.current_time() - start > 30
        with pytest.raises(SessionClosed) as caught:
            await session.receive()
        assert caught.value.reason == "ping timeout"
        if not comes:
            assert trio.current_time() - start < 20


async def test_a_binary_message_may_come_as_text_on_a_websocket(autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await connection.accept(await connection.request())
        for message in (open_packet().decode(), "bAP8=", "b", "bA"):
            await connection.send_message(message)
        await connection.wait_ended()

    async with open_fake_server(script) as target, open_session(target, transports=["websocket"], close_timeout=1) as session:
        assert [await session.receive() for _ in range(2)] == [b"\x00\xff", b""]
        with pytest.raises(SessionClosed, match="not valid base64") as caught:
            await session.receive()
        assert caught.value.reason == "parse error"


# Sending.


class Talker:
    """Always has another packet, of half of what the writer takes at once."""

    def __init__(self, name: str) -> None:
        self.packet = text_message(name.ljust(client.TURN_BYTES // 2 - 1))

    def take(self, max_bytes: int, /) -> list[EncodedPacket]:
        return [self.packet] * max(1, max_bytes // self.packet.size)


async def test_all_who_have_something_to_send_take_turns() -> None:
    handshake = Handshake("sid", (), ping_interval=25, ping_timeout=20, max_payload=1_000_000)
    session = client.Session(Opened(PollingTransport(Target("http://localhost"), 1_000), handshake, iter(())), Session(), None, 1)
    one, other = Talker("one"), Talker("other")
    session.ready(one)
    session.ready(other)
    session.outbox.put(text_message("small"))
    taken = [[packet.text[1:6].strip() for packet in session._next_packets() if packet.text] for _ in range(4)]
    assert taken == [[b"one", b"one"], [b"other", b"other"], [b"small", b"one", b"other"], [b"one", b"one"]]


# Bounds.


async def test_sending_waits_for_room(autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await connection.accept(await connection.request())
        await connection.send_message(open_packet(pingInterval=1_000_000, pingTimeout=1_000_000).decode())
        await may_read.wait()
        while True:
            message = await connection.message()
            if message != "3":
                taken.append(message)

    may_read = trio.Event()
    taken: list[str | bytes] = []
    sent = 0
    async with open_fake_server(script) as target, open_session(target, transports=["websocket"]) as session:
        with trio.move_on_after(10):
            while True:
                await session.send(text_message(str(sent)))
                sent += 1
        # One batch is on its way, and the queue is full.
        assert OUTBOX_PACKETS <= sent <= 2 * OUTBOX_PACKETS + 1
        with pytest.raises(trio.WouldBlock):
            session.send_nowait(text_message("too much"))
        with trio.move_on_after(10) as scope:
            await session.send(text_message("cancelled"))
        assert scope.cancelled_caught

        async with trio.open_nursery() as nursery:
            # Two wait; `send_nowait` must not overtake them.
            for name in ("first", "second"):
                nursery.start_soon(session.send, text_message(name))
                await trio.testing.wait_all_tasks_blocked()
            may_read.set()
        session.send_nowait(text_message("last"))
        await trio.sleep(1)
        assert taken == [f"4{number}" for number in range(sent)] + ["4first", "4second", "4last"]


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_the_largest_message_that_the_server_takes_arrives_and_the_next_is_refused_here(
    transport: TransportName, autojump_clock: trio.testing.MockClock
) -> None:
    echo = Echo(Config(max_http_buffer_size=100))
    async with echo.run() as server, open_session(Target(server), transports=[transport]) as session:
        for fits in (EncodedPacket(b"4" + b"x" * 99), EncodedPacket(b"4" + b"x" * 99, (b"x" * 70,))):
            session.require_fit(fits)
            await session.send(fits)
        for large in (EncodedPacket(b"4" + b"x" * 100), EncodedPacket(b"4", (b"x", b"x" * 101)), EncodedPacket(None, (b"x" * 101,))):
            with pytest.raises(EncodeError, match="a message of 101 bytes, and the server takes 100"):
                session.require_fit(large)
        for _ in range(3):
            await session.receive()
        assert session.closed is None


async def test_a_packet_above_the_bound_goes_when_the_queue_is_empty(autojump_clock: trio.testing.MockClock) -> None:
    echo = Echo(Config(max_http_buffer_size=10_000_000))
    async with echo.run() as server, open_session(Target(server), transports=["websocket"]) as session:
        for number in range(3):
            await session.send(binary_message(bytes([number]) * 3_000_000))
        assert [(await session.receive())[:1] for _ in range(3)] == [b"\0", b"\1", b"\2"]


async def test_messages_that_nobody_takes_wait_at_the_server(way: str, autojump_clock: trio.testing.MockClock) -> None:
    echo = Echo(Config(ping_interval=1_000, ping_timeout=1_000))
    count = 10 * MESSAGES_KEPT
    async with echo.run() as server, open_session(Target(server), transports=WAYS[way]) as session:
        await opened(session, way)
        for number in range(count):
            await session.send(text_message(str(number)))
        await trio.sleep(10)
        assert len(echo.taken) == count
        assert [await session.receive() for _ in range(count)] == list(map(str, range(count)))


async def test_pings_are_answered_as_long_as_no_message_waits_for_room(way: str, autojump_clock: trio.testing.MockClock) -> None:
    echo = Echo(Config(ping_interval=5, ping_timeout=3))
    async with echo.run() as server, open_session(Target(server), transports=WAYS[way]) as session:
        await opened(session, way)
        for number in range(MESSAGES_KEPT):
            await session.send(text_message(str(number)))
        await trio.sleep(100)
        assert [await session.receive() for _ in range(MESSAGES_KEPT)] == list(map(str, range(MESSAGES_KEPT)))
        await exchange(session)


# Leaving.


async def test_leaving_sends_what_is_queued_and_says_goodbye(way: str, autojump_clock: trio.testing.MockClock) -> None:
    echo = Echo()
    async with echo.run() as server:
        async with open_session(Target(server), transports=WAYS[way]) as session:
            await opened(session, way)
            for number in range(200):
                await session.send(text_message(str(number)))
            # Also when more has come than is read ahead.
            await trio.sleep(1)
            start = trio.current_time()
        assert trio.current_time() - start < 1
        assert session.closed is not None
        assert session.closed.reason == "io client disconnect"
        with trio.fail_after(0.1):
            await echo.ended.wait()
        assert echo.taken == list(map(str, range(200)))
        assert echo.reasons == ["transport close"]
        with pytest.raises(SessionClosed):
            await session.send(text_message("too late"))


async def test_cancelling_says_goodbye_too(way: str, autojump_clock: trio.testing.MockClock) -> None:
    echo = Echo()
    async with echo.run() as server:
        start = trio.current_time()
        with trio.move_on_after(5) as scope:
            async with open_session(Target(server), transports=WAYS[way]) as session:
                await opened(session, way)
                await session.receive()
        assert scope.cancelled_caught
        assert trio.current_time() - start <= 5.1
        assert session.closed is not None
        assert session.closed.reason == "io client disconnect"
        with pytest.raises(SessionClosed):
            await session.receive()
        with trio.fail_after(0.1):
            await echo.ended.wait()
        assert echo.reasons == ["transport close"]


async def test_an_exception_of_the_block_comes_out_as_it_is(way: str, autojump_clock: trio.testing.MockClock) -> None:
    echo = Echo()
    async with echo.run() as server:
        with pytest.raises(ZeroDivisionError):
            async with open_session(Target(server), transports=WAYS[way]) as session:
                await opened(session, way)
                raise ZeroDivisionError
        with trio.fail_after(0.1):
            await echo.ended.wait()


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_leaving_a_server_that_does_not_answer(transport: TransportName, autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        request = await connection.request()
        if request.query["transport"] == "websocket":
            await connection.accept(request)
            await connection.send_message(open_packet().decode())
        elif "sid" not in request.query:
            await connection.respond(open_packet())
        await trio.sleep_forever()

    async with open_fake_server(script) as target:
        async with open_session(target, transports=[transport], close_timeout=3) as session:
            await session.send(text_message("x"))
            start = trio.current_time()
        assert trio.current_time() - start == pytest.approx(3)


async def test_a_goodbye_that_fails_leaves_no_connection_open(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    async def fail(_: PollingTransport) -> None:
        raise RuntimeError("a mistake in the transport")

    async def script(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.respond(open_packet())

    monkeypatch.setattr(PollingTransport, "say_goodbye", fail)
    async with open_fake_server(script) as target:
        with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="a mistake in the transport"), flatten_subgroups=True):
            async with open_session(target, transports=["polling"]) as session:
                session.end("parse error")
                await trio.sleep_forever()


async def test_ending_it_here_says_goodbye_at_once(way: str, autojump_clock: trio.testing.MockClock) -> None:
    echo = Echo()
    async with echo.run() as server, open_session(Target(server), transports=WAYS[way]) as session:
        await opened(session, way)
        await session.send(text_message("taken"))
        await trio.sleep(0.1)
        session.end("parse error", "a packet was no packet")
        assert await session.receive() == "taken"
        with pytest.raises(SessionClosed, match="a packet was no packet") as caught:
            await session.receive()
        assert (caught.value.reason, caught.value.detail) == ("parse error", "a packet was no packet")
        with trio.fail_after(1):
            await echo.ended.wait()
        assert echo.reasons == ["transport close"]
        # The block goes on for as long as it likes.
        await trio.sleep(100)


async def test_the_server_closes(way: str, autojump_clock: trio.testing.MockClock) -> None:
    echo = Echo()
    async with echo.run() as server, open_session(Target(server), transports=WAYS[way]) as session:
        await opened(session, way)
        await echo.sessions[0].send("last words")
        echo.sessions[0].close()
        assert await session.receive() == "last words"
        for _ in range(2):
            with pytest.raises(SessionClosed) as caught:
                await session.receive()
            assert caught.value.reason == "transport close"
        with pytest.raises(SessionClosed):
            await session.send(text_message("x"))


async def test_a_sender_that_waits_is_told_of_the_end(autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await connection.accept(await connection.request())
        await connection.send_message(open_packet().decode())
        await trio.sleep(5)
        await connection.send(b"\x88\x00")
        await trio.sleep_forever()

    async def send() -> None:
        with pytest.raises(SessionClosed):
            while True:
                await session.send(text_message("x" * 10_000))

    async with (
        open_fake_server(script) as target,
        open_session(target, transports=["websocket"]) as session,
        trio.open_nursery() as nursery,
    ):
        for _ in range(3):
            nursery.start_soon(send)


# Requests.


async def test_path_query_headers_and_cookies_are_in_every_request(autojump_clock: trio.testing.MockClock) -> None:
    seen: list[tuple[str, str | None, str | None, str | None]] = []
    stamps: list[str] = []

    async def script(connection: Connection) -> None:
        while True:
            request = await connection.request()
            seen.append((request.path, request.query.get("room"), request.headers.get("authorization"), request.headers.get("cookie")))
            sticky = [("Set-Cookie", f"node=n{len(seen)}; Path=/; HttpOnly"), ("Set-Cookie", "lb=7")]
            if request.query["transport"] == "websocket":
                await connection.respond(b"", status=502, headers=sticky)
                continue
            stamps.append(request.query["t"])
            if "sid" not in request.query:
                await connection.respond(open_packet(upgrades=["websocket"]), headers=sticky)
            elif request.method == "GET":
                await trio.sleep(1)
                await connection.respond(b"6", headers=sticky)
            else:
                await connection.respond()

    options: dict[str, Any] = {
        "path": "/api/io/",
        "query": {"room": "a b&c"},
        "headers": {"Authorization": "Bearer x"},
        "cookies": {"own": "1"},
    }
    async with open_fake_server(script, **options) as target, open_session(target) as session:
        await session.send(text_message("x"))
        await trio.sleep(2.5)
    assert {entry[:3] for entry in seen} == {("/api/io/", "a b&c", "Bearer x")}
    assert seen[0][3] == "own=1"
    assert seen[1][3] == "own=1; node=n1; lb=7"
    assert all(cookie is not None and "lb=7" in cookie for *_, cookie in seen[1:])
    assert len(set(stamps)) == len(stamps) > 3


async def test_transports_must_be_known() -> None:
    for transports in ([], ["smoke"]):
        with pytest.raises(ConfigurationError, match='choose from \\("polling", "websocket"\\)'):
            async with open_session(Target("http://localhost"), transports=transports):
                raise AssertionError("a session was opened")


async def test_nothing_is_logged_above_debug(way: str, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    echo = Echo()
    async with echo.run() as server, open_session(Target(server), transports=WAYS[way]) as session:
        await opened(session, way)
    assert [record for record in caplog.records if record.name.startswith("trio_sio.client")] == []
