"""The msgpack parser and the official one agree, byte for byte; and a client that has another parser than the server is told so.

That the official client gets along with our server is proved by test_official_client.py, which runs with both parsers.
"""

from __future__ import annotations

import json
import logging
import math
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from msgspec.structs import astuple

from tests.conformance.app import CONFIG, make_server
from tests.conformance.doors import open_door
from tests.conformance.official import MODES, play
from tests.conftest import require_tool
from trio_sio import Limits
from trio_sio.protocol.frames import EncodedPacket
from trio_sio.protocol.msgpack import Decoder, encode_ack, encode_connect, encode_connect_error, encode_disconnect, encode_event
from trio_sio.protocol.socketio import Packet, PacketType

pytestmark = pytest.mark.needs("node", "socket.io-client", "socket.io-msgpack-parser")

PROGRAM: Final = Path(__file__).parent / "javascript" / "msgpack.cjs"

POSITIVE = [0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**31, 2**32 - 1, 2**32, 2**53, 2**63, 2**64 - 2048]
NEGATIVE = [-1, -32, -33, -128, -129, -32_768, -32_769, -(2**31), -(2**31) - 1, -(2**32), -(2**53), -(2**63)]
STRINGS = [0, 1, 31, 32, 33, 255, 256, 65_535, 65_536]
BYTES = [0, 1, 32, 33, 255, 256, 65_535, 65_536]

# The packets that the program calls SAME.
OURS: Final[dict[str, EncodedPacket]] = {
    "connect": encode_connect("/", None),
    "connect with auth": encode_connect("/chat", {"token": "é", "nested": {"list": [1, None, True]}}),
    "connected": encode_connect("/", {"sid": "abcdefghijklmnopqrst"}),
    "disconnect": encode_disconnect("/chat"),
    "event": encode_event("/", ["message", 1, "2", {"3": [False]}]),
    "event with an ack id": encode_event("/", ["x"], 0),
    "large ack id": encode_event("/", ["x"], 2**53 - 1),
    "ack": encode_ack("/", 456, ()),
    "ack with values": encode_ack("/admin", 7, (None, "x", b"x")),
    "refusal": encode_connect_error("/guarded", "bad token", {"code": 4001}),
    "invalid namespace": encode_connect_error("/nowhere", "Invalid namespace"),
    "integers": encode_event("/", ["x", *POSITIVE]),
    "negative integers": encode_event("/", ["x", *NEGATIVE]),
    "floats": encode_event("/", ["x", 1.5, -0.1, 5e-324, 123456789.123, math.nan, math.inf, -math.inf]),
    "strings": encode_event("/", ["x", *("a" * length for length in STRINGS)]),
    "text": encode_event("/é", ["événement 🎉", "", "漢字", "\0", "🙂" * 20]),
    "bytes": encode_event("/", ["x", *(b"\x07" * length for length in BYTES)]),
    "arrays": encode_event("/", ["x", *([None] * length for length in (0, 15, 16, 65_535, 65_536))]),
    "objects": encode_event("/", ["x", *({f"k{index}": index for index in range(length)} for length in (0, 15, 16, 65_536))]),
    "dates": encode_event(
        "/",
        [
            "x",
            datetime(1970, 1, 1, tzinfo=UTC),
            datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
            datetime(2025, 7, 1, 12, 30, 0, 123_000, tzinfo=UTC),
            datetime(1, 1, 1, tzinfo=UTC),
        ],
    ),
}


@pytest.fixture(scope="module")
def answer() -> dict[str, dict[str, str]]:
    """What the program says to our packets."""
    require_tool("node", "socket.io-msgpack-parser")
    ours = json.dumps({name: message(packet).hex() for name, packet in OURS.items()})
    completed = subprocess.run(["node", str(PROGRAM)], input=ours, capture_output=True, text=True, timeout=30, check=False)
    assert completed.returncode == 0, completed.stderr
    result: dict[str, dict[str, str]] = json.loads(completed.stdout)
    return result


def message(packet: EncodedPacket) -> bytes:
    (only,) = packet.attachments
    return only


def decode(digits: str) -> Packet:
    packet = Decoder(Limits(), 10_000_000).binary(bytes.fromhex(digits))
    assert packet is not None
    return packet


def test_we_encode_as_the_official_parser_does(answer: dict[str, dict[str, str]]) -> None:
    assert list(answer["same"]) == list(OURS)
    for name, packet in OURS.items():
        assert message(packet).hex() == answer["same"][name], name


def test_the_official_parser_decodes_what_we_encode(answer: dict[str, dict[str, str]]) -> None:
    assert answer["back"] == answer["same"]


def test_we_decode_what_the_official_parser_encodes(answer: dict[str, dict[str, str]]) -> None:
    for name, digits in answer["same"].items():
        packet = decode(digits)
        match packet.type:
            case PacketType.CONNECT:
                again = encode_connect(packet.namespace, packet.data or None)
            case PacketType.DISCONNECT:
                again = encode_disconnect(packet.namespace)
            case PacketType.EVENT:
                again = encode_event(packet.namespace, packet.data, packet.id)
            case PacketType.ACK:
                assert packet.id is not None
                again = encode_ack(packet.namespace, packet.id, packet.data)
            case _:
                again = encode_connect_error(packet.namespace, packet.data["message"], packet.data.get("data"))
        assert message(again).hex() == digits, name


@pytest.mark.parametrize(
    ("name", "packet"),
    [
        ("undefined", (PacketType.EVENT, "/", ["x", None, {"a": None}], None)),
        ("undefined fields", (PacketType.CONNECT, "/", {}, None)),
        ("options", (PacketType.EVENT, "/", ["x"], None)),
        ("buffers", (PacketType.EVENT, "/", ["x", *(bytes(length) for length in (0, 1, 8, 256, 65_536))], None)),
        ("views", (PacketType.EVENT, "/", ["x", b"\x00", b"\x01\x02", b"\x00\x00\x00\x00\x00\x00\xf8\x3f"], None)),
        # Short text is encoded by the library itself, which takes a lone surrogate for half a pair.
        ("surrogates", (PacketType.EVENT, "/", ["x", "a\U00010000", "\ufffd and more than thirty-two characters"], None)),
        ("whole floats", (PacketType.EVENT, "/", ["x", 1, 0], None)),
    ],
)
def test_we_decode_what_only_javascript_has(answer: dict[str, dict[str, str]], name: str, packet: tuple[object, ...]) -> None:
    assert astuple(decode(answer["theirs"][name]))[:4] == packet


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("server", "client", "complaint"),
    [
        ("msgpack", "json", "A text message arrived, and msgpack has binary ones only"),
        ("json", "msgpack", "A binary message arrived that no packet announced"),
    ],
)
async def test_a_client_with_another_parser_is_told_so(
    caplog: pytest.LogCaptureFixture, mode: str, server: Any, client: str, complaint: str
) -> None:
    with caplog.at_level(logging.INFO, "trio_sio"), trio.fail_after(30):
        async with open_door("native", partial(make_server, replace(CONFIG, parser=server))) as door:
            report = await play(door.url, mode, "mismatch", parser=client)
    result = report["another_parser"]
    assert result["connected"] is False
    assert result["reason"] in ({"transport error", "transport close"} if mode != "websocket" else {"transport close"})
    assert any(complaint in record.getMessage() and "Config.parser" in record.getMessage() for record in caplog.records)
