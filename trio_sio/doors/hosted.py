"""A WebSocket whose host does the framing, and with it the pings, the closing handshake and the buffering.

Such a host may hold on to the task that sends for as long as the client does not read, and it may see nothing of the
client while its queue of received messages is full.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

import trio

from ..concurrency.gate import Gate
from ..config import Config
from ..engine.door import MessageSink
from ..errors import ProtocolViolation, TransportError
from ..protocol.frames import EncodedPacket

__all__ = ["NORMAL", "HostedPipe", "HostedWebSocket"]

_T = TypeVar("_T")

NORMAL: Final = 1000
_GOING_AWAY: Final = 1001
_TOO_LARGE: Final = 1009


class HostedWebSocket(Protocol):
    """One open WebSocket as its host hands it over; one task receives, one task sends and closes."""

    async def receive(self) -> str | bytes | None:
        """Return the next message, or ``None`` once there are no more because the client closed or left.

        Raises:
          TransportError: if there are no more for another reason.
        """

    async def send(self, message: str | bytes) -> None:
        """Send one message, whole.

        Raises:
          ConnectionReset: if the client left. After that, and after a cancellation, nothing else is ever sent.
        """

    async def close(self, code: int) -> None:
        """Send the close frame; return when the host needs nothing more of this task for the closing handshake.

        Raises:
          ConnectionReset: as for `send`.
        """


class HostedPipe:
    """What the engine makes of it (`trio_sio.engine.door.WebSocketPipe`).

    Args:
      websocket: The host's; only the task that calls `send` waits for it to take something.
      config: The time-outs and limits.
    """

    nonblocking = False
    progress = 0  # only the host knows

    def __init__(self, websocket: HostedWebSocket, config: Config) -> None:
        self._websocket = websocket
        self._config = config
        self._reading = trio.CancelScope()
        self._gate = Gate()
        self._ended = False
        self._broken = False
        self._closing = False
        self._close_code = _GOING_AWAY
        self._close_sent = False
        self._close_done = trio.Event()

    async def pump(self, sink: MessageSink, write: Callable[[], None]) -> None:
        """Feed every message into ``sink``; see `WebSocketPipe.pump`. The host answers pings, so ``write`` is not called."""
        with self._reading:
            while not self._ended:
                await self._gate.wait()
                message = await self._next()
                if message is not None and not self._closing:
                    self._feed(sink, message)

    def stop(self) -> None:
        """Receive nothing more; see `WebSocketPipe.stop`."""
        self._reading.cancel()

    async def linger(self) -> None:
        """Wait until the host has been told to close, if it is to be; see `WebSocketPipe.linger`."""
        await trio.lowlevel.checkpoint()
        # Some hosts receive nothing more from the moment at which they are told.
        if self._closing and (self._close_sent or not self._ended):
            await self._close_done.wait()

    def pause(self) -> None:
        """See `WebSocketPipe.pause`."""
        self._gate.shut()

    def resume(self) -> None:
        """See `WebSocketPipe.resume`."""
        self._gate.open()

    def try_send_nowait(self, packets: list[EncodedPacket]) -> bool:
        """Never called, since `nonblocking` is false; see `WebSocketPipe.try_send_nowait`."""
        raise AssertionError("a host cannot send without blocking")

    async def send(self, packets: list[EncodedPacket]) -> None:
        """Send ``packets``, and then the close frame if `close` was called; see `WebSocketPipe.send`."""
        for packet in packets:
            for message in packet.messages():
                await self._tell(self._websocket.send, message)
        if self._closing and not self._close_sent:
            self._close_sent = True
            try:
                await self._tell(self._websocket.close, self._close_code)
            finally:
                self._close_done.set()

    def close(self, code: int | None) -> bool:
        """Begin the closing handshake; see `WebSocketPipe.close`. Hosts know no close frame without a code."""
        if not self._closing:
            self._closing = True
            self._close_code = NORMAL if code is None else code
        return self._close_sent

    def abort(self) -> None:
        """Stop receiving and waiting; see `WebSocketPipe.abort`. The wire itself is the door's to end."""
        self._closing = True
        self._reading.cancel()
        self._close_done.set()

    async def _next(self) -> str | bytes | None:
        message = await self._websocket.receive()
        if message is None:
            self._ended = True
        return message

    def _feed(self, sink: MessageSink, message: str | bytes) -> None:
        payload = message.encode() if isinstance(message, str) else message
        if len(payload) > self._config.max_http_buffer_size:
            # The host's own limit may be larger, or count characters.
            self.close(_TOO_LARGE)
            raise ProtocolViolation(f"a message of {len(payload)} bytes; the limit is {self._config.max_http_buffer_size}")
        if isinstance(message, str):
            sink.text(payload)
        else:
            sink.binary(payload)

    async def _tell(self, function: Callable[[_T], Awaitable[None]], what: _T) -> None:
        if self._broken:
            await trio.lowlevel.checkpoint()
            raise TransportError("the connection broke earlier")
        self._broken = True  # until the host has taken all of it
        try:
            with trio.fail_after(self._config.write_stall_timeout):
                await function(what)
        except trio.TooSlowError as exc:
            raise TransportError("the client takes nothing: no progress for write_stall_timeout") from exc
        self._broken = False
