"""The task of a socket: when it has one, what runs in it and beside it, and how that comes to its end.

Theory of operation
===================

A socket has one task at a time, and that has a nursery, which holds everything that runs in the name of the socket. How far
it has come goes along `TASKS`:

* *due*: the task is started, and has not had its turn yet. What is started for the socket meanwhile waits for its nursery.
* *living*: it has one. It connects the socket, if that is still to be done, and then handles its events, one at a time.
* *resting*: there is no task. Many clients only listen, so where nothing is to be done once a socket is connected its task
  is over. The first event makes another one due, and so does `Socket.start_soon`, or the end; in the context of the one
  before, as what was set while the socket connected is there for its handlers. That one does not rest again, or each event
  would start one.
* *finishing*: whatever ran for the socket is over. The disconnection hooks run, once, shielded, within ``cleanup_timeout``,
  if and only if it was connected.
* *over*.

The socket may end at any time before it finishes. An *abrupt* end cancels the nursery. An *orderly* one is put behind the
events that came before it, and sets a deadline for them: the *last call*; also where the task is due. Where it rests,
nothing has come before the end. Whatever was started for the socket gets its first turn in any case, as in any nursery:
it may own something, and has to learn that it is cancelled.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import trio

from ..errors import DisconnectReason
from ..log import get_logger
from .dispatcher import Dispatched, Dispatcher
from .slow_handlers import SLOW_HANDLER, warn_about_disconnection

if TYPE_CHECKING:
    from ..engine.connection import Connection

__all__ = ["TASK", "TASKS", "SocketTask", "TaskState"]

logger = get_logger("trio_sio.namespaces")

TASK: Final = f"{__name__}.SocketTask.run"  # its name for Trio, made once, where Trio would make a string for each


class TaskState(enum.Enum):
    """Whether a socket has a task, and what that does."""

    DUE = "due"
    LIVING = "living"
    RESTING = "resting"
    FINISHING = "finishing"
    OVER = "over"


TASKS: Final[dict[tuple[TaskState, str], TaskState]] = {
    (TaskState.DUE, "begun"): TaskState.LIVING,
    (TaskState.LIVING, "rests"): TaskState.RESTING,
    (TaskState.RESTING, "woken"): TaskState.DUE,
    (TaskState.DUE, "finishes"): TaskState.FINISHING,
    (TaskState.LIVING, "finishes"): TaskState.FINISHING,
    (TaskState.FINISHING, "is over"): TaskState.OVER,
}
"""Where each event leads; one that is not here does not happen."""

# By these names, as a member of an enumeration costs time where it is looked up.
_DUE: Final = TaskState.DUE
_RESTING: Final = TaskState.RESTING
_FINISHING: Final = TaskState.FINISHING
_OVER: Final = TaskState.OVER


class Living(Dispatched, Protocol):
    """What the task needs of its socket.

    Attributes:
      dispatcher: The events that wait, and what handles them.
      reason: Why it has ended.
    """

    dispatcher: Dispatcher
    reason: str

    @property
    def is_connected(self) -> bool:
        """Whether it takes part in its namespace."""

    @property
    def has_joined(self) -> bool:
        """Whether it does, or did."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""

    async def connect(self) -> None:
        """Decide about its client."""

    def end(self, reason: DisconnectReason, *, orderly: bool) -> None:
        """Let it have ended; what comes second has no effect."""

    async def run_disconnection_hooks(self) -> None:
        """Run them."""

    def over(self) -> None:
        """Learn that nothing runs in its name any more."""


class SocketTask:
    """The task of one socket.

    Args:
      socket: The socket, by whose core it is held; it holds that until it is over.
      connection: Runs it.

    Attributes:
      state: See `TASKS`.
      nursery: Where everything runs that runs in the name of the socket, while it is living.
    """

    __slots__ = ("_children", "_connection", "_context", "_last_call", "_socket", "nursery", "state")

    def __init__(self, socket: Living, connection: Connection) -> None:
        self.state = _DUE
        self.nursery: trio.Nursery | None = None
        self._socket = socket
        self._connection = connection
        self._context: Context | None = None  # while it rests: a copy of that of the task before
        self._children: list[tuple[Context, Callable[[trio.Nursery], None]]] | None = None  # while it is due: what is to be started
        self._last_call: float | None = None  # after an orderly end: until when what came before it is handled

    @property
    def rests(self) -> bool:
        """Whether there is none, as there is nothing to do."""
        return self.state is _RESTING

    @property
    def is_finishing(self) -> bool:
        """Whether nothing runs any more but the disconnection hooks, or not even these."""
        return self.state is _FINISHING or self.state is _OVER

    @property
    def children(self) -> int:
        """How many tasks run in the name of the socket besides this one, those that wait for their nursery counted."""
        return len(self.nursery.child_tasks if self.nursery is not None else self._children or ())

    # What the core calls.

    def start(self) -> None:
        """Be run by the connection, in the present context."""
        self._connection.start_soon(self.run, name=TASK)

    def wake(self) -> None:
        """Be due again, if it rests."""
        if self.state is _RESTING:
            self._become("woken")
            context, self._context = self._context, None
            assert context is not None
            context.run(self.start)

    def start_soon(self, function: Callable[..., Awaitable[object]], *args: object, name: object) -> None:
        """Run ``function(*args)`` in the nursery, now or when there is one; the socket has not ended."""
        self.wake()
        if self.nursery is not None:
            self.nursery.start_soon(function, *args, name=name)
            return
        self._children = self._children or []
        # With the context of who starts it, in which it runs, as Trio has it.
        self._children.append((copy_context(), lambda nursery: nursery.start_soon(function, *args, name=name)))

    def end(self, *, orderly: bool) -> None:
        """Come to the end, as the socket has ended: behind what came before that, or at once."""
        if orderly and not self.rests:
            self._last_call = trio.current_time() + self._connection.services.cleanups.timeout
            self._socket.dispatcher.finish()
            if self.nursery is not None:
                self.nursery.cancel_scope.deadline = self._last_call
        else:
            self._socket.dispatcher.clear(self._socket)
            if self.nursery is not None:
                self.nursery.cancel_scope.cancel()
        self.wake()

    # The task itself.

    async def run(self) -> None:
        """Live until the socket has ended and everything is done, or there is nothing to do."""
        socket = self._socket
        rests = False  # which is not the state: by the time at which this returns another one may be due already
        try:
            if self._children or self._last_call is not None or not socket.is_over:
                async with trio.open_nursery() as nursery:
                    self._begin(nursery)
                    if socket.is_connecting:
                        await socket.connect()
                        rests = self._may_rest(nursery)
                    if not rests:
                        await socket.dispatcher.run(socket)
                        nursery.cancel_scope.cancel()
        finally:
            if not rests:
                self._finish(socket)
                cleanups = self._connection.services.cleanups
                try:
                    if socket.has_joined:
                        with trio.move_on_after(cleanups.timeout, shield=True) as scope, cleanups.watch(scope):
                            await self._run_disconnection_hooks(socket)
                finally:
                    self._become("is over")
                    del self._socket
                    socket.over()

    def _begin(self, nursery: trio.Nursery) -> None:
        self._become("begun")
        self.nursery = nursery
        if self._last_call is not None:
            nursery.cancel_scope.deadline = self._last_call
        elif self._socket.is_over:
            nursery.cancel_scope.cancel()
        children, self._children = self._children, None
        for context, start in children or ():
            context.run(start, nursery)

    def _may_rest(self, nursery: trio.Nursery) -> bool:
        """Rest, if nothing is to be done, and tell whether that is so."""
        if not self._socket.is_connected or nursery.child_tasks or not self._socket.dispatcher.rest(self):
            return False
        self._become("rests")
        self.nursery = None
        self._context = copy_context()
        return True

    def _finish(self, socket: Living) -> None:
        """Let everything be over but the disconnection hooks."""
        self._become("finishes")
        self.nursery = None
        socket.dispatcher.watch_no_more()
        # Only where the task was cancelled from outside, or failed because of a bug, it is still connected here.
        socket.end(DisconnectReason.SERVER_SHUTTING_DOWN, orderly=False)
        socket.dispatcher.clear(socket)

    async def _run_disconnection_hooks(self, socket: Living) -> None:
        task = trio.lowlevel.current_task()
        timer = socket.timers.call_after(SLOW_HANDLER, partial(warn_about_disconnection, socket, task))
        try:
            await socket.run_disconnection_hooks()
        except Exception:
            logger.exception("A disconnection hook of %s failed.", socket.name)
        finally:
            timer.cancel()

    def _become(self, event: str) -> None:
        self.state = TASKS[self.state, event]
