"""Work of the application that belongs to the server and not to a client: it begins and ends with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal, NamedTuple

import trio

from ..concurrency.functions import fault_of_awaited, name_of
from ..concurrency.groups import raise_rest
from ..concurrency.unwrapping import unwrapping
from ..log import get_logger

__all__ = ["Background"]

logger = get_logger("trio_sio.engine")


class _Work(NamedTuple):
    """One function that is to run."""

    function: Callable[..., Awaitable[object]]
    args: tuple[object, ...]
    ends_server: bool


class Background:
    """What `Server.start_soon` was given."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None
        self._waiting: list[_Work] = []
        self._is_over = False

    def start_soon(self, function: Callable[..., Awaitable[object]], *args: object, failure: Literal["log", "raise"]) -> None:
        """See `Host.start_soon`."""
        if (fault := fault_of_awaited(function)) is not None:
            raise TypeError(f"start_soon() runs async functions, but {fault}; write it with `async def`.")
        if failure not in ("log", "raise"):
            raise ValueError(f'failure={failure!r} is neither "log" nor "raise".')
        if self._is_over:
            raise RuntimeError(f"The server drains, or is over, so {name_of(function)} cannot begin.")
        work = _Work(function, args, failure == "raise")
        if self._nursery is None:
            self._waiting.append(work)
        else:
            self._start(work)

    @asynccontextmanager
    async def running(self, draining: trio.Event) -> AsyncIterator[None]:
        """Run it until ``draining`` is set, or this is left.

        Raises:
          ExceptionGroup: with what has failed and is to end the server.
        """
        with unwrapping() as body:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._run_until, draining)
                try:
                    with body:
                        yield
                finally:
                    self._is_over = True
                    nursery.cancel_scope.cancel()

    async def _run_until(self, draining: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as self._nursery:
            waiting, self._waiting = self._waiting, []
            for work in waiting:
                self._start(work)
            task_status.started()
            await draining.wait()
            self._is_over = True
            self._nursery.cancel_scope.cancel()
        # So a server that has drained, and is not left yet, has no other tasks than before.
        await trio.sleep_forever()

    def _start(self, work: _Work) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(self._run, work, name=name_of(work.function))

    async def _run(self, work: _Work) -> None:
        try:
            await work.function(*work.args)
        except Exception as error:
            if work.ends_server:
                raise
            _log(work, error)
        except BaseExceptionGroup as group:
            if work.ends_server:
                raise
            raise_rest(group, partial(_log, work))


def _log(work: _Work, error: Exception) -> None:
    logger.error("%s, which start_soon() of the server began, failed; the server goes on.", name_of(work.function), exc_info=error)
