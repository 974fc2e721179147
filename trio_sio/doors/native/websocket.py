"""A WebSocket of the native door (`trio_sio.engine.door.WebSocketPipe`) over a `Wire`.

Incoming frames: we find their borders ourselves, and unmask the commonest kind (a complete, unfragmented text or binary
frame within the limit) in line: 0.7 µs instead of 3 to 5. Every other frame goes, whole, to the ``websockets`` library's
parser, which knows the RFC; it is made when it is first needed. The hand-over is always at the border of a frame, and a
property test compares the two. What that parser leaves to us: UTF-8 of text, the number of fragments, that a flood of
pings queues one pong, not thousands, and compression, of which it is not told.
"""

from __future__ import annotations

import logging
import socket
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Protocol, Side
from websockets.protocol import State as ProtocolState
from websockets.speedups import apply_mask

from ...engine.wakeup import Wakeup
from ...errors import ProtocolViolation
from ...log import get_logger
from ...protocol.frames import EncodedPacket, close_frame
from .deflate import most_compressed
from .wire import SocketWire, StreamWire

if TYPE_CHECKING:
    from ...config import Config
    from ...engine.door import MessageSink
    from .buffered import BufferedStream
    from .deflate import Deflate
    from .readiness import Readiness
    from .wire import Wire

__all__ = ["NativePipe", "open_pipe"]

_MASKED: Final = 0x80
_COMPRESSED: Final = 0x40  # RSV1, where permessage-deflate was negotiated (RFC 7692, section 6)

# The first byte of a whole message: FIN, text or binary; and where they may be compressed.
_WHOLE: Final = (0x81, 0x82)
_WHOLE_OR_COMPRESSED: Final = (0x81, 0x82, 0xC1, 0xC2)

# websockets logs each closed connection at INFO; ours do that themselves.
_parser_logger = get_logger("trio_sio.doors.native.frames")
_parser_logger.setLevel(logging.WARNING)


def open_pipe(
    buffered: BufferedStream, sock: socket.socket | None, config: Config, readiness: Readiness | None, deflate: Deflate | None = None
) -> NativePipe:
    """Take a connection over after the 101 response.

    Args:
      buffered: Its stream, with what was received behind the request.
      sock: The socket below it, if it is a plain one.
      config: The limits and time-outs.
      readiness: Who receives for plain sockets; ``None`` where there is no epoll.
      deflate: What compresses, if that was negotiated.
    """
    received = buffered.take(len(buffered.buffer))
    if sock is None or readiness is None:
        return NativePipe(StreamWire(buffered), config, received, deflate)
    return NativePipe(SocketWire(sock, readiness, config.write_stall_timeout), config, received, deflate)


class NativePipe:
    """One WebSocket, server side.

    Args:
      wire: The bytes, owned from now on.
      config: The limits and time-outs.
      received: Bytes that came behind the handshake.
      deflate: What compresses, if that was negotiated.
    """

    def __init__(self, wire: Wire, config: Config, received: bytes, deflate: Deflate | None = None) -> None:
        self.nonblocking = wire.nonblocking
        self._wire = wire
        self._config = config
        self._limit = config.max_http_buffer_size
        self._deflate = deflate
        self._whole = _WHOLE if deflate is None else _WHOLE_OR_COMPRESSED
        self._buffer = bytearray(received)
        self._sink: MessageSink
        self._write: Callable[[], None]
        # The library's parser, how many bytes of the current frame it still has to get, and the message it is amid.
        self._parser: Protocol | None = None
        self._parser_owes = 0
        self._parser_has = 0  # how many bytes of it it has got
        self._fragments = 0
        self._message = bytearray()
        self._message_is_text = False
        self._message_is_compressed = False
        # Output: what the kernel refused, and frames of our own (one pong, one close frame).
        self._rest = b""
        self._pong = b""
        self._close_frame = b""
        self._close_sent = False
        self._ended = False  # nothing that arrives matters any more
        self._aborted = False
        self._violation: ProtocolViolation | None = None
        self._said = Wakeup()  # whoever waits until the close frame is out

    @property
    def progress(self) -> int:
        """See `WebSocketPipe.progress`."""
        return len(self._buffer) + self._parser_has + len(self._message) + self._wire.in_flight

    # Receiving.

    async def pump(self, sink: MessageSink, write: Callable[[], None]) -> None:
        """See `WebSocketPipe.pump`."""
        self._sink, self._write = sink, write
        received, self._buffer = bytes(self._buffer), bytearray()
        self._feed(received)
        if not self._ended:
            await self._wire.receive(self._feed)
        if self._violation is not None:
            raise self._violation

    async def linger(self) -> None:
        """See `WebSocketPipe.linger`."""
        if not self._close_sent:
            await trio.lowlevel.checkpoint()
            return
        while (self._close_frame or self._rest) and not self._aborted:
            await self._said.wait()
        if self._violation is not None and not self._aborted:
            await self._wire.discard()

    def pause(self) -> None:
        """See `WebSocketPipe.pause`."""
        self._wire.pause()

    def resume(self) -> None:
        """See `WebSocketPipe.resume`."""
        self._wire.resume()

    def _feed(self, data: bytes | bytearray) -> None:
        """Take bytes from the wire and give the messages in them to the sink."""
        if self._buffer:
            self._buffer += data
            data = self._buffer
        position, end = 0, len(data)
        if self._parser_owes:
            position = self._feed_parser(data, 0, self._parser_owes)
        while end - position >= 2 and not self._ended:
            first, second = data[position], data[position + 1]
            length = second & 0x7F
            start = position + 6
            if length >= 126:
                start += 2 if length == 126 else 8
                if end < start - 4:
                    break
                length = int.from_bytes(data[position + 2 : start - 4], "big")
            stop = start + length
            if first in self._whole and second & _MASKED and length <= self._limit and not self._fragments:
                if stop > end:
                    break
                payload = apply_mask(data[start:stop], data[start - 4 : start])
                position = stop
                if first == 0x81:
                    self._text(payload)
                elif first == 0x82:
                    self._sink.binary(payload)
                elif (inflated := self._inflate(payload, last=True)) is not None:
                    self._deliver(inflated, is_text=first == 0xC1)
            else:
                if first == 0x88 and self._fragments:
                    # A close frame may interrupt a message (RFC 6455, section 5.4); this parser, knowing of one, would call it a fault.
                    self._parser, self._message, self._fragments = None, bytearray(), 0
                position = self._feed_parser(data, position, (stop if second & _MASKED else stop - 4) - position)
        if data is self._buffer:
            del self._buffer[:position]
        elif position < end and not self._ended:
            self._buffer += data[position:]

    def _text(self, payload: bytes) -> None:
        if not payload.isascii():
            try:
                payload.decode()
            except UnicodeDecodeError:
                self._fail(CloseCode.INVALID_DATA, "text that is not UTF-8")
                return
        self._sink.text(payload)

    def _feed_parser(self, data: bytes | bytearray, position: int, size: int) -> int:
        """Give the parser up to ``size`` bytes, which are one frame or its rest; return the position behind them."""
        stop = min(position + size, len(data))
        parser = self._parser
        if parser is None:
            limit = self._limit if self._deflate is None else most_compressed(self._limit)
            parser = self._parser = Protocol(Side.SERVER, max_size=limit, logger=_parser_logger)
        if self._deflate is not None and not self._parser_owes and data[position] & 0x4F in (0x41, 0x42):
            # Without the bit that says so: the parser would take it for a fault, rightly, on any other frame.
            self._message_is_compressed = True
            parser.receive_data(bytes((data[position] ^ _COMPRESSED,)))
            position, size = position + 1, size - 1
        self._parser_owes = position + size - stop
        self._parser_has = self._parser_has + stop - position if self._parser_owes else 0
        parser.receive_data(bytes(data[position:stop]))
        for frame in parser.events_received():
            if isinstance(frame, Frame):
                self._frame(frame)
        if parser.parser_exc is not None and not self._ended:
            self._violate(parser, str(parser.parser_exc))
        return stop

    def _frame(self, frame: Frame) -> None:
        """Use a frame that the parser has found good."""
        if frame.opcode is Opcode.PING:
            assert self._parser is not None
            self._pong = b"".join(self._parser.data_to_send())
            self._write()
        elif frame.opcode is Opcode.CLOSE:
            assert self._parser is not None
            if not self._close_sent:
                self._close_frame = b"".join(self._parser.data_to_send())
                self._close_sent = True
                self._write()
            self._end()
        elif frame.opcode is not Opcode.PONG:
            self._fragment(frame)

    def _fragment(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CONT:
            self._message_is_text = frame.opcode is Opcode.TEXT
        self._fragments += 1
        if self._fragments > self._config.limits.ws_fragments:
            self._fail(CloseCode.POLICY_VIOLATION, "too many fragments")
            return
        part = self._inflate(bytes(frame.data), last=frame.fin) if self._message_is_compressed else frame.data
        if part is None:
            return
        self._message += part
        if len(self._message) > self._limit:
            # Only where compression was agreed on: the parser then lets pass what is a little longer.
            self._fail(CloseCode.MESSAGE_TOO_BIG, "the message is too large")
        elif frame.fin:
            message, self._message, self._fragments = bytes(self._message), bytearray(), 0
            self._message_is_compressed = False
            self._deliver(message, is_text=self._message_is_text)

    def _deliver(self, message: bytes, *, is_text: bool) -> None:
        if is_text:
            self._text(message)
        else:
            self._sink.binary(message)

    def _inflate(self, data: bytes, *, last: bool) -> bytes | None:
        """Return what a frame of a compressed message contains; ``None`` if that was the end of the connection."""
        assert self._deflate is not None
        most = self._limit - len(self._message)
        try:
            inflated = self._deflate.inflate(data, most + 1, last=last)
        except zlib.error:
            self._fail(CloseCode.INVALID_DATA, "a message that cannot be decompressed")
            return None
        if len(inflated) > most:
            self._fail(CloseCode.MESSAGE_TOO_BIG, "the message is too large when decompressed")
            return None
        return inflated

    def _fail(self, code: CloseCode, reason: str) -> None:
        """Close because of something that the parser does not check."""
        if self._parser is None:
            self._parser = Protocol(Side.SERVER, logger=_parser_logger)
        if self._parser.state is ProtocolState.OPEN:
            self._parser.fail(code, reason)
        self._violate(self._parser, reason)

    def _violate(self, parser: Protocol, reason: str) -> None:
        self._violation = ProtocolViolation(reason)
        if not self._close_sent:
            self._close_sent = True
            self._close_frame = b"".join(parser.data_to_send())
            self._write()
        self._end()

    def _end(self) -> None:
        self._ended = True
        self._wire.stop()

    # Sending.

    def try_send_nowait(self, packets: list[EncodedPacket]) -> bool:
        """See `WebSocketPipe.try_send_nowait`."""
        if self._close_sent:
            return True
        if self._deflate is not None:
            data = self._deflate.frames(packets)
        else:
            data = packets[0].websocket if len(packets) == 1 else b"".join([packet.websocket for packet in packets])
        if self._rest:
            self._rest += data
            return False
        sent = self._wire.try_send(data)
        if sent == len(data):
            return True
        self._rest = data[sent:]
        return False

    async def send(self, packets: list[EncodedPacket]) -> None:
        """See `WebSocketPipe.send`."""
        if not self._close_sent:
            # "As soon as is practical" (RFC 6455, section 5.5.2): a pong goes before whatever has not begun to leave.
            self._rest += self._pong
            self._rest += self._deflate.frames(packets) if self._deflate is not None else b"".join([packet.websocket for packet in packets])
            self._pong = b""
        while data := self._rest + self._pong + self._close_frame:
            self._pong = b""
            # What is in flight stays in `_rest`, so that nobody else writes meanwhile.
            self._rest, self._close_frame = data, b""
            await self._wire.send(data)
            self._rest = self._rest[len(data) :]
            if self._close_sent:
                self._said.wake()
        await trio.lowlevel.checkpoint()

    def close(self, code: int | None) -> bool:
        """See `WebSocketPipe.close`."""
        if self._close_sent:
            return not (self._close_frame or self._rest)
        self._close_sent = True
        self._wire.resume()
        frame = close_frame(code)
        if self._rest or not self.nonblocking:
            self._close_frame = frame
            return False
        self._rest = frame[self._wire.try_send(frame) :]
        return not self._rest

    def abort(self) -> None:
        """See `WebSocketPipe.abort`."""
        self._ended = self._aborted = True
        self._wire.close()
        self._said.wake()
