"""Room subscriptions: tasks of this process that listen to rooms as clients do."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol, Self

import trio

from ..errors import Lagged
from .target import require_names

if TYPE_CHECKING:
    from .taps import Tap
    from .target import Target

__all__ = ["RoomEvent", "Subscription"]


class RoomEvent(NamedTuple):
    """One event as it was broadcast."""

    name: str
    args: tuple[object, ...]


class Place(Protocol):
    """Where something is emitted; see `Namespace`."""

    def tap(self, tap: Tap) -> None:
        """Let ``tap`` hear it."""

    def untap(self, tap: Tap) -> None:
        """Let ``tap`` hear nothing any more."""


class Subscription(trio.abc.ReceiveChannel[RoomEvent]):
    """What `Namespace.subscribe` returns: receives while it is entered, and is closed by leaving it.

    Args:
      place: Where it listens as long as it is entered.
      rooms: The rooms.
      lag: What happens when ``size`` events wait and another one comes.
      size: How many may wait.

    Attributes:
      lost: How many events it did not get because too many waited.
    """

    __slots__ = ("_events", "_lag", "_missed", "_news", "_open", "_place", "_rooms", "_size", "lost")

    calls_back: ClassVar = False

    def __init__(self, place: Place, rooms: tuple[str, ...], *, lag: Literal["raise", "drop"], size: int) -> None:
        require_names(rooms, "subscribe to", "subscribe")
        if lag not in ("raise", "drop"):
            raise ValueError(f'lag is {lag!r}; choose "raise" or "drop".')
        if type(size) is not int or size < 1:
            raise ValueError(f"size is {size!r}; it must be an integer of at least 1.")
        self._place = place
        self._rooms = frozenset(rooms)
        self._lag = lag
        self._size = size
        self._events: deque[RoomEvent] = deque()
        self._missed = 0  # since the newest of the events that wait
        self._open = False
        self._news = trio.lowlevel.ParkingLot()
        self.lost = 0

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        self._open = True
        self._place.tap(self)
        return self

    async def receive(self) -> RoomEvent:
        """Return the next event, waiting for it.

        Raises:
          Lagged: with ``lag="raise"``, in the place of events that were lost; receiving may go on behind them.
          trio.ClosedResourceError: if it is not entered, or was left.
        """
        await trio.lowlevel.checkpoint()
        while not self._events and not self._missed and self._open:
            await self._news.park()
        if not self._open:
            raise trio.ClosedResourceError("This subscription is not open: receive within `async with namespace.subscribe(...)`.")
        if self._events:
            return self._events.popleft()
        missed, self._missed = self._missed, 0
        raise Lagged(missed)

    async def aclose(self) -> None:
        """Stop listening; whoever waits in `receive` gets `trio.ClosedResourceError`."""
        self._open = False
        self._place.untap(self)
        self._events.clear()
        self._missed = 0
        self._news.unpark_all()
        await trio.lowlevel.checkpoint()

    # What `overhear` calls.

    def is_meant(self, target: Target) -> bool:
        """See `Tap.is_meant`: what is for a member of its rooms is for it."""
        return target.includes(self._rooms)

    def hear(self, event: str, args: tuple[object, ...]) -> None:
        """See `Tap.hear`."""
        # Where the gap is must stay where it is, so nothing is taken behind it before it was reported.
        if self._missed or len(self._events) >= self._size:
            self.lost += 1
            if self._lag == "raise":
                self._missed += 1
                return
            self._events.popleft()
        self._events.append(RoomEvent(event, args))
        self._news.unpark()
