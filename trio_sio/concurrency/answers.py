"""A place where one task waits for one thing that the other side has to send: an acknowledgement, an event."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

import trio

from ..errors import Disconnected

__all__ = ["Answer"]

T = TypeVar("T")


class Answer(Generic[T]):
    """Waited for by one task, given by another, or refused; what comes first counts.

    Attributes:
      WHY_NOT: Why it will not come, when `fail` is not told.
    """

    __slots__ = ("_arrived", "_values", "_why")

    WHY_NOT: ClassVar[str] = "The other side was gone before it answered."

    def __init__(self) -> None:
        self._arrived = trio.Event()
        self._values: tuple[T, ...] = ()
        self._why: tuple[str, Exception | None] | None = None

    @property
    def awaited(self) -> bool:
        """Whether the task still waits: one that was cancelled does not, even before it runs again."""
        return self._arrived.statistics().tasks_waiting > 0

    def arrive(self, value: T) -> None:
        """Give it."""
        if not self._arrived.is_set():
            self._values = (value,)
            self._arrived.set()

    def fail(self, sentence: str | None = None, cause: Exception | None = None) -> None:
        """Say that it will not come, and why."""
        if not self._arrived.is_set():
            self._why = (sentence or self.WHY_NOT, cause)
            self._arrived.set()

    async def wait(self) -> T:
        """Return what was given.

        Raises:
          Disconnected: if it will not come.
        """
        await self._arrived.wait()
        if self._why is not None:
            sentence, cause = self._why
            raise Disconnected(sentence) from cause
        return self._values[0]
