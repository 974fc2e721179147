"""What becomes of a client's socket, as a stream of values."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import trio

from ..config import TransportName

__all__ = ["Connected", "Connecting", "Ended", "Lost", "State", "StateStream", "States", "Upgraded", "Waiting"]

STATES_KEPT: Final = 64  # for a reader that lags; then it loses the oldest


@dataclass(frozen=True, slots=True)
class Connected:
    """The socket has joined its namespace.

    Attributes:
      id: The socket's id, as the server knows it.
      recovered: Whether it is the socket that it was before, with its rooms and with no event missed.
      transport: What carries it.
    """

    id: str
    recovered: bool
    transport: TransportName


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The connection has moved to another transport."""

    transport: TransportName


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection is gone, without either side wanting it.

    Attributes:
      reason: As in Node: ``"ping timeout"``, ``"transport close"``, ``"transport error"`` or ``"parse error"``.
      detail: What happened, for a log.
    """

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """The next attempt to connect comes after a while.

    Attributes:
      attempt: Which one, from 1.
      delay: In how many seconds.
    """

    attempt: int
    delay: float


@dataclass(frozen=True, slots=True)
class Connecting:
    """An attempt to connect has begun.

    Attributes:
      attempt: Which one, from 1; 0 for one that the application asked for.
    """

    attempt: int


@dataclass(frozen=True, slots=True)
class Ended:
    """It is over: the socket does not come back by itself.

    Attributes:
      reason: ``"io client disconnect"``, ``"io server disconnect"``, or why the last connection was lost or refused.
      error: What went wrong, if anything did, such as `ConnectionRefused` or `ConnectFailed`.
    """

    reason: str
    error: Exception | None = None


State = Connected | Upgraded | Lost | Waiting | Connecting | Ended


class States:
    """Where the states of one socket are published.

    Attributes:
      current: What a new reader hears first.
    """

    __slots__ = ("_streams", "current")

    def __init__(self) -> None:
        self.current: State = Ended("never connected")
        self._streams: list[StateStream] = []

    def publish(self, state: State) -> None:
        """Tell every reader, and remember ``state`` for those that come later."""
        if not isinstance(state, Upgraded):
            self.current = state
        elif isinstance(self.current, Connected):
            self.current = replace(self.current, transport=state.transport)
        for stream in self._streams:
            stream._add(state)

    @contextmanager
    def subscribe(self) -> Iterator[StateStream]:
        """Give a stream that begins with the current state."""
        stream = StateStream(self)
        self._streams.append(stream)
        try:
            yield stream
        finally:
            self._streams.remove(stream)


class StateStream(AsyncIterator[State]):
    """The states of one socket, for one reader; it ends when the socket has.

    Attributes:
      missed: How many states were lost because the reader lagged behind by more than `STATES_KEPT`.
    """

    def __init__(self, states: States) -> None:
        self._states = states
        self._queue: deque[State] = deque((states.current,))
        self._news = trio.lowlevel.ParkingLot()
        self.missed = 0

    async def __anext__(self) -> State:
        await trio.lowlevel.checkpoint()
        while not self._queue:
            # After it, because a reader may be the one who connects an ended socket again.
            if isinstance(self._states.current, Ended):
                raise StopAsyncIteration
            await self._news.park()
        return self._queue.popleft()

    def _add(self, state: State) -> None:
        if len(self._queue) == STATES_KEPT:
            self._queue.popleft()
            self.missed += 1
        self._queue.append(state)
        self._news.unpark_all()
