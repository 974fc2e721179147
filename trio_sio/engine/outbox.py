"""The bounded queue between everything that emits to one client and the one place that writes to its wire."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import trio

from ..config import Limits
from ..errors import EncodeError
from ..protocol.frames import EncodedPacket
from .packets import are_logged, log_sent

__all__ = ["AGE_SAMPLES", "Outbox"]

AGE_SAMPLES: Final = 4  # how often `Outbox.is_overdue` is asked per `Limits.outbox_age`
SPARE: Final = 8  # the part of the bounds that is free, as far as volatile packets can go, once room had to be made


def _nobody_listens() -> None:
    """What an outbox notifies before it has a transport."""


class Outbox(trio.abc.SendChannel[EncodedPacket]):
    """A send channel of whole packets, bounded in packets, bytes and age.

    The unit is an `EncodedPacket`: a Socket.IO packet with its attachments is queued, dropped and counted as one.

    Who takes packets out (the transport) is told through `notify`, once each time the outbox stops being empty, and
    must then call `take` until it is empty again.

    Policies, from the emitter's side:

    * `send` waits for room, first come first served. Its cancellation is atomic: `trio.Cancelled` means that nothing
      was queued. While somebody waits, everybody else sees a full outbox, so that nobody overtakes.
    * `send_nowait` raises `trio.WouldBlock` when it is full.
    * `offer` tells whether there was room, for broadcasts, which never wait. Volatile packets make room for others.
    * `put` always succeeds, for packets of which there are only a few at a time, whatever the client does.

    Their age is sampled: a time for each packet would cost every append, and `is_overdue` needs only to count what left.

    Sending on a closed outbox does nothing: an emit to somebody who just left must not crash a game loop.

    Args:
      limits: The bounds.
      sid: Of the session whose packets these are, for the log.
      is_socketio: Whether messages are Socket.IO packets, for the log.
    """

    __slots__ = (
        "_keys",
        "_limit_bytes",
        "_limit_packets",
        "_marks",
        "_notified",
        "_queue",
        "_taken",
        "_volatile",
        "_waiters",
        "bytes",
        "closed",
        "dropped",
        "is_socketio",
        "notify",
        "sid",
    )

    def __init__(self, limits: Limits, sid: str = "", *, is_socketio: bool = False) -> None:
        self._limit_packets = limits.outbox_packets
        self._limit_bytes = limits.outbox_bytes
        self._queue: list[EncodedPacket] = []
        # Where the volatile packets are in the queue, oldest first, and where the newest of each key is.
        self._volatile: deque[int] | None = None
        self._keys: dict[str, int] | None = None
        self._waiters: deque[tuple[trio.lowlevel.Task, EncodedPacket]] | None = None
        self._notified = False
        self._taken = 0  # how many packets have left in all
        self._marks: tuple[int, ...] = ()  # at each of the last samples: what `_taken` is once all that waited then has left
        self.notify: Callable[[], None] = _nobody_listens
        self.bytes = 0
        self.dropped = 0
        self.closed = False
        self.sid = sid
        self.is_socketio = is_socketio

    def __len__(self) -> int:
        """How many packets wait (those of waiting senders not counted)."""
        return len(self._queue)

    @property
    def taken(self) -> int:
        """How many packets have left in all."""
        return self._taken

    @property
    def is_awaited(self) -> bool:
        """Whether senders wait for room; what is put now overtakes them."""
        return bool(self._waiters)

    def put(self, packet: EncodedPacket) -> None:
        """Append ``packet`` whatever the bounds say."""
        if self.closed:
            self.dropped += 1
            return
        self._queue.append(packet)
        self.bytes += packet.size
        if not self._notified:
            self._notified = True
            self.notify()

    def offer(self, packet: EncodedPacket) -> bool:
        """Append ``packet`` if there is room, at the expense of volatile packets if need be; tell whether it went in."""
        if len(self._queue) >= self._limit_packets or self.bytes + packet.size > self._limit_bytes or self._waiters:
            if self.closed:
                self.dropped += 1
                return True
            if not self._make_room(packet.size):
                return False
        self.put(packet)
        return True

    def offer_volatile(self, packet: EncodedPacket, key: str | None = None) -> None:
        """Append ``packet`` if there is room for it, else drop it; of the packets of one ``key`` only the newest is kept."""
        if self.closed or self._is_full(packet.size):
            self.dropped += 1
            return
        if key is not None:
            self._keys = {} if self._keys is None else self._keys
            position = self._keys.get(key)
            if position is not None:
                self.bytes += packet.size - self._queue[position].size
                self._queue[position] = packet
                self.dropped += 1
                return
            self._keys[key] = len(self._queue)
        self._volatile = deque() if self._volatile is None else self._volatile
        self._volatile.append(len(self._queue))
        self.put(packet)

    def send_nowait(self, packet: EncodedPacket) -> None:
        """Append ``packet``.

        Raises:
          trio.WouldBlock: if the outbox is full.
          EncodeError: if the packet could never fit.
        """
        self.require_fit(packet)
        if not self.offer(packet):
            raise trio.WouldBlock

    async def send(self, packet: EncodedPacket) -> None:
        """Append ``packet``, waiting for room if there is none.

        Raises:
          EncodeError: if the packet could never fit.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self.require_fit(packet)
        if self.offer(packet):
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._waiters = deque() if self._waiters is None else self._waiters
        waiters, waiter = self._waiters, (trio.lowlevel.current_task(), packet)
        waiters.append(waiter)

        def forget(_: object) -> trio.lowlevel.Abort:
            waiters.remove(waiter)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(forget)

    def require_fit(self, packet: EncodedPacket) -> None:
        """Raise `EncodeError` if ``packet`` is larger than the whole outbox."""
        if packet.size > self._limit_bytes:
            raise EncodeError(
                f"This packet has {packet.size} bytes and an outbox holds {self._limit_bytes}: "
                "send it in parts, or raise Limits.outbox_bytes."
            )

    def take(self, max_bytes: int) -> list[EncodedPacket]:
        """Remove and return the oldest packets, up to ``max_bytes`` but at least one; empty when there are none."""
        queue = self._queue
        if self.bytes <= max_bytes and self._volatile is None and self._waiters is None:
            self._queue = []
            self._notified = False
            self._taken += len(queue)
            self.bytes = 0
        else:
            queue = self._take_some(max_bytes)
        if are_logged():
            log_sent(self.sid, queue, is_socketio=self.is_socketio)
        return queue

    def take_payload(self, max_bytes: int) -> list[EncodedPacket]:
        """Like `take`, for one polling payload: its separators and base64 count against ``max_bytes`` too."""
        count, size = 0, -1
        for packet in self._queue:
            size += 1 + len(packet.polling)
            if count and size > max_bytes:
                break
            count += 1
        taken = self._take_first(count)
        if are_logged():
            log_sent(self.sid, taken, is_socketio=self.is_socketio)
        return taken

    def is_overdue(self) -> bool:
        """Tell whether a packet waits that already waited `AGE_SAMPLES` calls ago; call it at regular intervals.

        A volatile packet that a newer one of its key has replaced counts as if it still waited: it is the place that does.
        """
        if not self._queue:
            return False
        overdue = len(self._marks) == AGE_SAMPLES and self._taken < self._marks[0]
        self._marks = (*self._marks[1 - AGE_SAMPLES :], self._taken + len(self._queue))
        return overdue

    def close(self) -> None:
        """Take nothing more; what is queued can still be taken, and who waits for room goes on."""
        self.closed = True
        waiters, self._waiters = self._waiters, None
        for task, _ in waiters or ():
            self.dropped += 1
            trio.lowlevel.reschedule(task)

    async def aclose(self) -> None:
        """`close`, and a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()

    def _is_full(self, size: int) -> bool:
        return len(self._queue) >= self._limit_packets or self.bytes + size > self._limit_bytes or bool(self._waiters)

    def _make_room(self, size: int) -> bool:
        """Drop volatile packets, oldest first, if ``size`` bytes and one packet do not fit; tell whether they do then."""
        if self._waiters or not self._volatile:
            return not self._is_full(size)
        # What follows takes as long as the queue is, which the next packets must not pay again.
        most_packets = self._limit_packets - max(1, self._limit_packets // SPARE)
        most_bytes = self._limit_bytes - max(size, self._limit_bytes // SPARE)
        doomed: set[int] = set()
        while self._volatile and (len(self._queue) - len(doomed) > most_packets or self.bytes > most_bytes):
            position = self._volatile.popleft()
            doomed.add(position)
            self.bytes -= self._queue[position].size
        self.dropped += len(doomed)
        self._marks = tuple(mark - sum(position < mark - self._taken for position in doomed) for mark in self._marks)
        self._keep([position for position in range(len(self._queue)) if position not in doomed])
        return not self._is_full(size)

    def _take_some(self, max_bytes: int) -> list[EncodedPacket]:
        count = size = 0
        for packet in self._queue:
            size += packet.size
            if count and size > max_bytes:
                break
            count += 1
        return self._take_first(count)

    def _take_first(self, count: int) -> list[EncodedPacket]:
        taken = self._queue[:count]
        self._taken += count
        self.bytes -= sum(packet.size for packet in taken)
        self._keep(range(count, len(self._queue)))
        self._notified = bool(self._queue)
        self._admit_waiters()
        return taken

    def _keep(self, positions: Sequence[int]) -> None:
        """Keep only the packets at ``positions``; volatile ones stay marked as such."""
        moved = {old: new for new, old in enumerate(positions)}
        self._queue = [self._queue[position] for position in positions]
        self._volatile = deque(moved[at] for at in self._volatile or () if at in moved) or None
        self._keys = {key: moved[at] for key, at in (self._keys or {}).items() if at in moved} or None

    def _admit_waiters(self) -> None:
        waiters = self._waiters
        while waiters:
            task, packet = waiters[0]
            if len(self._queue) >= self._limit_packets or self.bytes + packet.size > self._limit_bytes:
                return
            waiters.popleft()
            self.put(packet)
            trio.lowlevel.reschedule(task)
        self._waiters = None
