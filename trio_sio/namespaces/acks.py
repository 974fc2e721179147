"""Acknowledgements: answers that are awaited from a client, and answers that a client awaits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import trio

from ..concurrency import answers
from ..concurrency.waiters import Waiter
from ..errors import EncodeError
from ..signatures.answers import acknowledged, as_arguments

__all__ = ["Ack", "Asker", "ClientAnswer", "Waiter", "acknowledged", "as_arguments"]


class Asker(Protocol):
    """Whose client asks for acknowledgements: the core of a socket."""

    async def answer(self, number: int, values: Sequence[object]) -> None:
        """Send the acknowledgement ``number``."""


class ClientAnswer(answers.Answer[Sequence[object]]):
    """A place where one task waits for one answer of a client."""

    __slots__ = ()

    WHY_NOT = "The socket was disconnected before the client answered."


class Ack:
    """What a handler answers an event with, when it takes a parameter annotated ``Ack``.

    Call it with the values: ``await ack("ok", 5)``. It may be called later and from another task; only the first call
    counts, also while it waits for room, and none does when the client did not ask (Node: the callback that is an event's
    last argument). One that raises, or is cancelled, has sent nothing and does not count.

    Attributes:
      answered: Whether a call has answered, or is about to.
    """

    __slots__ = ("_asker", "_id", "answered")

    def __init__(self, asker: Asker | None, id: int | None) -> None:  # Socket.IO's word
        self._asker = asker
        self._id = id
        self.answered = False

    @property
    def wanted(self) -> bool:
        """Whether the client asked for an acknowledgement."""
        return self._id is not None

    async def __call__(self, *values: object) -> None:
        """Answer with ``values``.

        Raises:
          EncodeError: if they cannot be encoded; nothing was sent then.
        """
        await trio.lowlevel.checkpoint()
        if self._asker is None or self._id is None or self.answered:
            return
        self.answered = True
        try:
            await self._asker.answer(self._id, values)
        except (EncodeError, trio.Cancelled):
            self.answered = False
            raise
