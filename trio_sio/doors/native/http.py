"""HTTP/1.1 on one connection, until it ends or becomes a WebSocket.

Theory of operation
===================

Requests are served one after the other: read a head, let the engine or the site respond, throw away what is left of
the body, go on. What the client pipelines waits in the buffer of `BufferedStream`, or in the kernel. The head of each request is given
to an h11 connection of its own, and its body is taken from the buffer to the last byte and no further; so nothing of one
request can be taken for the next.

Another server may share the port (`Sorter`). A request that is for that one is found out as early as its bytes tell; it is left
as it came, and so is the connection. Which server that is, the sorter knows: a host, or another process of ours.

A connection ends in one of three ways. Idle, it is closed without a word, unless the other server takes it. After a last response
it is closed so that the client still gets this response (`_close_gently`). When the peer has gone or stalled, it is closed by force.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

import trio

from ...concurrency.streams import DISCARD_SECONDS
from ...engine.door import ClientGone
from ...log import get_logger
from ...protocol.http import Response
from ..requests import FAILED
from .buffered import BufferedStream
from .exchange import Exchange, encode_response
from .faults import RequestFault
from .files import FileChanged
from .handshake import NativeUpgrade
from .head import HeadReader, HeadScanner
from .watched import WatchedStream
from .wire import owns_socket

if TYPE_CHECKING:
    from ...concurrency.lines import Line
    from ...engine.engine import Engine
    from .head import Head
    from .readiness import Readiness
    from .site import Site

__all__ = ["NativeDoor", "Sorter", "handle_connection", "open_session"]

logger = get_logger("trio_sio.doors.native")


class Sorter(Protocol):
    """Tells requests for the engine from those for another server at the same port."""

    def is_ours(self, start: bytearray) -> bool | None:
        """Tell by what has come of a request whose it is; ``None``: that takes more bytes. Of a whole first line it tells."""

    def adopt(self, head: Head, stream: trio.abc.Stream) -> Head | None:
        """Return ``head`` as the engine gets it, now that all of it is here; ``None`` if the request is the other server's after all."""

    def gives_away(self, stream: trio.abc.Stream) -> bool:
        """Tell whether a connection on which nothing is under way goes to the other server, now that this one drains, or is closed."""


class NativeDoor:
    """What all connections of the native door share.

    Args:
      engine: Takes the requests for its path.
      site: Answers all others; ``None``: none comes here, as the ``sorter`` leaves them to another server.
      readiness: Receives on plain sockets; without it each connection awaits its own stream.
      sorter: Which requests are another server's, if there is one at the port.
    """

    def __init__(self, engine: Engine, site: Site | None, readiness: Readiness | None = None, sorter: Sorter | None = None) -> None:
        self.engine = engine
        self.site = site
        self.readiness = readiness
        self.sorter = sorter
        self._idle: set[trio.CancelScope | WatchedStream] = set()
        self._lines: dict[float, Line] = {}  # for each time-out of connections that are watched
        self._reading: set[trio.CancelScope] = set()

    @contextmanager
    def idle(self, timeout: float) -> Iterator[None]:
        """Mark the calling task's connection as idle: give up the body after ``timeout`` seconds, or when `close_idle` is called."""
        with trio.move_on_after(timeout) as scope:
            if self.engine.drained.is_set():
                scope.cancel()  # `close_idle` is not called again
            self._idle.add(scope)
            try:
                yield
            finally:
                self._idle.discard(scope)

    async def rest(self, buffered: BufferedStream, timeout: float) -> None:
        """Wait for bytes of an idle connection, or their end, for ``timeout`` seconds at most, and until `close_idle` is called.

        Raises:
          ClientGone: if the connection broke.
        """
        if not isinstance(buffered, WatchedStream):
            with self.idle(timeout):
                await buffered.receive()
            return
        if self.engine.drained.is_set():
            await trio.lowlevel.checkpoint()
            return
        if (line := self._lines.get(timeout)) is None:
            line = self._lines[timeout] = self.engine.services.timers.line()
        self._idle.add(buffered)
        try:
            await buffered.rest(timeout, line)
        finally:
            self._idle.discard(buffered)

    @contextmanager
    def reading(self, scope: trio.CancelScope) -> Iterator[None]:
        """Mark the calling task's connection as one whose request is half here; `close_idle` may cancel ``scope`` meanwhile."""
        self._reading.add(scope)
        try:
            yield
        finally:
            self._reading.discard(scope)

    def close_idle(self, *, reading: bool = False) -> None:
        """Close every connection that waits for its next request; with ``reading`` also those on which half of it has come."""
        for scope in (*self._idle, *(self._reading if reading else ())):
            scope.cancel()


async def handle_connection(
    door: NativeDoor,
    stream: trio.abc.Stream,
    sock: socket.socket | None,
    *,
    address: str | None,
    secure: bool,
    received: bytes = b"",
) -> bytes | None:
    """Serve one connection and close it, unless a request is for another server at the port (`Sorter`).

    Args:
      door: Where the requests go.
      stream: The connection.
      sock: The socket below ``stream``, if it is a plain one; then ``door.readiness`` receives, if there is one.
      address: The peer's host.
      secure: Whether ``stream`` is encrypted.
      received: What was read from the connection already.

    Returns:
      What was read and is for the other server, which then has the connection; ``None`` when it is closed.

    Raises:
      Exception: whatever escapes from the engine; the client got 500 if it had no response yet.
    """
    follows = await open_session(door, stream, sock, address=address, secure=secure, received=received)
    if follows is None or isinstance(follows, bytes):
        return follows
    await follows
    return None


async def open_session(
    door: NativeDoor,
    stream: trio.abc.Stream,
    sock: socket.socket | None,
    *,
    address: str | None,
    secure: bool,
    received: bytes = b"",
) -> Awaitable[None] | bytes | None:
    """Serve one connection as long as it speaks HTTP; close it, or return what serves it from then on, which is to be awaited at once.

    So nothing of the conversation in HTTP is there for as long as a WebSocket lives, not even a frame. See `handle_connection`.
    """
    follows = None
    try:
        follows = await _converse(door, stream, sock, received, address=address, secure=secure)
    finally:
        if follows is None:
            await trio.aclose_forcefully(stream)
    if follows is None or isinstance(follows, bytes) or owns_socket(stream, sock, door.readiness):
        return follows
    return _carry(follows, stream)


async def _carry(session: Awaitable[None], stream: trio.abc.Stream) -> None:
    try:
        await session
    finally:
        await trio.aclose_forcefully(stream)


async def _converse(
    door: NativeDoor, stream: trio.abc.Stream, sock: socket.socket | None, received: bytes, *, address: str | None, secure: bool
) -> Awaitable[None] | bytes | None:
    """Serve requests until the connection ends, or until there is a session that it is for: then return what carries that.

    Or until a request is for another server: then return what was read of it.
    """
    config, readiness = door.engine.config, door.readiness
    if readiness is not None and sock is not None:
        most = config.limits.header_bytes
        buffered: BufferedStream = WatchedStream(stream, config.write_stall_timeout, received, sock, readiness, most)
    else:
        buffered = BufferedStream(stream, config.write_stall_timeout, received, sock)
    try:
        follows = await _serve_requests(door, buffered, sock, address=address, secure=secure)
        return await _open_websocket(door, buffered, follows) if isinstance(follows, NativeUpgrade) else follows
    except RequestFault as fault:
        logger.debug("%s: refused with %d: %s", address, fault.response.status, fault)
        await _say_last(buffered, fault.response)
    except ClientGone as gone:
        logger.debug("%s: %s", address, gone)
    finally:
        buffered.release()
    return None


async def _serve_requests(
    door: NativeDoor, buffered: BufferedStream, sock: socket.socket | None, *, address: str | None, secure: bool
) -> NativeUpgrade | bytes | None:
    """Serve requests until the connection ends, or until one that asks for a WebSocket, or is for another server."""
    engine, config = door.engine, door.engine.config
    heads = HeadReader(config.limits, address=address, secure=secure)
    data = await _read_head(door, buffered, config.header_timeout)
    while data is not None:
        head = heads.read(data) if data else None
        if door.sorter is not None and head is not None:
            head = door.sorter.adopt(head, buffered.stream)
        if head is None:
            return data + buffered.buffer
        request = head.request
        site = None if engine.owns(request.path) else door.site
        if site is None and head.wants_websocket:
            return NativeUpgrade(buffered, request, config, sock, door.readiness)
        exchange = Exchange(buffered, head, config, engine.draining.is_set)
        try:
            if site is None:
                await engine.handle_http(exchange)
            else:
                await _serve_site(site, exchange)
        except ClientGone as gone:
            logger.debug("%s: %s", address, gone)
        except FileChanged as changed:
            logger.info("The response to %.80r ends early, and with it the connection: of its file, %s.", request.path, changed)
        except Exception:
            if not exchange.responded:
                await _say_last(buffered, FAILED)
            raise
        if not await exchange.finish():
            await _close_gently(buffered)
            return None
        # A draining server waits for nobody's next request, but it still answers first ones.
        drains = engine.draining.is_set() and not buffered.buffer
        data = None if drains else await _read_head(door, buffered, config.keep_alive_timeout)
    return None


async def _serve_site(site: Site, exchange: Exchange) -> None:
    response = await site.respond(exchange.request)
    if isinstance(response, Response):
        await exchange.respond(response)
        return
    with response as file:
        await exchange.respond(file.head, file)


async def _open_websocket(door: NativeDoor, buffered: BufferedStream, upgrade: NativeUpgrade) -> Awaitable[None] | None:
    try:
        session = await door.engine.open_websocket(upgrade)
    except Exception:
        if not upgrade.answered:
            await _say_last(buffered, FAILED)
        raise
    if not upgrade.accepted:
        await _close_gently(buffered)
    return session


async def _read_head(door: NativeDoor, buffered: BufferedStream, idle_timeout: float) -> bytes | None:
    """Return the next request's head, nothing if it is for another server; ``None`` when the client, or we, do not want another."""
    config = door.engine.config
    if buffered.buffer or (not door.engine.drained.is_set() and buffered.receive_nowait()):
        await trio.lowlevel.checkpoint()  # the only one of a request that is here and whose response leaves at once
    else:
        await door.rest(buffered, idle_timeout)
        if not buffered.buffer:
            drains = door.engine.draining.is_set() and not buffered.ended
            return b"" if drains and door.sorter is not None and door.sorter.gives_away(buffered.stream) else None
    scanner = HeadScanner(config.limits)
    if (size := _find_head(door, scanner, buffered.buffer)) is not None:
        return buffered.take(size)
    with trio.move_on_after(config.header_timeout) as scope, door.reading(scope):
        while await buffered.receive():
            if (size := _find_head(door, scanner, buffered.buffer)) is not None:
                return buffered.take(size)
        return None
    if trio.current_time() < scope.deadline:
        return None
    raise RequestFault(408, "The request's head took too long.")


def _find_head(door: NativeDoor, scanner: HeadScanner, buffer: bytearray) -> int | None:
    """Return the length of the head at the front of ``buffer``, zero if it is another server's; ``None`` while neither can be told."""
    if door.sorter is not None and not (ours := door.sorter.is_ours(buffer)):
        return None if ours is None else 0
    return scanner.find(buffer)


async def _say_last(buffered: BufferedStream, response: Response) -> None:
    try:
        await buffered.send(encode_response(response, close=True))
    except ClientGone:
        return
    await _close_gently(buffered)


async def _close_gently(buffered: BufferedStream) -> None:
    with trio.move_on_after(DISCARD_SECONDS), suppress(ClientGone, trio.BrokenResourceError, trio.ClosedResourceError):
        await buffered.discard()
        buffered.release()
        await buffered.stream.aclose()
