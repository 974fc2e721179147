"""Runs the handlers of a client's socket, one at a time, and answers events with what they return."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..concurrency.groups import raise_rest, unwrap
from ..errors import Disconnected
from ..log import get_logger
from .membership import Stage

if TYPE_CHECKING:
    from .events import Inbox
    from .handlers import Handlers
    from .membership import Membership
    from .sending import Sender

__all__ = ["dispatch"]

logger = get_logger("trio_sio.client")


async def dispatch(membership: Membership, inbox: Inbox, handlers: Handlers, sender: Sender) -> None:
    """Hand the events that wait in ``inbox`` to ``handlers``, until cancelled. They may wait for acknowledgements and events."""
    while True:
        received = await inbox.next_queued()
        name, args = received.event
        called = handlers.of(name, args)
        if not called:
            # They were removed while the event waited for them.
            inbox.keep(received)
            continue
        result: object = None
        failed = False
        for handler, arguments in called:
            try:
                answer = await handler(*arguments)
                result = answer if result is None else result
            except Exception as error:
                failed = True
                _log_failure(membership, name, error)
            except BaseExceptionGroup as group:
                raise_rest(group, partial(_log_failure, membership, name))
        if received.id is not None and not (failed and result is None):
            await sender.acknowledge(received, received.id, result if isinstance(result, tuple) else (result,))


def _log_failure(membership: Membership, name: str, error: Exception) -> None:
    if isinstance(unwrap(error), Disconnected) and membership.stage in (Stage.LEAVING, Stage.OVER):
        logger.debug("A handler of event %.80r in namespace %.80r was left alone: %s", name, membership.namespace, unwrap(error))
    else:
        logger.error("A handler of event %.80r in namespace %.80r failed.", name, membership.namespace, exc_info=error)
