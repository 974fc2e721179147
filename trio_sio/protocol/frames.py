"""Outgoing packets in the form in which they leave: encoded once, framed once per kind of transport.

A broadcast hands the same `EncodedPacket` to every member, so what is computed here is computed once, not per member.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Iterator, Sequence
from typing import Final

__all__ = ["EncodedPacket", "binary_frame", "close_frame", "compressed_frame", "control_frame", "text_frame"]

# The first byte of a frame: FIN and the opcode (RFC 6455, section 5.2).
_TEXT: Final = 0x81
_BINARY: Final = 0x82
_CLOSE: Final = 0x88

_FIN: Final = 0x80

# RSV1, which marks a message as compressed (RFC 7692, section 6).
_COMPRESSED: Final = 0x40

# Most messages are this short, and looking a header up costs a third of building it.
_SHORT: Final = 126
_SHORT_TEXT_HEADERS: Final = tuple(bytes((_TEXT, length)) for length in range(_SHORT))


class EncodedPacket:
    """One outgoing packet with its attachments: what `Outbox`, transports and doors pass around.

    Args:
      text: The Engine.IO text packet with its type digit, such as ``b'42["a",1]'``; ``None`` for a bare binary message.
      attachments: The binary Engine.IO messages that follow it, with nothing in between.
      droppable: Whether the packet may be discarded for a slow client: an EVENT without an ack id.
      compress: Whether it may be compressed for each client that can do it. ``None``: on a WebSocket not, because it is sent to
        many, for whom it is framed once, and with whatever else answers a poll.

    Attributes:
      size: Payload bytes in all, before any framing.
    """

    __slots__ = ("_polling", "_websocket", "attachments", "compress", "droppable", "size", "text")

    # Not by keyword alone: one is made per emit, and with keywords that takes half as long again.
    def __init__(
        self, text: bytes | None, attachments: Sequence[bytes] = (), droppable: bool = False, compress: bool | None = None
    ) -> None:
        self.text = text
        self.attachments = attachments
        self.droppable = droppable
        self.compress = compress
        self.size = len(text) if text is not None else 0
        if attachments:
            self.size += sum(map(len, attachments))
        self._websocket: bytes | None = None
        self._polling: bytes | None = None

    def __repr__(self) -> str:
        return f"<EncodedPacket {self.text!r:.60} attachments={len(self.attachments)} size={self.size}>"

    @property
    def websocket(self) -> bytes:
        """The packet as unmasked WebSocket frames, one after the other; made on first use and kept."""
        if self._websocket is None:
            if self.attachments:
                frames = [] if self.text is None else [text_frame(self.text)]
                frames.extend(map(binary_frame, self.attachments))
                self._websocket = b"".join(frames)
            else:
                self._websocket = b"" if self.text is None else text_frame(self.text)
        return self._websocket

    @property
    def polling(self) -> bytes:
        """The packet as records of a polling payload; made on first use and kept."""
        if self._polling is None:
            records = [] if self.text is None else [self.text]
            records.extend(b"b" + binascii.b2a_base64(attachment, newline=False) for attachment in self.attachments)
            self._polling = b"\x1e".join(records)
        return self._polling

    def without_binary(self) -> list[EncodedPacket]:
        """Return packets that say the same in text messages only, one each, for a client that has asked for that."""
        if not self.attachments:
            return [self]
        return [EncodedPacket(record, compress=self.compress) for record in self.polling.split(b"\x1e")]

    def messages(self) -> Iterator[str | bytes]:
        """Give the WebSocket messages, for hosts that do the framing themselves."""
        if self.text is not None:
            yield self.text.decode()
        yield from self.attachments


def text_frame(payload: bytes) -> bytes:
    """Return one unfragmented, unmasked text frame (RFC 6455, section 5.6)."""
    length = len(payload)
    if length < _SHORT:
        return _SHORT_TEXT_HEADERS[length] + payload
    return _header(_TEXT, length) + payload


def binary_frame(payload: bytes) -> bytes:
    """Return one unfragmented, unmasked binary frame (RFC 6455, section 5.6)."""
    return _header(_BINARY, len(payload)) + payload


def compressed_frame(payload: bytes, *, text: bool) -> bytes:
    """Return one unfragmented, unmasked frame whose payload is compressed (RFC 7692, section 7.2.1)."""
    return _header((_TEXT if text else _BINARY) | _COMPRESSED, len(payload)) + payload


def close_frame(code: int | None) -> bytes:
    """Return a close frame with that status, or without one (RFC 6455, section 5.5.1)."""
    return bytes((_CLOSE, 0)) if code is None else struct.pack("!BBH", _CLOSE, 2, code)


def control_frame(opcode: int, payload: bytes) -> bytes:
    """Return a ping, a pong or a close frame whose payload, at most 125 bytes, is known (RFC 6455, section 5.5)."""
    return bytes((_FIN | opcode, len(payload))) + payload


def _header(first: int, length: int) -> bytes:
    if length < _SHORT:
        return bytes((first, length))
    if length < 1 << 16:
        return struct.pack("!BBH", first, 126, length)
    return struct.pack("!BBQ", first, 127, length)
