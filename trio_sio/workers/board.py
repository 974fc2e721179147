"""What every worker may know of every other one at any time: a few numbers in memory that all of them share."""

from __future__ import annotations

import enum
import mmap
import os
import time
from typing import Final

__all__ = ["MOST_WORKERS", "Board", "State", "make_board", "now"]

MOST_WORKERS: Final = 64

_STALE: Final = 1_000  # milliseconds without a beat after which nobody counts on a worker
_FIELDS: Final = 8  # numbers of eight bytes for each worker, of which the last is not used: a line of the processor's cache


class State(enum.IntEnum):
    """What a worker does."""

    GONE = 0
    STARTING = 1
    SERVING = 2
    DRAINING = 3


class Board:
    """The numbers of all workers. Each writes its own only; the supervisor writes the state of those that do not run.

    Args:
      descriptor: Of the file that they share.
      count: How many workers there are.
    """

    def __init__(self, descriptor: int, count: int) -> None:
        self.descriptor = descriptor
        self.count = count
        self._memory = mmap.mmap(descriptor, count * _FIELDS * 8)
        self._numbers = memoryview(self._memory).cast("q")

    def close(self) -> None:
        """Let go of the memory."""
        self._numbers.release()
        self._memory.close()

    def state(self, number: int) -> State:
        """Return what the worker does."""
        return State(self._numbers[number * _FIELDS])

    def enter(self, number: int, state: State) -> None:
        """Note what the worker does from now on."""
        self._numbers[number * _FIELDS + 1] = now()
        self._numbers[number * _FIELDS] = state
        if state is not State.DRAINING:
            self._numbers[number * _FIELDS + 2] = 0

    def since(self, number: int) -> int:
        """Return since when it does that, in milliseconds of a clock that all processes have in common."""
        return self._numbers[number * _FIELDS + 1]

    def connections(self, number: int) -> int:
        """Return how many connections it has."""
        return self._numbers[number * _FIELDS + 2]

    def set_connections(self, number: int, count: int) -> None:
        """Note that."""
        self._numbers[number * _FIELDS + 2] = count

    def beat(self, number: int) -> int:
        """Return when it has beaten last, in the same milliseconds."""
        return self._numbers[number * _FIELDS + 3]

    def hangs(self, number: int) -> bool:
        """Tell whether its event loop does not turn, or not often enough to count on it."""
        return now() - self.beat(number) >= _STALE

    def sessions(self, number: int) -> int:
        """Return how many sessions it had then."""
        return self._numbers[number * _FIELDS + 4]

    def ready(self, number: int) -> bool:
        """Tell whether it took new clients then."""
        return bool(self._numbers[number * _FIELDS + 5])

    def set_beat(self, number: int, sessions: int, ready: bool) -> None:
        """Note that the event loop of the worker turns, and what it has."""
        start = number * _FIELDS
        self._numbers[start + 4] = sessions
        self._numbers[start + 5] = ready
        self._numbers[start + 3] = now()


def make_board(count: int) -> Board:
    """Return a board for ``count`` workers; its file is the caller's to close."""
    descriptor = os.memfd_create("trio_sio.workers", os.MFD_CLOEXEC)
    os.truncate(descriptor, count * _FIELDS * 8)
    return Board(descriptor, count)


def now() -> int:
    """Return the time in milliseconds, by the clock that the processes of one machine have in common."""
    return time.monotonic_ns() // 1_000_000
