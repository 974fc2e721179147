"""What one socket wants to send and no session has taken yet, because there is none or it is full."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import trio

from ..errors import Disconnected

if TYPE_CHECKING:
    from ..concurrency.answers import Answer
    from ..protocol.frames import EncodedPacket
    from .session import Session

__all__ = ["Outgoing", "SendBuffer"]

PACKETS: Final = 4_096  # as many as a server's outbox holds
BYTES: Final = 4 * 1024 * 1024


class Outgoing:
    """One packet on its way.

    Attributes:
      packet: The packet.
      session: The only session that it may leave through, as an acknowledgement; ``None``: any.
      answer: Where its acknowledgement is waited for, if it is.
      left: Whether a session has taken it.
    """

    __slots__ = ("answer", "left", "packet", "session")

    def __init__(self, packet: EncodedPacket, session: Session | None = None, answer: Answer[tuple[Any, ...]] | None = None) -> None:
        self.packet = packet
        self.session = session
        self.answer = answer
        self.left = False


class SendBuffer:
    """A queue that is bounded in packets and bytes; an empty one takes a packet of any size.

    `put` waits for room, first come first served; while somebody waits, `put_nowait` sees it full, so that nobody overtakes.

    Args:
      require_open: Raises when nothing may be appended any more.
      has_room: Called when there is room again.

    Attributes:
      lives: How often the socket has ended: what belongs to one life has no place in the next.
      news: Where the task parks that empties the buffer.
    """

    __slots__ = ("_acks", "_bytes", "_has_room", "_items", "_require_open", "_room", "_turn", "lives", "news")

    def __init__(self, require_open: Callable[[], None], has_room: Callable[[], None]) -> None:
        self._require_open = require_open
        self._has_room = has_room
        self._items: deque[Outgoing] = deque()
        self._bytes = 0
        self._acks = 0
        self.lives = 0
        self._turn = trio.StrictFIFOLock()
        self._room = trio.lowlevel.ParkingLot()
        self.news = trio.lowlevel.ParkingLot()

    @property
    def idle(self) -> bool:
        """Whether nothing is queued, and nobody waits."""
        return not self._items and not self._turn.locked()

    @property
    def is_overrun(self) -> bool:
        """Whether there are more acknowledgements than `put` lets in: nothing that wants one should be read then."""
        return self._acks > PACKETS

    @property
    def first(self) -> Outgoing | None:
        """The packet whose turn it is."""
        return self._items[0] if self._items else None

    def force(self, item: Outgoing) -> None:
        """Append ``item`` whatever the bounds say."""
        self._items.append(item)
        self._bytes += item.packet.size
        self._acks += item.session is not None
        self.news.unpark_all()

    def put_nowait(self, item: Outgoing) -> None:
        """Append ``item``.

        Raises:
          trio.WouldBlock: if there is no room.
        """
        if self._turn.locked() or self._is_full(item):
            raise trio.WouldBlock
        self.force(item)

    async def put(self, item: Outgoing) -> None:
        """Append ``item``, waiting for room if there is none. `trio.Cancelled` means that it was not appended.

        Raises:
          Disconnected: if the socket ended meanwhile, even if it has been connected again.
        """
        life = self.lives
        async with self._turn:
            while life == self.lives and self._is_full(item):
                await self._room.park()
            self.require_life(life)
            self.force(item)

    def require_life(self, life: int) -> None:
        """Raise `Disconnected` if nothing may be appended any more, or not by whoever began when `lives` was ``life``."""
        self._require_open()
        if life != self.lives:
            raise Disconnected("The socket ended before this could be sent, and was connected again; send it again if it is still wanted.")

    def remove(self, item: Outgoing) -> None:
        """Remove ``item``, if it is still there."""
        if item in self._items:
            self._items.remove(item)
            self._bytes -= item.packet.size
            self._acks -= item.session is not None
            self._make_room()

    def forget(self, session: Session) -> None:
        """Remove what may leave through ``session`` only."""
        kept = [item for item in self._items if item.session is not session]
        self._empty()
        for item in kept:
            self.force(item)

    def clear(self) -> None:
        """Remove everything, and let nobody in who waits: the socket has ended."""
        self.lives += 1
        self._empty()

    def _empty(self) -> None:
        self._items.clear()
        self._bytes = self._acks = 0
        self._make_room()

    def _make_room(self) -> None:
        self._room.unpark_all()
        self._has_room()

    def _is_full(self, item: Outgoing) -> bool:
        return len(self._items) >= PACKETS or bool(self._items and self._bytes + item.packet.size > BYTES)
