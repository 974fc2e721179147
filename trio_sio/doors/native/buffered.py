"""A stream with what was received and not used yet: the HTTP side of a connection, before a WebSocket takes it over."""

from __future__ import annotations

import socket
from contextlib import suppress

import trio

from ...concurrency.streams import DISCARDED_BYTES, RECEIVE_SIZE, pieces
from ...engine.door import ClientGone
from .below_tls import socket_below

__all__ = ["BufferedStream"]


class BufferedStream:
    """A stream, the bytes that arrived on it and wait for their turn, and the deadline of its writes.

    Args:
      stream: The stream; one task receives and one task sends at a time.
      write_stall_timeout: See `Config`.
      received: Bytes that were read already.
      sock: The socket below ``stream``, where it is a plain one: for what need not wait.

    Attributes:
      buffer: What arrived; whoever uses bytes takes them from the front.
      ended: Whether the peer has sent its last byte.
      in_flight: How many bytes of what `send` is sending are out.
    """

    __slots__ = ("_broken", "_has_deadline", "_sock", "_write_stall_timeout", "buffer", "ended", "in_flight", "stream")

    def __init__(
        self, stream: trio.abc.Stream, write_stall_timeout: float, received: bytes = b"", sock: socket.socket | None = None
    ) -> None:
        self.stream = stream
        self.buffer = bytearray(received)
        self.ended = False
        self.in_flight = 0
        self._broken = False
        self._sock = sock
        self._has_deadline = socket_below(stream) is not None
        self._write_stall_timeout = write_stall_timeout

    def take(self, size: int) -> bytes:
        """Remove and return the first ``size`` bytes of the buffer."""
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken

    def receive_nowait(self) -> bool:
        """Append to the buffer what is here already; tell whether there was something. Whatever else there is, `receive` finds."""
        if self._sock is None or self.ended:
            return False
        try:
            data = self._sock.recv(RECEIVE_SIZE)
        except OSError:
            return False
        self.buffer += data
        self.ended = not data
        return not self.ended

    async def receive(self, max_bytes: int = RECEIVE_SIZE) -> bool:
        """Wait for bytes and append them to the buffer; tell whether any came before the end of the stream.

        Raises:
          ClientGone: if the stream broke.
        """
        if self.ended:
            await trio.lowlevel.checkpoint()
            return False
        try:
            data = await (self.stream.receive_some(max_bytes) if self._sock is None else _receive_some(self._sock, max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as exc:
            self._broken = True
            raise ClientGone("The client reset the connection.") from exc
        self.buffer += data
        self.ended = not data
        return not self.ended

    def release(self) -> None:
        """Leave the stream to somebody else, or to be closed."""

    async def discard(self) -> None:
        """Say that no more comes, and drop up to `DISCARDED_BYTES` of what still arrives, until the client has ended its side, too.

        Closing over unread bytes resets the connection, and the client would never see our last words (RFC 9112, section 9.6;
        RFC 6455, section 7.1.1). The caller bounds the time.

        Raises:
          ClientGone: if the stream broke.
        """
        left = DISCARDED_BYTES
        if isinstance(self.stream, trio.abc.HalfCloseableStream):  # TLS can only end both directions at once
            try:
                await self.stream.send_eof()
            except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                raise ClientGone("The client reset the connection.") from exc
        while left > 0 and await self.receive():
            left -= len(self.take(len(self.buffer)))

    async def send(self, data: bytes) -> None:
        """Send all of ``data``; after a failure or a cancellation nothing is ever sent again.

        Raises:
          ClientGone: if the stream broke, or made no progress for ``write_stall_timeout``.
        """
        if self._broken:
            await trio.lowlevel.checkpoint()
            raise ClientGone("The connection broke earlier.")
        self._broken = True  # until all of it is out: nothing may follow half a response
        try:
            if self._sock is not None:
                # No checkpoint: others get their turn while the next request is waited for.
                data = data[self._send_nowait(self._sock, data) :]
            for piece in pieces(data) if data else ():
                if self._has_deadline:
                    await self.stream.send_all(piece)
                else:
                    with trio.fail_after(self._write_stall_timeout):
                        await self.stream.send_all(piece)
                self.in_flight += len(piece)
        except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            if isinstance(exc, trio.TooSlowError) or isinstance(exc.__cause__, trio.TooSlowError):
                raise ClientGone("The client did not take its response: no progress for write_stall_timeout.") from exc
            raise ClientGone("The client reset the connection.") from exc
        self.in_flight = 0
        self._broken = False

    def _send_nowait(self, sock: socket.socket, data: bytes) -> int:
        """Send what the kernel takes at once, which nearly always is all of it, and needs no deadline; return how much that was."""
        try:
            self.in_flight = sock.send(next(pieces(data), b""))
        except OSError:
            return 0  # whatever it is, the stream meets it, too
        return self.in_flight


async def _receive_some(sock: socket.socket, max_bytes: int) -> bytes:
    """Do what the stream above ``sock`` does, but wait before trying: who comes here has tried, or waits for long.

    Raises:
      OSError: if the connection broke.
      trio.ClosedResourceError: if it is closed on this side, before or meanwhile.
    """
    while True:
        if sock.fileno() < 0:
            raise trio.ClosedResourceError("It is closed already.")
        await trio.lowlevel.wait_readable(sock)
        with suppress(BlockingIOError):
            return sock.recv(max_bytes)
