"""What doors that speak HTTP share: what they refuse before the engine sees it, how they read a body, and what they answer themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from ..engine.door import BodyTooLarge, ClientGone
from ..limits import PROGRESS
from ..protocol.http import Headers, plain_text

__all__ = ["FAILED", "NOT_FOUND", "BodyStalled", "collect_body", "stays_until", "why_unserved"]

NOT_FOUND: Final = plain_text(404, "There is nothing at this address.")
FAILED: Final = plain_text(500, "The server failed to answer this request.", close=True)


class BodyStalled(ClientGone):
    """A request's body made no progress for ``http_stall_timeout``; the door answers 408 when the engine is done with the request."""


def why_unserved(headers: Headers) -> tuple[int, str] | None:
    """Return status and reason if a request asks for what no door does, else ``None``."""
    if headers.get("expect", "100-continue").lower() != "100-continue":
        return 417, 'The only expectation that this server meets is "100-continue".'
    if headers.get("content-encoding", "identity").lower() != "identity":
        return 415, "Request bodies must not be compressed."
    return None


async def collect_body(receive: Callable[[], Awaitable[bytes | None]], limit: int, stall_timeout: float) -> bytes:
    """Return a request's whole body.

    Args:
      receive: Returns the next bytes of the body, and ``None`` at its end.
      limit: How many bytes are accepted.
      stall_timeout: For how many seconds the body may make no progress.

    Raises:
      BodyTooLarge: if it has more than ``limit`` bytes.
      BodyStalled: if it makes no progress.
    """
    body = bytearray()
    progress = PROGRESS
    with trio.move_on_after(stall_timeout) as stall:
        while (data := await receive()) is not None:
            body += data
            if len(body) > limit:
                raise BodyTooLarge(f"The request body is larger than {limit} bytes.")
            if len(body) >= progress:
                progress = len(body) + PROGRESS
                stall.deadline = trio.current_time() + stall_timeout
        return bytes(body)
    raise BodyStalled("The request body made no progress for too long.")


async def stays_until(event: trio.Event, wait_gone: Callable[[], Awaitable[None]]) -> bool:
    """Wait until ``event`` is set, or the client has gone; tell whether it is still there.

    Args:
      event: Set by somebody else.
      wait_gone: Returns when the client has gone; it runs in a task of its own meanwhile.
    """
    gone = False

    async def watch() -> None:
        nonlocal gone
        await wait_gone()
        gone = not event.is_set()
        event.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await event.wait()
        nursery.cancel_scope.cancel()
    return not gone
