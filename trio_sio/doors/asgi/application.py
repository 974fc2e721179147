"""The ASGI application: the engine's path is ours, everything else is somebody else's, or nobody's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from ...engine.door import ClientGone
from ...log import get_logger
from ...protocol.http import plain_text
from ..requests import NOT_FOUND, why_unserved
from .http import ASGIExchange
from .lifespan import run_lifespan
from .messages import ASGIFramework, Message, Receive, Scope, Send, path_below_root
from .websocket import ASGIPipe, ASGIUpgrade

if TYPE_CHECKING:
    from ..served import Served

__all__ = ["ASGIApplication"]

logger = get_logger("trio_sio.doors.asgi")

_NEEDS_TRIO: Final = (
    "trio_sio runs on Trio, and this ASGI server does not; "
    "call trio_sio.doors.hypercorn.serve(APP, CONFIG), or use another one with a Trio worker."
)
_NEEDS_LIFESPAN: Final = (
    "Clients get 503, because the Socket.IO server is not running: let the ASGI server run the lifespan of this application, "
    "or enter `async with server:` around it."
)

_BEHIND_ITSELF: Final = (
    "The Socket.IO server is in front of an application that calls it again, without end; "
    "write `app.asgi_app = server.asgi(app.asgi_app)`, and not `server.asgi(app)`."
)
_IN_FRONT: Final = "trio_sio.in_front"  # an extension of the lifespan's scope: the applications of ours that it has passed

# How long the host may take to pass the close frame on and to see the client's.
_GOODBYE_SECONDS: Final = 1.0


class ASGIApplication:
    """An ASGI 3 application that serves Socket.IO on the engine's path.

    Args:
      host: A server; the lifespan enters it unless somebody has. Where it does not run, clients get 503.
      other: The application that gets everything else; without one that is 404.

    Attributes:
      host: As given.
    """

    def __init__(self, host: Served, other: ASGIFramework | None = None) -> None:
        self.host = host
        self._engine = host.engine
        self._other = other
        self._reminded = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI defines it.

        Raises:
          RuntimeError: if the host does not run on Trio.
        """
        if not trio.lowlevel.in_trio_run():
            if scope["type"] == "lifespan":
                await receive()
                await send({"type": "lifespan.startup.failed", "message": _NEEDS_TRIO})
            raise RuntimeError(_NEEDS_TRIO)
        if scope["type"] == "lifespan":
            extensions = scope.get("extensions") or {}
            in_front = extensions.get(_IN_FRONT, ())
            if self in in_front:
                await receive()
                await send({"type": "lifespan.startup.failed", "message": _BEHIND_ITSELF})
                return
            scope = {**scope, "extensions": {**extensions, _IN_FRONT: (*in_front, self)}}
            await run_lifespan(self.host, self._other, scope, receive, send)
        elif scope["type"] in ("http", "websocket") and self._engine.owns(path_below_root(scope)):
            if not (self.host.running or self._reminded):
                self._reminded = True
                logger.warning(_NEEDS_LIFESPAN)
            serve = self._serve_http if scope["type"] == "http" else self._serve_websocket
            await serve(scope, receive, send)
        elif self._other is not None:
            await self._other(scope, receive, send)
        elif scope["type"] in ("http", "websocket"):
            await self._refuse_address(scope, receive, send)

    async def _refuse_address(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["type"] == "http":
                await ASGIExchange(scope, receive, send, self._engine.config).respond(NOT_FOUND)
            elif (await receive())["type"] == "websocket.connect":
                await ASGIUpgrade(scope, receive, send, self._engine.config).refuse(NOT_FOUND)
        except ClientGone as gone:
            logger.debug("%r: %s", scope["path"][:80], gone)

    async def _serve_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = ASGIExchange(scope, receive, send, self._engine.config)
        try:
            if (unserved := why_unserved(exchange.request.headers)) is not None:
                await exchange.respond(plain_text(*unserved))
            else:
                await self._engine.handle_http(exchange)
                await exchange.finish()
        except ClientGone as gone:
            logger.debug("%s: %s", exchange.request.address, gone)

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        message: Message = await receive()
        if message["type"] != "websocket.connect":
            return
        upgrade = ASGIUpgrade(scope, receive, send, self._engine.config)
        try:
            await self._engine.handle_websocket(upgrade)
        except ClientGone as gone:
            logger.debug("%s: %s", upgrade.request.address, gone)
        finally:
            with trio.move_on_after(_GOODBYE_SECONDS, shield=True):
                await upgrade.finish()
        # The host closes the connection when the application has returned, unless it is busy handing over what came.
        if self.host.running and upgrade.unfinished is not None:
            self._engine.start_finisher(self._discard, upgrade.unfinished)

    async def _discard(self, pipe: ASGIPipe) -> None:
        try:
            await pipe.discard()
        except Exception:
            logger.exception("Emptying the queue of the ASGI server failed.")
