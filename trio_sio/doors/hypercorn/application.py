"""The application as hypercorn gets it: who is first in it, what it says in its lifespan, and an end that it is told of in order."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from ...concurrency.groups import unwrap
from ..asgi.application import ASGIApplication
from ..asgi.lifespan import BEFORE_SHUTDOWN
from ..asgi.messages import ASGIFramework, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from ..served import Served

__all__ = ["announce", "require_application", "server_in_front"]


def require_application(app: object) -> None:
    """Raise `TypeError` if ``app`` is a server of ours, or its method, and not what that returns."""
    host = getattr(app, "__self__", app)
    if hasattr(host, "asgi") and hasattr(host, "engine"):
        raise TypeError(f"serve() takes an ASGI application, not {app!r:.80}; write serve(server.asgi(), config).")


def server_in_front(app: ASGIFramework) -> Served | None:
    """Return the server of ours that gets each request first, if that is certain.

    Whatever stands before it may check requests, change them, or send them elsewhere; it must not be passed by.

    Args:
      app: The application.
    """
    quart = sys.modules.get("quart")
    # Quart's way to put something before an application. A class of one's own with such an attribute may do more than call it.
    if quart is not None and isinstance(app, quart.Quart) and type(app).__call__ is quart.Quart.__call__:
        app = app.asgi_app
    return app.host if isinstance(app, ASGIApplication) else None


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
