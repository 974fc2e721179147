"""HTTP/1.1 at the native door, against an engine that only records what reaches it."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing

from tests.doors.fake_engine import FakeEngine, Http, WebSocket
from trio_sio.config import Config
from trio_sio.doors.native.http import NativeDoor, handle_connection
from trio_sio.doors.native.site import Site
from trio_sio.engine.door import ClientGone, HttpExchange, WebSocketUpgrade
from trio_sio.limits import Limits
from trio_sio.protocol.http import Response

UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class Client:
    """The client's end of one connection, and what was said to it."""

    def __init__(
        self, stream: trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream], engine: FakeEngine
    ) -> None:
        self.stream = stream
        self.engine = engine
        self.buffer = b""

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            await self.stream.send_all(part)

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, header fields and body of the next response."""
        while b"\r\n\r\n" not in self.buffer:
            await self._more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        while len(self.buffer) < int(fields.get("content-length", 0)):
            await self._more()
        length = int(fields.get("content-length", 0))
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return int(status.split()[1]), fields, body

    async def rest(self) -> bytes:
        """Return everything until the server closes."""
        try:
            while data := await self.stream.receive_some():
                self.buffer += data
        except trio.BrokenResourceError:
            pass  # closed by force
        return self.buffer

    async def _more(self) -> None:
        data = await self.stream.receive_some()
        assert data, f"the server closed after {self.buffer!r}"
        self.buffer += data


@asynccontextmanager
async def connect(
    config: Config | None = None, http: Http | None = None, websocket: WebSocket | None = None, received: bytes = b""
) -> AsyncIterator[Client]:
    """Open one in-memory connection to a native door."""
    engine = FakeEngine(config or Config(), http, websocket)
    door = NativeDoor(engine.as_engine(), Site(None, None, "/socket.io"))
    ours, theirs = trio.testing.memory_stream_pair()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(handle_connection, door, theirs, None, address="192.0.2.1", secure=False, received=received))
        yield Client(ours, engine)
        await ours.aclose()  # whatever happened before, the server's side ends now, or this test never does


def post(body: bytes = b"hello", *fields: bytes) -> bytes:
    head = [b"POST /socket.io/?a=b HTTP/1.1", b"Host: h", b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def get(*fields: bytes, target: bytes = b"/socket.io/?a=b", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/" + version, b"Host: h", *fields]) + b"\r\n\r\n"


async def test_requests_share_a_connection() -> None:
    async with connect() as client:
        for body in (b"one", b"", b"three"):
            await client.send(post(body))
            status, fields, answer = await client.response()
            assert (status, answer) == (200, b"POST a=b " + body)
            assert "connection" not in fields
            assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", fields["date"])
    assert client.engine.requests[0].address == "192.0.2.1"


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


def chunked(*chunks: bytes) -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return b"POST /socket.io/?a=b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + body


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


@pytest.mark.hostile("H21", "H22", "H24")
async def test_a_declared_length_is_judged_at_once(autojump_clock: trio.testing.MockClock) -> None:
    config = Config(max_http_buffer_size=10)
    async with connect(config) as client:
        await client.send(post(b"a" * 10))
        assert (await client.response())[0] == 200
        await client.send(post()[:-5].replace(b"Content-Length: 5", b"Content-Length: 1000000000000000000"))
        status, fields, _ = await client.response()
        assert (status, fields["connection"]) == (413, "close")
        assert trio.current_time() == 0
        assert await client.rest() == b""
        assert trio.current_time() <= 1


@pytest.mark.hostile("H23")
async def test_a_chunked_body_is_judged_as_it_grows(autojump_clock: trio.testing.MockClock) -> None:
    async with connect(Config(max_http_buffer_size=10)) as client:
        await client.send(chunked(b"a" * 10))
        assert (await client.response())[0] == 200
        await client.send(chunked(b"a" * 11)[:-7])
        assert (await client.response())[0] == 413


@pytest.mark.hostile("H22")
async def test_the_response_to_a_large_body_arrives_before_the_body_does(autojump_clock: trio.testing.MockClock) -> None:
    """The client sends all of a large body before it looks for a response, as most do."""
    async with connect(Config(max_http_buffer_size=10)) as client:
        await client.send(post(b"a" * 200_000)[:-1])
        assert (await client.response())[0] == 413
        await client.send(b"a")
        assert await client.rest() == b""


@pytest.mark.parametrize(("size", "close"), [(200_000, False), (300_000, True)])
async def test_an_unread_body_is_skipped_up_to_a_bound(size: int, close: bool, autojump_clock: trio.testing.MockClock) -> None:
    async def ignore(exchange: HttpExchange) -> None:
        await exchange.respond(Response(400))

    async with connect(http=ignore) as client:
        await client.send(post(b"a" * size) + get())
        assert (await client.response())[0] == 400
        if close:
            assert await client.rest() == b""
        else:
            assert (await client.response())[0] == 400
    assert len(client.engine.requests) == (1 if close else 2)


@pytest.mark.hostile("H33")
async def test_100_continue_comes_after_the_size_check(autojump_clock: trio.testing.MockClock) -> None:
    async with connect(Config(max_http_buffer_size=10)) as client:
        head = post(b"hello", b"Expect: 100-continue")[:-5]
        await client.send(head)
        assert (await client.response())[0] == 100
        await client.send(b"hello")
        assert (await client.response())[::2] == (200, b"POST a=b hello")
        await client.send(head.replace(b"Content-Length: 5", b"Content-Length: 11"))
        status, fields, _ = await client.response()
        assert (status, fields["connection"]) == (413, "close")


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"\r\n",
        b"1" * 17 + b"\r\n",
        b"1\r\nab",
        b"1\r\na\n",
        b"1\r\na\rb",
        b"1\nab\r\n",
        b"1;" + b"x" * 20_000,
        b"1;a\rb\r\na\r\n0\r\n\r\n",
        b"1;\r\r\na\r\n0\r\n\r\n",
        b"1\r\r\na\r\n0\r\n\r\n",
        b"1;a\nb\r\n",
        b"1;a\0b\r\n",
        b"1 1\r\n",
        b"0\r\nA: b\n\r\n",
        b"0\r\nA: b\rC: d\r\n\r\n",
        b"0\r\nA: b\r\n c\r\n\r\n",
        b"0\r\nA\r\n\r\n",
        b"0\r\nA : b\r\n\r\n",
        b"0\r\n" + b"A: b\r\n" * 101 + b"\r\n",
        b"0\r\n" + (b"A: " + b"b" * 1_000 + b"\r\n") * 17 + b"\r\n",
    ],
    ids=[
        "not hexadecimal",
        "negative",
        "signed",
        "0x",
        "blank before",
        "empty",
        "17 digits",
        "too long",
        "LF behind",
        "CR behind",
        "bare LF",
        "huge extension",
        "CR in the extension",
        "CR at the end of the extension",
        "CR behind the size",
        "LF in the extension",
        "NUL in the extension",
        "two sizes",
        "LF behind a trailer",
        "CR in a trailer",
        "folded trailer",
        "trailer without colon",
        "blank before the colon",
        "101 trailers",
        "17 kB of trailers",
    ],
)
@pytest.mark.hostile("H32", "R28")
async def test_bad_chunks(body: bytes, autojump_clock: trio.testing.MockClock) -> None:
    async with connect() as client:
        await client.send(chunked()[:-5] + body)
        with trio.fail_after(5):
            status, fields, _ = await client.response()
        assert (status, fields["connection"]) in [(400, "close"), (431, "close")]


@pytest.mark.parametrize(
    "body",
    [
        b'2;name=value\r\nab\r\n3; quoted="\xfc\t;"\r\ncde\r\n0\r\n\r\n',
        b"05 \r\nabcde\r\n000;last\r\nSome: trailer\r\nOther:\r\n\r\n",
        b"5\r\nabcde\r\n0\r\n" + b"A: b\r\n" * 100 + b"\r\n",
    ],
    ids=["extensions", "trailers", "100 trailers"],
)
@pytest.mark.parametrize("size", [1, 3, 10_000])
async def test_chunks_that_are_valid(body: bytes, size: int) -> None:
    stream = chunked()[:-5] + body + get()
    async with connect() as client:
        await client.send(*(stream[start : start + size] for start in range(0, len(stream), size)))
        assert [(await client.response())[2] for _ in range(2)] == [b"POST a=b abcde", b"GET a=b "]


@pytest.mark.hostile("H32")
async def test_chunks_that_are_mostly_extension(autojump_clock: trio.testing.MockClock) -> None:
    async with connect() as client:
        await client.send(chunked()[:-5], *[b"1;" + b"x" * 10_000 + b"\r\na\r\n"] * 30)
        assert (await client.response())[0] == 400


@pytest.mark.hostile("H25")
async def test_a_body_that_ends_early() -> None:
    faults: list[Exception] = []

    async def read(exchange: HttpExchange) -> None:
        try:
            await exchange.read_body(100)
        except ClientGone as exc:
            faults.append(exc)
            with pytest.raises(ClientGone):
                await exchange.respond(Response(200))

    async with connect(http=read) as client:
        await client.send(post(b"hello")[:-1])
        await client.stream.send_stream.aclose()
        assert (await client.response())[0] == 400
    async with connect(http=read) as client:
        await client.send(post(b"hello")[:-1])
        await client.stream.aclose()
    assert len(faults) == 2


@pytest.mark.hostile("H26")
async def test_a_slow_body(autojump_clock: trio.testing.MockClock) -> None:
    async with connect(Config(http_stall_timeout=20)) as client:
        await client.send(post(b"a" * 15_000)[:-15_000])
        for _ in range(10):
            await trio.sleep(15)
            await client.send(b"a" * 1_500)
        assert (await client.response())[0] == 200

        start = trio.current_time()
        await client.send(post(b"a" * 15_000)[:-15_000])
        for _ in range(2):
            await trio.sleep(9.5)
            await client.send(b"a")
        status, fields, _ = await client.response()
        assert (status, fields["connection"]) == (408, "close")
        assert trio.current_time() == start + 20


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


async def test_wait_gone_returns_when_the_client_leaves() -> None:
    gone = trio.Event()

    async def poll(exchange: HttpExchange) -> None:
        await exchange.wait_gone()
        gone.set()

    async with connect(http=poll) as client:
        await client.send(get() + post())  # a pipelined request neither hides the end nor is it lost track of
        await trio.testing.wait_all_tasks_blocked()
        assert not gone.is_set()
        await client.stream.send_stream.aclose()
        await gone.wait()


async def test_wait_gone_keeps_what_is_pipelined_within_a_bound() -> None:
    proceed = trio.Event()

    async def poll(exchange: HttpExchange) -> None:
        if exchange.request.method == "POST":
            await exchange.respond(Response(200, await exchange.read_body(100_000)))
            return
        async with trio.open_nursery() as nursery:

            async def never() -> None:
                await exchange.wait_gone()
                raise AssertionError("the client is there")

            nursery.start_soon(never)
            await proceed.wait()
            nursery.cancel_scope.cancel()
        await exchange.respond(Response(200, b"poll"))

    async with connect(Config(limits=Limits(header_bytes=1_000)), poll) as client:
        body = b"0123456789" * 1_000
        await client.send(get() + post(body))
        await trio.testing.wait_all_tasks_blocked()
        proceed.set()
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


async def test_a_websocket_handshake_reaches_the_engine() -> None:
    async with connect() as client:
        await client.send(UPGRADE + b"\r\n")
        status, fields, body = await client.response()
        assert (status, fields["connection"], body) == (400, "close", b"no websocket")
        assert await client.rest() == b""
    assert client.engine.requests[0].query_string == b"EIO=4&transport=websocket"


class Echo:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def text(self, payload: bytes) -> None:
        self.messages.append(payload)

    binary = text


@pytest.mark.hostile("H49")
async def test_an_accepted_handshake_and_a_frame_in_the_same_segment() -> None:
    sink = Echo()

    async def serve(upgrade: WebSocketUpgrade) -> None:
        assert not upgrade.detached
        pipe = await upgrade.accept()
        await pipe.pump(sink, lambda: None)
        pipe.abort()

    async with connect(websocket=serve) as client:
        await client.send(UPGRADE + b"Sec-WebSocket-Protocol: one, two\r\n\r\n" + b"\x81\x85\0\0\0\0hello")
        status, fields, _ = await client.response()
        assert (status, fields["upgrade"], fields["connection"]) == (101, "websocket", "Upgrade")
        assert fields["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert fields["sec-websocket-protocol"] == "one"
        await client.stream.send_stream.aclose()
    assert sink.messages == [b"hello"]


async def test_an_error_before_the_handshake_was_answered_is_a_500() -> None:
    async def serve(upgrade: WebSocketUpgrade) -> None:
        raise RuntimeError("a bug")

    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="a bug")):
        async with connect(websocket=serve) as client:
            await client.send(UPGRADE + b"\r\n")
            assert (await client.response())[0] == 500


@pytest.mark.parametrize(
    ("status", "old", "new"),
    [
        pytest.param(426, b"Version: 13", b"Version: 12", id="version"),
        pytest.param(400, b"Sec-WebSocket-Version: 13\r\n", b"", id="no version"),
        pytest.param(400, b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"", id="no key"),
        pytest.param(400, b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZQ==", id="short key"),
        pytest.param(400, b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZ", id="bad base64"),
        pytest.param(400, b"dGhlIHNhbXBsZSBub25jZQ==", b"\xe4\xf6\xfc", id="key that is not ASCII"),
        pytest.param(400, b"GET", b"POST", id="POST"),
        pytest.param(400, b"Host: h", b"Host: h\r\nContent-Length: 3", id="body"),
        pytest.param(400, b"Host: h", b"Host: h\r\nSec-WebSocket-Protocol: a,a,,", id="protocols", marks=pytest.mark.hostile("H51")),
        pytest.param(400, b"Host: h", b"Host: h\r\nSec-WebSocket-Protocol: \xe4", id="protocol bytes", marks=pytest.mark.hostile("H51")),
    ],
)
@pytest.mark.hostile("H46")
async def test_a_handshake_that_is_refused(status: int, old: bytes, new: bytes) -> None:
    async with connect() as client:
        await client.send(UPGRADE.replace(old, new) + b"\r\n")
        got, fields, _ = await client.response()
        assert got == status
        assert fields.get("sec-websocket-version") == ("13" if status == 426 else None)
        assert await client.rest() == b""
    assert client.engine.requests == []


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"Upgrade: WebSocket", b"Upgrade: h2c"), (b"keep-alive, Upgrade", b"keep-alive"), (b"HTTP/1.1", b"HTTP/1.0")],
    ids=["h2c", "not named in Connection", "HTTP/1.0"],
)
@pytest.mark.hostile("H44")
async def test_other_upgrades_are_ignored(old: bytes, new: bytes) -> None:
    async with connect() as client:
        await client.send(UPGRADE.replace(old, new) + b"\r\n")
        assert (await client.response())[::2] == (200, b"GET EIO=4&transport=websocket ")


@pytest.mark.hostile("H48")
async def test_a_websocket_on_a_foreign_path() -> None:
    async with connect() as client:
        await client.send(UPGRADE.replace(b"/socket.io/", b"/elsewhere/") + b"\r\n")
        assert (await client.response())[0] == 404
