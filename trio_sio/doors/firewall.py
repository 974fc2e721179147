"""What happens to one connection of a host ends that connection, and nobody else's.

A host runs tasks of its own for each connection, and an exception in one of them travels up to where all connections are
served. Clients can cause some of these: by breaking the rules of a protocol at a moment at which the host does not expect
it, and who knows how else. So whatever comes is caught here. What clients are known to cause is a line at DEBUG; anything
else is an ERROR with its traceback, but only once for each place in the code that it comes from, since whoever can cause it
once can do so a thousand times a second.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import h11
import trio
import wsproto.utilities

from ..concurrency.groups import leaves_of

__all__ = ["Firewall"]

# Either side of these parsers: a host that answers a client which broke the rules finds no words allowed any more.
_CLIENT_FAULTS: Final = (
    OSError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    UnicodeError,
    h11.ProtocolError,
    wsproto.utilities.ProtocolError,
)


class Firewall:
    """Stands around each connection of one host.

    Args:
      logger: Where it tells what it has caught.
      client_faults: Exceptions that clients of this host cause, besides those that they can cause everywhere.
    """

    def __init__(self, logger: logging.LoggerAdapter[logging.Logger], *client_faults: type[Exception]) -> None:
        self._logger = logger
        self._client_faults = (*_CLIENT_FAULTS, *client_faults)
        self._told: set[tuple[object, ...]] = set()  # no larger than the code

    @asynccontextmanager
    async def around(self, stream: trio.abc.AsyncResource) -> AsyncIterator[None]:
        """Run the block, which serves the connection on ``stream``, and close that; only a cancellation gets out."""
        try:
            yield
        except* Exception as group:
            self._tell(group)
        finally:
            await trio.aclose_forcefully(stream)

    def _tell(self, group: ExceptionGroup[Exception]) -> None:
        _, others = group.split(self._client_faults)
        if others is None:
            error = next(leaves_of(group))
            self._logger.debug("A client left, or broke the rules of its protocol; its connection is closed: %.200r", error)
            return
        errors = list(leaves_of(others))
        places = {_place(error) for error in errors}
        if places <= self._told:
            self._logger.debug("One connection failed as another did before: %.200r", errors[0])
            return
        self._told |= places
        self._logger.error(
            "One connection failed; it is closed, and the others go on. The next failure of this kind is a line at DEBUG.",
            exc_info=errors[0] if len(errors) == 1 else others,
        )


def _place(error: Exception) -> tuple[object, ...]:
    """Return what two failures with the same cause have in common."""
    innermost: tuple[object, ...] = ()
    for frame, line in traceback.walk_tb(error.__traceback__):
        innermost = frame.f_code.co_filename, line
    return type(error), *innermost
