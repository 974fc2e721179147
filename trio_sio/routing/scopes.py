"""Controllers that are async context managers: entered when their client has joined, left after it has gone."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, NamedTuple

import trio

from .exception_handlers import ExceptionHandling, log_failure, propagate
from .middleware import Context

if TYPE_CHECKING:
    from ..namespaces.core import SocketCore
    from ..namespaces.socket import Socket

__all__ = ["ControllerScope", "ScopeTerms"]


class ScopeTerms(NamedTuple):
    """What a route says about entering its controllers.

    Attributes:
      controller: Its name.
      exceptions: What an exception in ``__aenter__`` means.
    """

    controller: str
    exceptions: ExceptionHandling


class ControllerScope:
    """The ``async with`` of one controller, in a task of its own.

    What a controller opens and keeps open, a nursery above all, has to be closed by the task that opened it, and after
    everything that this task opened later. The socket's own task cannot promise that: middleware, hooks and the
    dispatcher open and close scopes of theirs in between. So the server runs the task; `leave` is called exactly once,
    after the disconnection hooks, also when these were cancelled.

    Args:
      controller: What is entered.
      name: Its name.
    """

    __slots__ = ("_controller", "_error", "_is_entered", "_is_left", "_leave", "_name", "_scope")

    def __init__(self, controller: AbstractAsyncContextManager[object], name: str) -> None:
        self._controller = controller
        self._name = name
        self._error: Exception | None = None
        self._is_entered = trio.Event()
        self._leave = trio.Event()
        self._is_left = trio.Event()
        # Hooks may need what the controller opened, whatever ends the server. Who calls `enter` and `leave` has the deadline.
        self._scope = trio.CancelScope(shield=True)

    async def enter(self, core: SocketCore) -> None:
        """Enter the controller.

        Raises:
          Exception: what it raises; it is not left then.
        """
        core.start_finisher(self._run, core.socket)
        try:
            await self._is_entered.wait()
        except trio.Cancelled:
            self._scope.cancel()
            raise
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # whose traceback leads here

    async def leave(self) -> None:
        """Leave the controller, if it was entered, and wait until that is done; a cancellation cancels what it does."""
        self._leave.set()
        try:
            await self._is_left.wait()
        finally:
            self._scope.cancel()

    async def _run(self, socket: Socket) -> None:
        ctx = Context(socket)
        try:
            with self._scope:
                async with self._controller:
                    self._is_entered.set()
                    await self._leave.wait()
        except Exception as exc:
            self._fail(ctx, exc)
        except BaseExceptionGroup as group:
            propagate(group, ctx, f"The async with of {self._name}")
        finally:
            self._is_entered.set()
            self._is_left.set()

        if self._error is None and not self._leave.is_set():
            # What it opened is gone before the client is, as when a task in its nursery failed.
            socket.disconnect_nowait()

    def _fail(self, ctx: Context, exc: Exception) -> None:
        if self._is_entered.is_set():
            log_failure(f"The async with of {self._name}", ctx, exc)
        else:
            self._error = exc
