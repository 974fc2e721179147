"""One WebSocket at the ASGI door.

The host does the framing, and with it the pings, the closing handshake and the buffering. Three of its habits shape
this file: it may hold on to the task that sends for as long as the client does not read; it sees nothing of the client
while its queue of received messages is full; and it learns that we are done only from `websocket.close`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from ...config import Config
from ...engine.door import ClientGone, MessageSink, Request, Response, WebSocketPipe
from ...engine.gate import Gate
from ...errors import ProtocolViolation, TransportError
from ...protocol.frames import EncodedPacket
from .messages import GONE, Message, Receive, Scope, Send, read_request, response_messages

__all__ = ["ASGIPipe", "ASGIUpgrade"]

_GOING_AWAY: Final = 1001
_TOO_LARGE: Final = 1009
_NORMAL: Final = 1000


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

    async def accept(self) -> WebSocketPipe:
        """Answer 101; see `WebSocketUpgrade.accept`."""
        subprotocols = self._scope.get("subprotocols") or [None]
        await self._tell([{"type": "websocket.accept", "subprotocol": subprotocols[0], "headers": []}])
        self._pipe = ASGIPipe(self._receive, self._send, self._config)
        return self._pipe

    async def refuse(self, response: Response) -> None:
        """Answer with ``response``, or with a bare 403 where the host cannot; see `WebSocketUpgrade.refuse`."""
        if "websocket.http.response" in (self._scope.get("extensions") or {}):
            await self._tell(response_messages("websocket.http", response, self._scope))
        else:
            await self._tell([{"type": "websocket.close", "code": _NORMAL}])

    async def finish(self) -> None:
        """Leave the host in a state from which it can close the connection; to be called last, whatever happened, with a deadline."""
        if self._pipe is not None:
            await self._pipe.finish()

    async def _tell(self, messages: list[Message]) -> None:
        try:
            for message in messages:
                with trio.fail_after(self._config.write_stall_timeout):
                    await self._send(message)
        except (*GONE, trio.TooSlowError) as exc:
            raise ClientGone("The client left during the handshake.") from exc


class ASGIPipe:
    """One open WebSocket (`trio_sio.engine.door.WebSocketPipe`).

    Args:
      receive: From the host.
      send: To the host; only the task that calls `send` waits in it.
      config: The time-outs and limits.
    """

    nonblocking = False

    def __init__(self, receive: Receive, send: Send, config: Config) -> None:
        self._receive = receive
        self._send = send
        self._config = config
        self._reading = trio.CancelScope()
        self._gate = Gate()
        self._disconnected = False
        self._broken = False
        self._closing = False
        self._close_code = _GOING_AWAY
        self._close_sent = False
        self._close_told = trio.Event()

    async def pump(self, sink: MessageSink, write: Callable[[], None]) -> None:
        """Feed every message into ``sink``; see `WebSocketPipe.pump`. The host answers pings, so ``write`` is not called."""
        with self._reading:
            while not self._disconnected:
                await self._gate.wait()
                message = await self._next()
                if not self._closing and not self._disconnected:
                    self._feed(sink, message)

    async def linger(self) -> None:
        """Wait until the host has been told to close, if it is to be; see `WebSocketPipe.linger`."""
        await trio.lowlevel.checkpoint()
        if self._closing and not self._disconnected:
            await self._close_told.wait()

    def pause(self) -> None:
        """See `WebSocketPipe.pause`."""
        self._gate.shut()

    def resume(self) -> None:
        """See `WebSocketPipe.resume`."""
        self._gate.open()

    def try_send_nowait(self, packets: list[EncodedPacket]) -> bool:
        """Never called, since `nonblocking` is false; see `WebSocketPipe.try_send_nowait`."""
        raise AssertionError("the ASGI door cannot send without blocking")

    async def send(self, packets: list[EncodedPacket]) -> None:
        """Send ``packets``, and then the close frame if `close` was called; see `WebSocketPipe.send`."""
        for packet in packets:
            for data in packet.messages():
                key = "text" if isinstance(data, str) else "bytes"
                await self._tell({"type": "websocket.send", key: data})
        if self._closing and not self._close_sent:
            self._close_sent = True
            await self._tell({"type": "websocket.close", "code": self._close_code})
            self._close_told.set()

    def close(self, code: int | None) -> bool:
        """Begin the closing handshake; see `WebSocketPipe.close`. ASGI knows no close frame without a code."""
        if not self._closing:
            self._closing = True
            self._close_code = _NORMAL if code is None else code
        return self._close_sent

    def abort(self) -> None:
        """Stop receiving; see `WebSocketPipe.abort`. The wire itself ends with `finish`."""
        self._closing = True
        self._reading.cancel()

    async def finish(self) -> None:
        """Close the WebSocket if nobody has, and empty the host's queue until the host has seen its end; needs a deadline."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._discard, nursery.cancel_scope)
            if not (self._close_sent or self._broken or self._disconnected):
                self._close_sent = True
                try:
                    await self._send({"type": "websocket.close", "code": self._close_code})
                except GONE:
                    nursery.cancel_scope.cancel()

    async def _discard(self, scope: trio.CancelScope) -> None:
        while not self._disconnected:
            await self._next()
        scope.cancel()

    async def _next(self) -> Message:
        message = await self._receive()
        self._disconnected = message["type"] == "websocket.disconnect"
        return message

    def _feed(self, sink: MessageSink, message: Message) -> None:
        text: str | None = message.get("text")
        payload: bytes = message["bytes"] if text is None else text.encode()
        if len(payload) > self._config.max_http_buffer_size:
            # The host's own limit may be larger, or count characters.
            self.close(_TOO_LARGE)
            raise ProtocolViolation(f"a message of {len(payload)} bytes; the limit is {self._config.max_http_buffer_size}")
        if text is None:
            sink.binary(payload)
        else:
            sink.text(payload)

    async def _tell(self, message: Message) -> None:
        if self._broken:
            await trio.lowlevel.checkpoint()
            raise TransportError("the connection broke earlier")
        self._broken = True  # until the host has taken all of it
        try:
            with trio.fail_after(self._config.write_stall_timeout):
                await self._send(message)
        except trio.TooSlowError as exc:
            raise TransportError("the client takes nothing: no progress for write_stall_timeout") from exc
        except GONE as exc:
            raise TransportError("the client left") from exc
        self._broken = False
