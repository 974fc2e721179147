"""Clients that say exactly what a test tells them to, over any stream.

They know HTTP/1.1 and RFC 6455 and nothing of Engine.IO or Socket.IO. No wait in this file has a deadline of its own:
put `trio.fail_after` around it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

import h11
import trio
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side
from websockets.protocol import State as WebSocketState

from ..concurrency.streams import RECEIVE_SIZE
from ..errors import TrioSioError
from ..protocol.http import Headers

__all__ = ["HttpResponse", "RawHttp", "RawWebSocket", "UpgradeRefused", "WebSocketClosed"]

# The example of RFC 6455, section 1.3: a test needs no secret, and a fixed key makes its bytes repeatable.
_KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
_ACCEPT: Final = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

_NO_STATUS: Final = 1005
_NO_CLOSE_FRAME: Final = 1006


class HttpResponse(NamedTuple):
    """One HTTP response, whole."""

    status: int
    headers: Headers
    body: bytes


class UpgradeRefused(TrioSioError):
    """The server answered a WebSocket handshake with something else than 101.

    Attributes:
      response: What it answered.
    """

    def __init__(self, response: HttpResponse) -> None:
        super().__init__(f"The server answered the WebSocket handshake with {response.status}: {response.body!r}.")
        self.response = response


class WebSocketClosed(TrioSioError):
    """The server closed the WebSocket.

    Attributes:
      code: The code of its close frame; 1005 when that had none, 1006 when the stream ended without a close frame.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"The server closed the WebSocket with code {code}.")
        self.code = code


class RawHttp:
    """An HTTP/1.1 client on one stream, which is kept alive from request to request.

    Args:
      stream: The stream; closing it, or leaving ``async with``, is up to the caller.
      host: The ``Host`` header of every request.
    """

    def __init__(self, stream: trio.abc.Stream, *, host: str = "localhost") -> None:
        self.stream = stream
        self.host = host
        self._connection = h11.Connection(h11.CLIENT)

    async def __aenter__(self) -> RawHttp:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await trio.aclose_forcefully(self.stream)

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: str | bytes | None = None,
    ) -> HttpResponse:
        """Send one request and return its response.

        Args:
          method: The verb.
          target: Path and query, as they go over the wire.
          headers: Header fields besides ``Host`` and ``Content-Length``.
          body: The body; ``Content-Length`` is sent when there is one.

        Raises:
          trio.BrokenResourceError: if the connection ended before the response was complete.
        """
        await self.send(method, target, headers=headers, body=body)
        return await self.receive()

    async def send(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: str | bytes | None = None,
    ) -> None:
        """Send one request and do not wait for its response; arguments as for `request`."""
        content = body.encode() if isinstance(body, str) else body
        fields = {"Host": self.host, **(headers or {})}
        if content is not None:
            fields["Content-Length"] = str(len(content))
        head = h11.Request(method=method, target=target, headers=list(fields.items()))
        sent = self._connection.send(head) or b""
        if content:
            sent += self._connection.send(h11.Data(data=content)) or b""
        sent += self._connection.send(h11.EndOfMessage()) or b""
        await self.stream.send_all(sent)

    async def receive(self) -> HttpResponse:
        """Return the response to the request that was sent last; ``100 Continue`` and the like are passed over.

        Raises:
          trio.BrokenResourceError: if the connection ended before the response was complete.
        """
        status, headers, body = 0, Headers(), bytearray()
        while True:
            event = await self._next_event()
            if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                return HttpResponse(101, Headers(event.headers), b"")
            if isinstance(event, h11.Response):
                status, headers = event.status_code, Headers(event.headers)
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
        if self.keep_alive:
            self._connection.start_next_cycle()
        return HttpResponse(status, headers, bytes(body))

    @property
    def keep_alive(self) -> bool:
        """Whether the connection can take another request, as far as both sides have said."""
        return h11.MUST_CLOSE not in self._connection.states.values() and h11.CLOSED not in self._connection.states.values()

    @property
    def trailing(self) -> bytes:
        """What arrived behind the last response: the first bytes of the new protocol after a 101."""
        return self._connection.trailing_data[0]

    async def wait_closed(self) -> None:
        """Return when the server has ended the connection, in whatever way.

        Raises:
          AssertionError: if it sent something else first.
        """
        rest = self.trailing
        try:
            rest += await self.stream.receive_some(RECEIVE_SIZE)
        except trio.BrokenResourceError:
            return
        if rest:
            raise AssertionError(f"The server sent {rest!r} where it should have ended the connection.")

    async def _next_event(self) -> h11.Event:
        while True:
            try:
                event = self._connection.next_event()
            except h11.RemoteProtocolError as error:
                raise trio.BrokenResourceError(f"The server did not send a complete response: {error}.") from error
            if event is h11.NEED_DATA:
                self._connection.receive_data(bytes(await self.stream.receive_some(RECEIVE_SIZE)))
            elif isinstance(event, h11.ConnectionClosed):
                raise trio.BrokenResourceError("The server ended the connection instead of answering the request.")
            else:
                assert isinstance(event, h11.Event)
                return event


class RawWebSocket:
    """A WebSocket client on one stream: pings and close frames are answered, all else is up to the test.

    One task receives; any number of tasks send.
    """

    def __init__(self, stream: trio.abc.Stream, received: bytes = b"") -> None:
        self.stream = stream
        self._protocol = Protocol(Side.CLIENT, max_size=None)
        self._sending = trio.StrictFIFOLock()
        self._messages: deque[str | bytes] = deque()
        self._fragments: list[Frame] = []
        self._ended = False
        if received:
            self._feed(received)

    @classmethod
    async def open(
        cls,
        stream: trio.abc.Stream,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        host: str = "localhost",
    ) -> RawWebSocket:
        """Make the handshake of RFC 6455, section 4.1, and return the open WebSocket.

        Args:
          stream: Closing it is up to the caller, also after a refusal.
          target: Path and query, as they go over the wire.
          headers: Header fields besides those of the handshake; the same name replaces one of those.
          host: The ``Host`` header.

        Raises:
          UpgradeRefused: if the response is not 101.
          trio.BrokenResourceError: if there is no response.
        """
        http = RawHttp(stream, host=host)
        fields = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": _KEY}
        await http.send("GET", target, headers=fields | dict(headers or {}))
        response = await http.receive()
        if response.status != 101:
            raise UpgradeRefused(response)
        if response.headers.get("sec-websocket-accept") != _ACCEPT:
            raise AssertionError(f"The Sec-WebSocket-Accept header of {response.headers!r} does not answer the key {_KEY!r}.")
        return cls(stream, http.trailing)

    async def __aenter__(self) -> RawWebSocket:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await trio.aclose_forcefully(self.stream)

    async def receive(self) -> str | bytes:
        """Return the next message.

        Raises:
          WebSocketClosed: if the server closed, and every message before that was received.
        """
        while not self._messages:
            if (code := self.close_code) is not None:
                raise WebSocketClosed(code)
            self._feed(await self._receive_some())
            try:
                await self._flush()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                # Nobody is there to take a pong; what was received before is still good, and receiving tells the rest.
                continue
        return self._messages.popleft()

    async def send(self, message: str | bytes) -> None:
        """Send one message.

        Raises:
          WebSocketClosed: if either side has sent a close frame.
          trio.BrokenResourceError: if the wire is gone.
        """
        try:
            if isinstance(message, str):
                self._protocol.send_text(message.encode())
            else:
                self._protocol.send_binary(message)
        except InvalidState:
            raise WebSocketClosed(self.close_code or _NO_CLOSE_FRAME) from None
        await self._flush()

    async def send_frame(self, opcode: int, payload: bytes, *, fin: bool = True, masked: bool = True, reserved: int = 0) -> None:
        """Send one frame as it is told, right or wrong.

        Args:
          opcode: 0 to 15.
          payload: The payload, before masking.
          fin: The FIN bit.
          masked: Whether there is a masking key (one of four zero bytes, so that the payload stays readable).
          reserved: The three reserved bits, as a number.
        """
        head = bytearray([fin << 7 | reserved << 4 | opcode])
        mask_bit = masked << 7
        if len(payload) < 126:
            head.append(mask_bit | len(payload))
        elif len(payload) < 65_536:
            head.append(mask_bit | 126)
            head += len(payload).to_bytes(2, "big")
        else:
            head.append(mask_bit | 127)
            head += len(payload).to_bytes(8, "big")
        if masked:
            head += bytes(4)
        await self.send_bytes(bytes(head) + payload)

    async def send_bytes(self, data: bytes) -> None:
        """Put ``data`` on the wire behind what was sent so far."""
        self._protocol.writes.append(data)
        await self._flush()

    async def close(self, code: int | None = 1000) -> int:
        """Make the closing handshake and close the stream; return the code that the server answered.

        Messages that arrive meanwhile can still be received.
        """
        await self.start_close(code)
        while not self._ended:
            self._feed(await self._receive_some())
        await self.stream.aclose()
        return self.close_code or _NO_CLOSE_FRAME

    async def start_close(self, code: int | None = 1000) -> None:
        """Send a close frame, unless one was sent; `receive` goes on until the server has answered it."""
        if self._protocol.state is WebSocketState.OPEN:
            self._protocol.send_close(code)
            await self._flush()

    @property
    def close_code(self) -> int | None:
        """How the server closed, as in `WebSocketClosed`; ``None`` while it has not."""
        if self._protocol.close_rcvd is not None:
            return self._protocol.close_rcvd.code
        return _NO_CLOSE_FRAME if self._ended else None

    async def _receive_some(self) -> bytes:
        try:
            return bytes(await self.stream.receive_some(RECEIVE_SIZE))
        except trio.BrokenResourceError:
            return b""

    def _feed(self, data: bytes) -> None:
        if data:
            self._protocol.receive_data(data)
        else:
            self._ended = True
            self._protocol.receive_eof()
        error = self._protocol.parser_exc
        if error is not None and not isinstance(error, EOFError):
            raise AssertionError(f"The server broke the rules of RFC 6455: {error}.") from error
        for event in self._protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._assemble(event)

    def _assemble(self, frame: Frame) -> None:
        self._fragments.append(frame)
        if frame.fin:
            payload = b"".join(fragment.data for fragment in self._fragments)
            text = self._fragments[0].opcode is Opcode.TEXT
            self._fragments.clear()
            self._messages.append(payload.decode() if text else payload)

    async def _flush(self) -> None:
        async with self._sending:
            data = b"".join(self._protocol.data_to_send())
            if not data:
                return
            try:
                await self.stream.send_all(data)
            except BaseException:
                # Part of a frame may be out, and nothing can follow half a frame.
                await trio.aclose_forcefully(self.stream)
                raise
