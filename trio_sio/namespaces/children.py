"""Tasks that live as long as a socket at most: what becomes of one that fails."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from ..concurrency.functions import let_go, not_awaitable
from ..concurrency.groups import raise_rest
from ..log import get_logger
from .failures import log_failure_of

__all__ = ["required", "run_child"]

_F = TypeVar("_F")

logger = get_logger("trio_sio.namespaces")


class Parent(Protocol):
    """A socket, as far as its tasks can end it."""

    id: str

    @property
    def connected(self) -> bool:
        """Whether it is connected."""

    def disconnect_nowait(self, *, close: bool = False, reason: str | None = None) -> None:
        """See `Socket.disconnect_nowait`."""


def required(function: _F) -> _F:
    """Return ``function``, or raise `TypeError` if it was called already, or is none."""
    if not callable(function):
        let_go(function)
        raise TypeError(f"start_soon() takes an async function and its arguments, not {function!r:.80}; write start_soon(f, x), not f(x).")
    return function


async def run_child(socket: Parent, function: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> None:
    """Run ``function(*args)`` for a socket, which what it raises disconnects."""

    def end(exc: Exception) -> None:
        log_failure_of("A task of socket.start_soon", "in the background", socket, exc, logger)
        socket.disconnect_nowait(reason="a task of it failed")

    try:
        result = function(*args)
        if not inspect.isawaitable(result):
            not_awaitable(function, result)
        await result
    except Exception as exc:
        end(exc)
    except BaseExceptionGroup as group:
        raise_rest(group, end)
