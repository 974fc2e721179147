"""ASGI's lifespan: our server runs inside that of the application behind it.

So the application's resources are there before the first socket connects, and they go after the last one has gone. What
raises once they are there, in our server or in the application, is a failed shutdown, and the ASGI server hears of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import trio

from ...log import get_logger
from .messages import ASGIFramework, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from ..served import Served

__all__ = ["BEFORE_SHUTDOWN", "run_lifespan"]

logger = get_logger("trio_sio.doors.asgi")

BEFORE_SHUTDOWN: Final = "trio_sio.before_shutdown"
"""An extension of the lifespan's scope: a list, for what the ASGI server is to call before it closes any connection."""


async def run_lifespan(host: Served, other: ASGIFramework | None, scope: Scope, receive: Receive, send: Send) -> None:
    """Enter ``host`` when the ASGI server starts, leave it when that stops, and report both.

    Args:
      host: What to run meanwhile, unless it runs already.
      other: The application behind, whose own lifespan is run around it.
      scope: Of the lifespan.
      receive: From the ASGI server.
      send: To the ASGI server.
    """
    await receive()
    before_shutdown: list[Callable[[], Awaitable[None]]] | None = (scope.get("extensions") or {}).get(BEFORE_SHUTDOWN)
    if before_shutdown is not None:
        before_shutdown.append(host.drain)
    if other is None:
        await send(await _run_server(host, receive, send))
        return
    async with trio.open_nursery() as nursery:
        behind = _Behind()
        nursery.start_soon(behind.run, other, scope)
        last_word = await behind.ask("lifespan.startup")
        if last_word["type"] == "lifespan.startup.complete":
            last_word = await _run_server(host, receive, send)
            stopped = await behind.ask("lifespan.shutdown")
            if last_word["type"] == "lifespan.shutdown.complete":
                last_word = stopped
            elif stopped["type"] != "lifespan.shutdown.complete":
                logger.error("The application behind the Socket.IO server failed to stop, too: %.500s", stopped.get("message", ""))
        nursery.cancel_scope.cancel()
    await send(last_word)


async def _run_server(host: Served, receive: Receive, send: Send) -> Message:
    """Run ``host`` until the ASGI server stops; return what to tell that in the end."""
    started = False
    try:
        async with AsyncExitStack() as stack:
            if not host.running:
                await stack.enter_async_context(host)
            started = True
            await send({"type": "lifespan.startup.complete"})
            await receive()
    except Exception as exc:
        phase, what = ("shutdown", "failed to stop") if started else ("startup", "could not start")
        logger.exception("The Socket.IO server %s.", what)
        return {"type": f"lifespan.{phase}.failed", "message": f"The Socket.IO server {what}: {exc!r}"}
    return {"type": "lifespan.shutdown.complete"}


class _Behind:
    """The lifespan of the application behind ours, as one that can be asked to start and to stop."""

    def __init__(self) -> None:
        # Two messages go in and two come out, so that nobody ever waits to send one.
        self._questions, self._inbox = trio.open_memory_channel[Message](2)
        self._outbox, self._answers = trio.open_memory_channel[Message](2)
        self._started = False
        self._error: Exception | None = None

    async def run(self, application: ASGIFramework, scope: Scope) -> None:
        """Run the application; without an answer of its own it counts as one that has no lifespan."""
        with self._outbox:
            try:
                await application(scope, self._inbox.receive, self._answer)
            except Exception as exc:
                if self._started:
                    self._error = exc
                    logger.exception("The application behind the Socket.IO server ended its lifespan with an exception.")
                else:
                    # ASGI: an application that raises here has no lifespan, and is served nevertheless.
                    logger.warning("The application behind the Socket.IO server ended its lifespan with an exception.", exc_info=True)

    async def ask(self, question: str) -> Message:
        """Send ``question`` and return the answer."""
        self._questions.send_nowait({"type": question})
        try:
            return await self._answers.receive()
        except trio.EndOfChannel:
            if self._error is None:
                return {"type": f"{question}.complete"}
            message = f"The application behind the Socket.IO server failed to stop: {self._error!r}"
            return {"type": f"{question}.failed", "message": message}

    async def _answer(self, message: Message) -> None:
        self._started |= message["type"] == "lifespan.startup.complete"
        await self._outbox.send(message)
