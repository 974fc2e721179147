"""A WebSocket, client side: a session of its own, or the probe of a polling session that wants to move.

It stands on the sans-I/O protocol of the ``websockets`` library, as the server does. What this client needs, and
trio-websocket's interface leaves to its own reader task: that a connection which ends during the handshake is noticed
then, not at the deadline; that a refused handshake, with its status and its body, ends in one exception and has a bound;
that messages are bounded in bytes and in fragments; and that one task writes everything, pongs included, with a deadline
for each write.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Final

import trio
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import WebSocketURI

from ..config import TransportName
from ..errors import ConnectFailed, ConnectionFault, ConnectionReset, ProtocolViolation, TransportClosed
from ..log import get_logger
from ..protocol.engineio import Handshake
from ..protocol.frames import EncodedPacket
from .http import HttpResponse, refusal
from .stream import Progress, ServerStream
from .target import Target

__all__ = ["WebSocketTransport"]

_FRAGMENTS: Final = 4_096  # of one message, as for servers
_PACKETS_PER_WRITE: Final = 256  # so that others get a turn

# websockets logs each closed connection at INFO; the session does that itself.
_protocol_logger = get_logger("trio_sio.client.frames")
_protocol_logger.setLevel(logging.WARNING)


class WebSocketTransport:
    """Carries a session over one WebSocket.

    Args:
      target: Where to.
      max_message_size: The largest message, in bytes.
    """

    name: TransportName = "websocket"
    says_goodbye_back = True

    def __init__(self, target: Target, max_message_size: int) -> None:
        self.progress = Progress()
        self._target = target
        self._stream: ServerStream | None = None
        uri = WebSocketURI(target.secure, target.host, 80, "/", "")  # the request is made here, so that this is not used
        self._protocol = ClientProtocol(uri, max_size=max_message_size, logger=_protocol_logger)
        self._received: list[str | bytes] = []
        self._fragments: list[bytes] = []
        self._is_text = False
        self._pong = b""
        self._close_frame = b""
        self._said_goodbye = False
        self._fault: ConnectionFault | None = None

    async def open(self) -> Iterator[str | bytes]:
        """See `Transport.open`."""
        await self.connect()
        while not (received := await self.receive()):
            pass
        return iter(received)

    async def connect(self, sid: str | None = None) -> None:
        """Open the WebSocket, for the session ``sid`` or for a new one.

        Raises:
          ConnectFailed: if there is no connection, or the server refuses.
          ConnectionFault: if it does not answer as it must.
        """
        self._stream = ServerStream(await self._target.connect_stream())
        request = self._protocol.connect()
        del request.headers["Host"]
        request.headers.update(self._target.headers())
        request.path = self._target.resource("websocket", **({} if sid is None else {"sid": sid}))
        self._protocol.send_request(request)
        await self._flush()
        while not (events := self._protocol.events_received()) and self._protocol.handshake_exc is None:
            if data := await self._stream.receive():
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
        for event in events:
            if isinstance(event, Response):
                self._target.keep_cookies(event.headers.get_all("Set-Cookie"))
        match self._protocol.handshake_exc:
            case None:
                self._take(events[1:])
            case InvalidStatus(response=response):
                answer = HttpResponse(response.status_code, list(response.headers.raw_items()), bytes(response.body or b""))
                raise refusal(self._target, self.name, answer)
            case InvalidHandshake() as error:
                raise ConnectFailed(f"{self._target.description} did not answer the websocket handshake as it must: {error}.") from error
            case error:
                raise error

    def opened(self, handshake: Handshake) -> None:
        """See `Transport.opened`."""
        assert self._stream is not None
        self._stream.stall_timeout = handshake.patience

    @property
    def owes_pong(self) -> bool:
        """Whether a pong waits for the next `send`."""
        return bool(self._pong)

    @property
    def owes_close(self) -> bool:
        """Whether a close frame waits for `say_goodbye`: the server has sent one, or has broken the rules."""
        return bool(self._close_frame)

    async def receive(self) -> list[str | bytes]:
        """Wait for bytes and return the messages that are complete now; none if it was a ping, or a part of one."""
        if self._received or self._fault is not None:
            await trio.lowlevel.checkpoint()
        else:
            assert self._stream is not None
            self._feed(await self._stream.receive())
        if not self._received and self._fault is not None:
            raise self._fault
        received, self._received = self._received, []
        return received

    async def send(self, packets: Sequence[EncodedPacket]) -> None:
        """Send packets, behind a pong if one is due."""
        for number, packet in enumerate(packets, 1):
            if self._protocol.state is State.OPEN:
                if packet.text is not None:
                    self._protocol.send_text(packet.text)
                for attachment in packet.attachments:
                    self._protocol.send_binary(attachment)
            if number % _PACKETS_PER_WRITE == 0:
                await self._flush()
        await self._flush()

    async def say_goodbye(self) -> None:
        """Send a close frame, the one that is owed if there is one."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
        self._protocol.writes.append(self._close_frame)
        self._close_frame = b""
        self._said_goodbye = True
        await self._flush()

    async def aclose(self) -> None:
        """Close the connection at once, and let go of what refers to itself: the error that ended it, and the parser."""
        self._fault = None
        self._protocol.parser.close()
        if self._stream is not None:
            await self._stream.aclose()

    async def _flush(self) -> None:
        data = b"".join((self._pong, *self._protocol.data_to_send()))
        self._pong = b""
        assert self._stream is not None
        await self._stream.send(data)

    def _feed(self, data: bytes) -> None:
        if not data:
            self._protocol.receive_eof()
            self._fault = ConnectionReset("the server dropped the WebSocket without a close frame")
            return
        self._protocol.receive_data(data)
        self._take(self._protocol.events_received())
        if self._received:
            self.progress.begin()
        else:
            self.progress.add(len(data))

    def _take(self, events: Sequence[object]) -> None:
        for event in events:
            if isinstance(event, Frame) and self._fault is None:
                self._frame(event)
        error = self._protocol.parser_exc
        if error is not None and self._fault is None:
            if self._protocol.close_rcvd is not None:
                # It may come amid a fragmented message (RFC 6455, section 5.4), which this parser calls a fault.
                self._fault = self._closed()
            else:
                self._fault = ProtocolViolation(f"the server broke the rules of WebSockets: {error}")
        # All that the protocol writes while it receives. Of many pongs the last one will do (RFC 6455, section 5.5.3).
        if replies := [reply for reply in self._protocol.data_to_send() if reply]:
            if self._protocol.state is State.OPEN:
                self._pong = replies[-1]
            elif not self._said_goodbye:
                self._close_frame = replies[-1]

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self._fault = self._closed()
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.opcode is not Opcode.CONT:
                self._is_text = frame.opcode is Opcode.TEXT
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                self._message(b"".join(self._fragments))
                self._fragments.clear()
            elif len(self._fragments) >= _FRAGMENTS:
                self._fail(CloseCode.POLICY_VIOLATION, "too many fragments")

    def _message(self, data: bytes) -> None:
        if not self._is_text:
            self._received.append(data)
            return
        try:
            self._received.append(data.decode())
        except UnicodeDecodeError:
            self._fail(CloseCode.INVALID_DATA, "text that is not UTF-8")

    def _closed(self) -> TransportClosed:
        assert self._protocol.close_rcvd is not None
        return TransportClosed(f"the server closed the WebSocket with code {self._protocol.close_rcvd.code:d}")

    def _fail(self, code: CloseCode, reason: str) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.fail(code, reason)
        self._fault = ProtocolViolation(f"the server broke the rules of WebSockets: {reason}")
