"""The plain socket below TLS, which nearly always takes at once what is written: only what has to wait needs a deadline."""

from __future__ import annotations

import socket
import ssl

import trio

from .tls import Tls, make_encrypted

__all__ = ["SocketBelowTls", "socket_below"]


class SocketBelowTls(trio.abc.HalfCloseableStream):
    """A stream of Trio's whose writes go to its socket directly, and have a deadline of their own.

    Through that stream, in a scope of its own for each write, a message to one client costs twice as much.

    Args:
      stream: The stream, owned from now on.
      sock: The socket below it.
      write_stall_timeout: For how many seconds a write may make no progress.

    Attributes:
      socket: The socket below.
      write_stall_timeout: Applies to writes that begin from now on.
      tls: What encrypts above it, once `encrypted` was called.
    """

    __slots__ = ("_stream", "socket", "tls", "write_stall_timeout")

    tls: Tls

    def __init__(self, stream: trio.SocketStream, sock: socket.socket, write_stall_timeout: float) -> None:
        self._stream = stream
        self.socket = sock
        self.write_stall_timeout = write_stall_timeout

    def encrypted(self, ssl_context: ssl.SSLContext) -> trio.SSLStream[SocketBelowTls]:
        """Return the server's side of TLS above it, which ends without a word, as is usual below HTTP."""
        stream, self.tls = make_encrypted(self, ssl_context)
        return stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of ``data``; one task at a time, which `trio.SSLStream` sees to.

        Raises:
          trio.BrokenResourceError: if the connection broke, or, from `trio.TooSlowError`, took nothing for ``write_stall_timeout``.
          trio.ClosedResourceError: if it is closed on this side.
        """
        await trio.lowlevel.checkpoint()
        view = memoryview(data)
        while view:
            if self.socket.fileno() < 0:
                raise trio.ClosedResourceError("It is closed already.")
            try:
                view = view[self.socket.send(view) :]
            except BlockingIOError:
                await self._wait_writable()
            except OSError as error:
                raise trio.BrokenResourceError("The connection broke.") from error

    async def _wait_writable(self) -> None:
        try:
            with trio.fail_after(self.write_stall_timeout):
                await trio.lowlevel.wait_writable(self.socket)
        except trio.TooSlowError as slow:
            raise trio.BrokenResourceError("The peer took nothing for write_stall_timeout.") from slow

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream`."""
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """See `trio.abc.HalfCloseableStream`."""
        await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See `trio.abc.ReceiveStream`."""
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        """See `trio.abc.AsyncResource`."""
        await self._stream.aclose()


def socket_below(stream: trio.abc.Stream) -> SocketBelowTls | None:
    """Return what is below ``stream``, if that is TLS above a plain socket."""
    below = stream.transport_stream if isinstance(stream, trio.SSLStream) else None
    return below if isinstance(below, SocketBelowTls) else None
