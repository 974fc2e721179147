"""Frames as clients send them, and what they mean to the ``websockets`` library."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

LIMIT, FRAGMENTS = 200, 3
MASK = b"\x01\x80\x7f\xff"

Message = tuple[str, bytes]


def frame(opcode: int, payload: bytes, *, fin: bool = True, reserved: int = 0, masked: bool = True, width: int = 0) -> bytes:
    """One frame as a client sends it; ``width``: 0, 2 or 8 bytes of length where fewer might do."""
    head = bytes([fin << 7 | reserved << 4 | opcode])
    if width == 8 or len(payload) > 0xFFFF:
        head += struct.pack("!BQ", masked << 7 | 127, len(payload))
    elif width == 2 or len(payload) > 125:
        head += struct.pack("!BH", masked << 7 | 126, len(payload))
    else:
        head += bytes([masked << 7 | len(payload)])
    if not masked:
        return head + payload
    return head + MASK + bytes(byte ^ MASK[index % 4] for index, byte in enumerate(payload))


def cut(data: bytes, places: Sequence[int]) -> Iterator[bytes]:
    borders = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    for start, stop in itertools.pairwise(borders):
        yield data[start:stop]


class Sink:
    """Notes down the messages that it gets."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def text(self, payload: bytes) -> None:
        self._note("text", payload)

    def binary(self, payload: bytes) -> None:
        self._note("binary", payload)

    def _note(self, kind: str, payload: bytes) -> None:
        assert type(payload) is bytes
        self.messages.append((kind, payload))


class Result(NamedTuple):
    messages: list[Message]
    close_code: int | None
    violation: bool


def close_code(sent: bytes) -> int | None:
    """The code of the close frame among ``sent``; 1005 if it has none, ``None`` if there is no close frame."""
    client = Protocol(Side.CLIENT, max_size=None)
    client.receive_data(sent)
    codes = [item for item in client.events_received() if isinstance(item, Frame) and item.opcode is Opcode.CLOSE]
    if not codes:
        return None
    return struct.unpack("!H", codes[0].data[:2])[0] if codes[0].data else 1005


def through_the_library(sent: Sequence[bytes]) -> Result:
    """What the library makes of whole frames; UTF-8, the number of fragments, and a close frame amid a message added."""
    parser, amid = Protocol(Side.SERVER, max_size=LIMIT), False
    items = []
    for piece in sent:
        if piece[0] == 0x88 and amid and parser.parser_exc is None:
            parser = Protocol(Side.SERVER, max_size=LIMIT)
        # It counts control frames amid a message against the limit of that message, which the RFC does not know.
        parser.max_message_size = None if piece[0] & 0x08 else LIMIT
        parser.receive_data(piece)
        for item in (new := parser.events_received()):
            if isinstance(item, Frame) and item.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                amid = not item.fin
        items += new
    messages, parts = list[Message](), list[Frame]()
    for item in items:
        assert isinstance(item, Frame)
        if item.opcode is Opcode.CLOSE:
            break
        if item.opcode in (Opcode.PING, Opcode.PONG):
            continue
        parts.append(item)
        if len(parts) > FRAGMENTS:
            return Result(messages, 1008, True)
        if not item.fin:
            continue
        payload, kind = b"".join(part.data for part in parts), parts[0].opcode
        parts = []
        if kind is Opcode.TEXT:
            try:
                payload.decode()
            except UnicodeDecodeError:
                return Result(messages, 1007, True)
        messages.append(("text" if kind is Opcode.TEXT else "binary", payload))
    return Result(messages, close_code(b"".join(parser.data_to_send())), parser.parser_exc is not None)


payloads = st.one_of(
    st.text(max_size=20).map(str.encode),
    st.binary(max_size=10),
    st.integers(120, LIMIT + 2).map(lambda size: b"x" * size),
)
frames = st.one_of(
    # Most are good, so that there is something behind most of the others.
    st.builds(frame, st.sampled_from([1, 2]), payloads, width=st.sampled_from([0, 2, 8])),
    st.builds(frame, st.sampled_from([0, 1, 2]), payloads, fin=st.booleans()),
    st.builds(frame, st.sampled_from([8, 9, 10]), st.sampled_from([b"", b"\x03\xe8", b"\x03\xe8bye", b"\x03\xec", b"\x03", b"x" * 126])),
    st.builds(
        frame,
        st.integers(0, 15),
        payloads,
        fin=st.booleans(),
        reserved=st.sampled_from([0, 0, 0, 1, 2, 4]),
        masked=st.sampled_from([True, True, True, False]),
    ),
)
