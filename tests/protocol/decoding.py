"""Decoding one packet, for tests."""

from __future__ import annotations

import pytest

from trio_sio.errors import DecodeError
from trio_sio.limits import Limits
from trio_sio.protocol.frames import EncodedPacket
from trio_sio.protocol.socketio import Decoder, Packet, PacketType

__all__ = ["ACK", "CONNECT", "CONNECT_ERROR", "DISCONNECT", "EVENT", "again", "decode", "refuse"]

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR = PacketType(0), PacketType(1), PacketType(2), PacketType(3), PacketType(4)


def decode(text: bytes | str, *attachments: bytes, limits: Limits | None = None, max_bytes: int = 1_000_000) -> Packet:
    decoder = Decoder(limits or Limits(), max_bytes)
    packet = decoder.text(text if isinstance(text, bytes) else text.encode())
    for attachment in attachments:
        assert packet is None
        packet = decoder.binary(attachment)
    assert packet is not None
    assert decoder.pending is None
    return packet


def again(encoded: EncodedPacket) -> Packet:
    assert encoded.text is not None
    assert encoded.text[:1] == b"4"
    return decode(encoded.text[1:], *encoded.attachments, limits=Limits(attachments=1000))


def refuse(text: bytes | str, *attachments: bytes, limits: Limits | None = None, max_bytes: int = 1_000_000) -> str:
    with pytest.raises(DecodeError) as refusal:
        decode(text, *attachments, limits=limits, max_bytes=max_bytes)
    assert len(str(refusal.value)) < 300
    return str(refusal.value)
