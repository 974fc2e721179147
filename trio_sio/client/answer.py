"""A place where one task waits for one thing: an acknowledgement, an event."""

from __future__ import annotations

from typing import Generic, TypeVar

import trio

from ..errors import Disconnected

__all__ = ["Answer"]

T = TypeVar("T")


class Answer(Generic[T]):
    """Waited for by one task, given by another, or refused."""

    __slots__ = ("_arrived", "_values", "_why")

    def __init__(self) -> None:
        self._arrived = trio.Event()
        self._values: list[T] = []
        self._why: tuple[str, Exception | None] = ("", None)

    @property
    def awaited(self) -> bool:
        """Whether the task still waits: one that was cancelled does not, even before it runs again."""
        return self._arrived.statistics().tasks_waiting > 0

    def arrive(self, value: T) -> None:
        """Give it; what comes second has no effect."""
        if not self._arrived.is_set():
            self._values.append(value)
            self._arrived.set()

    def fail(self, sentence: str, cause: Exception | None = None) -> None:
        """Say that it will not come, and why."""
        if not self._arrived.is_set():
            self._why = (sentence, cause)
            self._arrived.set()

    async def wait(self) -> T:
        """Return what was given.

        Raises:
          Disconnected: if it will not come.
        """
        await self._arrived.wait()
        if not self._values:
            sentence, cause = self._why
            raise Disconnected(sentence) from cause
        return self._values[0]
