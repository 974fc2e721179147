"""The raw clients, byte by byte."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from tests.testing.scripted import ScriptedServer
from trio_sio.testing.raw import RawHttp, RawWebSocket, UpgradeRefused, WebSocketClosed

SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


async def receive_exactly(stream: trio.abc.ReceiveStream, expected: bytes) -> None:
    received = b""
    while len(received) < len(expected):
        data = await stream.receive_some()
        assert data, received
        received += data
    assert received == expected


async def test_http_keeps_the_connection_alive() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    http = RawHttp(ours, host="example.org")

    await theirs.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-One: a\r\nX-One: b\r\n\r\nok")
    first = await http.request("GET", "/one?a=%20")
    assert http.keep_alive
    await theirs.send_all(b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n")
    second = await http.request("POST", "/two", headers={"Cookie": "io=1"}, body="é")

    assert (first.status, first.headers["x-one"], first.body) == (200, "a, b", b"ok")
    assert (second.status, second.body) == (400, b"no")
    await receive_exactly(
        theirs,
        b"GET /one?a=%20 HTTP/1.1\r\nHost: example.org\r\n\r\n"
        b"POST /two HTTP/1.1\r\nHost: example.org\r\nCookie: io=1\r\nContent-Length: 2\r\n\r\n\xc3\xa9",
    )


async def test_http_passes_over_interim_responses() -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    await theirs.send_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")

    assert (await RawHttp(ours).request("GET", "/")).status == 204


async def test_http_knows_when_the_server_closes() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    http = RawHttp(ours)

    await theirs.send_all(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    await theirs.send_eof()

    assert (await http.request("GET", "/")).status == 413
    assert not http.keep_alive
    await http.wait_closed()


async def test_http_wait_closed_reports_what_else_the_server_says() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    http = RawHttp(ours)

    await theirs.send_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n1")
    await http.request("GET", "/")

    await theirs.send_eof()
    with pytest.raises(AssertionError, match="b'1'"):
        await http.wait_closed()


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n123", b"HTTP/1.1 2"])
async def test_http_raises_when_the_response_is_not_complete(sent: bytes) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    if sent:
        await theirs.send_all(sent)
    await theirs.send_eof()

    with pytest.raises(trio.BrokenResourceError):
        await RawHttp(ours).request("GET", "/")


async def test_http_closes_its_stream_when_the_block_ends() -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    async with RawHttp(ours):
        pass

    assert await theirs.receive_some() == b""


async def test_websocket_handshake() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    # The first message comes with the response, in one piece.
    await theirs.send_all(SWITCHING + b"\x81\x02hi")

    websocket = await RawWebSocket.open(ours, "/path?a=b", headers={"Origin": "http://page.example"}, host="example.org")

    await receive_exactly(
        theirs,
        b"GET /path?a=b HTTP/1.1\r\n"
        b"Host: example.org\r\n"
        b"Connection: Upgrade\r\n"
        b"Upgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Origin: http://page.example\r\n\r\n",
    )
    assert await websocket.receive() == "hi"


async def test_websocket_handshake_refused() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")

    with pytest.raises(UpgradeRefused) as refused:
        await RawWebSocket.open(ours, "/")

    assert (refused.value.response.status, refused.value.response.body) == (403, b"no")


async def test_websocket_handshake_with_a_wrong_key() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(SWITCHING.replace(b"s3p", b"abc"))

    with pytest.raises(AssertionError, match="Sec-WebSocket-Accept"):
        await RawWebSocket.open(ours, "/")


async def test_websocket_exchanges_messages() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    websocket, server = RawWebSocket(ours), await accepted(theirs)

    await websocket.send("é")
    await websocket.send(b"\x00\xff")
    await server.send("ü", b"\x01")

    assert await server.receive() == "é"
    assert await server.receive() == b"\x00\xff"
    assert await websocket.receive() == "ü"
    assert await websocket.receive() == b"\x01"


async def accepted(stream: trio.abc.Stream) -> ScriptedServer:
    """Return a server behind a handshake that took place elsewhere."""
    handshake, handshake_end = trio.testing.memory_stream_pair()
    server = ScriptedServer(handshake_end)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(RawWebSocket.open, handshake, "/")
        await server.accept()
    server.stream = stream
    return server


async def test_websocket_puts_fragments_together() -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    # The character é, cut in two, with a ping between the fragments.
    await theirs.send_all(b"\x01\x01\xc3" + b"\x89\x01!" + b"\x80\x01\xa9" + b"\x82\x01\xc3")
    websocket = RawWebSocket(ours)

    assert await websocket.receive() == "é"
    assert await websocket.receive() == b"\xc3"


async def test_websocket_answers_pings() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    websocket, server = RawWebSocket(ours), await accepted(theirs)

    await server.ping(b"payload")
    await server.send("next")

    assert await websocket.receive() == "next"
    assert await server.receive() == b"pong payload"


@pytest.mark.parametrize(("sent", "code"), [(b"\x88\x02\x03\xe9", 1001), (b"\x88\x00", 1005), (b"", 1006), (b"\x81\x7e", 1006)])
async def test_websocket_tells_how_the_server_closed(sent: bytes, code: int) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    websocket = RawWebSocket(ours)
    assert websocket.close_code is None

    await theirs.send_all(b"\x81\x04last" + sent)
    await theirs.aclose()

    assert await websocket.receive() == "last"
    for _ in range(2):
        with pytest.raises(WebSocketClosed) as closed:
            await websocket.receive()
        assert closed.value.code == websocket.close_code == code


async def test_websocket_takes_a_reset_for_a_close_without_a_close_frame() -> None:
    async def reset() -> None:
        raise trio.BrokenResourceError

    ours, _theirs = trio.testing.memory_stream_pair()
    ours.receive_stream.receive_some_hook = reset

    with pytest.raises(WebSocketClosed) as closed:
        await RawWebSocket(ours).receive()

    assert closed.value.code == 1006


async def test_websocket_does_not_send_after_the_close_frame() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    websocket = RawWebSocket(ours)
    await theirs.send_all(b"\x88\x02\x03\xf0")
    with pytest.raises(WebSocketClosed):
        await websocket.receive()

    with pytest.raises(WebSocketClosed) as closed:
        await websocket.send("too late")

    assert closed.value.code == 1008


async def test_websocket_close_makes_the_closing_handshake() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    websocket, server = RawWebSocket(ours), await accepted(theirs)
    await server.send("before")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_when_closed, server)
        assert await websocket.close(4000) == 4000

    assert server.close_code == 4000
    assert await websocket.receive() == "before"


async def end_when_closed(server: ScriptedServer) -> None:
    await server.receive_close()
    await server.stream.aclose()


@pytest.mark.parametrize(
    ("length", "head"),
    [(125, b"\x82\xfd"), (126, b"\x82\xfe\x00\x7e"), (65_535, b"\x82\xfe\xff\xff"), (65_536, b"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00")],
)
async def test_websocket_sends_frames_of_every_length(length: int, head: bytes) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    await RawWebSocket(ours).send_frame(2, b"x" * length)

    await receive_exactly(theirs, head + bytes(4) + b"x" * length)


@pytest.mark.parametrize(
    ("send", "expected"),
    [
        (lambda ws: ws.send_frame(1, b"a", fin=False), b"\x01\x81\0\0\0\0a"),
        (lambda ws: ws.send_frame(1, b"a", masked=False), b"\x81\x01a"),
        (lambda ws: ws.send_frame(15, b"", reserved=7), b"\xff\x80\0\0\0\0"),
        (lambda ws: ws.send_bytes(b"\x81"), b"\x81"),
    ],
)
async def test_websocket_sends_wrong_frames_too(send: Callable[[RawWebSocket], Awaitable[None]], expected: bytes) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    await send(RawWebSocket(ours))

    await receive_exactly(theirs, expected)


async def test_websocket_does_not_forgive_a_masked_frame() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(b"\x81\x81\0\0\0\0a")

    with pytest.raises(AssertionError, match="RFC 6455"):
        await RawWebSocket(ours).receive()


async def test_websocket_sends_nothing_after_half_a_frame() -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    websocket = RawWebSocket(ours)

    async def take_one_byte(scope: trio.CancelScope) -> None:
        assert await theirs.receive_some(1) == b"\x81"
        scope.cancel()

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_one_byte, scope)
        with scope:
            await websocket.send("hello")

    with pytest.raises(trio.ClosedResourceError):
        await websocket.send("again")


async def test_websocket_closes_its_stream_when_the_block_ends() -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    async with RawWebSocket(ours):
        pass

    assert await theirs.receive_some() == b""
