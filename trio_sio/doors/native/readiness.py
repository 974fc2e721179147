"""One task that receives for every plain socket of the native door (Linux).

A task that awaits its own socket costs a trip through Trio's I/O manager and a task switch per message. Here one epoll
with persistent registrations says who is ready, and what arrived is fed synchronously, in the name of that connection's
reader; only the task that handles an event is woken.

Rules, each of which was a bug in somebody's server:

* A socket leaves the table before it is closed, without a checkpoint in between: descriptors are reused.
* A paused socket is registered for ``EPOLLRDHUP | EPOLLONESHOT``. Merely ignoring it would spin, as the epoll is
  level-triggered and HUP cannot be masked.
* Nothing is received for a paused socket.
* Sockets per turn, bytes per socket and the time of a turn are bounded, so that busy clients delay nobody.
"""

from __future__ import annotations

import select
import socket
import time
from typing import Final, Protocol

import trio

from ...concurrency.streams import SECONDS_PER_TURN
from ...log import get_logger

__all__ = ["Readable", "Readiness"]

logger = get_logger("trio_sio.doors.native")

SOCKETS_PER_TURN: Final = 256

_READING: Final = select.EPOLLIN
_PAUSED: Final = select.EPOLLRDHUP | select.EPOLLONESHOT
_BROKEN: Final = select.EPOLLHUP | select.EPOLLERR


class Readable(Protocol):
    """Whose socket is watched."""

    @property
    def socket(self) -> socket.socket:
        """The socket; open as long as it is registered."""

    def readable(self) -> None:
        """Receive once and use it, for a bounded time; never block."""

    def hung_up(self) -> None:
        """Learn, while paused, that the peer has reset the connection; or that nobody watches any more."""

    def failed(self, error: Exception) -> None:
        """Learn that `readable` raised, which is a bug; only this connection may suffer."""

    def abandoned(self) -> None:
        """Learn that nobody watches any more, as the server's scope is over."""


class Readiness:
    """Watches sockets for whoever registers them. `run` must be running meanwhile."""

    __slots__ = ("_epoll", "_readers")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Readable] = {}

    def __len__(self) -> int:
        """How many sockets are watched."""
        return len(self._readers)

    @property
    def closed(self) -> bool:
        """Whether nothing is watched any more."""
        return self._epoll.closed

    def register(self, reader: Readable) -> None:
        """Call ``reader.readable()`` whenever its socket is, from now on."""
        if self._epoll.closed:
            # The server is cancelled, and this reader was the last to hear of it.
            reader.hung_up()
            return
        descriptor = reader.socket.fileno()
        self._epoll.register(descriptor, _READING)
        self._readers[descriptor] = reader

    def unregister(self, reader: Readable) -> None:
        """Leave ``reader`` alone; call it before its socket is closed; idempotent."""
        descriptor = reader.socket.fileno()
        if self._readers.get(descriptor) is reader:
            del self._readers[descriptor]
            self._epoll.unregister(descriptor)

    def pause(self, reader: Readable) -> None:
        """Only tell ``reader`` about a reset, until `resume`."""
        self._modify(reader, _PAUSED)

    def resume(self, reader: Readable) -> None:
        """Undo `pause`."""
        self._modify(reader, _READING)

    def _modify(self, reader: Readable, events: int) -> None:
        descriptor = reader.socket.fileno()
        if self._readers.get(descriptor) is reader:
            self._epoll.modify(descriptor, events)

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Feed whoever is ready, until cancelled."""
        epoll = self._epoll
        try:
            while True:
                await trio.lowlevel.wait_readable(epoll.fileno())
                ready = self._feed(epoll.poll(0, SOCKETS_PER_TURN))
                while ready:
                    # Those come first for whom there was no time, unless they close meanwhile: others may get their descriptors.
                    left = [(event, self._readers.get(event[0])) for event in ready]
                    await trio.lowlevel.checkpoint()
                    ready = self._feed([event for event, reader in left if self._readers.get(event[0]) is reader])
                    left.clear()
        finally:
            # A server that is cancelled stops this task and the readers in whatever order: they find nothing to unregister.
            readers = list(self._readers.values())
            self._readers.clear()
            epoll.close()
            for reader in readers:
                reader.abandoned()

    def _feed(self, ready: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Feed those who are ``ready``, in order; return those for whom there was no time."""
        clock = time.perf_counter
        end = clock() + SECONDS_PER_TURN
        for number, (descriptor, events) in enumerate(ready, 1):
            reader = self._readers.get(descriptor)
            if reader is None:
                continue  # closed by the one before it in this turn
            try:
                if events & _READING:
                    reader.readable()
                elif events & _BROKEN:
                    reader.hung_up()
            except Exception as error:
                logger.exception("Feeding one connection failed; the others go on.")
                reader.failed(error)
            if clock() > end:
                return ready[number:]
        return []
