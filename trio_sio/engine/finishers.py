"""Handlers and goodbyes that outlive what they are for: tasks of the server, not of a connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from ..errors import Disconnected
from ..log import get_logger
from .refusals import NOT_RUNNING

__all__ = ["Finishers"]

logger = get_logger("trio_sio.engine")


class Finishers:
    """Runs them, in the nursery that the server's scope lends it."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None

    def open(self, nursery: trio.Nursery) -> None:
        """Run them in ``nursery`` from now on."""
        self._nursery = nursery

    def cancel(self) -> None:
        """Cancel them all, and take no more."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
            self._nursery = None

    def start_soon(self, function: Callable[..., Awaitable[object]], *args: object) -> None:
        """Start ``function(*args)``; it must let no exception out.

        Raises:
          RuntimeError: if the server does not run.
        """
        if self._nursery is None:
            raise RuntimeError(NOT_RUNNING)
        self._nursery.start_soon(function, *args)

    async def run(self, function: Callable[[], Awaitable[object]]) -> None:
        """Run ``function()``, and wait until it is done; who gives up waiting leaves it alone.

        Raises:
          Disconnected: if the server does not run any more; who waits here is cancelled, too, or about to be.
        """
        if self._nursery is None:
            raise Disconnected("The server has ended.")
        done = trio.Event()

        async def finish() -> None:
            try:
                await function()
            except Exception:
                logger.exception("A handler that outlives its socket failed.")
            finally:
                done.set()

        self.start_soon(finish)
        await done.wait()
