"""For programs that only serve: until a signal comes, then with a goodbye."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from types import FrameType
from typing import Any, Final, Protocol

import trio

from .concurrency.unwrapping import unwrapping
from .log import get_logger

__all__ = ["SIGNALS", "exit_at_once", "serve_until_signal"]

logger = get_logger("trio_sio.server")

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Serve(Protocol):
    """Serves until it has drained, or is cancelled."""

    async def __call__(self, *, task_status: trio.TaskStatus[Any]) -> None:
        """Start when clients may come, with the listeners."""


class Listening(Protocol):
    """Has an address."""

    @property
    def sockname(self) -> tuple[str, int] | str:
        """Host and port, or a path."""


def exit_at_once(number: int, _frame: FrameType | None) -> None:
    """End the process; a handler of signals."""
    # No flushing: whatever this interrupts may be in the middle of writing.
    os._exit(128 + number)


async def serve_until_signal(serve: Serve, drain: Callable[[], Awaitable[None]], task_status: trio.TaskStatus[Any], *, exits: bool) -> int:
    """Run ``serve`` until SIGINT or SIGTERM comes, or it returns; then ``drain``.

    Args:
      serve: Serves.
      drain: Lets it end.
      task_status: Is told what ``serve`` tells when it has started.
      exits: Whether a second signal ends the process at once; else it cancels, which may take `Config.cleanup_timeout`.

    Returns:
      The exit code: 0, or 128 and the number of the second signal.
    """
    code = 0

    async def served(*, task_status: trio.TaskStatus[Any]) -> None:
        await serve(task_status=task_status)
        nursery.cancel_scope.cancel()

    async def end_at_next(signals: AsyncIterator[int]) -> None:
        nonlocal code
        code = 128 + await anext(signals)
        nursery.cancel_scope.cancel()

    with trio.open_signal_receiver(*SIGNALS) as signals, unwrapping() as body:
        async with trio.open_nursery() as nursery:
            with body:
                listeners = await nursery.start(served)
                logger.info("Listening on %s.", ", ".join(map(_spelled, listeners)))
                task_status.started(listeners)
                number = await anext(signals)
                logger.info("%s: saying goodbye.", signal.Signals(number).name)
                if exits:
                    for number in SIGNALS:
                        # A plain handler and no Trio task, so that it works while a handler of the application does not let go.
                        signal.signal(number, exit_at_once)
                else:
                    nursery.start_soon(end_at_next, signals)
                await drain()
                nursery.cancel_scope.cancel()
    return code


def _spelled(listener: Listening) -> str:
    address = listener.sockname
    if isinstance(address, str):
        return address
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
