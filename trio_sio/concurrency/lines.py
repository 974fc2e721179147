"""Alarms that stand in line: for the tasks of thousands of connections that each sleep for the same time, again and again.

A sleeping task has a cancel scope, which is 700 bytes and three objects made anew each time, and a place in a heap. Here an
alarm is an object that a task keeps; to set it, it is put behind those that were set before it, and to stop it, it is taken
out, both without anything being made, and in a time that does not depend on how many there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .wakeup import Wakeup

__all__ = ["Alarm", "Line"]


class Alarm(Wakeup):
    """A `Wakeup` that a `Line` rings when its time has come.

    Attributes:
      due: When that is, or was.
    """

    __slots__ = ("_line", "_next", "_previous", "due")

    def __init__(self) -> None:
        super().__init__()
        self.due = -math.inf
        self._line: Line | None = None  # in which it stands
        self._previous: Alarm | None = None  # who comes before it there
        self._next: Alarm | None = None

    @property
    def is_set(self) -> bool:
        """Whether it stands in a line."""
        return self._line is not None

    def set(self, due: float, line: Line) -> None:
        """Ring at ``due``, in ``line``, instead of whenever it would have; never, if that is infinite."""
        self.stop()
        self.due = due
        if due < math.inf:
            line._insert(self)  # the two are one thing

    def stop(self) -> None:
        """Do not ring; idempotent."""
        if self._line is not None:
            self._line._remove(self)


class Line:
    """The alarms of those who wait for about as long as each other, so that the next is nearly always behind all others.

    Args:
      sooner: Told of the time when somebody comes to stand in front of the line.
    """

    __slots__ = ("_count", "_first", "_last", "_sooner")

    def __init__(self, sooner: Callable[[float], None]) -> None:
        self._sooner = sooner
        self._first: Alarm | None = None
        self._last: Alarm | None = None
        self._count = 0

    def __len__(self) -> int:
        """How many alarms are set."""
        return self._count

    @property
    def due(self) -> float:
        """When the first is due; infinity if there is none."""
        return math.inf if self._first is None else self._first.due

    def ring(self) -> None:
        """Wake whoever waits for the first alarm; there must be one."""
        first = self._first
        assert first is not None
        self._remove(first)
        first.wake()

    def clear(self) -> None:
        """Stop all of them."""
        while self._first is not None:
            self._remove(self._first)

    def _insert(self, alarm: Alarm) -> None:
        before = self._last
        while before is not None and before.due > alarm.due:
            before = before._previous
        behind = self._first if before is None else before._next
        alarm._line, alarm._previous, alarm._next = self, before, behind
        if behind is None:
            self._last = alarm
        else:
            behind._previous = alarm
        if before is None:
            self._first = alarm
            self._sooner(alarm.due)
        else:
            before._next = alarm
        self._count += 1

    def _remove(self, alarm: Alarm) -> None:
        before, behind = alarm._previous, alarm._next
        if before is None:
            self._first = behind
        else:
            before._next = behind
        if behind is None:
            self._last = before
        else:
            behind._previous = before
        alarm._line = alarm._previous = alarm._next = None
        self._count -= 1
