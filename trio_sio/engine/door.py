"""What a door hands in, and what it gets back.

A door (`trio_sio.doors`) knows one way in which connections arrive: our own listener, an ASGI host, a trio-websocket
server. It turns each request into one of the two objects below and calls `Engine.handle_http` or
`Engine.handle_websocket` in the task that owns the wire. Nothing else crosses this line.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..protocol.frames import EncodedPacket
    from ..protocol.http import Request, Response

__all__ = [
    "BodyTooLarge",
    "ClientGone",
    "HttpExchange",
    "MessageSink",
    "WebSocketPipe",
    "WebSocketUpgrade",
]


class BodyTooLarge(Exception):
    """A request body exceeds the limit that was given to `HttpExchange.read_body`."""


class ClientGone(Exception):
    """The client went away, or stalled, before the exchange was complete."""


class HttpExchange(Protocol):
    """One HTTP request that waits for its response."""

    @property
    def request(self) -> Request:
        """The request's head."""

    def body_nowait(self, limit: int) -> bytes | None:
        """Return the whole body if all of it is here and it does not exceed ``limit`` bytes; ``None``: only `read_body` can tell."""

    async def read_body(self, limit: int) -> bytes:
        """Return the whole body.

        Raises:
          BodyTooLarge: if it exceeds ``limit`` bytes, from its declared length or while it arrives.
          ClientGone: if it does not arrive.
        """

    async def respond(self, response: Response) -> None:
        """Send the response; call it once, also after `BodyTooLarge`.

        Raises:
          ClientGone: if it could not be handed to the wire whole.
        """

    async def wait_woken(self) -> bool:
        """Wait until `wake` is called, or the client has gone; tell whether it is still there."""

    def wake(self) -> None:
        """Let `wait_woken` return; to be called while it waits."""


class MessageSink(Protocol):
    """Takes what a WebSocket receives, in order, without ever blocking or raising."""

    def text(self, payload: bytes) -> None:
        """Take a text message: valid UTF-8, already unmasked."""

    def binary(self, payload: bytes) -> None:
        """Take a binary message."""


class WebSocketPipe(Protocol):
    """One open WebSocket.

    One task calls `pump`, one task at a time calls `send`; the rest is synchronous and may be called from anywhere.
    Text travels as UTF-8 bytes and outgoing packets as `EncodedPacket`, which carries ready-made frames, because the
    hot path never needs a decoded string.
    """

    @property
    def nonblocking(self) -> bool:
        """Whether `try_send_nowait` can ever succeed; if so the engine's flusher uses it, else a writer task sends."""

    @property
    def progress(self) -> int:
        """How many bytes of messages that are not complete yet have come in and gone out; 0 where that cannot be known."""

    def pump(self, sink: MessageSink, write: Callable[[], None]) -> Awaitable[None]:
        """Feed every message into ``sink`` until the wire ends.

        Returns when the peer closed in an allowed way (close frame, or the end of the stream), or after `stop` or `abort`.
        After `close` received messages are dropped, and it returns once the peer has answered.

        Args:
          sink: Where messages go.
          write: Called when the pipe has something of its own to say (a pong, the answer to a close frame); `send`
            must then be called, with nothing if need be.

        Raises:
          TransportError: if the wire broke, or the peer broke the rules of RFC 6455 (it was then told so).
        """

    def stop(self) -> None:
        """Let `pump` return, whatever the peer does; idempotent, also when it has not begun or is over."""

    async def linger(self) -> None:
        """After `pump`: wait until a close frame of ours is out and the peer had a chance to see it.

        The caller sets the deadline, and calls `abort` afterwards.
        """

    async def send(self, packets: list[EncodedPacket]) -> None:
        """Send what was left over by `try_send_nowait` or `close`, then ``packets``.

        Raises:
          TransportError: if the wire broke, or made no progress for ``write_stall_timeout``. After that, and after a
            cancellation, the wire is unusable and nothing else is ever written to it.
        """

    def try_send_nowait(self, packets: list[EncodedPacket]) -> bool:
        """Hand ``packets`` to the kernel; tell whether nothing is left over.

        When it returns false, the pipe keeps the rest, and `send` must finish before this is called again.

        Raises:
          TransportError: if the wire broke.
        """

    def pause(self) -> None:
        """Stop receiving, and feed nothing more of what was received already, until `resume`."""

    def resume(self) -> None:
        """Receive again."""

    def close(self, code: int | None) -> bool:
        """Begin the closing handshake; tell whether the close frame is out.

        When it returns false, `send` has to finish it. ``code`` as in RFC 6455, section 7.4; ``None``: a close frame
        without a status.
        """

    def abort(self) -> None:
        """Give up the wire at once; idempotent, also after `close`."""


class WebSocketUpgrade(Protocol):
    """A request to become a WebSocket, already checked against RFC 6455, section 4.2.1."""

    @property
    def request(self) -> Request:
        """The request's head."""

    @property
    def detached(self) -> bool:
        """Whether the host may hold on to the task that owns the wire, so that the session needs one of its own."""

    async def accept(self, headers: Sequence[tuple[bytes, bytes]] = ()) -> WebSocketPipe:
        """Answer 101.

        Args:
          headers: Further header fields of the answer.

        Raises:
          ClientGone: if the client is not there any more.
        """

    async def refuse(self, response: Response) -> None:
        """Answer with ``response`` instead of 101.

        Raises:
          ClientGone: if the client is not there any more.
        """
