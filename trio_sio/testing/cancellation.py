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

import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from ..config import Config
from ..routing.table import RoutingTable
from ..server import Server
from .level import level, restored
from .server import InMemoryServer, open_test_server
from .striking import CLIENT, EVERYTHING, Run, Target, describe

__all__ = ["PARTS", "CancellationFailure", "Finding", "Report", "cancel_everywhere", "serving"]

T = TypeVar("T")

# Parts by name: the function in which a task of that part is.
PARTS: Final = {
    "reader": "trio_sio.doors.native.http.handle_connection",
    "writer": "trio_sio.engine.websocket.WebSocketTransport._write",
    "heartbeat": "trio_sio.engine.heartbeat.Heartbeat.run",
    "dispatcher": "trio_sio.namespaces.task.SocketTask.run",
    "handler": "trio_sio.routing.calling.MessageHandler._handle",
}
_SOCKET: Final = PARTS["dispatcher"]

SETTLES_WITHIN: Final = 300.0  # seconds on the mock clock; a client that vanished is noticed within ping_interval + ping_timeout
MOST_FINDINGS: Final = 10  # one mistake is found at many steps


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
    part: str | Callable[..., object] = EVERYTHING,
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
        undisturbed = Run(scenario, invariants, target, None, 0)
        undisturbed.run(seed)
        if undisturbed.error is not None:
            raise undisturbed.error
        report.steps += undisturbed.steps
        for step in range(1, undisturbed.steps + 1):
            run = Run(scenario, invariants, target, error, step)
            run.run(seed)
            report.struck += run.struck
            if run.error is not None:
                report.findings.append(Finding(step, seed, run.task, run.where, describe(run.error)))
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

    Raises:
      TypeError: if ``make_served`` is what is served, and makes nothing.
    """
    if not callable(make_served):
        raise TypeError(f"serving() takes a function that makes what is served, not {make_served!r:.80}; write serving(lambda: routes).")

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


def _target(part: str | Callable[..., object], error: Callable[[], Exception] | None) -> Target:
    if not isinstance(part, str):
        return Target(part.__qualname__, f"{part.__module__}.{part.__qualname__}", _SOCKET)
    if part in PARTS:
        return Target(part, PARTS[part], _SOCKET)
    if part not in (EVERYTHING, CLIENT):
        raise ValueError(f"There is no part {part!r}; name one of {', '.join((EVERYTHING, CLIENT, *PARTS))}, or give a function.")
    if error is not None:
        raise ValueError(f"An error is raised by one wait, and {part} has many; name one of {', '.join(PARTS)}, or give a function.")
    return Target(part, None, _SOCKET)
