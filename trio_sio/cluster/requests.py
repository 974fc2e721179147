"""What one server has asked the others, and who has not answered yet: settled at once for those who are gone.

Who has said goodbye owes nothing any more. Who is dead is not waited for either, but is missing: nobody knows what it would have said.
A server that nobody knew of and that has sockets, or clients that answer, counts, too; one that answers twice counts once.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import trio

from .peers import MOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..namespaces.adapter import Sink

__all__ = ["Asked", "Collected", "EmittedToClients", "EmittedToServers", "Request", "Requests"]

T = TypeVar("T")


class Request(Protocol):
    """One question."""

    def lose(self, uid: str, *, is_dead: bool) -> None:
        """Learn that the server ``uid`` is gone; ``is_dead``: without a goodbye."""

    def ask(self, peers: Iterable[str]) -> None:
        """Learn that ``peers`` are asked, too."""


class Requests:
    """All that one adapter waits for, by the ids of the questions."""

    def __init__(self) -> None:
        self._open: dict[str, Request] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._open)

    def open(self, request: Request) -> str:
        """Wait for ``request``; return the id that answers carry."""
        number = secrets.token_hex(8)
        self._open[number] = request
        return number

    def get(self, number: str) -> Request | None:
        """Return the request with that id, if it is still open."""
        return self._open.get(number)

    def close(self, number: str) -> None:
        """Wait for it no longer; idempotent."""
        self._open.pop(number, None)

    def lose(self, uid: str, *, is_dead: bool) -> None:
        """See `Request.lose`."""
        for request in list(self._open.values()):
            request.lose(uid, is_dead=is_dead)


class Collected(Generic[T]):
    """One answer of each server.

    Args:
      peers: Who was asked.

    Attributes:
      answers: What came.
    """

    def __init__(self, peers: Iterable[str]) -> None:
        self._waiting = dict.fromkeys(peers)
        self._dead: dict[str, None] = {}
        self._answered: set[str] = set()
        self._news = trio.lowlevel.ParkingLot()
        self.answers: list[T] = []

    @property
    def missing(self) -> Sequence[str]:
        """Who has not answered, and has not said goodbye."""
        return (*self._dead, *self._waiting)

    def ask(self, peers: Iterable[str]) -> None:
        """See `Request.ask`."""
        self._waiting |= dict.fromkeys(peers)

    def arrive(self, uid: str, answer: T) -> None:
        """Take the answer of the server ``uid``."""
        if uid not in self._answered and len(self._answered) < MOST:
            self._answered.add(uid)
            self._dead.pop(uid, None)
            self.answers.append(answer)
            self.lose(uid, is_dead=False)

    def lose(self, uid: str, *, is_dead: bool) -> None:
        """See `Request.lose`."""
        if uid in self._waiting:
            del self._waiting[uid]
            if is_dead:
                self._dead[uid] = None
            self._news.unpark_all()

    async def wait(self, timeout: float) -> None:
        """Wait until all have answered or are gone, for ``timeout`` seconds at most."""
        with trio.move_on_after(timeout):
            while self._waiting:
                await self._news.park()


class _Emitted:
    """An event that is answered.

    Attributes:
      on_close: Called when nobody waits for the answers any more.
    """

    on_close: Callable[[], None] | None = None

    def close(self) -> None:
        """See `Pending.close`."""
        if self.on_close is not None:
            self.on_close()


class EmittedToServers(_Emitted):
    """An event for servers, each of which may answer it.

    Args:
      peers: Who was asked.
      sink: Where the answers go.
    """

    def __init__(self, peers: Iterable[str], sink: Sink) -> None:
        self._waiting: dict[str, None] = {}
        self._dead: list[str] = []
        self._sink = sink
        self.ask(peers)

    @property
    def missing(self) -> Sequence[str]:
        """Who has not answered, and has not said goodbye."""
        return (*self._dead, *self._waiting)

    def ask(self, peers: Iterable[str]) -> None:
        """See `Request.ask`."""
        before = len(self._waiting)
        self._waiting |= dict.fromkeys(peers)
        self._sink.expect(len(self._waiting) - before)

    def arrive(self, uid: str, value: object) -> None:
        """Take the answer of the server ``uid``."""
        if uid in self._waiting:
            del self._waiting[uid]
            self._sink.arrive(None, (value,))

    def lose(self, uid: str, *, is_dead: bool) -> None:
        """See `Request.lose`."""
        if uid in self._waiting:
            del self._waiting[uid]
            if is_dead:
                self._dead.append(uid)
            self._sink.expect(-1)


class EmittedToClients(_Emitted):
    """An event for clients, each of which may answer it: the server of each says first how many of them there are.

    Args:
      peers: Who was asked.
      sink: Where the answers go.
    """

    def __init__(self, peers: Iterable[str], sink: Sink) -> None:
        self._waiting: dict[str, None] = {}  # who has not said yet how many
        self._counted: set[str] = set()  # who has, or is not to say any more
        self._dead: list[str] = []
        self._numbers: dict[str, int] = {}  # of the last answers
        self._owed: dict[str, int] = {}  # below zero: answers have overtaken the number
        self._sink = sink
        self.ask(peers)

    @property
    def missing(self) -> Sequence[str]:
        """Whose clients have not answered, or who has not said how many there are."""
        return (*self._dead, *self._waiting, *self.indebted)

    @property
    def uncounted(self) -> Sequence[str]:
        """Who has not said how many clients it has."""
        return tuple(self._waiting)

    @property
    def indebted(self) -> Sequence[str]:
        """Whose clients have not all answered."""
        return tuple(uid for uid, owed in self._owed.items() if owed > 0)

    def ask(self, peers: Iterable[str]) -> None:
        """See `Request.ask`."""
        before = len(self._waiting)
        self._waiting |= dict.fromkeys(peers)
        self._sink.expect(len(self._waiting) - before)

    def count(self, uid: str, clients: int) -> None:
        """Learn that ``clients`` of the server ``uid`` were asked."""
        if uid in self._counted or not self._has_place(uid):
            return
        self._counted.add(uid)
        self._owed[uid] = self._owed.get(uid, 0) + clients
        # Who has let more answer than it says owes nothing, and the others still do.
        self._sink.expect(max(self._owed[uid], 0))
        self._settle(uid)

    def arrive(self, uid: str, value: object, number: int | None) -> None:
        """Take the answer of a client of ``uid``; ``number``: the first is 1, and so on, if that server counts."""
        if self._take(uid, number):
            self._sink.arrive(None, (value,))

    def lose_client(self, uid: str, number: int | None) -> None:
        """Learn that a client of ``uid`` is gone without an answer, likewise."""
        if self._take(uid, number):
            self._sink.expect(-1)

    def lose(self, uid: str, *, is_dead: bool) -> None:
        """See `Request.lose`."""
        owed = self._owed.pop(uid, None)
        if uid not in self._waiting and owed is None:
            return
        if is_dead and (uid in self._waiting or (owed or 0) > 0):
            self._dead.append(uid)
        self._counted.add(uid)
        self._settle(uid)
        if owed is not None and owed > 0:
            self._sink.expect(-owed)

    def _take(self, uid: str, number: int | None) -> bool:
        if not self._has_place(uid):
            return False
        if number is not None:
            if number <= self._numbers.get(uid, 0):
                return False  # it came twice
            self._numbers[uid] = number
        owed = self._owed.get(uid, 0)
        if uid in self._counted:
            if owed <= 0:
                return False  # there are more answers than clients
        else:
            self._sink.expect(1)
        self._owed[uid] = owed - 1
        return True

    def _has_place(self, uid: str) -> bool:
        return uid in self._waiting or uid in self._counted or uid in self._owed or max(len(self._counted), len(self._owed)) < MOST

    def _settle(self, uid: str) -> None:
        if uid in self._waiting:
            del self._waiting[uid]
            self._sink.expect(-1)


Asked = Collected[Any] | EmittedToServers | EmittedToClients
"""Any of them."""
