"""Two ways to move bytes under a WebSocket: a plain socket with the shared readiness task, or any Trio stream. See also tls_wire.py."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import trio

from ...concurrency.gate import Gate
from ...concurrency.streams import DISCARDED_BYTES, RECEIVE_SIZE
from ...concurrency.wakeup import Wakeup
from ...engine.door import ClientGone
from ...errors import ConnectionReset, TransportError
from .below_tls import socket_below

if TYPE_CHECKING:
    from .buffered import BufferedStream
    from .readiness import Readiness

__all__ = ["SocketWire", "StreamWire", "Wire", "owns_socket"]


class Wire(Protocol):
    """Bytes in, bytes out."""

    @property
    def in_flight(self) -> int:
        """How many bytes of what `send` is sending are out."""

    @property
    def nonblocking(self) -> bool:
        """Whether `try_send` can succeed."""

    async def receive(self, feed: Callable[[bytes], bool], received: bytes) -> None:
        """Call ``feed`` with what arrives, until the end of the stream, `stop` or `close`.

        Args:
          feed: Takes bytes; tells whether it has more work with them than fits into one turn. Then nothing is received until
            it was called again, with ``b""``, as often as it takes: others have their turn in between.
          received: What arrived before.

        Raises:
          TransportError: if the wire broke.
        """

    def stop(self, error: TransportError | None = None) -> None:
        """Let `receive` return, or raise ``error``."""

    def pause(self) -> None:
        """Let `receive` receive and feed nothing more until `resume`."""

    def resume(self) -> None:
        """Undo `pause`."""

    def try_send(self, data: bytes) -> int:
        """Send without blocking; return how many bytes the kernel took.

        Raises:
          TransportError: if the wire broke.
        """

    async def send(self, data: bytes) -> None:
        """Send everything.

        Raises:
          TransportError: if the wire broke, or made no progress for ``write_stall_timeout``.
        """

    async def discard(self) -> None:
        """See `BufferedStream.discard`; a wire that breaks meanwhile is closed."""

    def close(self) -> None:
        """Close the wire at once; idempotent."""


def owns_socket(stream: trio.abc.Stream, sock: socket.socket | None, readiness: Readiness | None) -> bool:
    """Tell whether a WebSocket on such a connection closes its socket itself, and needs no stream above that."""
    return readiness is not None and (sock is not None or socket_below(stream) is not None)


class SocketWire:
    """A plain, connected, non-blocking TCP or Unix socket.

    Args:
      sock: The socket, owned from now on.
      readiness: Who receives for it.
      write_stall_timeout: For how long a write may make no progress.
    """

    __slots__ = (
        "_error",
        "_feed",
        "_has_more",
        "_paused",
        "_readiness",
        "_stopped",
        "_work",
        "_write_stall_timeout",
        "in_flight",
        "nonblocking",
        "socket",
    )

    def __init__(self, sock: socket.socket, readiness: Readiness, write_stall_timeout: float) -> None:
        self.socket = sock
        self.nonblocking = True
        self.in_flight = 0
        self._readiness = readiness
        self._write_stall_timeout = write_stall_timeout
        self._feed: Callable[[bytes], bool] | None = None
        self._work = Wakeup()
        self._stopped = False
        self._paused = False
        self._has_more = False  # what `feed` said last
        self._error: TransportError | None = None

    # Receiving.

    @trio.lowlevel.enable_ki_protection
    async def receive(self, feed: Callable[[bytes], bool], received: bytes) -> None:
        """See `Wire.receive`. The task is woken for what is left of a chunk; chunks themselves come from the readiness task."""
        self._feed = feed
        self._has_more = bool(received) and feed(received)
        if not self._stopped:
            self._readiness.register(self)
            self._watch()
        try:
            while not self._stopped:
                if self._paused or not self._has_more:
                    await self._work.wait()
                else:
                    self._has_more = feed(b"")
                    self._watch()
                    await trio.lowlevel.checkpoint()
        finally:
            self._readiness.unregister(self)
            self._feed = None
        if self._error is not None:
            raise self._error
        await trio.lowlevel.checkpoint()

    def _watch(self) -> None:
        if self._paused or self._has_more:
            self._readiness.pause(self)
        else:
            self._readiness.resume(self)

    def readable(self) -> None:
        """Receive once; called by the readiness task."""
        if self._paused or self._has_more:
            return  # since this turn began
        try:
            data = self.socket.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self.stop(ConnectionReset(f"the connection broke: {error}"))
            return
        if not data:
            self.stop()
        elif self._feed is not None and self._feed(data):
            self._goes_on()

    def _goes_on(self) -> None:
        """Let the task go on with what was fed."""
        self._has_more = True
        self._watch()
        self._work.wake()

    def hung_up(self) -> None:
        """Give up although reading is paused; called by the readiness task."""
        self.stop(ConnectionReset("the connection was reset"))

    def failed(self, error: Exception) -> None:
        """Give up because of a bug; called by the readiness task."""
        self.stop(TransportError(f"an internal error: {error!r}"))

    def abandoned(self) -> None:
        """Do nothing: the session is cancelled, too; called by the readiness task."""

    def stop(self, error: TransportError | None = None) -> None:
        """See `Wire.stop`."""
        if not self._stopped:
            self._stopped = True
            self._error = error
            self._readiness.unregister(self)
            self._work.wake()

    def pause(self) -> None:
        """See `Wire.pause`."""
        self._paused = True
        self._watch()

    def resume(self) -> None:
        """See `Wire.resume`."""
        self._paused = False
        self._watch()
        if self._has_more:
            self._work.wake()

    # Sending.

    def try_send(self, data: bytes | memoryview) -> int:
        """See `Wire.try_send`."""
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise ConnectionReset(f"the connection broke: {error}") from error

    async def send(self, data: bytes) -> None:
        """See `Wire.send`."""
        await trio.lowlevel.checkpoint()
        view = memoryview(data)
        while view:
            sent = self.try_send(view)
            view = view[sent:]
            self.in_flight += sent
            if view:
                try:
                    with trio.fail_after(self._write_stall_timeout):
                        await trio.lowlevel.wait_writable(self.socket)
                except trio.TooSlowError:
                    raise TransportError("the client took nothing for write_stall_timeout") from None
                except trio.ClosedResourceError:
                    raise TransportError("the connection was closed") from None
        self.in_flight = 0

    async def discard(self) -> None:
        """See `Wire.discard`."""
        left = DISCARDED_BYTES
        try:
            self.socket.shutdown(socket.SHUT_WR)
            while left > 0:
                await trio.lowlevel.wait_readable(self.socket)
                data = self.socket.recv(RECEIVE_SIZE)
                if not data:
                    return
                left -= len(data)
        except (OSError, trio.ClosedResourceError):
            self.close()

    def close(self) -> None:
        """See `Wire.close`. No checkpoint: out of the table, wake whoever waits, close."""
        if self.socket.fileno() < 0:
            return
        self.stop()
        trio.lowlevel.notify_closing(self.socket)
        self.socket.close()


class StreamWire:
    """Any Trio stream, such as TLS above another one, or memory in tests. It cannot send without blocking, so a writer task does it all.

    Args:
      buffered: The stream, owned from now on.
    """

    __slots__ = ("_buffered", "_error", "_gate", "_scope", "nonblocking")

    def __init__(self, buffered: BufferedStream) -> None:
        self.nonblocking = False
        self._buffered = buffered
        self._scope = trio.CancelScope()
        self._gate = Gate()
        self._error: TransportError | None = None

    @trio.lowlevel.enable_ki_protection
    async def receive(self, feed: Callable[[bytes], bool], received: bytes) -> None:
        """See `Wire.receive`."""
        buffered = self._buffered
        with self._scope:
            has_more = bool(received) and feed(received)
            try:
                while True:
                    await self._gate.wait()
                    if has_more:
                        await trio.lowlevel.checkpoint()
                        has_more = feed(b"")
                    elif await buffered.receive(RECEIVE_SIZE):
                        has_more = feed(buffered.take(len(buffered.buffer)))
                    else:
                        break
            except ClientGone as gone:
                raise ConnectionReset("the connection broke") from gone
        if self._error is not None:
            raise self._error

    def stop(self, error: TransportError | None = None) -> None:
        """See `Wire.stop`."""
        self._error = self._error or error
        self._scope.cancel()

    def pause(self) -> None:
        """See `Wire.pause`."""
        self._gate.shut()

    def resume(self) -> None:
        """See `Wire.resume`."""
        self._gate.open()

    @property
    def in_flight(self) -> int:
        """See `Wire.in_flight`."""
        return self._buffered.in_flight

    def try_send(self, data: bytes) -> int:
        """See `Wire.try_send`."""
        return 0

    async def send(self, data: bytes) -> None:
        """See `Wire.send`."""
        try:
            await self._buffered.send(data)
        except ClientGone as gone:
            raise TransportError(str(gone)) from gone

    async def discard(self) -> None:
        """See `Wire.discard`."""
        try:
            await self._buffered.discard()
        except ClientGone:
            self.close()

    def close(self) -> None:
        """See `Wire.close`. The stream itself is closed by whoever opened it, once `receive` has returned."""
        self._scope.cancel()
