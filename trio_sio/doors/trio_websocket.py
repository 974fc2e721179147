"""The trio-websocket door: one connection of a trio-websocket server that somebody else runs.

The session gets a task of its own in the scope of our server, as at the ASGI door: the nursery of the handler is the
host's, and may well live longer than what the session uses.

Two names are private to trio-websocket, and both stand in `TrioWebSocketUpgrade`. ``_event`` has the Host header, which
`WebSocketRequest.headers` lacks and without which no origin can be checked. ``_stream`` can be closed whatever happened:
closing the connection does nothing once it knows why it is over, even if the client holds on to it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import trio
from trio_websocket import ConnectionClosed, Endpoint, WebSocketConnection, WebSocketRequest

from ..engine.door import ClientGone, Headers, Request, Response, WebSocketPipe
from ..errors import ConnectionReset, TransportError
from ..log import get_logger
from .hosted import HostedPipe

if TYPE_CHECKING:
    from ..config import Config
    from ..engine.engine import Engine

__all__ = ["TrioWebSocket", "TrioWebSocketUpgrade", "handle_trio_websocket"]

logger = get_logger("trio_sio.doors.trio_websocket")

_PLAIN: Final = [(b"Content-Type", b"text/plain; charset=utf-8")]
_NOT_FOUND: Final = Response(404, b"There is nothing at this address.\n", _PLAIN)
_FAILED: Final = Response(500, b"The server failed to answer this request.\n", _PLAIN)


async def handle_trio_websocket(engine: Engine, request: WebSocketRequest) -> None:
    """Answer one handshake, and carry its session until the wire is done with; whatever fails, the host goes on.

    Args:
      engine: Whose path it should be; any other is 404.
      request: What trio-websocket hands to a handler.
    """
    upgrade: TrioWebSocketUpgrade | None = None
    try:
        # In here, as the private names may be gone in another version; then the host closes what got no answer.
        upgrade = TrioWebSocketUpgrade(request, engine.config)
        await _serve(engine, upgrade)
    except* Exception:
        logger.exception("One WebSocket failed; it is closed, and the others go on.")
        if upgrade is not None and not upgrade.answered:
            with contextlib.suppress(ClientGone):
                await upgrade.refuse(_FAILED)
    finally:
        if upgrade is not None:
            await trio.aclose_forcefully(upgrade.stream)


async def _serve(engine: Engine, upgrade: TrioWebSocketUpgrade) -> None:
    try:
        if engine.owns(upgrade.request.path):
            await engine.handle_websocket(upgrade)
        else:
            await upgrade.refuse(_NOT_FOUND)
    except ClientGone as gone:
        logger.debug("%s: %s", upgrade.request.address, gone)


class TrioWebSocketUpgrade:
    """A request to become a WebSocket (`trio_sio.engine.door.WebSocketUpgrade`).

    Args:
      request: Of the host.
      config: The time-outs and limits.

    Attributes:
      answered: Whether there was an answer, or part of one.
      stream: Below the host's connection, to be closed last, whatever happened.
    """

    detached = True

    def __init__(self, request: WebSocketRequest, config: Config) -> None:
        self.request: Request = _read_request(request, request._event.host)
        self.answered = False
        self._asked = request
        self.stream = request._connection._stream
        self._config = config

    async def accept(self, headers: Sequence[tuple[bytes, bytes]] = ()) -> WebSocketPipe:
        """Answer 101; see `WebSocketUpgrade.accept`."""
        self.answered = True
        protocols = self._asked.proposed_subprotocols
        try:
            with trio.fail_after(self._config.write_stall_timeout):
                connection = await self._asked.accept(subprotocol=protocols[0] if protocols else None, extra_headers=list(headers))
        except (ConnectionClosed, trio.TooSlowError) as exc:
            raise ClientGone("The client left during the handshake.") from exc
        return HostedPipe(TrioWebSocket(connection, self.stream), self._config)

    async def refuse(self, response: Response) -> None:
        """Answer with ``response``; see `WebSocketUpgrade.refuse`."""
        self.answered = True
        try:
            with trio.fail_after(self._config.write_stall_timeout):
                headers = [*response.headers, (b"Connection", b"close")]
                await self._asked.reject(response.status, extra_headers=headers, body=response.body)
        except (ConnectionClosed, trio.TooSlowError) as exc:
            raise ClientGone("The client left during the handshake.") from exc


class TrioWebSocket:
    """One open WebSocket (`trio_sio.doors.hosted.HostedWebSocket`).

    Args:
      connection: Of the host.
      stream: Below ``connection``.
    """

    def __init__(self, connection: WebSocketConnection, stream: trio.abc.Stream) -> None:
        self._connection = connection
        self._stream = stream
        self._cut_short = False

    async def receive(self) -> str | bytes | None:
        """Return the next message; see `HostedWebSocket.receive`."""
        try:
            return await self._connection.get_message()
        except ConnectionClosed as exc:
            if self._cut_short:
                raise TransportError("a message was cut short") from exc
            return None

    async def send(self, message: str | bytes) -> None:
        """Send one message; see `HostedWebSocket.send`."""
        try:
            await self._connection.send_message(message)
        except ConnectionClosed as exc:
            raise ConnectionReset("the client left") from exc
        except trio.Cancelled:
            # Half a frame may be out, and the connection would still take another, or a pong.
            self._cut_short = True
            await trio.aclose_forcefully(self._stream)
            raise

    async def close(self, code: int) -> None:
        """Send the close frame and wait for that of the client; see `HostedWebSocket.close`."""
        await self._connection.aclose(code)


def _read_request(asked: WebSocketRequest, host: str) -> Request:
    path, _, query = asked.path.partition("?")
    fields = list(asked.headers)
    # Unlike the others, it was decoded. What cannot be encoded again fits no origin.
    with contextlib.suppress(UnicodeError):
        fields.append((b"host", host.encode("idna")))
    address, secure = _read_peer(asked)
    return Request("GET", path, query.encode("ascii"), Headers(fields), address, secure)


def _read_peer(asked: WebSocketRequest) -> tuple[str | None, bool]:
    """Return the peer's host, and whether the wire is TLS."""
    try:
        remote = asked.remote
    except (OSError, ValueError):  # it has left already; it came through a Unix socket
        return None, False
    return (str(remote.address), remote.is_ssl) if isinstance(remote, Endpoint) else (None, False)
