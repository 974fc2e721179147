"""Bodies of HTTP/1.1 requests at the native door: how large, in which chunks, and how slowly."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.doors.http_client import chunked, connect, get, post
from trio_sio.config import Config
from trio_sio.engine.door import ClientGone, HttpExchange
from trio_sio.protocol.http import Response


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
