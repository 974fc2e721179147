"""A queue with a bound in items and in bytes, between tasks of one session."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

import trio

__all__ = ["BoundedQueue"]

T = TypeVar("T")


class BoundedQueue(Generic[T]):
    """First in, first out. An item that is larger than the bound goes into the queue when it is empty.

    Args:
      max_items: How many items may wait.
      max_bytes: How large they may be in all.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._closed = False
        self._putting = trio.Lock()  # those who wait for room get it in order
        self._room = trio.lowlevel.ParkingLot()
        self._news = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._items)

    def has_room(self, size: int) -> bool:
        """Tell whether an item of ``size`` bytes would go in now."""
        return not self._items or (len(self._items) < self._max_items and self._bytes + size <= self._max_bytes)

    async def put(self, item: T, size: int) -> None:
        """Wait for room and append ``item``; when it is cancelled, the item is not in the queue.

        Raises:
          trio.ClosedResourceError: if the queue is closed, also while waiting.
        """
        async with self._putting:
            while not self._closed and not self.has_room(size):
                await self._room.park()
            self._append(item, size)

    def put_nowait(self, item: T, size: int) -> None:
        """Append ``item`` if there is room.

        Raises:
          trio.WouldBlock: if there is none, or others wait for it.
          trio.ClosedResourceError: if the queue is closed.
        """
        if not self._closed and (self._putting.locked() or not self.has_room(size)):
            raise trio.WouldBlock
        self._append(item, size)

    async def get(self) -> T:
        """Wait for an item and remove it.

        Raises:
          trio.EndOfChannel: if the queue is closed and empty.
        """
        await trio.lowlevel.checkpoint()
        while not self._items:
            if self._closed:
                raise trio.EndOfChannel
            await self._news.park()
        return self._pop()

    def take(self, max_bytes: int) -> list[T]:
        """Remove and return items of up to ``max_bytes`` in all, at least one if there is any."""
        taken: list[T] = []
        size = 0
        while self._items and (not taken or size + self._items[0][1] <= max_bytes):
            size += self._items[0][1]
            taken.append(self._pop())
        return taken

    def close(self) -> None:
        """Let nothing in any more, and wake everybody who waits; what is in the queue can still be taken."""
        self._closed = True
        self._room.unpark_all()
        self._news.unpark_all()

    def _append(self, item: T, size: int) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        self._items.append((item, size))
        self._bytes += size
        self._news.unpark()

    def _pop(self) -> T:
        item, size = self._items.popleft()
        self._bytes -= size
        self._room.unpark()
        return item
