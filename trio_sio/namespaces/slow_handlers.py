"""The warning about a handler, or a hook, for which others wait.

It comes while the handler runs, so that one that never returns is named, too. It costs a message nothing: a timer is set
when an event begins to wait behind something that runs and there is none yet, which is once a second for a socket that is
always busy; who the culprit is, is read from the stack of the socket's task when the time is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import trio

from ..concurrency.culprits import find_culprit, name_place
from ..log import get_logger
from .failures import quote

if TYPE_CHECKING:
    from ..concurrency.timers import Timers
    from ..protocol.socketio import Packet

__all__ = ["SLOW_HANDLER", "SlowHandlerWatch", "Watched", "warn_about_disconnection"]

logger = get_logger("trio_sio.namespaces")

SLOW_HANDLER: Final = 1.0  # seconds that anything may wait behind a handler or hook before a warning names it


class Watched(Protocol):
    """What the watch needs of a socket."""

    @property
    def name(self) -> str:
        """How the log calls it."""

    @property
    def timers(self) -> Timers:
        """Those of its engine."""

    @property
    def is_connecting(self) -> bool:
        """Whether its client waits for CONNECT."""

    @property
    def nursery(self) -> trio.Nursery | None:
        """Where what runs in its name runs."""

    def is_slow(self, event: str | None, seconds: float) -> None:
        """Learn that what handles ``event``, or a hook, has run for ``seconds``, as a warning is about to say."""


class Queue(Protocol):
    """What the watch needs of a dispatcher.

    Attributes:
      handling: The event whose handler runs.
      handling_since: Since when it, or what connects, has run.
      queued_since: Since when something waits for it.
    """

    handling: Packet | None
    handling_since: float | None
    queued_since: float

    @property
    def has_event(self) -> bool:
        """Whether an event waits."""

    def unwatched(self) -> None:
        """Learn that the watch does not look again."""


class SlowHandlerWatch:
    """Looks at a socket from time to time as long as something waits for what runs in its name.

    Args:
      queue: What waits.
      socket: The socket.
    """

    __slots__ = ("_queue", "_socket", "_timer")

    def __init__(self, queue: Queue, socket: Watched) -> None:
        self._queue = queue
        self._socket = socket
        self._look_after(SLOW_HANDLER)

    def cancel(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look_after(self, seconds: float) -> None:
        self._timer = self._socket.timers.call_after(seconds, self._look)

    def _look(self) -> None:
        queue, socket = self._queue, self._socket
        is_waited_for, left = self._is_waited_for(), queue.queued_since + SLOW_HANDLER - trio.current_time()
        if is_waited_for and left > 0:
            self._look_after(left)
            return
        # Whatever begins to wait next sets another; as long as what waits already is there, nothing does.
        queue.unwatched()
        if is_waited_for and socket.nursery is not None:
            self._warn(socket.nursery.parent_task)

    def _is_waited_for(self) -> bool:
        """Tell whether something waits until what runs has come back: the client for CONNECT, later on an event."""
        socket = self._socket
        if socket.is_connecting:
            return True
        return self._queue.has_event and socket.nursery is not None and not socket.nursery.cancel_scope.cancel_called

    def _warn(self, task: trio.lowlevel.Task) -> None:
        queue, socket = self._queue, self._socket
        seconds = trio.current_time() - (queue.handling_since or 0)
        socket.is_slow(None if queue.handling is None else queue.handling.data[0], seconds)
        if queue.handling is not None:
            what, waits = f"The handler of {quote(queue.handling.data[0])}", "events of {} wait for it"
            advice = "Mark it concurrent=True if they need not, and start what lasts with socket.start_soon."
        elif socket.is_connecting:
            what, waits = "Connection middleware", "the client of {} waits for it"
            advice = "Until it is over, nobody knows whether it may join."
        else:
            what, waits, advice = "The connection hook", "events of {} wait for it", "Start what lasts with socket.start_soon."
        logger.warning(
            "%s%s has not come back for %.1f seconds, and %s. %s",
            what,
            _culprit(task),
            seconds,
            waits.format(socket.name),
            advice,
        )


def warn_about_disconnection(socket: Watched, task: trio.lowlevel.Task) -> None:
    """Warn that a disconnection hook, which ``task`` runs, keeps ``socket`` from its end."""
    socket.is_slow(None, SLOW_HANDLER)
    logger.warning(
        "A disconnection hook%s has not come back for %.1f seconds, and the end of %s waits for it. "
        "What is not over within cleanup_timeout is cancelled.",
        _culprit(task),
        SLOW_HANDLER,
        socket.name,
    )


def _culprit(task: trio.lowlevel.Task) -> str:
    """Return which function of the application ``task`` is in."""
    culprit = find_culprit(task.iter_await_frames())
    return "" if culprit is None else f" ({name_place(*culprit)})"
