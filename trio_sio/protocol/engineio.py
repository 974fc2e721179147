"""Engine.IO 4: packet types, the open packet, and the payload of a polling request.

A text packet is one ASCII digit and its data. On a WebSocket one packet is one message, and binary messages have no
digit; in a polling payload packets are joined with U+001E, and binary ones are ``b`` and base64. So they are on the WebSocket
of a client that has no binary messages (Node: ``forceBase64``), in text messages.
https://socket.io/docs/v4/engine-io-protocol/
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import orjson

from ..errors import EncodeError, PacketError
from .frames import EncodedPacket

__all__ = [
    "CLOSE",
    "CLOSE_PACKET",
    "MESSAGE",
    "NOOP",
    "NOOP_PACKET",
    "OPEN",
    "PING",
    "PING_PACKET",
    "PONG",
    "PROBE_PONG_PACKET",
    "RECORD_SEPARATOR",
    "UPGRADE",
    "Handshake",
    "binary_message",
    "decode_base64",
    "decode_payload",
    "encode_payloads",
    "open_packet",
    "parse_open_packet",
    "text_message",
]

# The first byte of a text packet, for comparison with ``payload[0]``.
OPEN: Final = ord("0")
CLOSE: Final = ord("1")
PING: Final = ord("2")
PONG: Final = ord("3")
MESSAGE: Final = ord("4")
UPGRADE: Final = ord("5")
NOOP: Final = ord("6")
_BINARY: Final = ord("b")

RECORD_SEPARATOR: Final = b"\x1e"

CLOSE_PACKET: Final = EncodedPacket(b"1")
PING_PACKET: Final = EncodedPacket(b"2")
PROBE_PONG_PACKET: Final = EncodedPacket(b"3probe")
NOOP_PACKET: Final = EncodedPacket(b"6")

# Clients pass pingInterval + pingTimeout to setTimeout(), which fires at once when the sum is longer.
_LONGEST_TIMER: Final = 2**31 - 1
_MAX_MILLISECONDS: Final = 2**30 - 1

_SID_LENGTH: Final = 255
_ANY_PAYLOAD: Final = 2**53 - 1  # servers of before 2022 do not say how much they take


def open_packet(sid: str, upgrades: Sequence[str], ping_interval: float, ping_timeout: float, max_payload: int) -> EncodedPacket:
    """Return the first packet of a session.

    Args:
      sid: The session's id.
      upgrades: The transports that the client may move to.
      ping_interval: Seconds; more than twelve days, and infinity, are announced as twelve days.
      ping_timeout: Seconds, likewise.
      max_payload: The largest message that the server accepts, in bytes.
    """
    handshake = {
        "sid": sid,
        "upgrades": list(upgrades),
        "pingInterval": _milliseconds(ping_interval),
        "pingTimeout": _milliseconds(ping_timeout),
        "maxPayload": max_payload,
    }
    return EncodedPacket(b"0" + orjson.dumps(handshake))


def _milliseconds(seconds: float) -> int:
    return round(min(seconds * 1000, _MAX_MILLISECONDS))


class Handshake(NamedTuple):
    """What an open packet says.

    Attributes:
      sid: The session's id.
      upgrades: The transports that it may move to.
      ping_interval: Seconds from one ping to the next.
      ping_timeout: For how many seconds more the server's ping may be missing.
      max_payload: The largest message, or POST body, that the server takes, in bytes.
    """

    sid: str
    upgrades: tuple[str, ...]
    ping_interval: float
    ping_timeout: float
    max_payload: int

    @property
    def patience(self) -> float:
        """Seconds after which a server that has not sent a ping is given up."""
        return self.ping_interval + self.ping_timeout


def parse_open_packet(packet: str | bytes) -> Handshake:
    """Return what the first packet of a session says; nothing in it is believed.

    Raises:
      PacketError: if it is no open packet, or says what cannot be.
    """
    if not isinstance(packet, str) or not packet.startswith("0"):
        raise PacketError(f"It began with {packet[:100]!r} instead of an open packet.")
    try:
        said = orjson.loads(packet[1:])
    except ValueError as exc:
        raise PacketError(f"Its open packet is not JSON: {exc}.") from exc
    if not isinstance(said, dict):
        raise PacketError("Its open packet is not an object.")
    sid, upgrades = said.get("sid"), said.get("upgrades")
    if not isinstance(sid, str) or not 1 <= len(sid) <= _SID_LENGTH or not sid.isprintable():
        raise PacketError(f"The session's id must be a string of 1 to {_SID_LENGTH} printable characters.")
    if not isinstance(upgrades, list) or not all(isinstance(name, str) for name in upgrades):
        raise PacketError("The open packet does not list the upgrades.")
    times: list[float] = []
    for name in ("pingInterval", "pingTimeout"):
        value = said.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            raise PacketError(f"{name} is {str(value)[:40]!r}, which is no time in milliseconds.")
        times.append(value)
    if sum(times) > _LONGEST_TIMER:
        raise PacketError(f"Its heartbeat of {sum(times):g} milliseconds would never notice a dead connection.")
    max_payload = said.get("maxPayload", _ANY_PAYLOAD)
    if type(max_payload) is not int or max_payload < 1:
        raise PacketError(f"maxPayload is {str(max_payload)[:40]!r}, so that nothing could be sent.")
    return Handshake(sid, tuple(upgrades), times[0] / 1000, times[1] / 1000, max_payload)


def encode_payloads(packets: Sequence[EncodedPacket], limit: int) -> Iterator[bytes]:
    """Give the bodies of the POSTs that carry ``packets``, each of at most ``limit`` bytes unless a single record is larger."""
    records: list[bytes] = []
    size = 0
    for packet in packets:
        for record in [packet.polling] if len(packet.polling) <= limit else packet.polling.split(RECORD_SEPARATOR):
            if records and size + len(RECORD_SEPARATOR) + len(record) > limit:
                yield RECORD_SEPARATOR.join(records)
                records, size = [], 0
            size += len(record) + (len(RECORD_SEPARATOR) if records else 0)
            records.append(record)
    if records:
        yield RECORD_SEPARATOR.join(records)


def decode_payload(body: bytes) -> Iterator[tuple[bool, bytes]]:
    """Split the body of a polling request, one record at a time.

    Yields:
      ``(False, packet)`` with the packet's type digit, or ``(True, data)`` for a binary message.

    Raises:
      PacketError: at once if the body is not UTF-8; otherwise when a bad record is reached, after the good ones before it.
    """
    try:
        body.decode()
    except UnicodeDecodeError as exc:
        raise PacketError("The polling payload is not valid UTF-8.") from exc
    # Found one by one, because a payload can hold half a million records and splitting would make them all at once.
    start = 0
    while start <= len(body):
        end = body.find(RECORD_SEPARATOR, start)
        if end < 0:
            end = len(body)
        if start == end:
            raise PacketError("The polling payload contains an empty packet.")
        kind = body[start]
        if OPEN <= kind <= NOOP:
            yield False, body[start:end]
        elif kind == _BINARY:
            yield True, decode_base64(body[start + 1 : end])
        else:
            raise PacketError(f"The polling payload contains a packet of unknown type: {body[start : min(end, start + 20)]!r}.")
        start = end + 1


def decode_base64(data: bytes) -> bytes:
    """Return the binary message that is written as ``b`` and ``data``.

    Raises:
      PacketError: if that is not base64, as strictly as can be.
    """
    # Strict mode still takes padding after a complete group.
    if len(data) % 4 or data.endswith(b"==="):
        raise PacketError("A binary packet is not valid base64: its padding is wrong.")
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except binascii.Error as exc:
        raise PacketError(f"A binary packet is not valid base64: {exc}.") from exc


def text_message(data: str) -> EncodedPacket:
    """Return a text message.

    Raises:
      EncodeError: if it contains U+001E, at which polling clients would cut it, or a lone surrogate.
    """
    if "\x1e" in data:
        raise EncodeError("A text message must not contain U+001E, which separates packets in polling payloads; send bytes instead.")
    try:
        return EncodedPacket(b"4" + data.encode(), compress=True)
    except UnicodeEncodeError as exc:
        raise EncodeError("A text message must not contain lone surrogates; send bytes instead.") from exc


def binary_message(data: bytes | bytearray | memoryview) -> EncodedPacket:
    """Return a binary message; ``data`` is copied unless it is `bytes`."""
    return EncodedPacket(None, (bytes(data),), compress=True)
