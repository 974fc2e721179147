"""A stream as the client's transports use it: one task sends, one receives, and a write that was cut short is the end of it."""

from __future__ import annotations

import math

import trio

from ..concurrency.streams import RECEIVE_SIZE, pieces
from ..errors import ConnectionReset, TransportError

__all__ = ["Wire"]


class Wire:
    """Bytes in, bytes out.

    Args:
      stream: The stream, owned from now on.

    Attributes:
      stall_timeout: For how long a write may make no progress, in seconds.
      broken: Whether nothing can be sent any more.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stall_timeout = math.inf
        self.broken = False
        self._stream = stream

    @property
    def readable(self) -> bool:
        """Whether the kernel has bytes, or the end of the stream, to receive; ``False`` for streams that are no sockets."""
        stream = self._stream
        while isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        return isinstance(stream, trio.SocketStream) and stream.socket.is_readable()

    async def send(self, data: bytes) -> None:
        """Send all of ``data``; after a failure or a cancellation nothing is ever sent again.

        Raises:
          TransportError: if the wire broke, or took nothing for `stall_timeout`.
        """
        await trio.lowlevel.checkpoint_if_cancelled()  # while that does no harm yet
        if self.broken:
            raise ConnectionReset("the connection broke earlier")
        self.broken = True  # until all of it is out: nothing may follow half a frame or half a request
        try:
            for piece in pieces(data):
                with trio.fail_after(self.stall_timeout):
                    await self._stream.send_all(piece)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionReset(f"the connection broke: {error.__cause__ or error}") from error
        except trio.TooSlowError:
            raise TransportError(f"the server took nothing for {self.stall_timeout:g} seconds") from None
        self.broken = False

    async def receive(self) -> bytes:
        """Return what has arrived, at least one byte; nothing at the end of the stream.

        Raises:
          ConnectionReset: if the wire broke.
        """
        try:
            return bytes(await self._stream.receive_some(RECEIVE_SIZE))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.broken = True
            raise ConnectionReset(f"the connection broke: {error.__cause__ or error}") from error

    async def aclose(self) -> None:
        """Close the stream at once, without a word."""
        self.broken = True
        await trio.aclose_forcefully(self._stream)
