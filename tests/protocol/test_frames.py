from __future__ import annotations

import pytest
from websockets.frames import Close, CloseCode, Frame, Opcode

from trio_sio.protocol.frames import EncodedPacket, binary_frame, close_frame, compressed_frame, text_frame

SIZES = [0, 1, 125, 126, 127, 65_535, 65_536]


@pytest.mark.parametrize("size", SIZES)
def test_frames_are_those_of_websockets(size: int) -> None:
    payload = b"x" * size
    assert text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)
    assert binary_frame(payload) == Frame(Opcode.BINARY, payload).serialize(mask=False)
    for frame, is_text in ((text_frame(payload), True), (binary_frame(payload), False)):
        # The same with RSV1, which that library's extensions add.
        assert compressed_frame(payload, text=is_text) == bytes((frame[0] | 0x40,)) + frame[1:]


def test_close_frames_are_those_of_websockets() -> None:
    assert close_frame(None) == Frame(Opcode.CLOSE, b"").serialize(mask=False)
    assert close_frame(1001) == Frame(Opcode.CLOSE, Close(CloseCode.GOING_AWAY, "").serialize()).serialize(mask=False)


@pytest.mark.parametrize(
    ("packet", "websocket", "polling", "messages", "size"),
    [
        (EncodedPacket(b"2"), b"\x81\x012", b"2", ["2"], 1),
        (EncodedPacket("4é".encode()), b"\x81\x034\xc3\xa9", b"4\xc3\xa9", ["4é"], 3),
        (
            EncodedPacket(b"451-[]", (b"\x01\x02\x03",)),
            b"\x81\x06451-[]\x82\x03\x01\x02\x03",
            b"451-[]\x1ebAQID",
            ["451-[]", b"\x01\x02\x03"],
            9,
        ),
        (EncodedPacket(b"4", (b"a", b"")), b"\x81\x014\x82\x01a\x82\x00", b"4\x1ebYQ==\x1eb", ["4", b"a", b""], 2),
        (EncodedPacket(None, (b"\x01",)), b"\x82\x01\x01", b"bAQ==", [b"\x01"], 1),
        (EncodedPacket(None, (b"",)), b"\x82\x00", b"b", [b""], 0),
    ],
    ids=repr,
)
def test_a_packet_in_every_form(packet: EncodedPacket, websocket: bytes, polling: bytes, messages: list[str | bytes], size: int) -> None:
    assert packet.websocket == websocket
    assert packet.polling == polling
    assert list(packet.messages()) == messages
    assert packet.size == size


def test_a_large_attachment_is_one_line_of_base64() -> None:
    assert b"\n" not in EncodedPacket(None, (bytes(10_000),)).polling


def test_each_form_is_made_once() -> None:
    packet = EncodedPacket(b"4x", (b"y",))
    assert packet.websocket is packet.websocket
    assert packet.polling is packet.polling
