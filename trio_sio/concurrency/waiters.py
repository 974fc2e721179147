"""Who waits for something that the other side still has to send: for an acknowledgement, or for an event in `once`.

The reader serves them at once, so a handler may wait for what comes behind the event that it handles. As long as
somebody waits, reading goes on. When the socket ends, all of them learn that nothing will come. Both sides have them: a
server for each socket of a client, a client for each of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Generic, Protocol, TypeVar

from .answers import Answer

__all__ = ["Reading", "Waiter", "Waiters"]


class Waiter(Protocol):
    """Whatever waits for an acknowledgement."""

    def arrive(self, values: Sequence[object], /) -> None:
        """Take it."""

    def fail(self) -> None:
        """Learn that it will not come."""


class Reading(Protocol):
    """What reads, and stops when there is too much."""

    def awaiting(self, change: int, /) -> None:
        """Count tasks that wait for something which has not been read: as long as there are any, reading goes on."""


W = TypeVar("W", bound=Waiter)
E = TypeVar("E")


class Waiters(Generic[W, E]):
    """Those who wait for one socket.

    Args:
      reading: What goes on reading for them.

    Attributes:
      once: Who waits for the next event of a name, in order, by that name; ``None`` as long as nobody ever has.
    """

    __slots__ = ("_answers", "_reading", "once")

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._answers: dict[int, W] | None = None
        self.once: dict[str, dict[Answer[E], None]] | None = None

    @property
    def unanswered(self) -> Collection[W]:
        """Those who wait for an acknowledgement."""
        return () if self._answers is None else self._answers.values()

    def expect(self, number: int, waiter: W) -> None:
        """Let ``waiter`` have the acknowledgement ``number``; `forget` is to follow, whether it comes or not."""
        answers = self._answers = {} if self._answers is None else self._answers
        answers[number] = waiter
        self._reading.awaiting(1)

    def forget(self, number: int) -> None:
        """Expect the acknowledgement ``number`` no longer."""
        if self._answers is not None:
            self._answers.pop(number, None)
        self._reading.awaiting(-1)

    def answered(self, number: int | None, values: Sequence[object]) -> bool:
        """Take the acknowledgement ``number``; tell whether anybody waits for it."""
        if self._answers is None or number is None or (waiter := self._answers.pop(number, None)) is None:
            return False
        waiter.arrive(values)
        return True

    async def next(self, name: str) -> E:
        """Wait for the next event of that name.

        Raises:
          Disconnected: if the socket ends before it comes.
        """
        answer: Answer[E] = Answer()
        waiters = self.once = {} if self.once is None else self.once
        waiting = waiters.setdefault(name, {})
        waiting[answer] = None
        self._reading.awaiting(1)
        try:
            return await answer.wait()
        finally:
            self._reading.awaiting(-1)
            waiting.pop(answer, None)
            # Whoever was served together with this one may wait again already.
            if not waiting and waiters.get(name) is waiting:
                del waiters[name]

    def hear(self, name: str, event: E) -> bool:
        """Let all who wait for an event of that name have it; tell whether there was anybody who was not about to give up."""
        waiting = self.once.pop(name, None) if self.once else None
        heard = False
        for answer in waiting or ():
            if answer.awaited:
                answer.arrive(event)
                heard = True
        return heard

    def fail(self, sentence: str, cause: Exception | None = None) -> None:
        """Tell everybody that nothing will come any more, and why."""
        answers, self._answers = self._answers or {}, None
        for waiter in answers.values():
            waiter.fail()
        for waiting in (self.once or {}).values():
            for answer in waiting:
                answer.fail(sentence, cause)
