"""A stream as the client's transports use it: one task sends, one receives, and how much comes is watched."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from ..concurrency.streams import RECEIVE_SIZE, pieces
from ..errors import ConnectionReset, TransportError
from ..limits import PROGRESS

__all__ = ["Progress", "ServerStream"]


class ServerStream:
    """Bytes to a server, and from it.

    Args:
      stream: The stream, owned from now on.
      stall_timeout: For how long a write may make no progress, in seconds; may be changed.
    """

    def __init__(self, stream: trio.abc.Stream, stall_timeout: float = math.inf) -> None:
        self.stall_timeout = stall_timeout
        self._broken = False
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
          TransportError: if the stream broke, or took nothing for `stall_timeout`.
        """
        await trio.lowlevel.checkpoint_if_cancelled()  # while that does no harm yet
        if self._broken:
            raise ConnectionReset("the connection broke earlier")
        self._broken = True  # until all of it is out: nothing may follow half a frame or half a request
        try:
            for piece in pieces(data):
                with trio.fail_after(self.stall_timeout):
                    await self._stream.send_all(piece)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionReset(f"the connection broke: {error.__cause__ or error}") from error
        except trio.TooSlowError:
            raise TransportError(f"the server took nothing for {self.stall_timeout:g} seconds") from None
        self._broken = False

    async def receive(self) -> bytes:
        """Return what has arrived, at least one byte; nothing at the end of the stream.

        Raises:
          ConnectionReset: if the stream broke.
        """
        try:
            return bytes(await self._stream.receive_some(RECEIVE_SIZE))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._broken = True
            raise ConnectionReset(f"the connection broke: {error.__cause__ or error}") from error

    async def aclose(self) -> None:
        """Close the stream at once, without a word."""
        self._broken = True
        await trio.aclose_forcefully(self._stream)


class Progress:
    """Counts what has come of a message that is not complete.

    Attributes:
      on_progress: Called whenever it has come on by `PROGRESS` bytes.
    """

    def __init__(self) -> None:
        self.on_progress: Callable[[], None] = lambda: None
        self._bytes = 0

    def begin(self) -> None:
        """Begin with a new message."""
        self._bytes = 0

    def add(self, size: int) -> None:
        """Learn that ``size`` bytes have come and that more are missing."""
        self._bytes += size
        if self._bytes >= PROGRESS:
            self._bytes %= PROGRESS
            self.on_progress()
