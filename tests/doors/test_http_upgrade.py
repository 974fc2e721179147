"""Handshakes of WebSockets at the native door: what the engine gets, and what is refused before."""

from __future__ import annotations

import pytest

from tests.doors.http_client import connect
from trio_sio.engine.door import WebSocketUpgrade

UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


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
