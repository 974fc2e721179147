"""The events of one socket that wait, and the loop that handles them, one at a time.

Theory of operation
===================

The reader puts events in (`Dispatcher.put`), the socket's task takes them out (`Dispatcher.run`), in the order of
arrival. The connection's inbox counts them, whichever socket they are for, and stops reading when there are too many.
An orderly end is put in as well, behind what came before it; an abrupt one cancels the task, and `clear` counts out
what was never handled.

The clock is read only when something begins to wait. `queued_since` is when the oldest event began to wait for what runs
now; when that is over, it is the time at which the next handler begins. A `SlowHandlerWatch` looks at both, while there is
something that waits.

The dispatcher does not hold its socket, which holds it: what it needs of it comes with each call.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

import trio

from ..concurrency.wakeup import Wakeup
from .slow_handlers import SlowHandlerWatch, Watched

if TYPE_CHECKING:
    from ..engine.flusher import Flusher
    from ..engine.inbox import Inbox
    from ..protocol.socketio import Packet
    from .handler import SocketHandler
    from .listeners import Listeners

__all__ = ["Dispatched", "Dispatcher"]

EVENTS_PER_TURN: Final = 16  # events of one socket that are handled before other tasks get a turn


class Wakeable(Protocol):
    """What is told that there is work."""

    def wake(self) -> None:
        """Learn it; may be called again before anything comes of it."""


class Dispatched(Watched, Protocol):
    """What a dispatcher needs of its socket.

    Attributes:
      handler: Handles its events.
      listeners: What was registered on it alone, which then comes first.
    """

    handler: SocketHandler
    listeners: Listeners | None


class Dispatcher:
    """Handles the events of one socket.

    Args:
      inbox: The connection's, which bounds what waits.
      flusher: What writes what handlers emit; it learns when more events wait than the one that is handled.

    Attributes:
      handling: The event whose handler runs.
      handling_since: Since when it connects, or a handler runs.
      queued_since: Since when the oldest event waits for what runs now.
    """

    __slots__ = ("_flusher", "_inbox", "_queue", "_watch", "_work", "handling", "handling_since", "queued_since")

    def __init__(self, inbox: Inbox, flusher: Flusher) -> None:
        self._inbox = inbox
        self._flusher = flusher
        self._queue: deque[Packet | None] | None = None  # made for the first event; None in it: the orderly end
        self._work: Wakeable = Wakeup()
        self._watch: SlowHandlerWatch | None = None
        self.handling: Packet | None = None
        self.handling_since: float | None = None
        self.queued_since = 0.0

    # What happens in the name of the reader.

    def put(self, packet: Packet, socket: Dispatched) -> None:
        """Let an event of ``socket`` take its turn.

        Raises:
          InboxOverflow: see `Inbox.queued`.
        """
        queue = self._queue
        if not queue:
            if queue is None:
                queue = self._queue = deque()
            self.queued_since = trio.current_time()
            if self.handling_since is not None and self._watch is None:
                self._watch = SlowHandlerWatch(self, socket)
            self._work.wake()  # otherwise it is awake
        queue.append(packet)
        self._inbox.queued(packet.memory)

    def finish(self) -> None:
        """Let `run` return behind what waits already."""
        if self._queue is None:
            self._queue = deque()
        self._queue.append(None)
        self._work.wake()

    # What happens in the socket's task.

    def begin(self) -> None:
        """Learn that what connects the socket runs, for which its client waits."""
        self.handling_since = self.queued_since = trio.current_time()

    def watch(self, socket: Dispatched) -> None:
        """Warn, if what runs now lasts for too long."""
        self._watch = SlowHandlerWatch(self, socket)

    def joined(self) -> None:
        """Learn that it is connected, and that what runs now is its hook: its client does not wait any longer, but events may."""
        if self.handling_since is not None:
            self.watch_no_more()
            self.handling_since = trio.current_time()

    def rest(self, work: Wakeable) -> bool:
        """Let ``work`` be woken when something is to be handled, and `run` then, if nothing waits; tell whether that is so."""
        if self._queue:
            return False
        self.handling = self.handling_since = None
        self._work = work
        return True

    async def run(self, socket: Dispatched) -> None:
        """Handle the events of ``socket``, one at a time, until the orderly end."""
        self._work = work = Wakeup()
        inbox, handler, flusher = self._inbox, socket.handler, self._flusher
        now = trio.lowlevel.current_clock().current_time  # half of what trio.current_time() takes, per event
        handled = 0
        if self._queue:
            # What came while the connection hook ran has not waited behind a handler.
            self.queued_since = now()
        while True:
            queue = self._queue
            while queue:
                packet = queue.popleft()
                if packet is None:
                    return
                inbox.taken(packet.memory)
                self.handling = packet
                # The time at which it was the next one, which is as good as reading the clock, and costs nothing.
                self.handling_since = self.queued_since
                if queue:
                    flusher.busy = self
                    if self._watch is None:
                        self._watch = SlowHandlerWatch(self, socket)
                await (handler.receive(packet) if socket.listeners is None else socket.listeners.receive(packet))
                handled += 1
                if queue:
                    if handled % EVENTS_PER_TURN == 0:
                        flusher.busy = None  # these have waited for each other already
                        await trio.lowlevel.checkpoint()
                    # What the next one has waited for until now is over.
                    self.queued_since = now()
            self.handling = self.handling_since = None
            handled = 0
            if flusher.busy is self:
                flusher.busy = None
            await work.wait()

    def clear(self, socket: Dispatched) -> None:
        """Forget what waits for ``socket``, and whom to wake for it."""
        self._work = Wakeup()
        if self._flusher.busy is self:
            self._flusher.busy = None
        while self._queue:
            if (packet := self._queue.popleft()) is not None:
                self._inbox.taken(packet.memory)
                if socket.listeners is not None:
                    socket.listeners.never_handled(packet)

    # What the watch asks.

    @property
    def has_event(self) -> bool:
        """Whether an event waits."""
        return self._queue is not None and len(self._queue) > 0 and self._queue[0] is not None

    def unwatched(self) -> None:
        """Learn that the watch does not look again: whatever begins to wait next sets another."""
        self._watch = None

    def watch_no_more(self) -> None:
        """Warn of nothing any more."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
