"""`cancel_everywhere`: a scenario is run again and again, and each time something stops one step later.

Theory of operation
===================

A *step* is what a task does between two waits. An `Instrument` counts the steps of a run; after step *n* the task waits
for something, and there the harness strikes: what it waits for is cancelled, or raises. The first run is left alone, and
tells how many steps there are; then each of them gets a run of its own. Time is a mock clock's and the order of tasks
depends on a seed (scheduling.py), so all runs are the same up to the strike. That holds for memory only: no sockets, no
threads, no real time.

*What is struck* is named by a part. ``"everything"`` is the server with all in it, as if the process were told to stop
without a drain; ``"client"`` is the scenario, as if a client died. The other parts are functions in which a task can be
(`PARTS`). Only the steps of such tasks count then, and what is cancelled is the connection that the task works for. For
a cancellation comes from outside, from the nursery that a task is in; scopes inside of a function, and those of a socket
inside of its connection, are cancelled by their owners alone, who do something else as well.

*An error instead of a cancel* is thrown into the wait itself: the operation is withdrawn, and raises that error.

*What must hold* is up to the invariants: an async context manager around the scenario. `serving` is one, and requires L0
(level.py): of a server that was struck nothing may be left, and one that goes on holds what it held before. Besides,
nothing may be logged as an error, and nobody may wait or spin forever: a run that does is given up, in the middle of it.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple, TypeVar

import trio
import trio.testing

from ..config import Config
from ..errors import ConnectFailed, ConnectionRefused, Disconnected
from ..routing.table import RoutingTable
from ..server import Server
from .level import level, restored
from .raw import UpgradeRefused, WebSocketClosed
from .scheduling import interrupt, seeded
from .server import InMemoryServer, open_test_server

__all__ = ["PARTS", "CancellationFailure", "Finding", "Report", "cancel_everywhere", "serving"]

T = TypeVar("T")

# Parts by name: the function in which a task of that part is.
PARTS: Final = {
    "reader": "trio_sio.doors.native.http.handle_connection",
    "writer": "trio_sio.engine.websocket.WebSocketTransport._write",
    "heartbeat": "trio_sio.engine.connection.Connection._heartbeat",
    "dispatcher": "trio_sio.namespaces.lifecycle.SocketLifecycle.run",
    "handler": "trio_sio.routing.dispatch.MessageHandler._handle",
}
_EVERYTHING: Final = "everything"
_CLIENT: Final = "client"
_SOCKET: Final = PARTS["dispatcher"]
_WAITS_FOR_CHILDREN: Final = "trio._core._run.Nursery._nested_child_finished"

HANGS_AFTER: Final = 3_600.0  # seconds on the mock clock; every time-out of the default Config is far below
SETTLES_WITHIN: Final = 300.0  # likewise; a client that vanished is noticed within ping_interval + ping_timeout
SPINS_AFTER: Final = 20_000  # steps of all tasks
MOST_FINDINGS: Final = 10  # one mistake is found at many steps

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


class Finding(NamedTuple):
    """One step at which something went wrong.

    Attributes:
      step: Its number, from 1.
      seed: That of the order of tasks.
      task: The name of the task that had made the step.
      where: What it waited for then: ``file.py:line in function``.
      what: What went wrong: what is left, what was logged, who waits forever.
    """

    step: int
    seed: int
    task: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"step {self.step} (seed {self.seed}), task {self.task}, at {self.where}: {self.what}"


@dataclass
class Report:
    """What `cancel_everywhere` did.

    Attributes:
      part: What was struck.
      steps: How many steps there were, of all seeds.
      struck: At how many of them there was something to cancel or to interrupt.
      findings: Where something went wrong.
    """

    part: str
    steps: int = 0
    struck: int = 0
    findings: list[Finding] = field(default_factory=list)


class CancellationFailure(AssertionError):
    """At one step at least, something went wrong; the message names steps, tasks and what is left.

    Attributes:
      report: All of it.
    """

    def __init__(self, report: Report) -> None:
        lines = "\n".join(f"  {finding}" for finding in report.findings)
        super().__init__(f"{report.part} was struck at {report.struck} of {report.steps} steps, which went wrong at\n{lines}")
        self.report = report


def cancel_everywhere(
    scenario: Callable[[T], Awaitable[object]],
    invariants: Callable[[], AbstractAsyncContextManager[T]],
    *,
    part: str | Callable[..., object] = _EVERYTHING,
    error: Callable[[], Exception] | None = None,
    seeds: Iterable[int] = (0,),
) -> Report:
    """Run a scenario once for each of its steps, strike at that step, and check what must hold.

    Call it from a test that is not async: it calls `trio.run` itself. A scenario takes milliseconds per step.

    Args:
      scenario: An async function of what ``invariants`` yields. That its client learns of the end, by one of the
        exceptions that say so, is no failure once something was struck.
      invariants: Makes the context of one run; it raises on leaving when something is not as it must be. See `serving`.
      part: What to strike: ``"everything"``, ``"client"``, a name in `PARTS`, or a function of yours, such as a handler.
      error: Makes what a wait of ``part`` raises, instead of being cancelled.
      seeds: One round is run for each, with tasks in another order.

    Raises:
      CancellationFailure: if something went wrong at a step.
      ValueError: if ``part`` is unknown, or cannot take an ``error``.
      RuntimeError: if this version of Trio is not known to the test kit.
      Exception: what the scenario raises when nothing disturbs it.
    """
    target = _target(part, error)
    report = Report(target.name)
    gc.collect()  # or descriptors that somebody else has left would vanish in the middle
    for seed in seeds:
        if report.findings:
            break
        undisturbed = _Run(scenario, invariants, target, None, 0)
        undisturbed.run(seed)
        if undisturbed.error is not None:
            raise undisturbed.error
        report.steps += undisturbed.steps
        for step in range(1, undisturbed.steps + 1):
            run = _Run(scenario, invariants, target, error, step)
            run.run(seed)
            report.struck += run.struck
            if run.error is not None:
                report.findings.append(Finding(step, seed, run.task, run.where, _describe(run.error)))
                if len(report.findings) == MOST_FINDINGS:
                    break
    if report.findings:
        raise CancellationFailure(report)
    return report


def serving(
    make_served: Callable[[], RoutingTable | Server], config: Config | None = None
) -> Callable[[], AbstractAsyncContextManager[InMemoryServer]]:
    """Return invariants for `cancel_everywhere`: the scenario gets a server in memory, and L0 must hold.

    Args:
      make_served: Makes what is served; called for each run, as a server runs once.
      config: As for `open_test_server`.
    """

    @asynccontextmanager
    async def serve() -> AsyncIterator[InMemoryServer]:
        served = make_served()
        server = served if isinstance(served, Server) else Server(served, config=config)
        nothing = level(server)
        async with open_test_server(server) as in_memory:
            before = level(server)
            yield in_memory
            await restored(server, before, SETTLES_WITHIN)
        await restored(server, nothing, SETTLES_WITHIN)

    return serve


class _Target(NamedTuple):
    """What is struck.

    Attributes:
      name: For people.
      function: In which its tasks are, with its module; ``None``: all tasks.
    """

    name: str
    function: str | None


def _target(part: str | Callable[..., object], error: Callable[[], Exception] | None) -> _Target:
    if not isinstance(part, str):
        return _Target(part.__qualname__, f"{part.__module__}.{part.__qualname__}")
    if part in PARTS:
        return _Target(part, PARTS[part])
    if part not in (_EVERYTHING, _CLIENT):
        raise ValueError(f"There is no part {part!r}; name one of {', '.join((_EVERYTHING, _CLIENT, *PARTS))}, or give a function.")
    if error is not None:
        raise ValueError(f"An error is raised by one wait, and {part} has many; name one of {', '.join(PARTS)}, or give a function.")
    return _Target(part, None)


class _Run(trio.abc.Instrument):
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
        target: _Target,
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
                    if self._target.name == _EVERYTHING and isinstance(subject, InMemoryServer):
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
            self._hangs = _Hangs(f"it spins: task {task.name} at {_where(task)}")
        if not self._watching or not self._is_ours(task) or (task is self._main and self._over) or not self._is_target(task):
            return
        self.steps += 1
        if self.steps == self._step:
            self.task, self.where = task.name, _where(task)
            self._strike(task)

    def _is_ours(self, task: trio.lowlevel.Task) -> bool:
        """Tell whether it is no system task, as the one that watches the time is."""
        ancestor: trio.lowlevel.Task | None = task
        while ancestor is not None and ancestor is not self._main:
            ancestor = None if ancestor.parent_nursery is None else ancestor.parent_nursery.parent_task
        return ancestor is not None

    def _is_target(self, task: trio.lowlevel.Task) -> bool:
        if self._target.function is not None:
            return _is_in(task, self._target.function)
        return not (self._over and self._target.name == _CLIENT)

    def _strike(self, task: trio.lowlevel.Task) -> None:
        if self._make_error is not None:
            self._thrown = self._make_error()
            self.struck = interrupt(task, self._thrown)
        elif self._target.function is None or task is self._main:
            self.struck = True
            self._cancel()
        else:
            nursery = task.parent_nursery
            while nursery is not None and _is_in(nursery.parent_task, _SOCKET):
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
        waiting = [task for task in _tasks(self._main) if not _is_in(task, _WAITS_FOR_CHILDREN)]
        self._hangs = _Hangs("it hangs: " + "; ".join(f"task {task.name} at {_where(task)}" for task in waiting))

    def _clock(self) -> trio.testing.MockClock:
        """Return the clock of a run, which ends the run with `_hangs`: a shield, or a loop that swallows it, keeps all else off."""
        clock = trio.testing.MockClock(autojump_threshold=0)
        read = clock.current_time

        def current_time() -> float:
            if self._hangs is not None:
                _keep(_tasks(self._main))
                raise self._hangs
            return read()

        clock.current_time = current_time  # type: ignore[method-assign]  # it cannot be inherited from
        return clock


class _Hangs(Exception):
    """Somebody waits for what never comes, or never waits; the message names them."""


def _keep(tasks: list[trio.lowlevel.Task]) -> None:
    """Let what is left of a run that was given up never be collected, not even when the process ends.

    Collecting a coroutine runs it once more, and one that swallows everything would never return.
    """
    for task in tasks:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(task.coro))


class _Logged(Exception):
    """An error was logged."""

    def __init__(self, record: logging.LogRecord) -> None:
        cause = record.exc_info[1] if record.exc_info else None
        super().__init__(f"logged: {record.getMessage()}" + (f" ({_describe(cause)})" if cause else ""))


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


def _describe(error: BaseException) -> str:
    """Say what went wrong, once, in one line."""
    told = dict.fromkeys(" ".join(_text(leaf).split()) for leaf in _leaves(error))
    return "; ".join(told)


def _text(error: BaseException) -> str:
    if isinstance(error, _Hangs | _Logged) or (isinstance(error, AssertionError) and error.args):
        return str(error)
    # An assertion that pytest has not rewritten says nothing but where it is.
    frames = [f" ({_place(frame, line)})" for frame, line in traceback.walk_tb(error.__traceback__)]
    return f"{type(error).__name__}: {error}{frames[-1] if frames else ''}"


# Looking at tasks.


def _frames(task: trio.lowlevel.Task) -> Iterator[FrameType]:
    return (frame for frame, _ in task.iter_await_frames())


def _is_in(task: trio.lowlevel.Task, function: str) -> bool:
    """Tell whether ``task`` waits inside of ``function``."""
    return any(f"{frame.f_globals['__name__']}.{frame.f_code.co_qualname}" == function for frame in _frames(task))


def _where(task: trio.lowlevel.Task) -> str:
    """Say where ``task`` waits: the innermost frame that is not Trio's."""
    frames = [frame for frame in _frames(task) if not str(frame.f_globals["__name__"]).startswith("trio.")]
    if not frames:
        return "its end"
    return _place(frames[-1], frames[-1].f_lineno)


def _place(frame: FrameType, line: int) -> str:
    return f"{Path(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_qualname}"


def _tasks(root: trio.lowlevel.Task | None) -> list[trio.lowlevel.Task]:
    """Return ``root`` and all tasks below it."""
    tasks = [] if root is None else [root]
    for task in tasks:
        tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return tasks
