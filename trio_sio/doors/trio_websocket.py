"""The trio-websocket door: `serve` runs a trio-websocket server; `handle_trio_websocket` carries a connection of somebody else's.

trio-websocket runs a task of its own for each connection, and where an exception leaves that task its ``serve_websocket``
ends, with all connections. So on a port that everybody can reach use `serve`, which keeps a `Firewall` around each.

The session gets a task of its own in the scope of our server, as at the ASGI door: the nursery of the handler is the
host's, and may well live longer than what the session uses.

Three names are private to trio-websocket. ``_event`` has the Host header, which
`WebSocketRequest.headers` lacks and without which no origin can be checked. ``_stream`` can be closed whatever happened:
closing the connection does nothing once it knows why it is over, even if the client holds on to it. And ``_connection`` is
what both are reached through.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import trio
from trio_websocket import ConnectionClosed, Endpoint, WebSocketConnection, WebSocketRequest, wrap_server_stream

from ..engine.door import ClientGone, WebSocketPipe
from ..errors import ConnectionReset, TransportError
from ..log import get_logger
from ..protocol.http import Headers, Request, Response
from .firewall import Firewall
from .hosted import HostedPipe
from .requests import FAILED, NOT_FOUND
from .served import LAST_WORDS_SECONDS, Served

if TYPE_CHECKING:
    from ..config import Config
    from ..engine.engine import Engine

__all__ = ["TrioWebSocket", "TrioWebSocketUpgrade", "handle_trio_websocket", "serve"]

logger = get_logger("trio_sio.doors.trio_websocket")

_SLACK: Final = 64 * 1024  # bytes

_Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
_Listener = trio.abc.Listener[trio.SocketStream] | trio.SSLListener[trio.SocketStream]


async def serve(
    server: Served,
    host: str | None,
    port: int,
    ssl_context: ssl.SSLContext | None = None,
    *,
    other: Callable[[WebSocketRequest], Awaitable[object]] | None = None,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen on a port and serve WebSockets with trio-websocket until `Host.drain`; what fails in one connection ends that one.

    Args:
      server: Whose sessions they are; entered unless somebody has.
      host: The name or address to listen on; ``None``: every interface.
      port: The port; 0: the kernel chooses.
      ssl_context: Makes it TLS.
      other: Called with the handshakes on all paths but the engine's, as ``serve_websocket`` would; without it they get 404.
      task_status: ``nursery.start`` returns the URLs.

    Raises:
      OSError: if the address cannot be used.
      ConfigurationError: if the engine's path is ``"/"`` and there is ``other``.
    """
    if other is not None:
        server.engine.require_room_for("the other protocol")
    if not server.running:
        async with server:
            await serve(server, host, port, ssl_context, other=other, task_status=task_status)
        return
    listeners = await trio.open_tcp_listeners(port, host=host)
    names: list[tuple[str, int]] = [listener.socket.getsockname()[:2] for listener in listeners]
    scheme = "http" if ssl_context is None else "https"
    urls = [f"{scheme}://[{address}]:{number}" if ":" in address else f"{scheme}://{address}:{number}" for address, number in names]
    accepted: list[_Listener] = [
        listener if ssl_context is None else trio.SSLListener(listener, ssl_context, https_compatible=True) for listener in listeners
    ]
    connections = _Connections(server.engine, other)
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as accepting:
            await accepting.start(partial(trio.serve_listeners, connections.run, accepted, handler_nursery=nursery))
            task_status.started(urls)
            await server.engine.drained.wait()
            accepting.cancel_scope.cancel()
        nursery.cancel_scope.deadline = trio.current_time() + LAST_WORDS_SECONDS


class _Connections:
    """Runs connections of trio-websocket, each behind the firewall.

    Args:
      engine: Takes the handshakes for its path.
      other: See `serve`.
    """

    def __init__(self, engine: Engine, other: Callable[[WebSocketRequest], Awaitable[object]] | None) -> None:
        self._engine = engine
        self._other = other
        self._firewall = Firewall(logger, ConnectionClosed)

    async def run(self, stream: _Stream) -> None:
        """Serve one connection and close it."""
        async with self._firewall.around(stream), trio.open_nursery() as nursery:
            request = await self._shake_hands(nursery, stream)
            if request is None:
                pass
            elif self._other is None or self._engine.owns(_path_of(request)):
                await handle_trio_websocket(self._engine, request)
            else:
                await self._serve_other(self._other, request)
            nursery.cancel_scope.cancel()

    async def _shake_hands(self, nursery: trio.Nursery, stream: _Stream) -> WebSocketRequest | None:
        """Start the host's own task in ``nursery``; return the client's handshake, if one comes."""
        started = trio.Event()
        with trio.move_on_after(self._engine.config.header_timeout) as waiting:

            async def read(*, task_status: trio.TaskStatus[trio.Nursery]) -> None:
                async with trio.open_nursery() as reading:
                    task_status.started(reading)
                    await started.wait()
                # The host itself would go on waiting for the handshake of a client that has left.
                waiting.cancel()

            reading = await nursery.start(read)
            started.set()  # as the host starts its task before anything else
            # What is a little too large for us shall come through, so that we close the session and say why.
            limit = self._engine.config.max_http_buffer_size + _SLACK
            return await wrap_server_stream(reading, stream, max_message_size=limit)
        return None

    async def _serve_other(self, other: Callable[[WebSocketRequest], Awaitable[object]], request: WebSocketRequest) -> None:
        try:
            await other(request)
        except* ConnectionClosed as group:
            logger.debug("A client left in the middle of something: %.200r", group)
        except* Exception:
            logger.exception("The handler of one WebSocket failed; it is closed, and the others go on.")
        with trio.move_on_after(self._engine.config.close_timeout):
            await request._connection.aclose()


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
                await upgrade.refuse(FAILED)
    finally:
        if upgrade is not None:
            await trio.aclose_forcefully(upgrade.stream)


async def _serve(engine: Engine, upgrade: TrioWebSocketUpgrade) -> None:
    try:
        if engine.owns(upgrade.request.path):
            await engine.handle_websocket(upgrade)
        else:
            await upgrade.refuse(NOT_FOUND)
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


def _path_of(asked: WebSocketRequest) -> str:
    return asked.path.partition("?")[0]


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
