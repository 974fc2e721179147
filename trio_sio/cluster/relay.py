"""Answers of clients here to what another server has asked them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

from . import messages
from .translation import answer_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..namespaces.adapter import Questions

__all__ = ["Relay", "Relays"]

MOST: Final = 10_000  # questions of others that are open at once; no more are asked
LONGEST: Final = 3_600.0  # seconds after which a question is over, whatever who asks says


class Respond(Protocol):
    """Answers the server that has asked."""

    def __call__(self, kind: type[messages.Message], **fields: Any) -> bool:
        """Send a message of that kind; tell whether it can be sent."""


class Relay:
    """Sends each answer to the server that has asked: a `Sink`.

    Args:
      respond: Sends it.
      number: The id of the question.
      deadline: When nobody waits any more.

    Attributes:
      questions: What the clients here still owe.
    """

    def __init__(self, respond: Respond, number: str, deadline: float) -> None:
        self._respond = respond
        self._number = number
        self._sent = 0
        self.deadline = deadline
        self.questions: Questions | None = None

    def expect(self, change: int) -> None:
        """See `Sink.expect`: that is how many clients there are."""
        self._respond(messages.BroadcastClientCount, request_id=self._number, count=change)

    def arrive(self, sid: str | None, args: Sequence[object]) -> None:
        """See `Sink.arrive`."""
        if not self._tell(messages.BroadcastAck, value=answer_of(tuple(args))):
            self.lose("")

    def lose(self, sid: str) -> None:
        """See `Sink.lose`."""
        self._tell(messages.AnswerLost)

    def _tell(self, kind: type[messages.Message], **fields: Any) -> bool:
        self._sent += 1
        return self._respond(kind, request_id=self._number, number=self._sent, **fields)

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to relay any more."""
        return trio.current_time() >= self.deadline or (self.questions is not None and not self.questions.missing)

    def close(self) -> None:
        """Forget the clients."""
        if self.questions is not None:
            self.questions.close()


class Relays:
    """All of them, by who has asked and the id of the question: what comes twice is asked once."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Relay] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._open)

    def knows(self, uid: str, number: str) -> bool:
        """Tell whether there is one for the question ``number`` of ``uid``."""
        return (uid, number) in self._open

    def open(self, uid: str, number: str, respond: Respond, timeout: float) -> Relay | None:
        """Return a relay for the question ``number`` of ``uid``; ``None``: there are too many, or it is known."""
        if len(self._open) >= MOST or (uid, number) in self._open:
            return None
        relay = self._open[uid, number] = Relay(respond, number, trio.current_time() + min(timeout, LONGEST))
        return relay

    def forget(self, uid: str, number: str) -> None:
        """Forget the question ``number`` of ``uid``."""
        self._open.pop((uid, number)).close()

    def expire(self) -> None:
        """Close those for which nobody waits any more."""
        for key in [key for key, relay in self._open.items() if relay.is_over]:
            self._open.pop(key).close()

    def lose(self, uid: str) -> None:
        """Close those of ``uid``, which is gone."""
        for key in [key for key in self._open if key[0] == uid]:
            self._open.pop(key).close()

    def close(self) -> None:
        """Close all."""
        while self._open:
            self._open.popitem()[1].close()
