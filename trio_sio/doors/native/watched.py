"""A plain socket that speaks HTTP, received for by the readiness task: who polls sends request after request.

To wait for one of them through Trio takes a registration with its epoll, a scope for the deadline, and a task of its own for seeing
that the client goes while its poll waits. Here the socket is registered once; the connection's task parks on an alarm, and whatever
happens first wakes it: bytes, the end of them, packets for the poll, or the time.
"""

from __future__ import annotations

import math
import socket
from typing import TYPE_CHECKING

import trio

from ...concurrency.lines import Alarm
from ...concurrency.streams import RECEIVE_SIZE
from ...engine.door import ClientGone
from .buffered import BufferedStream

if TYPE_CHECKING:
    from ...concurrency.lines import Line
    from .readiness import Readiness

__all__ = ["WatchedStream"]


class WatchedStream(BufferedStream):
    """A `BufferedStream` whose socket is watched from the first wait until `release`.

    What comes while nobody waits is received, too, as nothing else tells that the client has gone; so much of it as a head may have.

    Args:
      stream: The stream above ``sock``.
      write_stall_timeout: See `Config`.
      received: Bytes that were read already.
      sock: The socket.
      readiness: Watches it.
      most: How many bytes may be in the buffer while nobody waits for more.
    """

    __slots__ = ("_alarm", "_given_up", "_lost", "_most", "_paused", "_readiness", "_room", "_watched", "_woken", "socket")

    def __init__(
        self, stream: trio.abc.Stream, write_stall_timeout: float, received: bytes, sock: socket.socket, readiness: Readiness, most: int
    ) -> None:
        super().__init__(stream, write_stall_timeout, received, sock)
        self.socket = sock
        self._readiness = readiness
        self._most = most
        self._room = most  # how many bytes may be in the buffer now
        self._alarm = Alarm()
        self._watched = False
        self._paused = False
        self._lost = False
        self._given_up = False
        self._woken = False

    # What the connection's task calls.

    def receive_nowait(self) -> bool:
        """See `BufferedStream.receive_nowait`. Of a socket that is watched nothing is here but what is in the buffer."""
        return not self._watched and super().receive_nowait()

    async def receive(self, max_bytes: int = RECEIVE_SIZE) -> bool:
        """See `BufferedStream.receive`."""
        self._require_client()
        if self.ended or not self._watch():
            return await super().receive(max_bytes)
        had = len(self.buffer)
        self._make_room(had + max_bytes)
        try:
            while len(self.buffer) == had and self._watched:
                await self._alarm.wait()
        finally:
            self._room = self._most
        if len(self.buffer) > had:
            return True
        self._require_client()
        return await super().receive(max_bytes)  # it is over, or nobody watches any more

    async def rest(self, timeout: float, line: Line) -> None:
        """Wait for bytes, or for their end, until `cancel`, and for ``timeout`` seconds at most; ``line`` is for just as many.

        Raises:
          ClientGone: if the stream broke.
        """
        self._given_up = False
        self._require_client()
        if self.ended or not self._watch():
            with trio.move_on_after(timeout):
                await super().receive()
            return
        self._make_room(max(self._most, RECEIVE_SIZE))
        alarm = self._alarm
        alarm.set(trio.current_time() + timeout, line)
        try:
            while not self.buffer and self._watched and not self._given_up and (alarm.is_set or timeout == math.inf):
                await alarm.wait()
        finally:
            alarm.stop()
            self._room = self._most
        self._require_client()

    async def wait_woken(self) -> bool:
        """Wait until `wake`, or until the client has gone; tell whether it is still there."""
        self._woken = False
        self._watch()
        while not self._woken:
            if self.ended or self._lost:
                return False
            await self._alarm.wait()
        return True

    def release(self) -> None:
        """Have the socket watched no more; before it is closed, or somebody else's."""
        if self._watched:
            self._watched = False
            self._readiness.unregister(self)
            self._alarm.wake()

    # What others call.

    def wake(self) -> None:
        """Let `wait_woken` return."""
        self._woken = True
        self._alarm.wake()

    def cancel(self) -> None:
        """Let `rest` return."""
        self._given_up = True
        self._alarm.wake()

    # What the readiness task calls.

    def readable(self) -> None:
        """Receive once."""
        room = self._room - len(self.buffer)
        if room <= 0:
            self._paused = True
            self._readiness.pause(self)
            return
        try:
            data = self.socket.recv(min(room, RECEIVE_SIZE))
        except BlockingIOError:
            return
        except OSError:
            self.hung_up()
            return
        if data:
            self.buffer += data
        else:
            self.ended = True
            self.release()
            return
        self._alarm.wake()

    def hung_up(self) -> None:
        """Learn that the client has reset the connection."""
        self._lost = True
        self.release()

    def failed(self, error: Exception) -> None:
        """Give up because of a bug."""
        self.hung_up()

    def abandoned(self) -> None:
        """Learn that nobody watches any more: the server's scope is over, and its last words go out without."""
        self._watched = False
        self._alarm.wake()

    def _require_client(self) -> None:
        if self._lost:
            self._broken = True
            raise ClientGone("The client reset the connection.")

    def _watch(self) -> bool:
        """Have the socket watched; tell whether it is."""
        is_over = self.ended or self._lost or self._readiness.closed or self.socket.fileno() < 0
        if not self._watched and not is_over:
            self._watched = True
            self._paused = False
            self._readiness.register(self)
        return self._watched

    def _make_room(self, size: int) -> None:
        self._room = size
        if self._paused:
            self._paused = False
            self._readiness.resume(self)
