"""Ctrl-C as a cancellation."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

__all__ = ["until_interrupted"]

T = TypeVar("T")


async def until_interrupted(function: Callable[[], Awaitable[T]], interrupted: T) -> T:
    """Return what ``function()`` returns, or ``interrupted`` if it was cancelled because Ctrl-C was pressed.

    As an exception Ctrl-C could come between any two steps of the client.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return await function()  # as a shell wants it of what runs in the background
    value = interrupted
    with trio.open_signal_receiver(signal.SIGINT) as interrupts:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def wait_for_interrupt() -> None:
                await anext(interrupts)
                nursery.cancel_scope.cancel()

            value = await function()
            nursery.cancel_scope.cancel()
    return value
