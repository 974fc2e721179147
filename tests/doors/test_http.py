"""HTTP/1.1 at the native door, against an engine that only records what reaches it."""

from __future__ import annotations

import logging
import math
import re
import time
from functools import partial

import pytest
import trio
import trio.testing

from tests.doors.fake_engine import FakeEngine
from tests.doors.http_client import Client, chunked, connect, get, post
from trio_sio.config import Config
from trio_sio.doors.native.http import NativeDoor, handle_connection
from trio_sio.doors.native.site import Site
from trio_sio.engine.door import ClientGone, HttpExchange
from trio_sio.limits import Limits
from trio_sio.protocol.http import Response


async def test_requests_share_a_connection() -> None:
    async with connect() as client:
        for body in (b"one", b"", b"three"):
            await client.send(post(body))
            status, fields, answer = await client.response()
            assert (status, answer) == (200, b"POST a=b " + body)
            assert "connection" not in fields
            assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", fields["date"])
    assert client.engine.requests[0].address == "192.0.2.1"


async def test_a_response_says_when_it_was_sent_give_or_take_a_second(
    mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    dates = []
    monkeypatch.setattr(time, "time", lambda: 86_398 + mock_clock.current_time())
    async with connect() as client:
        for _ in range(4):
            await client.send(get())
            _, fields, _ = await client.response()
            dates.append(fields["date"])
            mock_clock.jump(1)

    assert [date[-12:] for date in dates] == ["23:59:58 GMT", "23:59:59 GMT", "00:00:00 GMT", "00:00:01 GMT"]
    assert dates[2].startswith("Fri, 02 Jan 1970")


@pytest.mark.hostile("H41")
async def test_pipelined_requests_are_answered_in_order() -> None:
    async with connect() as client:
        await client.send(post(b"1") + get() + post(b"3"))
        assert [(await client.response())[2] for _ in range(3)] == [b"POST a=b 1", b"GET a=b ", b"POST a=b 3"]


@pytest.mark.parametrize("size", [1, 2, 7])
async def test_segmentation_does_not_matter(size: int) -> None:
    stream = b"\r\n" + post(b"0123456789") + chunked(b"ab", b"cde") + get()
    async with connect() as client:
        await client.send(*(stream[start : start + size] for start in range(0, len(stream), size)))
        assert [(await client.response())[2] for _ in range(3)] == [b"POST a=b 0123456789", b"POST a=b abcde", b"GET a=b "]


async def test_bytes_that_were_read_before_come_first() -> None:
    request = post(b"hello")
    async with connect(received=request[:20]) as client:
        await client.send(request[20:])
        assert (await client.response())[2] == b"POST a=b hello"


async def test_head_gets_the_length_and_no_body() -> None:
    async with connect() as client:
        await client.send(get().replace(b"GET", b"HEAD", 1) + get())
        while client.buffer.count(b"\r\n\r\n") < 2:
            client.buffer += await client.stream.receive_some()
        first, _, rest = client.buffer.partition(b"\r\n\r\n")
        assert b"Content-Length: 9" in first
        assert rest.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("request_bytes", [get(version=b"1.0"), get(b"Connection: Close"), get(b"connection: x, close")])
@pytest.mark.hostile("H31")
async def test_the_last_response_says_close(request_bytes: bytes) -> None:
    async with connect() as client:
        await client.send(request_bytes)
        status, fields, _ = await client.response()
        assert (status, fields["connection"]) == (200, "close")
        assert await client.rest() == b""


@pytest.mark.parametrize(
    ("status", "head"),
    [
        pytest.param(400, b"GET /socket.io/ HTTP/1.1\r\n\r\n", id="no host", marks=pytest.mark.hostile("H30")),
        pytest.param(400, get(b"Host: i"), id="two hosts", marks=pytest.mark.hostile("H30")),
        pytest.param(400, get(target=b"/socket.io/?a#b"), id="fragment", marks=pytest.mark.hostile("H04")),
        pytest.param(400, get(target=b"/socket.io/?a b"), id="space", marks=pytest.mark.hostile("H37")),
        pytest.param(400, get(target=b"/socket.io/?a\x01b"), id="control character", marks=pytest.mark.hostile("H37")),
        pytest.param(400, get(target=b"/socket.io/?a\rX: y"), id="bare CR", marks=pytest.mark.hostile("H37")),
        pytest.param(505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2", marks=pytest.mark.hostile("H31")),
        pytest.param(400, b"\x16\x03\x01\x02\x00\x01\x00\x01", id="TLS", marks=pytest.mark.hostile("H31")),
        pytest.param(400, b"\x00\x00random", id="random bytes", marks=pytest.mark.hostile("H31")),
        pytest.param(400, b"GET\r\n\r\n", id="half a request line", marks=pytest.mark.hostile("H31")),
        pytest.param(400, post(b"x", b"Transfer-Encoding: chunked"), id="CL and TE", marks=pytest.mark.hostile("H32")),
        pytest.param(400, post(b"x", b"content-length: 1"), id="CL twice", marks=pytest.mark.hostile("H32")),
        pytest.param(400, post(b"x", b"Content-Length: 2"), id="two CLs", marks=pytest.mark.hostile("H32")),
        pytest.param(400, get(b"Content-Length: -1"), id="CL -1", marks=pytest.mark.hostile("H32")),
        pytest.param(400, get(b"Content-Length: +5"), id="CL +5", marks=pytest.mark.hostile("H32")),
        pytest.param(400, get(b"Content-Length: 5 "), id="CL padded", marks=pytest.mark.hostile("H32")),
        pytest.param(400, get(b"Content-Length: 5,5"), id="CL list", marks=pytest.mark.hostile("H32")),
        pytest.param(400, get(b"Content-Length: " + b"9" * 5000), id="CL huge", marks=pytest.mark.hostile("H32")),
        pytest.param(400, get(b"Content-Length : 5"), id="space before the colon", marks=pytest.mark.hostile("H32")),
        pytest.param(501, get(b"Transfer-Encoding: gzip, chunked"), id="TE gzip", marks=pytest.mark.hostile("H32")),
        pytest.param(400, get(b"Transfer-Encoding: chunked", version=b"1.0"), id="TE in 1.0", marks=pytest.mark.hostile("H32")),
        pytest.param(400, get().replace(b"\r\n", b"\n"), id="bare LF", marks=pytest.mark.hostile("H32")),
        pytest.param(400, b"\nGET / HTTP/1.1\r\n\r\n", id="leading LF", marks=pytest.mark.hostile("H32")),
        pytest.param(400, get(b"A: b\r\n c"), id="folded", marks=pytest.mark.hostile("H32")),
        pytest.param(415, post(b"x", b"Content-Encoding: gzip"), id="gzip", marks=pytest.mark.hostile("H34")),
        pytest.param(417, post(b"x", b"Expect: 200-ok"), id="expect", marks=pytest.mark.hostile("H33")),
        pytest.param(431, get(b"A: " + b"a" * 20_000), id="20 kB header", marks=pytest.mark.hostile("H29")),
        pytest.param(431, b"GET /" + b"a" * 20_000, id="20 kB target", marks=pytest.mark.hostile("H29")),
        pytest.param(431, get(*[b"A: b"] * 3_000), id="3,000 headers", marks=pytest.mark.hostile("H29")),
    ],
)
async def test_a_head_that_is_refused(status: int, head: bytes, autojump_clock: trio.testing.MockClock) -> None:
    async with connect() as client:
        await client.send(head)
        got, fields, body = await client.response()
        assert (got, fields["connection"]) == (status, "close")
        assert body.endswith(b".\n")
        assert trio.current_time() < 1
        assert await client.rest() == b""
    assert client.engine.requests == []


@pytest.mark.hostile("H29")
async def test_the_limits_of_the_head_are_inclusive() -> None:
    head = get(b"A: b", b"A: c")
    for limits, status in [
        (Limits(header_bytes=len(head), headers=3), 200),
        (Limits(header_bytes=len(head) - 1, headers=3), 431),
        (Limits(header_bytes=len(head), headers=2), 431),
    ]:
        async with connect(Config(limits=limits)) as client:
            await client.send(head)
            assert (await client.response())[0] == status


@pytest.mark.parametrize(
    "target",
    [b"/", b"//socket.io/", b"/socket.iox/", b"/socket.io/zzz/?a", b"/socket.io/socket.io.js", b"http://elsewhere/socket.io/", b"*"],
)
@pytest.mark.hostile("H01", "H02", "H03", "H56")
async def test_what_is_not_the_engines_is_the_sites(target: bytes) -> None:
    async with connect() as client:
        await client.send(get(target=target))
        assert (await client.response())[0] == 404
    assert client.engine.requests == []


@pytest.mark.parametrize("target", [b"/socket.io?a=b", b"/socket.io/?a=b", b"http://h/socket.io/?a=b", b"HTTP://H/socket.io/?a=b"])
@pytest.mark.hostile("H01", "H03")
async def test_what_is_the_engines(target: bytes) -> None:
    async with connect() as client:
        await client.send(get(target=target))
        assert (await client.response())[2] == b"GET a=b "


@pytest.mark.hostile("H27")
async def test_slow_heads(autojump_clock: trio.testing.MockClock) -> None:
    async with connect(Config(header_timeout=10)) as client:
        for byte in get()[:9]:
            await client.send(bytes([byte]))
            await trio.sleep(1)
        assert (await client.response())[0] == 408
        assert 9 <= trio.current_time() <= 10


@pytest.mark.hostile("H28")
async def test_idle_connections_are_closed_without_a_word(autojump_clock: trio.testing.MockClock) -> None:
    async with connect(Config(header_timeout=10, keep_alive_timeout=75)) as client:
        assert await client.rest() == b""
        assert trio.current_time() == 10
    async with connect(Config(header_timeout=10, keep_alive_timeout=75)) as client:
        start = trio.current_time()
        await client.send(get())
        await client.response()
        assert await client.rest() == b""
        assert trio.current_time() == start + 75


async def test_draining_closes_idle_connections_and_ends_busy_ones() -> None:
    proceed = trio.Event()

    async def wait(exchange: HttpExchange) -> None:
        await proceed.wait()
        await exchange.respond(Response(200))

    engine = FakeEngine(Config(keep_alive_timeout=math.inf, header_timeout=math.inf), wait, None)
    door = NativeDoor(engine.as_engine(), Site(None, None, "/socket.io"))
    idle, idle_end = trio.testing.memory_stream_pair()
    busy, busy_end = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        for stream in (idle_end, busy_end):
            nursery.start_soon(partial(handle_connection, door, stream, None, address=None, secure=False))
        await busy.send_all(get())
        await trio.testing.wait_all_tasks_blocked()
        engine.draining.set()
        door.close_idle()
        assert await Client(idle, engine).rest() == b""
        proceed.set()
        client = Client(busy, engine)
        assert (await client.response())[1]["connection"] == "close"
        assert await client.rest() == b""
        await busy.aclose()


@pytest.mark.hostile("H17")
async def test_a_connection_that_was_accepted_last_does_not_hold_up_the_end(autojump_clock: trio.testing.MockClock) -> None:
    engine = FakeEngine()
    door = NativeDoor(engine.as_engine(), Site(None, None, "/socket.io"))
    engine.draining.set()
    engine.drained.set()
    door.close_idle()
    client, stream = trio.testing.memory_stream_pair()
    start = trio.current_time()
    await handle_connection(door, stream, None, address=None, secure=False)

    assert trio.current_time() == start
    assert await client.receive_some() == b""


async def test_a_poll_ends_when_the_client_leaves() -> None:
    gone = trio.Event()

    async def poll(exchange: HttpExchange) -> None:
        assert not await exchange.wait_woken()
        gone.set()

    async with connect(http=poll) as client:
        await client.send(get() + post())  # a pipelined request neither hides the end nor is it lost track of
        await trio.testing.wait_all_tasks_blocked()
        assert not gone.is_set()
        await client.stream.send_stream.aclose()
        await gone.wait()


async def test_a_poll_keeps_what_is_pipelined_within_a_bound() -> None:
    polls: list[HttpExchange] = []

    async def poll(exchange: HttpExchange) -> None:
        if exchange.request.method == "POST":
            await exchange.respond(Response(200, await exchange.read_body(100_000)))
            return
        polls.append(exchange)
        assert await exchange.wait_woken()
        await exchange.respond(Response(200, b"poll"))

    async with connect(Config(limits=Limits(header_bytes=1_000)), poll) as client:
        body = b"0123456789" * 1_000
        await client.send(get() + post(body))
        await trio.testing.wait_all_tasks_blocked()
        polls[0].wake()
        assert (await client.response())[2] == b"poll"
        assert (await client.response())[2] == body


async def test_a_client_that_does_not_take_its_response(autojump_clock: trio.testing.MockClock) -> None:
    failed = trio.Event()

    async def respond(exchange: HttpExchange) -> None:
        with pytest.raises(ClientGone):
            await exchange.respond(Response(200, b"a" * 100_000))
        failed.set()

    config = Config(write_stall_timeout=30)
    engine = FakeEngine(config, respond, None)
    door = NativeDoor(engine.as_engine(), Site(None, None, "/socket.io"))
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(handle_connection, door, theirs, None, address=None, secure=False))
        await ours.send_all(get())
        for _ in range(3):
            await trio.sleep(20)
            assert await ours.receive_some(16 * 1024)
        await failed.wait()
        assert 60 <= trio.current_time() <= 90
        await ours.aclose()


async def test_an_error_of_the_engine_is_a_500_and_travels_on(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(exchange: HttpExchange) -> None:
        raise RuntimeError("a bug")

    engine = FakeEngine(Config(), fail, None)
    door = NativeDoor(engine.as_engine(), Site(None, None, "/socket.io"))
    ours, theirs = trio.testing.memory_stream_pair()
    client = Client(ours, engine)
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="a bug")):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(handle_connection, door, theirs, None, address=None, secure=False))
            await client.send(get())
            status, _, body = await client.response()
            await ours.aclose()
    assert (status, b"a bug" in body) == (500, False)
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


@pytest.mark.parametrize("cookie", [b"a=b\r\nX: y", b"a\nb"])
async def test_a_response_header_cannot_split_the_response(cookie: bytes) -> None:
    async def respond(exchange: HttpExchange) -> None:
        with pytest.raises(ValueError, match="line break"):
            await exchange.respond(Response(200, headers=[(b"Set-Cookie", cookie)]))

    async with connect(http=respond) as client:
        await client.send(get())
        await client.rest()
