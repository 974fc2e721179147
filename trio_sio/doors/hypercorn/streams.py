"""The stream that hypercorn gets: one that holds nobody up, and may have been read from before."""

from __future__ import annotations

from typing import Any

import trio

from ...concurrency.streams import pieces
from ..native.below_tls import SocketBelowTls

__all__ = ["AnyStream", "PatientStream"]

AnyStream = trio.SocketStream | trio.SSLStream[SocketBelowTls]


class PatientStream:
    """A stream whose writes end, one way or the other, however much they are shielded by those who wait for them.

    Args:
      stream: The stream.
      stall_timeout: For how many seconds a write may make no progress.
      received: What was read from it already, and is read again.
    """

    def __init__(self, stream: AnyStream, stall_timeout: float, received: bytes = b"") -> None:
        self._stream = stream
        self._stall_timeout = stall_timeout
        self._received = received
        self._writing = trio.CancelScope()

    def __getattr__(self, name: str) -> Any:
        # Plain streams lack what TLS streams have, and the other way round; hypercorn looks at that.
        return getattr(self._stream, name)

    def hurry(self, seconds: float) -> None:
        """Let the present write, and each later one, stall for ``seconds`` at most."""
        self._stall_timeout = min(seconds, self._stall_timeout)
        self._writing.deadline = min(self._writing.deadline, trio.current_time() + self._stall_timeout)

    async def receive_some(self, max_bytes: int) -> bytes | bytearray:
        """Return bytes that have arrived, none at the end of the stream."""
        if not self._received:
            return await self._stream.receive_some(max_bytes)
        await trio.lowlevel.checkpoint()
        data, self._received = self._received[:max_bytes], self._received[max_bytes:]
        return data

    async def send_all(self, data: bytes) -> None:
        """Send ``data``.

        Raises:
          trio.BrokenResourceError: if the peer takes nothing for too long; the stream is then closed.
        """
        for piece in pieces(data):
            with trio.move_on_after(self._stall_timeout) as self._writing:
                await self._stream.send_all(piece)
            if self._writing.cancelled_caught:
                await trio.aclose_forcefully(self._stream)
                raise trio.BrokenResourceError("the client takes nothing: no progress for write_stall_timeout")

    async def aclose(self) -> None:
        """Close the stream; TLS has something to say before that, which may stall too."""
        with trio.move_on_after(self._stall_timeout) as self._writing:
            await self._stream.aclose()
