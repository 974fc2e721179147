"""WebSockets, server side, without I/O: RFC 6455, with room for the compressed messages of RFC 7692.

Theory of operation
===================

The two directions of a WebSocket know nothing of each other; whoever has both (the native door) lets one answer the
other. Each has one state, and a table that says how it changes.

The `FrameReceiver` gets bytes as they come, gives whole messages to a `Sink`, and keeps what else it has seen for whoever fed
it: the newest ping that is not answered yet, and why nothing more is to come. It takes a bounded number of frames at a
time and stops between two of them when it is paused, so that its owner can give others a turn; it never looks ahead
into a payload, and keeps what it has not used.

The `FrameSender` gets frames and says which bytes to write. Bytes that the wire did not take are its first ones, so that
nothing ever follows half a frame; nothing leaves behind a close frame.

The commonest frame (a whole message, masked, within the limit) is unmasked in line: 0.7 µs, where the parser of the
``websockets`` library needs 3 to 5. All other frames take a longer way here, and mean what they mean to that library: a
property test compares the two, however the bytes are cut.
"""

from __future__ import annotations

import enum
import zlib
from typing import Final, Protocol

from websockets.exceptions import ProtocolError
from websockets.frames import Close, CloseCode

from ..errors import ProtocolViolation
from .frames import close_frame, control_frame

try:
    from websockets.speedups import apply_mask
except ImportError:  # that package was built without a C compiler
    from websockets.utils import apply_mask

__all__ = ["FRAMES_PER_TURN", "FrameReceiver", "FrameSender", "Inflater", "ReceiveState", "SendState", "Sink"]

FRAMES_PER_TURN: Final = 16
"""How many frames `FrameReceiver.feed` takes at a time: a tenth of a millisecond of messages that cost something."""

INFLATED_PER_TURN: Final = 64 * 1024  # bytes after which a turn is over, where a few received ones can become many

_TURN: Final = range(FRAMES_PER_TURN)

_SHORT: Final = 125  # bytes of a payload whose length has no bytes of its own (RFC 6455, section 5.2)
_SHORT_HEAD: Final = 6  # bytes before it, where it is masked

# The first two bytes of a frame (RFC 6455, section 5.2).
_FIN: Final = 0x80
_RESERVED: Final = 0x70
_COMPRESSED: Final = 0x40  # of which the first, where permessage-deflate was negotiated (RFC 7692, section 6)
_OPCODE: Final = 0x0F
_MASKED: Final = 0x80

_CONTINUATION: Final = 0x0
_TEXT: Final = 0x1
_BINARY: Final = 0x2
_CONTROL: Final = 0x8  # the bit that all of the following have
_CLOSE: Final = 0x8
_PING: Final = 0x9
_PONG: Final = 0xA
_OPCODES: Final = frozenset((_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG))
_LONGEST_CONTROL: Final = 125  # RFC 6455, section 5.5

# The first byte of a whole message, and where it may be compressed.
_WHOLE: Final = (0x81, 0x82)
_WHOLE_OR_COMPRESSED: Final = (0x81, 0x82, 0xC1, 0xC2)


class Sink(Protocol):
    """Takes messages, in order, without ever blocking or raising."""

    def text(self, payload: bytes) -> None:
        """Take a text message: valid UTF-8, already unmasked."""

    def binary(self, payload: bytes) -> None:
        """Take a binary message."""


class Inflater(Protocol):
    """Decompresses the messages of one connection, where that was negotiated."""

    def inflate(self, data: bytes, most: int, *, last: bool) -> bytes:
        """Return what a frame of a compressed message contains, or the first ``most`` bytes of it.

        Raises:
          zlib.error: if this is not what a compressor has written.
        """

    def longest(self, size: int) -> int:
        """Return how many bytes a message of ``size`` bytes may have become by being compressed."""


class ReceiveState(enum.Enum):
    """What becomes of the bytes that arrive."""

    READING = "reading"
    PAUSED = "paused"  # they are kept
    ENDED = "ended"  # they are dropped: the peer has said goodbye, or nobody listens any more
    FAILED = "failed"  # they are dropped: the peer has broken the rules


RECEIVING: Final[dict[tuple[ReceiveState, str], ReceiveState]] = {
    (ReceiveState.READING, "pause"): ReceiveState.PAUSED,
    (ReceiveState.PAUSED, "resume"): ReceiveState.READING,
    (ReceiveState.READING, "end"): ReceiveState.ENDED,
    (ReceiveState.PAUSED, "end"): ReceiveState.ENDED,
    (ReceiveState.READING, "fail"): ReceiveState.FAILED,
}
"""How `FrameReceiver.state` changes. What is not here changes nothing."""

# Looking up a member of an enumeration costs 80 ns each time.
_READING: Final = ReceiveState.READING
_PAUSED: Final = ReceiveState.PAUSED
_LIMIT: Final = "; Config.max_http_buffer_size is the limit"


class _Message:
    """A message of which some fragments are here."""

    __slots__ = ("data", "fragments", "is_compressed", "is_text", "received")

    def __init__(self, first: int) -> None:
        self.is_text = first & _OPCODE == _TEXT
        self.is_compressed = bool(first & _COMPRESSED)
        self.data = bytearray()  # which grows, and no list: a fragment can be a single byte
        self.fragments = 0
        self.received = 0  # how many bytes came, compressed or not


class FrameReceiver:
    """Turns the bytes of a client into messages.

    Args:
      limit: How many bytes a message may have, decompressed.
      fragments: How many frames it may come in.
      inflater: What decompresses, if that was negotiated.

    Attributes:
      state: See `ReceiveState`.
      sink: Where messages go; to be set before `feed`.
      ping: The payload of the newest ping. Whoever answers it sets this to ``None``; of several that come together only the
        newest needs an answer (RFC 6455, section 5.5.3).
      answer: The close frame with which the end wants to be answered: an echo, or one that says what was wrong. Likewise.
      violation: What was wrong.
    """

    __slots__ = (
        "_buffer",
        "_fragments",
        "_inflater",
        "_limit",
        "_message",
        "_short",
        "_whole",
        "answer",
        "ping",
        "sink",
        "state",
        "violation",
    )

    def __init__(self, limit: int, fragments: int, inflater: Inflater | None = None) -> None:
        self.state = ReceiveState.READING
        self.sink: Sink
        self.ping: bytes | None = None
        self.answer: bytes | None = None
        self.violation: ProtocolViolation | None = None
        self._limit = limit
        self._short = _SHORT_HEAD + min(_SHORT, limit)  # bytes of the longest frame that is short
        self._fragments = fragments
        self._inflater = inflater
        self._whole = _WHOLE if inflater is None else _WHOLE_OR_COMPRESSED
        self._buffer = bytearray()
        self._message: _Message | None = None

    @property
    def progress(self) -> int:
        """How many bytes are here that the sink has not got."""
        return len(self._buffer) + (0 if self._message is None else len(self._message.data))

    def change(self, event: str) -> None:
        """Note an event of `RECEIVING`, other than ``"fail"``. May be called at any time, also by the sink."""
        self.state = RECEIVING.get((self.state, event), self.state)

    def feed(self, data: bytes) -> bool:
        """Take bytes, and give the messages in them to the sink, until this turn is over or the receiver is paused.

        Returns:
          Whether frames may be left for which there was no time. It is to be called again then, with ``b""``, before
          anything else is received: in the next turn, or after the pause.
        """
        buffer = self._buffer
        size = len(data)
        if (
            _SHORT_HEAD <= size <= self._short
            and data[0] == 0x81
            and data[1] == _MASKED + size - _SHORT_HEAD
            and not buffer
            and self._message is None
            and self.state is _READING
        ):
            # One short message as a whole and nothing else, as clients mostly send: the loop would do the same in twice the time.
            payload = apply_mask(data[_SHORT_HEAD:], data[2:_SHORT_HEAD])
            if payload.isascii():
                self.sink.text(payload)
            else:
                self._text(payload)
            return False
        if buffer:
            buffer += data
        source = buffer or data
        whole, limit = self._whole, self._limit
        position, end = 0, len(source)
        inflated = 0
        is_cut = False  # whether a frame has begun that is not here as a whole
        for _ in _TURN:
            if self.state is not _READING:
                break
            if end - position < 2:
                is_cut = True
                break
            first, second = source[position], source[position + 1]
            length = second & 0x7F
            start = position + 6
            if length >= 126:
                start += 2 if length == 126 else 8
                if end < start - 4:
                    is_cut = True
                    break
                length = int.from_bytes(source[position + 2 : start - 4], "big")
            is_usual = first in whole and second & _MASKED and length <= limit and self._message is None
            if not is_usual and (fault := self._fault(first, second, length)) is not None:
                self._fail(*fault)
                break
            stop = start + length
            if stop > end:
                is_cut = True
                break
            payload = apply_mask(source[start:stop], source[start - 4 : start])
            position = stop
            if is_usual and first == 0x81:
                if payload.isascii():
                    self.sink.text(payload)
                else:
                    self._text(payload)
            elif is_usual and first == 0x82:
                self.sink.binary(payload)
            else:
                inflated += self._unusual(first, payload)
                if inflated > INFLATED_PER_TURN:
                    break
        if source is buffer:
            del buffer[:position]
        elif position < end:
            buffer += source[position:]
        if self.state is not _READING and self.state is not _PAUSED:
            buffer.clear()
        return not is_cut and bool(buffer)

    def _fault(self, first: int, second: int, length: int) -> tuple[CloseCode, str] | None:
        """Return what is wrong with the head of a frame, before its payload has come."""
        opcode, message = first & _OPCODE, self._message
        wrong = None
        if opcode not in _OPCODES:
            wrong = "an unknown kind of frame"
        elif not second & _MASKED:
            wrong = "a frame that is not masked"
        elif not opcode & _CONTROL and length > self._room(first):
            return CloseCode.MESSAGE_TOO_BIG, f"the message is too large{_LIMIT}"
        elif first & _RESERVED and not (first & _RESERVED == _COMPRESSED and self._inflater is not None and opcode in (_TEXT, _BINARY)):
            wrong = "a reserved bit that is not 0"
        elif opcode & _CONTROL and length > _LONGEST_CONTROL:
            wrong = "a control frame that is too long"
        elif opcode & _CONTROL and not first & _FIN:
            wrong = "a control frame in fragments"
        elif opcode == _CONTINUATION and message is None:
            wrong = "a continuation of nothing"
        elif opcode in (_TEXT, _BINARY) and message is not None:
            wrong = "a message within another one"
        return None if wrong is None else (CloseCode.PROTOCOL_ERROR, wrong)

    def _room(self, first: int) -> int:
        """Return how many bytes the frame that begins with ``first`` may have."""
        message, inflater = self._message, self._inflater
        is_compressed = first & _COMPRESSED if message is None else message.is_compressed
        received = 0 if message is None else message.received
        return (self._limit if inflater is None or not is_compressed else inflater.longest(self._limit)) - received

    def _unusual(self, first: int, payload: bytes) -> int:
        """Use a frame that is not a whole, plain message; return how many bytes were decompressed."""
        opcode = first & _OPCODE
        if opcode == _PING:
            self.ping = payload
        elif opcode == _CLOSE:
            self._closed(payload)
        elif opcode != _PONG:
            return self._fragment(first, payload)
        return 0

    def _closed(self, payload: bytes) -> None:
        try:
            Close.parse(payload)
        except ProtocolError as error:
            self._fail(CloseCode.PROTOCOL_ERROR, str(error))
        except UnicodeDecodeError:
            self._fail(CloseCode.INVALID_DATA, "a reason that is not UTF-8")
        else:
            # It may interrupt a message (RFC 6455, section 5.4), which is then lost.
            self._message = None
            self.answer = control_frame(_CLOSE, payload)
            self.change("end")

    def _fragment(self, first: int, payload: bytes) -> int:
        message = self._message
        if message is None:
            message = self._message = _Message(first)
        message.fragments += 1
        message.received += len(payload)
        if message.fragments > self._fragments:
            self._fail(CloseCode.POLICY_VIOLATION, "too many fragments")
            return 0
        is_last = bool(first & _FIN)
        if message.is_compressed:
            inflated = self._inflate(payload, self._limit - len(message.data), last=is_last)
            if inflated is None:
                return 0
            payload = inflated
        message.data += payload
        if is_last:
            self._message = None
            if message.is_text:
                self._text(bytes(message.data))
            else:
                self.sink.binary(bytes(message.data))
        return len(payload) if message.is_compressed else 0

    def _inflate(self, data: bytes, most: int, *, last: bool) -> bytes | None:
        """Return up to ``most`` bytes; ``None`` if that was the end of the connection."""
        assert self._inflater is not None
        try:
            inflated = self._inflater.inflate(data, most + 1, last=last)
        except zlib.error:
            self._fail(CloseCode.INVALID_DATA, "a message that cannot be decompressed")
            return None
        if len(inflated) > most:
            self._fail(CloseCode.MESSAGE_TOO_BIG, f"the message is too large when decompressed{_LIMIT}")
            return None
        return inflated

    def _text(self, payload: bytes) -> None:
        try:
            payload.decode()
        except UnicodeDecodeError:
            self._fail(CloseCode.INVALID_DATA, "text that is not UTF-8")
        else:
            self.sink.text(payload)

    def _fail(self, code: CloseCode, reason: str) -> None:
        self.violation = ProtocolViolation(reason)
        # The code alone: official clients hand the reason on, and neither Node's server nor a host of another door gives one.
        self.answer = close_frame(code)
        self._message = None
        self.change("fail")


class SendState(enum.Enum):
    """What may leave."""

    IDLE = "idle"  # whatever comes, at once
    BUSY = "busy"  # first what waits or is on its way
    CLOSING = "closing"  # that, and a close frame; nothing that comes now
    CLOSED = "closed"  # nothing


SENDING: Final[dict[tuple[SendState, str], SendState]] = {
    (SendState.IDLE, "wait"): SendState.BUSY,
    (SendState.BUSY, "all sent"): SendState.IDLE,
    (SendState.IDLE, "close"): SendState.CLOSING,
    (SendState.BUSY, "close"): SendState.CLOSING,
    (SendState.CLOSING, "all sent"): SendState.CLOSED,
    **{(state, "abort"): SendState.CLOSED for state in SendState},
}
"""How `FrameSender.state` changes. What is not here changes nothing."""

_IDLE: Final = SendState.IDLE
_BUSY: Final = SendState.BUSY


class FrameSender:
    """Puts frames into the order in which they leave.

    Who finds it ``IDLE`` may write frames on their own and `push` only what the wire has refused. Otherwise `take` says
    what to write next, and `sent` how much of it is out.

    Attributes:
      state: See `SendState`.
    """

    __slots__ = ("_close", "_pong", "_waiting", "state")

    def __init__(self) -> None:
        self.state = SendState.IDLE
        self._waiting = b""  # begins with what is on its way
        self._pong = b""
        self._close = b""

    @property
    def is_open(self) -> bool:
        """Whether anything that comes now may leave."""
        return self.state is _IDLE or self.state is _BUSY

    def change(self, event: str) -> None:
        """Note an event of `SENDING`: from outside, only ``"abort"``."""
        self.state = SENDING.get((self.state, event), self.state)

    def push(self, frames: bytes) -> None:
        """Let ``frames``, or the rest of them, leave behind what waits."""
        if self.is_open:
            # "As soon as is practical" (RFC 6455, section 5.5.2): a pong goes before what has not begun to leave.
            self._waiting += self._pong + frames
            self._pong = b""
            self.change("wait")

    def pong(self, payload: bytes) -> None:
        """Answer a ping; an earlier one that is not answered yet will not be."""
        if self.is_open:
            self._pong = control_frame(_PONG, payload)
            self.change("wait")

    def close(self, frame: bytes) -> None:
        """Let ``frame`` be the last one."""
        if self.is_open:
            self._close = frame
            self.change("close")

    def take(self) -> bytes:
        """Return what is to be written now; nothing else may be written until `sent` was told of all of it."""
        self._waiting += self._pong + self._close
        self._pong = self._close = b""
        return self._waiting

    def sent(self, size: int) -> None:
        """Learn that so many of the bytes that `take` returned are out."""
        self._waiting = self._waiting[size:]
        if not (self._waiting or self._pong or self._close):
            self.change("all sent")
