"""The application as hypercorn gets it: what it says in its lifespan is heard, and it is told of an end in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from ...concurrency.groups import unwrap
from ..asgi.lifespan import BEFORE_SHUTDOWN
from ..asgi.messages import ASGIFramework, Message, Receive, Scope, Send

__all__ = ["announce"]


async def announce(
    app: ASGIFramework,
    goodbyes: list[Callable[[], Awaitable[None]]],
    failures: list[Exception],
    write_stall_timeout: float,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Call ``app`` as hypercorn would.

    Args:
      app: The application.
      goodbyes: Gets what its lifespan says is to be called before the shutdown.
      failures: Gets its failure to stop.
      write_stall_timeout: As for `serve`.
      scope, receive, send: Of ASGI.
    """
    if scope["type"] == "lifespan":
        scope = {**scope, "extensions": {**scope.get("extensions", {}), BEFORE_SHUTDOWN: goodbyes}}
        await _run_lifespan(app, failures, scope, receive, send)
        return
    if scope["type"] == "http":
        receive, send = _disconnect_last(receive, send, write_stall_timeout)
    await app(scope, receive, send)


async def _run_lifespan(app: ASGIFramework, failures: list[Exception], scope: Scope, receive: Receive, send: Send) -> None:
    """Run the lifespan of ``app``. What it raises once it has started is a failure to stop; hypercorn would only log it."""
    from hypercorn.utils import LifespanFailureError

    started = False

    async def listen(message: Message) -> None:
        nonlocal started
        started |= message["type"] == "lifespan.startup.complete"
        try:
            await send(message)
        except LifespanFailureError as failure:
            if started:
                failures.append(failure)
            raise

    try:
        await app(scope, receive, listen)
    except Exception as exc:
        error = unwrap(exc)
        if not started or isinstance(error, LifespanFailureError):
            raise
        failure = LifespanFailureError("shutdown", repr(error))
        failures.append(failure)
        raise failure from exc


def _disconnect_last(receive: Receive, send: Send, patience: float) -> tuple[Receive, Send]:
    """Return both, but in such a way that the application is not told of the end while its last message is on the way.

    hypercorn reports ``http.disconnect`` in the midst of sending that message, and makes the connection ready for the next
    request after it: unless the application takes the disconnect as a reason to cancel what it does. After ``patience``
    seconds it may: over HTTP/2 a message can wait for a client that is gone.
    """
    out = trio.Event()
    out.set()

    async def receive_in_order() -> Message:
        message = await receive()
        if message["type"] == "http.disconnect":
            with trio.move_on_after(patience):
                await out.wait()
        return message

    async def send_whole(message: Message) -> None:
        nonlocal out
        if message["type"] == "http.response.body" and not message.get("more_body"):
            out = trio.Event()
        try:
            await send(message)
        finally:
            out.set()

    return receive_in_order, send_whole
