"""The bounded queue between everything that emits to one peer and the one place that writes to its wire."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from itertools import accumulate
from typing import Any, Final, Generic, Protocol, TypeVar

import trio

from ..errors import EncodeError

__all__ = ["AGE_SAMPLES", "Outbox", "QueuedPacket"]

AGE_SAMPLES: Final = 4  # how often `Outbox.is_overdue` is asked per `Limits.outbox_age`
SPARSE: Final = 256  # how many more gaps than packets there may be in the queue


class QueuedPacket(Protocol):
    """What an outbox holds; it looks at nothing else of it."""

    @property
    def size(self) -> int:
        """How many bytes count against the bound."""


P = TypeVar("P", bound=QueuedPacket)


class _Gap:
    """Stands in the queue where a volatile packet was that had to go."""

    size = 0


_GAP: Final[Any] = _Gap()


def _nobody_listens() -> None:
    """What an outbox notifies before it has a transport."""


class Outbox(trio.abc.SendChannel[P], Generic[P]):
    """A send channel of whole packets, bounded in packets, bytes and age.

    The unit is what is given to it: a Socket.IO packet with its attachments is queued, dropped and counted as one.

    Who takes packets out (the transport) is told through `notify`, once each time the outbox stops being empty, and
    must then call `take` until it is empty again.

    Policies, from the emitter's side:

    * `send` waits for room, first come first served. Its cancellation is atomic: `trio.Cancelled` means that nothing
      was queued. While somebody waits, everybody else sees a full outbox, so that nobody overtakes.
    * `send_nowait` raises `trio.WouldBlock` when it is full.
    * `offer` tells whether there was room, for broadcasts, which never wait. Volatile packets make room for others.
    * `put` always succeeds, for packets of which there are only a few at a time, whatever the client does.

    Who waits for room belongs to somebody, in whose name it sends: `dismiss` drops what its owner waits with.

    Their age is sampled: a time for each packet would cost every append, and `is_overdue` needs only to count what left.

    Sending on a closed outbox does nothing: an emit to somebody who just left must not crash a game loop.

    Args:
      max_packets: How many packets may wait.
      max_bytes: How large they may be in all.

    Attributes:
      notify: Called once each time it stops being empty.
      bytes: How large the packets are that wait.
      dropped: How many packets were dropped.
      closed: Whether nothing goes in any more.
      waited: Seconds that the latest `sample` has waited; ``None`` until there was one.
    """

    __slots__ = (
        "_gaps",
        "_keys",
        "_marks",
        "_max_bytes",
        "_max_packets",
        "_notified",
        "_owed",
        "_queue",
        "_sample",
        "_taken",
        "_volatile",
        "_waiters",
        "bytes",
        "closed",
        "dropped",
        "notify",
        "waited",
    )

    def __init__(self, max_packets: int, max_bytes: int) -> None:
        self._max_packets = max_packets
        self._max_bytes = max_bytes
        self._queue: list[P] = []
        self._gaps = 0  # in the queue
        self._taken = 0  # the place of the first in the queue; the next one has the next place, gaps included
        # The places and keys of the volatile packets, oldest first, perhaps of some that are gaps by now, and where the
        # newest of each key is. None, both of them, as long as there is no volatile packet and no gap.
        self._volatile: deque[tuple[int, Hashable]] | None = None
        self._keys: dict[Hashable, int] | None = None
        self._waiters: deque[tuple[trio.lowlevel.Task, P, object]] | None = None  # with their owners
        self._notified = False
        self._marks: tuple[int, ...] = ()  # at each of the last samples: the place behind all that waited then
        self._sample: tuple[int, float] | None = None  # the place behind what is sampled, and since when it waits
        self._owed: deque[int] | None = None  # the places of those that `owe` has counted, oldest first
        self.notify: Callable[[], None] = _nobody_listens
        self.bytes = 0
        self.dropped = 0
        self.closed = False
        self.waited: float | None = None

    def __len__(self) -> int:
        """How many packets wait (those of waiting senders not counted)."""
        return len(self._queue) - self._gaps

    @property
    def is_awaited(self) -> bool:
        """Whether senders wait for room; what is put now overtakes them."""
        return bool(self._waiters)

    def put(self, packet: P) -> None:
        """Append ``packet`` whatever the bounds say."""
        if self.closed:
            self.dropped += 1
            return
        self._queue.append(packet)
        self.bytes += packet.size
        if not self._notified:
            self._notified = True
            self.notify()

    def unheard(self) -> None:
        """Learn that `notify` has failed for what was put last, so that it is called for what comes next."""
        self._notified = False

    def offer(self, packet: P) -> bool:
        """Append ``packet`` if there is room, at the expense of volatile packets if need be; tell whether it went in."""
        if len(self._queue) >= self._max_packets or self.bytes + packet.size > self._max_bytes or self._waiters:
            if self.closed:
                self.dropped += 1
                return True
            if not self._make_room(packet.size):
                return False
        self.put(packet)
        return True

    def offer_volatile(self, packet: P, key: Hashable = None) -> None:
        """Append ``packet`` if there is room for it, else drop it; of the packets of one ``key`` only the newest is kept."""
        if self.closed or self._waiters:
            self.dropped += 1
            return
        older = None if key is None or self._keys is None else self._keys.get(key)
        count, size = (0, 0) if older is None else (1, self._queue[older - self._taken].size)
        if len(self._queue) - self._gaps - count >= self._max_packets or self.bytes - size + packet.size > self._max_bytes:
            self.dropped += 1
            return
        if older is not None:
            self._drop(older)
        if self._volatile is None or self._keys is None:
            self._volatile, self._keys = deque(), {}
        place = self._taken + len(self._queue)
        self._volatile.append((place, key))
        if key is not None:
            self._keys[key] = place
        self.put(packet)

    def owe(self) -> bool:
        """Count the packet that is `put` next as one that the client has asked for; tell whether it may ask for that many.

        They have a bound of their own, which neither a full outbox nor senders that wait for room have anything to do with:
        as many may wait as an outbox holds packets.
        """
        owed = self._owed
        while owed and owed[0] < self._taken:
            owed.popleft()
        if not self or self.closed:
            return True  # nothing waits, so this is the first one; or it is not put at all
        if owed is None:
            owed = self._owed = deque()
        if len(owed) >= self._max_packets:
            return False
        owed.append(self._taken + len(self._queue))
        return True

    def send_nowait(self, packet: P) -> None:
        """Append ``packet``.

        Raises:
          trio.WouldBlock: if the outbox is full.
          EncodeError: if the packet could never fit.
        """
        self.require_fit(packet)
        if not self.offer(packet):
            raise trio.WouldBlock

    async def send(self, packet: P, owner: object = None) -> None:
        """Append ``packet``, waiting for room if there is none; it is dropped if that lasts until ``owner`` is dismissed.

        Raises:
          EncodeError: if the packet could never fit.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self.require_fit(packet)
        if self.offer(packet):
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._waiters = deque() if self._waiters is None else self._waiters
        waiters, waiter = self._waiters, (trio.lowlevel.current_task(), packet, owner)
        waiters.append(waiter)

        def forget(_: object) -> trio.lowlevel.Abort:
            waiters.remove(waiter)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(forget)

    def lose(self, reason: str) -> None:
        """Count a packet that was never put, as somebody else found that it cannot be.

        Args:
          reason: For instruments; see `SessionInstrument.packets_dropped`.
        """
        self.dropped += 1

    def dismiss(self, owner: object) -> list[P]:
        """Drop and return what ``owner`` waits with, and let those tasks go on: it has come to its end, and what follows is not for it."""
        waiters = self._waiters
        dismissed: list[P] = []
        if not waiters:
            return dismissed
        kept = []
        for waiter in waiters:
            if waiter[2] is owner:
                self.dropped += 1
                dismissed.append(waiter[1])
                trio.lowlevel.reschedule(waiter[0])
            else:
                kept.append(waiter)
        # In place: who is cancelled looks for itself in here.
        waiters.clear()
        waiters.extend(kept)
        self._admit_waiters()
        return dismissed

    def discard(self, unwanted: Callable[[P], bool]) -> list[P]:
        """Drop and return the packets for which ``unwanted`` says so; the others keep their order."""
        queue = self._queue
        discarded: list[P] = []
        for index, packet in enumerate(queue):
            if packet is not _GAP and unwanted(packet):
                discarded.append(packet)
                queue[index] = _GAP
        if discarded:
            self._gaps += len(discarded)
            self.dropped += len(discarded)
            self.bytes -= sum(packet.size for packet in discarded)
            self._close_gaps()
            self._notified = bool(self._queue)
            self._admit_waiters()
        return discarded

    def withdraw(self, packet: P) -> None:
        """Drop ``packet``, if it waits: somebody has thought better of it."""
        if packet not in self._queue:
            return
        place = self._taken + self._queue.index(packet)
        self._volatile = deque() if self._volatile is None else self._volatile
        self._keys = {key: other for key, other in (self._keys or {}).items() if other != place}
        if self._owed is not None and place in self._owed:
            self._owed.remove(place)
        self._drop(place)
        if not self:
            self._close_gaps()
            self._notified = False
        self._admit_waiters()

    def require_fit(self, packet: P) -> None:
        """Raise `EncodeError` if ``packet`` is larger than the whole outbox."""
        if packet.size > self._max_bytes:
            raise EncodeError(
                f"This packet has {packet.size} bytes and an outbox holds {self._max_bytes}: "
                "send it in parts, or raise Limits.outbox_bytes."
            )

    def take(self, max_bytes: int) -> list[P]:
        """Remove and return the oldest packets, up to ``max_bytes`` but at least one; empty when there are none."""
        queue = self._queue
        if self.bytes <= max_bytes and self._waiters is None:
            self._queue = []
            self._notified = False
            self._taken += len(queue)
            self.bytes = 0
            if self._volatile is not None:
                queue = [packet for packet in queue if packet is not _GAP]
                self._volatile = self._keys = None
                self._gaps = 0
            return queue
        return self.take_measured(max_bytes)

    def take_measured(self, most: int, measure: Callable[[P], int] | None = None) -> list[P]:
        """Like `take`, where what counts against ``most`` is not their size but what ``measure`` returns for each packet."""
        self._skip_gaps()
        count = size = 0
        for packet in self._queue:
            if packet is not _GAP:
                size += packet.size if measure is None else measure(packet)
                if count and size > most:
                    break
            count += 1
        return self._take_first(count)

    def sample(self) -> None:
        """Measure how long what was put last waits until it is taken, unless something is measured already."""
        if self._queue and self._sample is None and not self.closed:
            self._sample = self._taken + len(self._queue), trio.current_time()
            # So `take` goes the longer way, which is the one that looks for this: to ask each time would cost every message.
            self._waiters = deque() if self._waiters is None else self._waiters

    def is_overdue(self) -> bool:
        """Tell whether a packet waits that already waited `AGE_SAMPLES` calls ago; call it at regular intervals."""
        self._skip_gaps()
        if not self._queue:
            return False
        overdue = len(self._marks) == AGE_SAMPLES and self._taken < self._marks[0]
        self._marks = (*self._marks[1 - AGE_SAMPLES :], self._taken + len(self._queue))
        return overdue

    def close(self) -> None:
        """Take nothing more; what is queued can still be taken, and who waits for room goes on."""
        self.closed = True
        self.notify = _nobody_listens  # and nothing is held: the transport holds this outbox
        waiters, self._waiters = self._waiters, None
        for task, *_ in waiters or ():
            self.dropped += 1
            trio.lowlevel.reschedule(task)

    async def aclose(self) -> None:
        """`close`, and a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()

    def _is_full(self, size: int) -> bool:
        return len(self) >= self._max_packets or self.bytes + size > self._max_bytes or bool(self._waiters)

    def _make_room(self, size: int) -> bool:
        """Drop volatile packets, oldest first, as long as ``size`` bytes and one packet do not fit; tell whether they do then."""
        while self._volatile and not self._waiters and self._is_full(size):
            place, key = self._volatile.popleft()
            self._forget_key(place, key)
            if self._queue[place - self._taken] is not _GAP:
                self._drop(place)
        return not self._is_full(size)

    def _take_first(self, count: int) -> list[P]:
        taken = self._queue[:count]
        if self._gaps:
            taken = [packet for packet in taken if packet is not _GAP]
            self._gaps -= count - len(taken)
        self._pass(count)
        self.bytes -= sum(packet.size for packet in taken)
        self._skip_gaps()
        self._notified = bool(self._queue)
        self._admit_waiters()
        return taken

    # Gaps, so that the packets behind one that goes keep their places.

    def _drop(self, place: int) -> None:
        """Drop the volatile packet at ``place``."""
        index = place - self._taken
        self.bytes -= self._queue[index].size
        self.dropped += 1
        self._queue[index] = _GAP
        self._gaps += 1
        if 2 * self._gaps > len(self._queue) + SPARSE:
            self._close_gaps()

    def _skip_gaps(self) -> None:
        """Let the queue begin with a packet."""
        if self._gaps:
            count = 0
            for packet in self._queue:
                if packet is not _GAP:
                    break
                count += 1
            self._gaps -= count
            self._pass(count)

    def _pass(self, count: int) -> None:
        """Remove the first ``count`` places, and what is known about them."""
        del self._queue[:count]
        self._taken += count
        if self._sample is not None and self._taken >= self._sample[0]:
            self.waited = trio.current_time() - self._sample[1]
            self._sample = None
            self._waiters = self._waiters or None
        volatile = self._volatile
        if volatile is None:
            return
        while volatile and volatile[0][0] < self._taken:
            self._forget_key(*volatile.popleft())
        if not volatile and not self._gaps:
            self._volatile = self._keys = None

    def _forget_key(self, place: int, key: Hashable) -> None:
        if self._keys is not None and self._keys.get(key) == place:
            del self._keys[key]

    def _close_gaps(self) -> None:
        """Remove all gaps, which gives new places to the packets behind them."""
        queue, taken = self._queue, self._taken
        gaps = list(accumulate((packet is _GAP for packet in queue), initial=0))  # how many are before each index

        def moved(place: int) -> int:
            return place if place <= taken else place - gaps[place - taken]

        self._volatile = deque((moved(place), key) for place, key in self._volatile or () if queue[place - taken] is not _GAP)
        self._keys = {key: moved(place) for key, place in (self._keys or {}).items() if queue[place - taken] is not _GAP}
        self._marks = tuple(map(moved, self._marks))
        if self._sample is not None:
            self._sample = moved(self._sample[0]), self._sample[1]
        if self._owed is not None:
            self._owed = deque(moved(place) for place in self._owed if place < taken or queue[place - taken] is not _GAP)
        self._queue = [packet for packet in queue if packet is not _GAP]
        self._gaps = 0

    def _admit_waiters(self) -> None:
        waiters = self._waiters
        while waiters:
            task, packet, _ = waiters[0]
            if len(self) >= self._max_packets or self.bytes + packet.size > self._max_bytes:
                return
            waiters.popleft()
            self.put(packet)
            trio.lowlevel.reschedule(task)
        if self._sample is None:
            self._waiters = None
