"""The warning about a handler, or a hook, for which others wait.

It comes while the handler runs, so that one that never returns is named, too. It costs a message nothing: a timer is set
when an event begins to wait behind something that runs and there is none yet, which is once a second for a socket that is
always busy; who the culprit is, is read from the stack of the socket's task when the time is over.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Final

import trio

from ..log import get_logger
from .failures import quote

if TYPE_CHECKING:
    from .socket import Socket

__all__ = ["SLOW_HANDLER", "SlowHandlerWatch", "warn_about_disconnection"]

logger = get_logger("trio_sio.namespaces")

SLOW_HANDLER: Final = 1.0  # seconds that anything may wait behind a handler or hook before a warning names it

_BETWEEN: Final = frozenset({"trio", "contextlib"})  # whose frames may stand between ours and the application's


class SlowHandlerWatch:
    """Looks at a socket from time to time as long as something waits for what runs in its name.

    Args:
      socket: The socket.
    """

    __slots__ = ("_socket", "_timer")

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._look_after(SLOW_HANDLER)

    def cancel(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look_after(self, seconds: float) -> None:
        self._timer = self._socket.client.connection.services.timers.call_after(seconds, self._look)

    def _look(self) -> None:
        socket = self._socket
        is_waited_for, left = socket._is_waited_for, socket._queued_since + SLOW_HANDLER - trio.current_time()
        if is_waited_for and left > 0:
            self._look_after(left)
            return
        # Whatever begins to wait next sets another; as long as what waits already is there, nothing does.
        socket._watch = None
        if is_waited_for:
            self._warn(socket)

    def _warn(self, socket: Socket) -> None:
        assert socket._nursery is not None
        culprit = _culprit(socket._nursery.parent_task)
        if socket._handling is not None:
            what, waits = f"The handler of {quote(socket._handling.data[0])}", "events of {} wait for it"
            advice = "Mark it concurrent=True if they need not, and start what lasts with socket.start_soon."
        elif socket.connected:
            what, waits, advice = "The connection hook", "events of {} wait for it", "Start what lasts with socket.start_soon."
        else:
            what, waits, advice = (
                "Connection middleware",
                "the client of {} waits for it",
                "Until it is over, nobody knows whether it may join.",
            )
        logger.warning(
            "%s%s has not come back for %.1f seconds, and %s. %s",
            what,
            culprit,
            trio.current_time() - (socket.handling_since or 0),
            waits.format(_name(socket)),
            advice,
        )


def warn_about_disconnection(socket: Socket, task: trio.lowlevel.Task) -> None:
    """Warn that a disconnection hook, which ``task`` runs, keeps ``socket`` from its end."""
    logger.warning(
        "A disconnection hook%s has not come back for %.1f seconds, and the end of %s waits for it. "
        "What is not over within cleanup_timeout is cancelled.",
        _culprit(task),
        SLOW_HANDLER,
        _name(socket),
    )


def _name(socket: Socket) -> str:
    return f"socket {socket.id} in namespace {quote(socket.namespace.name)}"


def _culprit(task: trio.lowlevel.Task) -> str:
    """Return which function of the application ``task`` is in: the innermost that was called by this package."""
    found, was_ours = "", False
    for frame, line in task.iter_await_frames():
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package in _BETWEEN:
            continue
        is_ours = package == "trio_sio"
        if was_ours and not is_ours:
            name = frame.f_code.co_qualname.rpartition("<locals>.")[2]
            found = f" ({name}, at {PurePath(frame.f_code.co_filename).name}:{line})"
        was_ours = is_ours
    return found
