"""The opening handshake of a WebSocket at the native door: RFC 6455, section 4.2."""

from __future__ import annotations

import base64
import binascii
import re
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from websockets.exceptions import InvalidHeader
from websockets.utils import accept_key

from ...config import Config, PerMessageDeflate
from ...engine.door import WebSocketPipe
from ...protocol.http import TOKEN, Request, Response
from .access import began, log_access
from .buffered import BufferedStream
from .deflate import negotiate
from .exchange import encode_fields, encode_response
from .faults import RequestFault

if TYPE_CHECKING:
    from .deflate import Deflate
    from .readiness import Readiness

__all__ = ["NativeUpgrade"]

_TOKEN_LIST: Final = re.compile(rf"{TOKEN}([ \t]*,[ \t]*{TOKEN})*")


class NativeUpgrade:
    """A request to become a WebSocket (`trio_sio.engine.door.WebSocketUpgrade`).

    Args:
      buffered: The connection, with what was received after the request's head.
      request: The request.
      config: The time-outs and limits of the pipe.
      sock: The socket below the stream, where it is a plain one.
      readiness: Who receives for plain sockets, if anybody does.

    Attributes:
      answered: Whether the client got a response, or some of it.
      accepted: Whether the pipe owns the connection.

    Raises:
      RequestFault: if the request is not a valid opening handshake.
    """

    detached = False

    def __init__(
        self, buffered: BufferedStream, request: Request, config: Config, sock: socket.socket | None, readiness: Readiness | None
    ) -> None:
        _check(request)
        self.request = request
        self.answered = False
        self.accepted = False
        self._buffered = buffered
        self._config = config
        self._sock = sock
        self._readiness = readiness
        self._began = began()
        self._extensions, self._deflate = _negotiate(request, config)

    async def accept(self, headers: Sequence[tuple[bytes, bytes]] = ()) -> WebSocketPipe:
        """Answer 101; see `WebSocketUpgrade.accept`."""
        from .websocket import open_pipe

        asked = self.request.headers
        answer = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_key(asked['sec-websocket-key'])}\r\n"
        )
        if protocols := asked.get("sec-websocket-protocol"):
            # Browsers drop a connection that answers none of the offered protocols; Node's server takes the first as well.
            answer += f"Sec-WebSocket-Protocol: {protocols.split(',')[0].strip()}\r\n"
        if self._extensions:
            answer += f"Sec-WebSocket-Extensions: {self._extensions}\r\n"
        self.answered = True
        await self._buffered.send(answer.encode("ascii") + encode_fields(headers) + b"\r\n")
        pipe = open_pipe(self._buffered, self._sock, self._config, self._readiness, self._deflate)
        self.accepted = True
        log_access(self.request, 101, self._began)
        return pipe

    async def refuse(self, response: Response) -> None:
        """Answer with ``response``; see `WebSocketUpgrade.refuse`."""
        self.answered = True
        await self._buffered.send(encode_response(response, close=True))
        log_access(self.request, response.status, self._began)


def _negotiate(request: Request, config: Config) -> tuple[str, Deflate | None]:
    """Return ``Sec-WebSocket-Extensions`` of the response, empty if there is none, and what was agreed on."""
    offers = request.headers.get("sec-websocket-extensions")
    if not config.per_message_deflate or offers is None:
        return "", None
    options = PerMessageDeflate() if config.per_message_deflate is True else config.per_message_deflate
    try:
        return negotiate(offers, options)
    except InvalidHeader as error:
        raise RequestFault(400, "Sec-WebSocket-Extensions must be a list of extensions and their parameters.") from error


def _check(request: Request) -> None:
    headers = request.headers
    if request.method != "GET":
        raise RequestFault(400, "A WebSocket opens with GET.")
    if headers.get("content-length", "0").strip("0") or "transfer-encoding" in headers:
        raise RequestFault(400, "The request that opens a WebSocket has no body.")
    version = headers.get("sec-websocket-version")
    if version is not None and version != "13":
        supported = [(b"Sec-WebSocket-Version", b"13"), (b"Upgrade", b"websocket")]
        raise RequestFault(426, "This server speaks version 13 of the WebSocket protocol.", supported)
    try:
        key = base64.b64decode(headers.get("sec-websocket-key", ""), validate=True)
    except (binascii.Error, ValueError):  # the latter for text that is not ASCII
        key = b""
    if version is None or len(key) != 16:
        raise RequestFault(400, "A WebSocket opens with Sec-WebSocket-Version and with a Sec-WebSocket-Key of 16 bytes in base64.")
    if not _TOKEN_LIST.fullmatch(headers.get("sec-websocket-protocol", "none")):
        raise RequestFault(400, "Sec-WebSocket-Protocol must be a list of tokens.")
