"""Who waits for something that one client still has to send: for an acknowledgement, or for an event in `Socket.once`.

The reader serves them at once, so a handler may wait for what comes behind the event that it handles. As long as
somebody waits, reading goes on (see engine/inbox.py). When the socket ends, all of them learn that nothing will come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .acks import ClientAnswer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..engine.inbox import Inbox
    from ..protocol.socketio import Packet
    from .acks import Waiter

__all__ = ["Waiters"]


class Waiters:
    """Those who wait for one socket.

    Args:
      inbox: The connection's, which goes on reading for them.

    Attributes:
      once: Who waits for the next event of a name, in order, by that name; ``None`` as long as nobody ever has.
    """

    __slots__ = ("_answers", "_inbox", "once")

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._answers: dict[int, Waiter] | None = None
        self.once: dict[str, dict[ClientAnswer, None]] | None = None

    def expect(self, number: int, waiter: Waiter) -> None:
        """Let ``waiter`` have the acknowledgement ``number``; `forget` is to follow, whether it comes or not."""
        answers = self._answers = {} if self._answers is None else self._answers
        answers[number] = waiter
        self._inbox.awaiting(1)

    def forget(self, number: int) -> None:
        """Expect the acknowledgement ``number`` no longer."""
        if self._answers is not None:
            self._answers.pop(number, None)
        self._inbox.awaiting(-1)

    def answered(self, packet: Packet) -> bool:
        """Take an acknowledgement; tell whether anybody waits for it."""
        if self._answers is None or packet.id is None or (waiter := self._answers.pop(packet.id, None)) is None:
            return False
        waiter.arrive(packet.data)
        return True

    async def next(self, event: str) -> tuple[Any, ...]:
        """Wait for the next ``event`` and return its arguments.

        Raises:
          Disconnected: if the socket ends before it comes.
        """
        answer = ClientAnswer()
        waiters = self.once = {} if self.once is None else self.once
        waiting = waiters.setdefault(event, {})
        waiting[answer] = None
        self._inbox.awaiting(1)
        try:
            return tuple(await answer.wait())
        finally:
            self._inbox.awaiting(-1)
            waiting.pop(answer, None)
            # Whoever was served together with this one may wait again already.
            if not waiting and waiters.get(event) is waiting:
                del waiters[event]

    def hear(self, event: str, args: Sequence[object]) -> bool:
        """Let all who wait for ``event`` have it; tell whether there was anybody."""
        waiting = self.once.pop(event, None) if self.once else None
        if waiting is None:
            return False
        for answer in waiting:
            answer.arrive(args)
        return True

    def fail(self) -> None:
        """Tell everybody that nothing will come any more."""
        answers, self._answers = self._answers or {}, None
        for waiter in answers.values():
            waiter.fail()
        for waiting in (self.once or {}).values():
            for answer in waiting:
                answer.fail()
