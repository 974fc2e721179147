"""Hostile HTTP, section H of the catalogue: requests to become a WebSocket."""

from __future__ import annotations

from typing import Final

import pytest
import trio

from tests.hostile.http import status
from tests.hostile.journal import Journal
from tests.hostile.victim import BOUND, WEBSOCKET, Victim, native_only
from trio_sio.testing.raw import RawHttp

UPGRADE: Final = (
    f"GET /socket.io/?{WEBSOCKET} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.hostile("H46", "H51")
@native_only
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("Version: 13", "Version: 12", 426),
        ("Version: 13", "Version: x", 426),
        ("Sec-WebSocket-Version: 13\r\n", "", 400),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhl", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "\xe9", 400),
        ("GET", "POST", 400),
        ("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n", 400),
        ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: a,a,,\r\n\r\n", 400),
        ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: \xe9\r\n\r\n", 400),
        ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: a b\r\n\r\n", 400),
    ],
)
async def test_bad_handshake(victim: Victim, old: str, new: str, expected: int) -> None:
    answer = await victim.say(UPGRADE.replace(old, new).replace("Connection: Upgrade", "Connection: Upgrade, close").encode("latin-1"))

    assert status(answer) == expected
    assert (expected == 426) == (b"Sec-WebSocket-Version: 13\r\n" in answer)


@pytest.mark.hostile("H48")
async def test_foreign_path(victim: Victim, journal: Journal) -> None:
    for path in ("/", "/elsewhere/", "/socket.io/zzz/", "/socket.iox/"):
        assert (await victim.refusal(WEBSOCKET, path=path)).status == 404
    if victim.door == "native":
        journal.expect("INFO A Socket.IO client asked for ", times=4)


@pytest.mark.hostile("H49")
@native_only
async def test_frames_behind_the_handshake(victim: Victim) -> None:
    stream = await victim.connect()
    frames = b"".join(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text.encode() for text in ("3", "6", "40"))

    await stream.send_all(UPGRADE.encode() + frames)

    answer = b""
    with trio.fail_after(BOUND):
        while b"40{" not in answer:
            answer += await stream.receive_some(4_096)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert answer.index(b'0{"sid"') < answer.index(b'40{"sid"')


@pytest.mark.hostile("H50")
@native_only
async def test_stray_bytes_behind_the_handshake(victim: Victim, journal: Journal) -> None:
    answer = await victim.say(UPGRADE.encode() + b"\r\n")

    assert answer.endswith(b"\x03\xea", answer.index(b"\x88"), answer.index(b"\x88") + 4)
    journal.expect("INFO .* ended: transport error")


@pytest.mark.hostile("H52")
@native_only
@pytest.mark.parametrize("offer", ["permessage-deflate; client_max_window_bits=99", ";;;", "x" * 1_000, "permessage-deflate"])
async def test_extensions_are_declined(victim: Victim, offer: str) -> None:
    http = RawHttp(await victim.connect())
    fields = dict(line.split(": ") for line in UPGRADE.split("\r\n")[2:-2])
    with trio.fail_after(BOUND):
        await http.send("GET", f"/socket.io/?{WEBSOCKET}", headers=fields | {"Sec-WebSocket-Extensions": offer})
        response = await http.receive()

    assert response.status == 101
    assert "sec-websocket-extensions" not in response.headers
