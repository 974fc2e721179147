"""Opens a session: the transports are tried in order, and what is lived in is closed behind the block."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from ..concurrency.unwrapping import unwrapping
from ..config import TransportName
from ..errors import ConfigurationError, ConnectFailed
from .polling import PollingTransport
from .session import FAREWELL, Receiver, Session
from .target import Target
from .upgrade import Upgrade
from .websocket import WebSocketTransport

__all__ = ["MAX_MESSAGE_SIZE", "open_session"]

MAX_MESSAGE_SIZE: Final = 16 * 1024 * 1024

_TRANSPORTS: Final[dict[str, type[PollingTransport] | type[WebSocketTransport]]] = {
    "polling": PollingTransport,
    "websocket": WebSocketTransport,
}


@asynccontextmanager
async def open_session(
    target: Target,
    receiver: Receiver,
    *,
    transports: Sequence[TransportName] = ("polling", "websocket"),
    upgrade: bool = True,
    connect_timeout: float = 20,
    close_timeout: float = 5,
    max_message_size: int = MAX_MESSAGE_SIZE,
) -> AsyncIterator[Session]:
    """Open a session, and close it behind the block; a session that ends meanwhile does not cancel the block.

    Leaving sends what is queued, then the goodbye. When it is cancelled, or leaves with an exception, there is only the
    goodbye.

    Args:
      target: Where to.
      receiver: Who takes what arrives.
      transports: What to try, in this order, until one opens. A refusal (4xx) is final.
      upgrade: Whether a polling session moves to a WebSocket when both sides can.
      connect_timeout: Seconds until the open packet is there, for all transports together; and for the upgrade.
      close_timeout: Seconds for leaving; at most one second of it when leaving is cancelled.
      max_message_size: The largest message, and the largest response body, in bytes.

    Raises:
      ConfigurationError: if there is no transport to try.
      ConnectFailed: if no transport opens.
    """
    session = await _open(target, receiver, transports, upgrade, connect_timeout, min(close_timeout, FAREWELL), max_message_size)
    with unwrapping() as body:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run)
            with body:
                yield session
                await session.close(close_timeout)


async def _open(
    target: Target,
    receiver: Receiver,
    transports: Sequence[TransportName],
    upgrade: bool,
    connect_timeout: float,
    farewell_timeout: float,
    max_message_size: int,
) -> Session:
    if not transports or set(transports) - set(_TRANSPORTS):
        raise ConfigurationError(f'transports is {transports!r}; choose from ("polling", "websocket").')
    deadline = trio.current_time() + connect_timeout
    failures: list[ConnectFailed] = []
    for number, name in enumerate(transports):
        # So that one that hangs leaves time for the next.
        share = (deadline - trio.current_time()) / (len(transports) - number)
        try:
            with trio.fail_after(max(0, share)):
                transport, handshake, packets = await _TRANSPORTS[name].open(target, max_message_size)
        except trio.TooSlowError:
            failures.append(ConnectFailed(f"{target.description} did not answer the {name} handshake within {share:g} seconds."))
        except ConnectFailed as failure:
            failures.append(failure)
            if not failure.retryable or (failure.status is not None and 400 <= failure.status < 500):
                break
        else:
            moves = upgrade and name == "polling" and "websocket" in transports and "websocket" in handshake.upgrades
            upgrade_of = Upgrade(target, max_message_size, connect_timeout).run if moves else None
            return Session(transport, handshake, packets, receiver, upgrade_of, farewell_timeout)
    raise _summary(failures)


def _summary(failures: list[ConnectFailed]) -> ConnectFailed:
    if len(failures) == 1:
        return failures[0]
    # The last one decides whether to try again: the others gave way to it.
    last = failures[-1]
    return ConnectFailed(" ".join(dict.fromkeys(map(str, failures))), status=last.status, retryable=last.retryable)
