"""One WebSocket at the ASGI door.

Besides what `trio_sio.doors.hosted` says of every host, this one learns only from `websocket.close` that we are done.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import trio

from ...config import Config
from ...engine.door import ClientGone, WebSocketPipe
from ...errors import ConnectionReset, TransportError
from ...protocol.http import Request, Response
from ..hosted import NORMAL, HostedPipe
from .messages import GONE, Message, Receive, Scope, Send, read_request, response_messages

__all__ = ["ASGIPipe", "ASGIUpgrade", "ASGIWebSocket"]

_QUIET_SECONDS: Final = 0.05  # after the end
_SILENT_SECONDS: Final = 60.0  # before it: a host that was cancelled never says it


class ASGIUpgrade:
    """A request to become a WebSocket (`trio_sio.engine.door.WebSocketUpgrade`).

    Args:
      scope: Of the connection.
      receive: From the host; ``websocket.connect`` was already received.
      send: To the host.
      config: The time-outs and limits of the pipe.
    """

    detached = True

    def __init__(self, scope: Scope, receive: Receive, send: Send, config: Config) -> None:
        self.request: Request = read_request(scope)
        self._scope = scope
        self._receive = receive
        self._send = send
        self._config = config
        self._pipe: ASGIPipe | None = None

    async def accept(self, headers: Sequence[tuple[bytes, bytes]] = ()) -> WebSocketPipe:
        """Answer 101; see `WebSocketUpgrade.accept`."""
        subprotocols = self._scope.get("subprotocols") or [None]
        fields = [(name.lower(), value) for name, value in headers]
        await self._tell([{"type": "websocket.accept", "subprotocol": subprotocols[0], "headers": fields}])
        self._pipe = ASGIPipe(ASGIWebSocket(self._receive, self._send), self._config)
        return self._pipe

    async def refuse(self, response: Response) -> None:
        """Answer with ``response``, or with a bare 403 where the host cannot; see `WebSocketUpgrade.refuse`."""
        if "websocket.http.response" in (self._scope.get("extensions") or {}):
            await self._tell(response_messages("websocket.http", response, self._scope))
        else:
            await self._tell([{"type": "websocket.close", "code": NORMAL}])

    async def finish(self) -> None:
        """Leave the host in a state from which it can close the connection; to be called last, whatever happened, with a deadline."""
        if self._pipe is not None:
            await self._pipe.finish()

    @property
    def unfinished(self) -> ASGIPipe | None:
        """What `finish` had no time for: `ASGIPipe.discard` is to go on, or the host may wait for that for ever."""
        return None if self._pipe is None or self._pipe.finished else self._pipe

    async def _tell(self, messages: list[Message]) -> None:
        try:
            for message in messages:
                with trio.fail_after(self._config.write_stall_timeout):
                    await self._send(message)
        except (*GONE, trio.TooSlowError) as exc:
            raise ClientGone("The client left during the handshake.") from exc


class ASGIWebSocket:
    """One open WebSocket in the host's messages (`trio_sio.doors.hosted.HostedWebSocket`).

    Args:
      receive: From the host.
      send: To the host.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send

    async def receive(self) -> str | bytes | None:
        """Return the next message; see `HostedWebSocket.receive`."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            return None
        text: str | None = message.get("text")
        if text is not None:
            return text
        payload: bytes = message["bytes"]
        return payload

    async def send(self, message: str | bytes) -> None:
        """Send one message; see `HostedWebSocket.send`."""
        await self._tell({"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message})

    async def close(self, code: int) -> None:
        """Let the host send a close frame; see `HostedWebSocket.close`."""
        await self._tell({"type": "websocket.close", "code": code})

    async def _tell(self, message: Message) -> None:
        try:
            await self._send(message)
        except GONE as exc:
            raise ConnectionReset("the client left") from exc


class ASGIPipe(HostedPipe):
    """One open WebSocket (`trio_sio.engine.door.WebSocketPipe`), to be finished in the end.

    Attributes:
      finished: Whether the host has nothing more for us. Until then it may be waiting for us to take something.
    """

    finished = False

    async def finish(self) -> None:
        """Close the WebSocket if nobody has, and `discard`; needs a deadline."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.discard)
            if not (self._close_sent or self._broken or self._ended):
                self._close_sent = True
                with suppress(TransportError):
                    await self._websocket.close(self._close_code)

    async def discard(self) -> None:
        """Empty the host's queue until the host has seen its end, or has had nothing for us for a long time."""
        while not self.finished:
            ended = self._ended
            with trio.move_on_after(_QUIET_SECONDS if ended else _SILENT_SECONDS) as scope:
                self.finished = await self._next() is None and ended
            # The end may have overtaken messages that the host was about to hand over: it goes on only when they are taken.
            self.finished |= scope.cancelled_caught
