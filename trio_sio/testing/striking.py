"""One run of a scenario, of which one step is struck; cancellation.py has the theory."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple, TypeVar

import trio
import trio.testing

from ..errors import ConnectFailed, ConnectionRefused, Disconnected
from .raw import UpgradeRefused, WebSocketClosed
from .scheduling import interrupt, seeded
from .server import InMemoryServer
from .tasks import is_in, keep_forever, place, tasks_below, where

__all__ = ["CLIENT", "EVERYTHING", "Run", "Target", "describe"]

T = TypeVar("T")

EVERYTHING: Final = "everything"
CLIENT: Final = "client"
_WAITS_FOR_CHILDREN: Final = "trio._core._run.Nursery._nested_child_finished"

HANGS_AFTER: Final = 3_600.0  # seconds on the mock clock; every time-out of the default Config is far below
SPINS_AFTER: Final = 20_000  # steps of all tasks

# How a client may learn that the server, or its connection, is not there any more.
_GONE: Final = (
    ConnectFailed,
    ConnectionRefused,
    Disconnected,
    UpgradeRefused,
    WebSocketClosed,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)


class Target(NamedTuple):
    """What is struck.

    Attributes:
      name: For people.
      function: In which its tasks are, with its module; ``None``: all tasks.
      socket: The function in which a socket's tasks are started: their nurseries are the socket's, and not the connection's.
    """

    name: str
    function: str | None
    socket: str


class Run(trio.abc.Instrument):
    """One run of the scenario.

    Args:
      scenario, invariants, error: As given.
      target: What is struck.
      step: After which of its steps; 0: never.

    Attributes:
      steps: How many steps there were.
      struck: Whether there was something to strike.
      task, where: Who made the step, and what it waited for.
      error: What went wrong.
    """

    def __init__(
        self,
        scenario: Callable[[T], Awaitable[object]],
        invariants: Callable[[], AbstractAsyncContextManager[T]],
        target: Target,
        error: Callable[[], Exception] | None,
        step: int,
    ) -> None:
        self.steps = 0
        self.struck = False
        self.task = self.where = ""
        self.error: Exception | None = None
        self._play: Callable[[], Awaitable[None]] = lambda: self._play_scenario(scenario, invariants)
        self._target = target
        self._make_error = error
        self._step = step
        self._thrown: Exception | None = None
        self._hangs: _Hangs | None = None
        self._failure: Exception | None = None
        self._all_steps = 0
        self._watching = False
        self._main: trio.lowlevel.Task | None = None
        self._over = False
        self._cancel: Callable[[], None] = lambda: None

    def run(self, seed: int) -> None:
        """Do it."""
        journal = _Journal()
        logger = logging.getLogger("trio_sio")
        logger.addHandler(journal)
        errors: list[Exception] = []
        try:
            with seeded(seed):
                trio.run(self._play_and_watch, clock=self._clock(), instruments=[self])
        except trio.TrioInternalError:
            if self._hangs is None:
                raise
            errors = [self._hangs]
        except Exception as error:
            errors = [error]
        finally:
            logger.removeHandler(journal)
        if self._failure is not None:
            raise self._failure
        errors += [_Logged(record) for record in journal.records if not self._is_thrown(record.exc_info[1] if record.exc_info else None)]
        if errors:
            self.error = errors[0] if len(errors) == 1 else ExceptionGroup("Several things went wrong", errors)

    async def _play_and_watch(self) -> None:
        self._main = trio.lowlevel.current_task()
        trio.lowlevel.spawn_system_task(self._watch_time)
        await self._play()

    async def _play_scenario(
        self, scenario: Callable[[T], Awaitable[object]], invariants: Callable[[], AbstractAsyncContextManager[T]]
    ) -> None:
        async with invariants() as subject:
            try:
                with trio.CancelScope() as scope:
                    self._cancel = scope.cancel
                    if self._target.name == EVERYTHING and isinstance(subject, InMemoryServer):
                        self._cancel = subject.cancel
                    self._watching = True
                    await scenario(subject)
            except* Exception as group:
                if unexpected := [error for error in _leaves(group) if not self._is_expected(error)]:
                    raise unexpected[0] from None
            finally:
                # What a scenario leaves behind is struck too, but not who only looks whether it is gone.
                self._over = True
        self._watching = False

    # Striking.

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count the step, and strike if it is the one; called by Trio."""
        try:
            self._count(task)
        except Exception as error:
            # Trio would log it and go on without this instrument, and nothing would be found ever after.
            self._failure = error

    def _count(self, task: trio.lowlevel.Task) -> None:
        self._all_steps += 1
        if self._all_steps > SPINS_AFTER and self._hangs is None:
            self._hangs = _Hangs(f"it spins: task {task.name} at {where(task)}")
        if not self._watching or not self._is_ours(task) or (task is self._main and self._over) or not self._is_target(task):
            return
        self.steps += 1
        if self.steps == self._step:
            self.task, self.where = task.name, where(task)
            self._strike(task)

    def _is_ours(self, task: trio.lowlevel.Task) -> bool:
        """Tell whether it is no system task, as the one that watches the time is."""
        ancestor: trio.lowlevel.Task | None = task
        while ancestor is not None and ancestor is not self._main:
            ancestor = None if ancestor.parent_nursery is None else ancestor.parent_nursery.parent_task
        return ancestor is not None

    def _is_target(self, task: trio.lowlevel.Task) -> bool:
        if self._target.function is not None:
            return is_in(task, self._target.function)
        return not (self._over and self._target.name == CLIENT)

    def _strike(self, task: trio.lowlevel.Task) -> None:
        if self._make_error is not None:
            self._thrown = self._make_error()
            self.struck = interrupt(task, self._thrown)
        elif self._target.function is None or task is self._main:
            self.struck = True
            self._cancel()
        else:
            nursery = task.parent_nursery
            while nursery is not None and is_in(nursery.parent_task, self._target.socket):
                nursery = nursery.parent_task.parent_nursery
            assert nursery is not None
            self.struck = True
            nursery.cancel_scope.cancel()

    def _is_expected(self, error: BaseException) -> bool:
        return self.struck and (isinstance(error, _GONE) or error is self._thrown)

    def _is_thrown(self, error: BaseException | None) -> bool:
        """Tell whether ``error`` is what was thrown, or was raised because of it."""
        while error is not None and self._thrown is not None:
            if any(leaf is self._thrown for leaf in _leaves(error)):
                return True
            error = error.__cause__ or error.__context__
        return False

    # Ending what does not end.

    async def _watch_time(self) -> None:
        await trio.sleep(HANGS_AFTER)
        waiting = [task for task in tasks_below(self._main) if not is_in(task, _WAITS_FOR_CHILDREN)]
        self._hangs = _Hangs("it hangs: " + "; ".join(f"task {task.name} at {where(task)}" for task in waiting))

    def _clock(self) -> trio.testing.MockClock:
        """Return the clock of a run, which ends the run with `_hangs`: a shield, or a loop that swallows it, keeps all else off."""
        clock = trio.testing.MockClock(autojump_threshold=0)
        read = clock.current_time

        def current_time() -> float:
            if self._hangs is not None:
                keep_forever(tasks_below(self._main))
                raise self._hangs
            return read()

        clock.current_time = current_time  # type: ignore[method-assign]  # it cannot be inherited from
        return clock


class _Hangs(Exception):
    """Somebody waits for what never comes, or never waits; the message names them."""


class _Logged(Exception):
    """An error was logged."""

    def __init__(self, record: logging.LogRecord) -> None:
        cause = record.exc_info[1] if record.exc_info else None
        super().__init__(f"logged: {record.getMessage()}" + (f" ({describe(cause)})" if cause else ""))


class _Journal(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep ``record``."""
        self.records.append(record)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in _leaves(part)]
    return [error]


def describe(error: BaseException) -> str:
    """Say what went wrong, once, in one line."""
    told = dict.fromkeys(" ".join(_text(leaf).split()) for leaf in _leaves(error))
    return "; ".join(told)


def _text(error: BaseException) -> str:
    if isinstance(error, _Hangs | _Logged) or (isinstance(error, AssertionError) and error.args):
        return str(error)
    # An assertion that pytest has not rewritten says nothing but where it is.
    frames = [f" ({place(frame, line)})" for frame, line in traceback.walk_tb(error.__traceback__)]
    return f"{type(error).__name__}: {error}{frames[-1] if frames else ''}"
