"""The cheapest way for one task to wait for work: no channel, no new event object each time."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from typing import Final, cast

import trio

__all__ = ["Wakeup"]


class _Nothing:
    """What there is to wait for when a wake-up is pending."""

    def __await__(self) -> Iterator[None]:
        return iter(())


_NOTHING: Final = cast("Awaitable[None]", _Nothing())  # an iterator is enough for `await`, if not for its type


class Wakeup:
    """One task waits, anybody wakes it, any number of times.

    A wake-up that comes while nobody waits is kept (one of them), so a loop of "do all there is, then wait" misses
    nothing. Waking a parked task costs 3 µs where a memory channel costs 8 to 20.
    """

    __slots__ = ("_pending", "_task")

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None
        self._pending = False

    @property
    def waiting(self) -> bool:
        """Whether a task is parked here."""
        return self._task is not None

    def wake(self) -> None:
        """Let the waiting task go on, or the next one that waits."""
        task = self._task
        if task is None:
            self._pending = True
        else:
            self._task = None
            trio.lowlevel.reschedule(task)

    def wait(self) -> Awaitable[None]:
        """Park until woken. Returns at once, without a checkpoint, when a wake-up is pending.

        It is to be awaited there and then. It is no coroutine of its own, as tasks park here for as long as they live, and each
        frame of theirs would take 200 bytes for that time.
        """
        if self._pending:
            self._pending = False
            return _NOTHING
        self._task = trio.lowlevel.current_task()
        return trio.lowlevel.wait_task_rescheduled(self._forget)  # noqa: ASYNC105  # the caller does

    def _forget(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
