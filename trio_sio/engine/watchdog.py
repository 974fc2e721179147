"""A thread that looks whether a function of the application keeps the event loop from turning, and names it while it does.

Theory of operation
===================

The thread looks at the stack of the loop's thread four times a second, which costs the loop nothing. If it sees twice the same
call of a function of the application, one that this package has called, that may be because it blocks, or because it is often
its turn. So then it asks: it has the loop call a function, which any loop does at once that turns. Only when there has been no
answer for a second the function is named, with the stack. What is told to an instrument is told when the loop turns again.

If the thread itself was not woken in time, the machine has no time for anybody: then nobody is to blame. And what holds the
interpreter's lock, such as one regular expression that takes seconds, holds this thread as well, and is not seen.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import trio

from ..concurrency.culprits import find_culprit, name_place
from ..limits import MINUTE
from ..log import get_logger

__all__ = ["Watchdog"]

logger = get_logger("trio_sio.engine")

BLOCKED = 1.0  # seconds for which nothing else had a turn
LOOK = 0.25  # seconds between two looks
_LATE: Final = 2  # a look that comes after so many times as long says that the machine is busy
_JOIN: Final = 1.0  # seconds within which the thread ends, unless the log blocks it

Tell = Callable[[float, str], object]


class _Question:
    """Asks the loop whether it turns.

    Args:
      since: Since when it may not.
    """

    def __init__(self, since: float) -> None:
        self.since = since
        self.is_answered = False
        self.where = ""  # once it was named

    def answer(self, tell: Tell | None) -> None:
        """Learn that the loop turns; it calls this."""
        self.is_answered = True
        if self.where and tell is not None:
            tell(time.monotonic() - self.since, self.where)


class Watchdog:
    """Watches one event loop while `watching` is entered."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._quiet_until: dict[str, float] = {}  # by where it was

    @contextmanager
    def watching(self, tell: Tell | None = None) -> Iterator[None]:
        """Watch the loop that enters this.

        Args:
          tell: Gets for how many seconds it was blocked, and by what, as soon as it turns again.
        """
        loop = threading.get_ident(), trio.lowlevel.current_trio_token()
        thread = threading.Thread(target=self._watch, args=(*loop, tell), name="trio_sio watchdog", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            logger.warning("There is no thread that could name what blocks the event loop: %s", error)
            yield
            return
        try:
            yield
        finally:
            self._over.set()
            thread.join(_JOIN)

    def _watch(self, thread: int, token: trio.lowlevel.TrioToken, tell: Tell | None) -> None:
        last = since = time.monotonic()
        suspected = 0
        question: _Question | None = None
        while not self._over.wait(LOOK):
            now, before = time.monotonic(), last
            last = now
            seen = _identity(thread)
            if question is not None and question.is_answered:
                question, suspected = None, 0
            if not seen or seen != suspected or now - before > _LATE * LOOK:
                question, suspected, since = None, seen, now
            elif question is None:
                question = _Question(since)
                try:
                    token.run_sync_soon(question.answer, tell)
                except (trio.RunFinishedError, OSError):
                    return  # the loop is over, its own socket closed: nobody has left the scope, as when the interpreter ends
            elif not question.where and now - since >= BLOCKED:
                question.where, stack = _describe(thread)
                self._name(question.where, stack, now - since)

    def _name(self, where: str, stack: str, seconds: float) -> None:
        now = time.monotonic()
        if not where or now < self._quiet_until.get(where, now):
            return
        self._quiet_until[where] = now + MINUTE
        logger.warning(
            "%s has kept the event loop from turning for %.1f seconds, and still does: nobody is served meanwhile. Await what takes "
            "time, or give it to trio.to_thread.run_sync. For a minute this is not said again of that place.\n%s",
            where,
            seconds,
            stack,
        )


# In functions of their own, so that no frame is held while the thread sleeps.


def _identity(thread: int) -> int:
    """Return which call of a function of the application a thread is in; 0: in none."""
    stack = _stack(thread)
    return id(stack[0][0]) if stack else 0


def _describe(thread: int) -> tuple[str, str]:
    """Return how the log calls that function, and its stack as text; empty if it is over."""
    stack = _stack(thread)
    if not stack:
        return "", ""
    return name_place(*stack[0]), "".join(traceback.StackSummary.extract(iter(stack)).format()).rstrip()


def _stack(thread: int) -> list[tuple[FrameType, int]]:
    """Return the stack of a thread, from that function on."""
    frame = sys._current_frames().get(thread)
    stack: list[tuple[FrameType, int]] = []
    while frame is not None and not (frame.f_code.co_name == "unrolled_run" and frame.f_globals.get("__name__") == "trio._core._run"):
        stack.append((frame, frame.f_lineno or 0))
        frame = frame.f_back
    stack.reverse()
    culprit = find_culprit(stack)
    return [] if culprit is None else stack[stack.index(culprit) :]
