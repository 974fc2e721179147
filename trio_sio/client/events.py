"""What a server has emitted, from its arrival until somebody takes it."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

import trio

from ..concurrency.answers import Answer
from ..concurrency.waiters import Waiters
from ..log import get_logger

__all__ = ["Event", "EventStream", "Inbox", "Received"]

logger = get_logger("trio_sio.client")

EVENTS: Final = 256  # events that may wait for a handler, or for a reader; then nothing is read from the wire
BYTES: Final = 4 * 1024 * 1024  # and how much memory they may take in all
# The same while somebody waits for an acknowledgement or an event, which may be behind them.
EVENTS_WHILE_AWAITING: Final = 4_096
BYTES_WHILE_AWAITING: Final = 16 * 1024 * 1024


class Event(NamedTuple):
    """One event, as it came.

    With connection state recovery a server appends an argument to all that want no acknowledgement, a string, its offset.
    It stays there, because no client can tell it from an argument of the application's: volatile events have none.
    """

    name: str
    args: tuple[Any, ...]


class Received(NamedTuple):
    """An event with what else has to be known about it.

    Attributes:
      event: The event.
      id: The ack id, if the server wants an acknowledgement.
      session: The number of the socket's session that it came through: only there can it be acknowledged.
      size: How many bytes of memory it takes, about.
      heard: Whether a task that waits in `once` has it, so that it is not kept for another one.
    """

    event: Event
    id: int | None
    session: int
    size: int
    heard: bool = False


class _Queue:
    """Received events in order, and how much memory they take in all."""

    __slots__ = ("bytes", "items")

    def __init__(self) -> None:
        self.items: deque[Received] = deque()
        self.bytes = 0

    def append(self, received: Received) -> None:
        self.items.append(received)
        self.bytes += received.size

    def popleft(self) -> Received:
        received = self.items.popleft()
        self.bytes -= received.size
        return received

    def remove(self, received: Received) -> None:
        self.items.remove(received)
        self.bytes -= received.size

    def is_over(self, events: int, size: int) -> bool:
        return len(self.items) >= events or self.bytes >= size


class Inbox:
    """The events of one socket that wait.

    Everybody who waits for an event in `once` hears it, and so do its handlers, through a queue. What none of these heard
    goes to a task in `receive` or in an iteration. Otherwise it is *kept* until somebody takes it. Kept events are pushed
    back to the network while an iteration is under way; without one the oldest are dropped for the newest.

    Args:
      has_handler: Tells whether there is a handler for an event of that name.
      waiters: Who waits for events of a name.
      acknowledge: Called with what `once`, `receive` or an iteration has taken.
      has_room: Called when there is room again, perhaps.

    Attributes:
      dropped: How many events were dropped because nobody took them.
    """

    def __init__(
        self,
        has_handler: Callable[[str], bool],
        waiters: Waiters[Any, Received],
        acknowledge: Callable[[Received], None],
        has_room: Callable[[], None],
    ) -> None:
        self._has_handler = has_handler
        self._acknowledge = acknowledge
        self._has_room = has_room
        self._queued = _Queue()
        self._kept = _Queue()
        self._waiters = waiters
        self._readers: deque[Answer[Received]] = deque()
        self._streams: weakref.WeakSet[EventStream] = weakref.WeakSet()
        self._work = trio.lowlevel.ParkingLot()
        self.dropped = 0

    @property
    def pending(self) -> tuple[Event, ...]:
        """The events that nobody took yet, oldest first."""
        return tuple(received.event for received in self._kept.items)

    def is_full(self, *, awaiting: bool) -> bool:
        """Tell whether nothing more should be read; ``awaiting``: whether somebody waits for what may be behind."""
        limits = (EVENTS_WHILE_AWAITING, BYTES_WHILE_AWAITING) if awaiting else (EVENTS, BYTES)
        return self._queued.is_over(*limits) or (bool(self._streams) and self._kept.is_over(*limits))

    def arrive(self, received: Received) -> None:
        """Take an event from the wire, in the name of the reader."""
        name = received.event.name
        if self._waiters.hear(name, received):
            received = received._replace(heard=True)
        if self._has_handler(name):
            self._queued.append(received)
            self._work.unpark_all()
        elif received.heard:
            self._acknowledge(received)
        elif (reader := next((reader for reader in self._readers if reader.awaited), None)) is not None:
            self._readers.remove(reader)
            reader.arrive(received)
            self._acknowledge(received)
        else:
            self.keep(received)

    def keep(self, received: Received) -> None:
        """Keep an event until somebody takes it, unless somebody has heard it."""
        if received.heard:
            self._acknowledge(received)
            return
        kept = self._kept
        kept.append(received)
        while not self._streams and len(kept.items) > 1 and (len(kept.items) > EVENTS or kept.bytes > BYTES):
            if not self.dropped:
                logger.warning(
                    "Nobody takes events such as %.80r: %d of them are kept, and the oldest are dropped from now on. "
                    "Register a handler with on() or on_any(), or take them with `async for`.",
                    kept.items[0].event.name,
                    len(kept.items) - 1,
                )
            kept.popleft()
            self.dropped += 1

    def handle(self, name: str | None) -> None:
        """Hand the kept events of that name, or all, to the handlers, one of which is new."""
        for received in [received for received in self._kept.items if name in (None, received.event.name)]:
            self._kept.remove(received)
            self._queued.append(received)
        self._work.unpark_all()
        self._has_room()

    async def next_queued(self) -> Received:
        """Return the next event that handlers wait for."""
        await trio.lowlevel.checkpoint()
        while not self._queued.items:
            await self._work.park()
        received = self._queued.popleft()
        self._has_room()
        return received

    def take_kept(self, name: str | None = None) -> Event | None:
        """Return the oldest kept event (of that name), if there is one."""
        for received in self._kept.items:
            if name in (None, received.event.name):
                self._kept.remove(received)
                self._has_room()
                self._acknowledge(received)
                return received.event
        return None

    async def wait_for_any(self) -> Event:
        """Return the next event that arrives and that nobody else wants.

        Raises:
          Disconnected: if none will, because `fail` was called.
        """
        reader: Answer[Received] = Answer()
        self._readers.append(reader)
        try:
            return (await reader.wait()).event
        finally:
            if reader in self._readers:
                self._readers.remove(reader)

    def fail(self, sentence: str, cause: Exception | None) -> None:
        """Tell those who wait for any event that nothing more comes."""
        for reader in self._readers:
            reader.fail(sentence, cause)

    def stream(self, next_event: Callable[[], Awaitable[Event | None]]) -> EventStream:
        """Return an iteration; as long as somebody holds it, kept events are not dropped."""
        stream = EventStream(next_event, self._has_room)
        self._streams.add(stream)
        return stream


class EventStream(AsyncIterator[Event]):
    """An iteration over the events of a socket that nobody else takes; it ends with the socket."""

    def __init__(self, next_event: Callable[[], Awaitable[Event | None]], left: Callable[[], None]) -> None:
        self._next_event = next_event
        self._left = left
        self._token = trio.lowlevel.current_trio_token()

    async def __anext__(self) -> Event:
        event = await self._next_event()
        if event is None:
            raise StopAsyncIteration
        return event

    def __del__(self) -> None:
        # An iteration that was left is told by nothing else; and whoever lets go of it, or collects it, may be another thread.
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._left)
