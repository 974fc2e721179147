"""Servers that lie, stall and flood: an error within the deadline, bounded memory, and nothing left open."""

from __future__ import annotations

import tracemalloc
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import pytest
import trio
import trio.testing

from tests.client.fake_server import SID, Connection, Request, open_fake_server, open_packet
from tests.client.misbehaving import BOUND, LIMIT, answer_first, ends, fails
from tests.client.sessions import Session, open_session
from trio_sio.config import TransportName
from trio_sio.protocol.engineio import text_message

pytestmark = pytest.mark.hostile("P34")

BAD_OPEN_PACKETS: Final = {
    "nothing": b"",
    "no packet": b"hello",
    "another packet": b'4{"sid":"x"}',
    "binary": b"bAQID",
    "no JSON": b"0{sid",
    "no UTF-8": b'0{"sid":"\xff"}',
    "a list": b"0[]",
    "deep": b"0" + b"[" * 100_000,
    "no sid": b'0{"upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}',
    "empty sid": open_packet(sid=""),
    "huge sid": open_packet(sid="x" * 500_000),
    "sid with a line end": open_packet(sid="x\r\nHost: y"),
    "sid is a number": open_packet(sid=5),
    "upgrades is a string": open_packet(upgrades="websocket"),
    "upgrades are numbers": open_packet(upgrades=[1]),
    "negative interval": open_packet(pingInterval=-1),
    "no interval": open_packet(pingInterval=0),
    "interval is a string": open_packet(pingInterval="25000"),
    "interval is true": open_packet(pingInterval=True),
    "interval is null": open_packet(pingInterval=None),
    "interval is NaN": open_packet(pingInterval=float("nan")),
    "interval is infinite": open_packet(pingInterval=float("inf")),
    "interval of ages": open_packet(pingInterval=1e12),
    "interval and timeout of ages": open_packet(pingInterval=1e9, pingTimeout=2e9),
    "interval of many digits": b'0{"sid":"x","upgrades":[],"pingInterval":1' + b"0" * 5_000 + b',"pingTimeout":1,"maxPayload":1}',
    "negative timeout": open_packet(pingTimeout=-1),
    "timeout is NaN": open_packet(pingTimeout=float("nan")),
    "no payload": open_packet(maxPayload=0),
    "negative payload": open_packet(maxPayload=-5),
    "payload is a fraction": open_packet(maxPayload=0.5),
    "payload is a string": open_packet(maxPayload="1"),
}


@pytest.mark.parametrize("first", BAD_OPEN_PACKETS.values(), ids=BAD_OPEN_PACKETS.keys())
async def test_a_bad_open_packet_over_polling(first: bytes, autojump_clock: trio.testing.MockClock) -> None:
    failure = await fails(partial(answer_first, first=first), within=0)
    assert failure.retryable
    assert len(str(failure)) < 1_000


@pytest.mark.parametrize("name", [name for name, first in BAD_OPEN_PACKETS.items() if first and name != "no UTF-8"])
async def test_a_bad_open_packet_over_a_websocket(name: str, autojump_clock: trio.testing.MockClock) -> None:
    failure = await fails(partial(answer_first, first=BAD_OPEN_PACKETS[name]), transports=("websocket",), within=0)
    assert len(str(failure)) < 1_000


async def test_a_binary_message_instead_of_the_open_packet(autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await connection.accept(await connection.request())
        await connection.send_message(b"\0" * 1_000)
        await trio.sleep_forever()

    assert "instead of an open packet" in str(await fails(script, transports=("websocket",)))


async def polls(connection: Connection, answer: Callable[[Request], Awaitable[bytes | None]], **handshake: object) -> None:
    """Serve a polling session; ``answer`` gives the bodies for its requests, or ``None`` to stop answering."""
    while True:
        request = await connection.request()
        if "sid" not in request.query:
            await connection.respond(open_packet(**handshake))
            continue
        body = await answer(request)
        if body is None:
            await trio.sleep_forever()
        else:
            await connection.respond(body)


async def get_only(request: Request, body: bytes | None) -> bytes | None:
    return body if request.method == "GET" else b"ok"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "parse error"),
        (b"4a\x1e\x1e4b", "parse error"),
        (b"garbage", "parse error"),
        (b"4\xff", "parse error"),
        (b"b****", "parse error"),
        (b"3", "parse error"),
        (b"5", "parse error"),
        (open_packet(sid="another"), "parse error"),
        (b"4a\x1e1", "transport close"),
        (b"1", "transport close"),
    ],
)
async def test_answers_that_end_a_polling_session(body: bytes, reason: str, autojump_clock: trio.testing.MockClock) -> None:
    closed = await ends(lambda connection: polls(connection, partial(get_only, body=body)), within=2)
    assert closed.reason == reason


async def test_messages_before_a_bad_packet_are_delivered(autojump_clock: trio.testing.MockClock) -> None:
    taken: list[str | bytes] = []

    async def take(session: Session) -> None:
        taken.extend([await session.receive(), await session.receive()])

    closed = await ends(lambda connection: polls(connection, partial(get_only, body=b"4a\x1ebAQID\x1e9")), use=take)
    assert (taken, closed.reason) == (["a", b"\1\2\3"], "parse error")


@pytest.mark.parametrize("message", ["", "9", "3", "bAQI", "2probe", open_packet().decode(), "6\x1e6"])
async def test_packets_that_end_a_websocket_session(message: str, autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await connection.accept(await connection.request())
        await connection.send_message(open_packet().decode())
        await connection.send_message(message)
        await connection.wait_ended()

    assert (await ends(script, transport="websocket", within=2)).reason == "parse error"


async def test_endless_noops_are_no_heartbeat(autojump_clock: trio.testing.MockClock) -> None:
    async def noop(request: Request) -> bytes:
        await trio.sleep(0.01)
        return b"\x1e".join([b"6"] * 1_000)

    closed = await ends(lambda connection: polls(connection, noop, pingInterval=2_000, pingTimeout=1_000), within=5)
    assert closed.reason == "ping timeout"


async def test_a_response_full_of_noops_lets_other_tasks_run_and_the_deadline_come(autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await polls(connection, partial(get_only, body=b"\x1e".join([b"6"] * (LIMIT // 2))), pingInterval=300, pingTimeout=200)

    turns = 0

    async def watch(session: Session) -> None:
        nonlocal turns
        for _ in range(2_000):
            await trio.lowlevel.checkpoint()
            turns += session.closed is None

    async def tick() -> None:
        # The client is never blocked, so nothing moves the clock by itself.
        while True:
            await trio.lowlevel.checkpoint()
            autojump_clock.jump(0.001)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        assert (await ends(script, use=watch)).reason == "ping timeout"
        nursery.cancel_scope.cancel()
    assert turns > 100


async def test_endless_noops_over_a_websocket_are_no_heartbeat(autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await connection.accept(await connection.request())
        await connection.send_message(open_packet(pingInterval=2_000, pingTimeout=1_000).decode())
        while True:
            await trio.sleep(0.01)
            await connection.send_message("6")

    assert (await ends(script, transport="websocket", within=5)).reason == "ping timeout"


async def test_pings_without_end_are_answered_by_few_pongs(autojump_clock: trio.testing.MockClock) -> None:
    pongs = 0

    async def script(connection: Connection) -> None:
        nonlocal pongs
        await connection.accept(await connection.request())
        await connection.send_message(open_packet().decode())
        await connection.send(b"\x81\x012" * 20_000 + b"\x81\x011")
        while True:
            pongs += await connection.message() == "3"

    assert (await ends(script, transport="websocket")).reason == "transport close"
    assert 0 < pongs < 100


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_flood_that_nobody_reads_stays_in_the_network(transport: TransportName, autojump_clock: trio.testing.MockClock) -> None:
    message = b"\0" * (LIMIT // 2)
    sent = 0

    async def flood(connection: Connection) -> None:
        nonlocal sent
        await connection.accept(await connection.request())
        await connection.send_message(open_packet().decode())
        while True:
            await connection.send_message(message)
            sent += 1
            await trio.sleep(0.01)  # for the mock clock: what is never blocked never times out

    async def answer(request: Request) -> bytes:
        nonlocal sent
        sent += request.method == "GET"
        await trio.sleep(0.01)
        return b"b" + b"AAAA" * (LIMIT // 8)

    script = flood if transport == "websocket" else partial(polls, answer=answer)
    async with open_fake_server(script) as target:
        tracemalloc.start()
        try:
            async with open_session(target, transports=[transport], max_message_size=LIMIT) as session:
                # A server that is not read cannot be blamed for pings that do not come.
                await trio.sleep(1_000)
                assert session.closed is None
                assert sent < 10
                assert tracemalloc.get_traced_memory()[0] < BOUND
                for _ in range(20):
                    await session.receive()
        finally:
            tracemalloc.stop()


async def test_messages_above_the_limit_are_not_kept(autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await connection.accept(await connection.request())
        await connection.send_message(open_packet().decode())
        await connection.send(b"\x82\x7f" + (2**40).to_bytes(8, "big"))
        while True:
            await connection.send(b"\0" * 65_536)

    tracemalloc.start()
    try:
        assert (await ends(script, transport="websocket", within=2)).reason == "transport error"
        assert tracemalloc.get_traced_memory()[1] < BOUND
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("first", [b"\x01\x00", b"\x02\x01x"])
async def test_fragments_without_end(first: bytes, autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await connection.accept(await connection.request())
        await connection.send_message(open_packet().decode())
        await connection.send(first)
        while True:
            await connection.send(b"\x00\x00" * 10_000)

    closed = await ends(script, transport="websocket", within=2)
    assert (closed.reason, "too many fragments" in closed.detail) == ("transport error", True)


# P34: HTTP that lies.


async def endless(connection: Connection, head: bytes, piece: bytes, calls: list[int]) -> None:
    await connection.request()
    await connection.send(head)
    while True:
        await connection.send(piece)
        calls[0] += len(piece)


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65_536 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 65_536),
        (b"HTTP/1.1 400 No\r\n\r\n", b"x" * 65_536),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 1_000),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1_000),
        (b"", b"x" * 1_000),
    ],
    ids=["chunks", "until the end", "a length", "of a refusal", "header", "headers", "status line"],
)
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_responses_without_end(transport: TransportName, head: bytes, piece: bytes, autojump_clock: trio.testing.MockClock) -> None:
    calls = [0]
    tracemalloc.start()
    try:
        await fails(lambda connection: endless(connection, head, piece, calls), transports=(transport,))
        assert tracemalloc.get_traced_memory()[1] < BOUND
    finally:
        tracemalloc.stop()
    assert calls[0] < 2 * LIMIT + 2 * 65_536


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_informational_responses_without_end(transport: TransportName, autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        while True:
            await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            await trio.sleep(0.5)

    await fails(script, transports=(transport,))


@pytest.mark.parametrize(
    "raw", [b"\0\1\2\3\r\n\r\n", b"SSH-2.0-x\r\n", b"HTTP/1.1 2\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
)
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_garbage(transport: TransportName, raw: bytes, autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(raw)
        await connection.stream.aclose()

    assert (await fails(script, transports=(transport,))).retryable


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0{", b"HTTP/1.1 101 Switching"])
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_server_that_closes_half_way_is_noticed_then(
    transport: TransportName, said: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(said)
        await connection.stream.aclose()

    await fails(script, transports=(transport,), within=0)


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_server_that_says_nothing(transport: TransportName, autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await trio.sleep_forever()

    assert "within 20 seconds" in str(await fails(script, transports=(transport,)))


async def test_a_server_that_reads_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await trio.sleep_forever()

    await fails(script)


async def test_a_server_that_accepts_a_websocket_and_says_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await connection.accept(await connection.request())
        while True:
            await connection.send(b"\x89\x00")  # pings of the WebSocket are no answer
            await trio.sleep(0.1)

    await fails(script, transports=("websocket",))


async def test_a_close_frame_instead_of_the_open_packet(autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await connection.accept(await connection.request())
        await connection.send(b"\x88\x02\x03\xe8")
        await connection.wait_ended()

    assert "closed the WebSocket with code 1000" in str(await fails(script, transports=("websocket",)))


@pytest.mark.parametrize(
    "head",
    [
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\n",
        "Connection: Upgrade\r\n",
        "Upgrade: h2c\r\nConnection: Upgrade\r\n",
    ],
)
async def test_a_websocket_handshake_that_is_wrong(head: str, autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(f"HTTP/1.1 101 Switching Protocols\r\n{head}\r\n".encode())
        await connection.wait_ended()

    assert "as it must" in str(await fails(script, transports=("websocket",)))


async def test_an_extension_that_was_not_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await connection.accept(await connection.request(), headers=[("Sec-WebSocket-Extensions", "permessage-deflate")])
        await connection.wait_ended()

    await fails(script, transports=("websocket",))


@pytest.mark.parametrize(
    "data", [b"\xc1\x01x", b"\x81\x81abcdx", b"\x83\x00", b"\x80\x00", b"\x89\x7e\x01\x00" + bytes(256), b"\x81\x02\xff\xff", b"\x88\x01x"]
)
async def test_frames_that_are_wrong_are_answered_with_a_close_frame(data: bytes, autojump_clock: trio.testing.MockClock) -> None:
    answered: list[int] = []

    async def script(connection: Connection) -> None:
        await connection.accept(await connection.request())
        await connection.send_message(open_packet().decode())
        await connection.send(data)
        answered.append((await connection.frame()).opcode)

    assert (await ends(script, transport="websocket")).reason == "transport error"
    assert answered == [8]


async def test_a_post_that_is_never_answered(autojump_clock: trio.testing.MockClock) -> None:
    async def answer(request: Request) -> bytes | None:
        if request.method == "POST":
            return None
        await trio.sleep(1)
        return b"2"

    async def send(session: Session) -> None:
        await session.send(text_message("x"))

    closed = await ends(lambda connection: polls(connection, answer, pingInterval=5_000, pingTimeout=2_000), use=send, within=10)
    assert (closed.reason, "POST within 7 seconds" in closed.detail) == ("transport error", True)


async def test_a_websocket_that_takes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await connection.accept(await connection.request())
        await connection.send_message(open_packet(pingInterval=5_000, pingTimeout=2_000).decode())
        while True:
            await connection.send_message("2")
            await trio.sleep(1)

    async def send(session: Session) -> None:
        await session.send(text_message("x" * 100_000))

    closed = await ends(script, transport="websocket", use=send, within=10)
    assert (closed.reason, "took nothing for 7 seconds" in closed.detail) == ("transport error", True)


@pytest.mark.parametrize("status", [400, 404, 500, 301])
async def test_a_poll_that_is_refused_ends_the_session(status: int, autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.respond(open_packet())
        await connection.request()
        await connection.respond(b'{"code":1,"message":"Session ID unknown"}', status=status)

    closed = await ends(script)
    assert (closed.reason, str(status) in closed.detail) == ("transport error", True)


async def test_an_answer_that_comes_before_its_request_is_not_taken(autojump_clock: trio.testing.MockClock) -> None:
    requests: list[str] = []

    async def script(connection: Connection) -> None:
        while True:
            request = await connection.request()
            requests.append(request.query.get("sid", ""))
            if len(requests) == 1:
                body = open_packet()
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                await connection.send(head + body + b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n4forged")
            else:
                await connection.respond(b"4real\x1e1")

    async def take(session: Session) -> None:
        assert await session.receive() == "real"

    await ends(script, use=take)
    assert requests == ["", SID]


async def test_the_server_goes_away_amid_a_poll(autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.respond(open_packet())
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n4ab")
        await connection.stream.aclose()

    assert (await ends(script)).reason == "transport error"


async def test_two_sessions_at_once_do_not_meet(autojump_clock: trio.testing.MockClock) -> None:
    count = 0

    async def script(connection: Connection) -> None:
        nonlocal count
        while True:
            request = await connection.request()
            if "sid" not in request.query:
                count += 1
                await connection.respond(open_packet(sid=f"number-{count}"))
            elif request.method == "GET":
                await trio.sleep(1)
                await connection.respond(b"4" + request.query["sid"].encode())
            else:
                await connection.respond()

    async with (
        open_fake_server(script) as target,
        open_session(target, transports=["polling"]) as one,
        open_session(target, transports=["polling"]) as other,
    ):
        for _ in range(3):
            assert (await one.receive(), await other.receive()) == (one.sid, other.sid)
        assert one.sid != other.sid
