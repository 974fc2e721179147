"""A WebSocket of the native door (`trio_sio.engine.door.WebSocketPipe`): protocol/websocket.py with a `Wire` below it."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from ...concurrency.wakeup import Wakeup
from ...errors import TransportError
from ...protocol.frames import EncodedPacket, close_frame
from ...protocol.websocket import FrameReceiver, FrameSender, SendState
from .below_tls import socket_below
from .tls_wire import TlsWire
from .wire import SocketWire, StreamWire

if TYPE_CHECKING:
    from ...config import Config
    from ...engine.door import MessageSink
    from .buffered import BufferedStream
    from .deflate import Deflate
    from .readiness import Readiness
    from .wire import Wire

__all__ = ["NativePipe", "open_pipe"]

_IDLE = SendState.IDLE
_CLOSING = SendState.CLOSING
_CLOSED = SendState.CLOSED


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
    buffered.release()
    received = buffered.take(len(buffered.buffer))
    return NativePipe(_wire(buffered, sock, config.write_stall_timeout, readiness), config, received, deflate)


def _wire(buffered: BufferedStream, sock: socket.socket | None, write_stall_timeout: float, readiness: Readiness | None) -> Wire:
    if readiness is not None and sock is not None:
        return SocketWire(sock, readiness, write_stall_timeout)
    if readiness is not None and (below := socket_below(buffered.stream)) is not None:
        return TlsWire(below, readiness, write_stall_timeout)
    return StreamWire(buffered)


class NativePipe:
    """One WebSocket, server side.

    Args:
      wire: The bytes, owned from now on.
      config: The limits and time-outs.
      received: Bytes that came behind the handshake.
      deflate: What compresses, if that was negotiated.
    """

    __slots__ = ("_aborted", "_deflate", "_received", "_receiver", "_said", "_sender", "_wire", "_write", "nonblocking")

    def __init__(self, wire: Wire, config: Config, received: bytes, deflate: Deflate | None = None) -> None:
        self.nonblocking = wire.nonblocking
        self._wire = wire
        self._deflate = deflate
        self._receiver = FrameReceiver(config.max_http_buffer_size, config.limits.ws_fragments, deflate)
        self._sender = FrameSender()
        self._received = received
        self._write: Callable[[], None]
        self._said: Wakeup | None = None  # made for whoever waits until the close frame is out
        self._aborted = False

    @property
    def progress(self) -> int:
        """See `WebSocketPipe.progress`."""
        return self._receiver.progress + self._wire.in_flight

    # Receiving.

    def pump(self, sink: MessageSink, write: Callable[[], None]) -> Awaitable[None]:
        """See `WebSocketPipe.pump`."""
        self._receiver.sink, self._write = sink, write
        received, self._received = self._received, b""
        return self._wire.receive(self._feed, received)

    def stop(self) -> None:
        """See `WebSocketPipe.stop`."""
        self._wire.stop()

    async def linger(self) -> None:
        """See `WebSocketPipe.linger`."""
        if self._sender.is_open:
            await trio.lowlevel.checkpoint()
            return
        while self._sender.state is _CLOSING:
            self._said = Wakeup()
            await self._said.wait()
        if self._receiver.violation is not None and not self._aborted:
            await self._wire.discard()

    def pause(self) -> None:
        """See `WebSocketPipe.pause`."""
        self._receiver.change("pause")
        self._wire.pause()

    def resume(self) -> None:
        """See `WebSocketPipe.resume`."""
        self._receiver.change("resume")
        self._wire.resume()

    def _feed(self, data: bytes) -> bool:
        """Take bytes from the wire, and answer what is not for the sink; see `FrameReceiver.feed`."""
        receiver = self._receiver
        has_more = receiver.feed(data)
        if receiver.ping is not None or receiver.answer is not None:
            self._answer(receiver)
        return has_more

    def _answer(self, receiver: FrameReceiver) -> None:
        sender = self._sender
        was_idle = sender.state is _IDLE
        if receiver.ping is not None:
            sender.pong(receiver.ping)
            receiver.ping = None
        if receiver.answer is not None:
            sender.close(receiver.answer)
            receiver.answer = None
            self._wire.stop(receiver.violation)
        # If it was busy, somebody is writing, and comes to this.
        if was_idle and not self._wrote_all():
            self._write()

    def _wrote_all(self) -> bool:
        """Write what waits, as far as the wire takes it at once, and tell whether that is all."""
        try:
            self._sender.sent(self._wire.try_send(self._sender.take()))
        except TransportError:
            return False  # which the writer will meet, too, and can report
        return self._sender.state is _IDLE or self._sender.state is _CLOSED

    # Sending.

    def try_send_nowait(self, packets: list[EncodedPacket]) -> bool:
        """See `WebSocketPipe.try_send_nowait`."""
        data = packets[0].websocket if len(packets) == 1 and self._deflate is None else self._frames(packets)
        sender = self._sender
        if sender.state is _IDLE:
            sent = self._wire.try_send(data)
            if sent == len(data):
                return True
            data = data[sent:]
        sender.push(data)
        return not sender.is_open

    async def send(self, packets: list[EncodedPacket]) -> None:
        """See `WebSocketPipe.send`."""
        sender = self._sender
        if packets:
            sender.push(self._frames(packets))
        while data := sender.take():
            await self._wire.send(data)
            sender.sent(len(data))
            if sender.state is _CLOSED:
                self._tell()
        await trio.lowlevel.checkpoint()

    def _frames(self, packets: list[EncodedPacket]) -> bytes:
        if self._deflate is not None:
            return self._deflate.frames(packets)
        return b"".join([packet.websocket for packet in packets])

    def close(self, code: int | None) -> bool:
        """See `WebSocketPipe.close`."""
        sender = self._sender
        if sender.is_open:
            was_idle = sender.state is _IDLE
            sender.close(close_frame(code))
            self.resume()
            if was_idle:
                # Not through `_wrote_all`: who closes gets to know of a wire that broke.
                sender.sent(self._wire.try_send(sender.take()))
        return sender.state is _CLOSED

    def abort(self) -> None:
        """See `WebSocketPipe.abort`."""
        self._aborted = True
        self._receiver.change("end")
        self._sender.change("abort")
        self._wire.close()
        self._tell()

    def _tell(self) -> None:
        if self._said is not None:
            self._said.wake()
