"""The answers of several clients to one event (Node: acknowledgements of a broadcast), or of several servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

import trio

from ..errors import BadAnswer, TrioSioError
from ..log import get_logger
from .acks import acknowledged

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..signatures.events import ServerEvent
    from .acks import Waiter
    from .socket_instrument import AckOutcome

__all__ = ["AckTimeout", "BroadcastAnswers", "EventAnswers", "Pending", "Questions", "Respondent", "Sink", "require_patience"]


logger = get_logger("trio_sio.namespaces")

R = TypeVar("R")


def require_patience(timeout: float) -> None:
    """Raise `ValueError` unless one can wait for so many seconds."""
    if not timeout >= 0:
        raise ValueError(f"The time to wait for answers is {timeout!r} seconds; it must be a number of at least 0.")


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
      missing: The ids of those sockets of this process that did not answer, and of the servers that did not.
    """

    def __init__(self, responses: list[object], missing: list[str]) -> None:
        super().__init__("Not everybody answered in time: `responses` has what came, `missing` who did not answer.")
        self.responses = responses
        self.missing = missing


class Sink(Protocol):
    """Where the answers to one event go, from wherever they come."""

    def expect(self, change: int) -> None:
        """Wait for so many more answers, or for fewer."""

    def arrive(self, sid: str | None, args: Sequence[object]) -> None:
        """Take an answer that was expected."""

    def lose(self, sid: str) -> None:
        """Learn that a socket that was expected to answer has gone."""


class Pending(Protocol):
    """Some of those whose answers are waited for."""

    @property
    def missing(self) -> Sequence[str]:
        """Who may yet answer: the ids of sockets of this process, or of other servers."""

    def close(self) -> None:
        """Learn that nobody waits any more."""


class Questions:
    """What the sockets of this process owe for one event: each an answer, or its end.

    Args:
      number: The ack id that all of them answer.
      sink: Where the answers go.
    """

    __slots__ = ("_asked", "_number", "_sink")

    def __init__(self, number: int, sink: Sink) -> None:
        self._number = number
        self._sink = sink
        self._asked: dict[str, Respondent] = {}

    @property
    def missing(self) -> list[str]:
        """The ids of the sockets that may yet answer."""
        return [*self._asked]

    def put(self, sockets: Collection[Respondent]) -> None:
        """Wait for the answers of ``sockets``, which are about to get the packet."""
        self._sink.expect(len(sockets))
        for socket in sockets:
            self._asked[socket.id] = socket
            socket.expect_answer(self._number, _Question(self, socket))

    def close(self) -> None:
        """Wait for nobody any more."""
        asked, self._asked = self._asked, {}
        for socket in asked.values():
            socket.forget_answer(self._number)

    def settle(self, socket: Respondent, args: Sequence[object] | None) -> None:
        """Take the answer of ``socket``, or its end."""
        del self._asked[socket.id]
        socket.forget_answer(self._number)
        if args is None:
            self._sink.lose(socket.id)
        else:
            self._sink.arrive(socket.id, args)


class _Question:
    """What one socket owes."""

    __slots__ = ("_questions", "_socket")

    def __init__(self, questions: Questions, socket: Respondent) -> None:
        self._questions = questions
        self._socket = socket

    def arrive(self, values: Sequence[object]) -> None:
        """Take the answer."""
        self._questions.settle(self._socket, values)

    def fail(self) -> None:
        """Learn that there will be none."""
        self._questions.settle(self._socket, None)


class BroadcastAnswers:
    """Gives ``(sid, args)`` for each answer as it comes, and ends with the last: ``async for sid, args in answers``.

    A client that is disconnected before it answers is not waited for. The iteration raises `AckTimeout` when the time is
    over before everybody has answered or gone.

    It is the `Sink` of what `Namespace.ask` asks in this process. For others, adapters call `expect`, then `arrive` with each answer.

    Args:
      timeout: Seconds from now until the time is over.

    Raises:
      ValueError: if that is negative, or not a number.
    """

    __slots__ = ("_answers", "_deadline", "_expected", "_gone", "_news", "_next", "_pending")

    def __init__(self, timeout: float) -> None:
        require_patience(timeout)
        self._deadline = trio.current_time() + timeout
        self._answers: list[tuple[str | None, Sequence[object]]] = []
        self._next = 0  # the first that was not given out yet
        self._expected = 0
        self._pending: list[Pending] = []
        self._gone: list[str] = []
        self._news = trio.lowlevel.ParkingLot()

    @property
    def missing(self) -> list[str]:
        """Who did not answer: sockets of this process by their ids, those that have gone first, then those that still may; and servers."""
        return [*self._gone, *(name for pending in self._pending for name in pending.missing)]

    @property
    def responses(self) -> list[object]:
        """What came so far, in the order in which it came: of each the one value, a tuple of several, ``None`` for none."""
        return [acknowledged(args) for _, args in self._answers]

    @property
    def outcome(self) -> AckOutcome:
        """What came of the question, now that nobody waits any more; see `SocketInstrument.ack_settled`."""
        if self._expected <= 0:
            return "answered"
        return "timeout" if trio.current_time() >= self._deadline else "cancelled"

    # What adapters call.

    def expect(self, change: int) -> None:
        """Wait for so many more answers, or for fewer.

        Who does not know yet how many there are expects one to begin with, and corrects that later.
        """
        self._expected += change
        self._news.unpark_all()

    def arrive(self, sid: str | None, args: Sequence[object]) -> None:
        """Take an answer that was expected.

        Args:
          sid: Who gives it; ``None`` where that is not known, as with those on a Node server.
          args: The answer.
        """
        self._answers.append((sid, args))
        self.expect(-1)

    def lose(self, sid: str) -> None:
        """Learn that a socket that was expected to answer has gone."""
        self._gone.append(sid)
        self.expect(-1)

    def wait_for(self, pending: Pending) -> None:
        """Wait for these, too: what `Namespace.ask` has returned, or those that an adapter has asked elsewhere."""
        self._pending.append(pending)

    def close(self) -> None:
        """Wait for nobody any more."""
        for pending in self._pending:
            pending.close()

    # The iteration.

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[str | None, tuple[object, ...]]:
        await trio.lowlevel.checkpoint()
        with trio.move_on_at(self._deadline):
            while self._next == len(self._answers) and self._expected > 0:
                await self._news.park()
        if self._next < len(self._answers):
            sid, args = self._answers[self._next]
            self._next += 1
            return sid, tuple(args)
        if self._expected > 0:
            raise AckTimeout(self.responses, self.missing)
        raise StopAsyncIteration


class EventAnswers(Generic[R]):
    """Gives ``(sid, value)`` for each answer to a declared event, as the annotation of its result wants it; else as `BroadcastAnswers`.

    An answer that does not fit is logged, and its sender counts among those who are `missing`.

    Args:
      event: The event.
      answers: What comes.

    Attributes:
      responses: What came so far and fits, in the order in which it came.
    """

    __slots__ = ("_answers", "_event", "_unfit", "responses")

    def __init__(self, event: ServerEvent[..., R], answers: BroadcastAnswers) -> None:
        self._event = event
        self._answers = answers
        self._unfit: list[str] = []
        self.responses: list[R] = []

    @property
    def missing(self) -> list[str]:
        """Who did not answer, or not what was asked; see `BroadcastAnswers.missing`."""
        return [*self._unfit, *self._answers.missing]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[str | None, R]:
        while True:
            try:
                sid, args = await self._answers.__anext__()
            except AckTimeout:
                raise AckTimeout([*self.responses], self.missing) from None
            try:
                value = self._event.answer(args)
            except BadAnswer as error:
                logger.info("Socket %s is as good as gone for who asked: %s", sid, error)
                if sid is not None:
                    self._unfit.append(sid)
            else:
                self.responses.append(value)
                return sid, value
