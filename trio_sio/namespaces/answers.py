"""The answers of several clients to one event (Node: acknowledgements of a broadcast), or of several servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

import trio

from ..errors import TrioSioError
from .acks import acknowledged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .acks import Waiter

__all__ = ["AckTimeout", "BroadcastAnswers", "Respondent"]


class Respondent(Protocol):
    """Whose answer can be waited for: a socket of this process.

    Attributes:
      id: Its id.
    """

    id: str

    def expect_answer(self, number: int, waiter: Waiter) -> None:
        """Let ``waiter`` have the acknowledgement ``number``."""

    def forget_answer(self, number: int) -> None:
        """Expect it no longer."""


class AckTimeout(TrioSioError, trio.TooSlowError):
    """Not everybody who was asked has answered in time.

    Args:
      responses: What the others answered, in the order in which that came.
      missing: The ids of those sockets of this process that did not answer.
    """

    def __init__(self, responses: list[object], missing: list[str]) -> None:
        super().__init__("Not everybody answered in time: `responses` has what came, `missing` who did not answer.")
        self.responses = responses
        self.missing = missing


class BroadcastAnswers:
    """Gives ``(sid, args)`` for each answer as it comes, and ends with the last: ``async for sid, args in answers``.

    A client that is disconnected before it answers is not waited for. The iteration raises `AckTimeout` when the time is
    over before everybody has answered or gone.

    Adapters call `ask` for sockets of this process; for others `expect`, then `arrive` with each answer.

    Args:
      number: The ack id that all of them answer.
      timeout: Seconds from now until the time is over.

    Raises:
      ValueError: if that is negative, or not a number.
    """

    __slots__ = ("_answers", "_asked", "_deadline", "_elsewhere", "_gone", "_news", "_next", "_number")

    def __init__(self, number: int, timeout: float) -> None:
        if not timeout >= 0:
            raise ValueError(f"The time to wait for answers is {timeout!r} seconds; it must be a number of at least 0.")
        self._number = number
        self._deadline = trio.current_time() + timeout
        self._answers: list[tuple[str | None, Sequence[object]]] = []
        self._next = 0  # the first that was not given out yet
        self._asked: dict[str, Respondent] = {}
        self._elsewhere = 0
        self._gone: list[str] = []
        self._news = trio.lowlevel.ParkingLot()

    @property
    def missing(self) -> list[str]:
        """The ids of the sockets of this process that did not answer: those that have gone first, then those that still may."""
        return [*self._gone, *self._asked]

    @property
    def responses(self) -> list[object]:
        """What came so far, in the order in which it came: of each the one value, a tuple of several, ``None`` for none."""
        return [acknowledged(args) for _, args in self._answers]

    # What adapters call.

    def ask(self, socket: Respondent) -> None:
        """Wait for the answer of ``socket``, which is about to get the packet."""
        self._asked[socket.id] = socket
        socket.expect_answer(self._number, _Question(self, socket))

    def expect(self, change: int) -> None:
        """Wait for so many more answers of somebody elsewhere, or for fewer.

        Who does not know yet how many there are expects one to begin with, and corrects that later.
        """
        self._elsewhere += change
        self._news.unpark_all()

    def arrive(self, sid: str | None, args: Sequence[object]) -> None:
        """Take an answer that was expected.

        Args:
          sid: Who gives it; ``None`` where that is not known, as with those on a Node server.
          args: The answer.
        """
        self._answers.append((sid, args))
        self.expect(-1)

    def close(self) -> None:
        """Wait for nobody any more."""
        for socket in self._asked.values():
            socket.forget_answer(self._number)

    # What clients do.

    def _take(self, socket: Respondent, args: Sequence[object]) -> None:
        self._answers.append((socket.id, args))
        self._settle(socket)

    def _lose(self, socket: Respondent) -> None:
        self._gone.append(socket.id)
        self._settle(socket)

    def _settle(self, socket: Respondent) -> None:
        del self._asked[socket.id]
        socket.forget_answer(self._number)
        self._news.unpark_all()

    # The iteration.

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[str | None, tuple[object, ...]]:
        await trio.lowlevel.checkpoint()
        with trio.move_on_at(self._deadline):
            while self._next == len(self._answers) and (self._asked or self._elsewhere > 0):
                await self._news.park()
        if self._next < len(self._answers):
            sid, args = self._answers[self._next]
            self._next += 1
            return sid, tuple(args)
        if self._asked or self._elsewhere > 0:
            raise AckTimeout(self.responses, self.missing)
        raise StopAsyncIteration


class _Question:
    """What one socket owes."""

    __slots__ = ("_answers", "_socket")

    def __init__(self, answers: BroadcastAnswers, socket: Respondent) -> None:
        self._answers = answers
        self._socket = socket

    def arrive(self, values: Sequence[object]) -> None:
        """Take the answer."""
        self._answers._take(self._socket, values)  # the two are one thing

    def fail(self) -> None:
        """Learn that there will be none."""
        self._answers._lose(self._socket)
