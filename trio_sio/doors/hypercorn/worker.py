"""Running the connections of hypercorn's ports: each behind a firewall, and none holds up the others by taking nothing.

Theory of operation: a connection begins at our native door, if there is one, which serves the engine's requests for as long
as they come. At the first request that is not the engine's, hypercorn takes the connection over, with the bytes of that
request; what is on it then stays with hypercorn, requests to the engine included. Without a native door, and once the engine
is drained, hypercorn has connections from their first byte.
"""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import trio

from ...log import get_logger
from ..firewall import Firewall
from ..native.below_tls import SocketBelowTls
from ..native.http import handle_connection
from ..native.listener import accept_connections, open_stream
from .streams import PatientStream

if TYPE_CHECKING:
    from hypercorn.config import Config as HypercornConfig
    from hypercorn.typing import AppWrapper

    from ..native.http import NativeDoor
    from .listening import Port
    from .streams import AnyStream

__all__ = ["Worker"]

logger = get_logger("trio_sio.doors.hypercorn")

_LAST_WORDS_SECONDS: Final = 1.0  # for writes that are under way, or begin, when everything is cancelled


class Worker:
    """Runs connections, each behind a firewall.

    Args:
      app: For hypercorn.
      config: For hypercorn.
      state: Of the lifespan; every connection gets a copy.
      write_stall_timeout: As for `serve`.
      door: Takes the requests of its engine, with a sorter for them; ``None`` leaves all to the application.
    """

    def __init__(
        self, app: AppWrapper, config: HypercornConfig, state: dict[str, Any], write_stall_timeout: float, door: NativeDoor | None
    ) -> None:
        from hypercorn.trio.worker_context import WorkerContext

        self._app = app
        self._config = config
        self._state = state
        self._write_stall_timeout = write_stall_timeout
        self._door = door
        self._context = WorkerContext(None)
        self._firewall = Firewall(logger, *_parser_errors())
        self._streams: set[PatientStream] = set()

    async def run(self, ports: Sequence[Port], started: Callable[[], None], wait: Callable[[], Awaitable[None]]) -> None:
        """Call ``started`` as soon as clients can connect, ``wait`` for the time to stop, then stop gracefully."""
        async with trio.open_nursery() as everything:
            everything.start_soon(self._hurry_when_cancelled)
            if self._door is not None:
                everything.start_soon(_close_idle, self._door)
            async with trio.open_nursery() as connections:
                try:
                    async with trio.open_nursery() as accepting:
                        for port in ports:
                            accepting.start_soon(accept_connections, port.listener, connections, partial(self._serve, port.ssl_context))
                        started()
                        await wait()
                        accepting.cancel_scope.cancel()
                finally:
                    for port in ports:
                        port.close()
                if self._door is not None:
                    self._door.close_idle(reading=True)
                await self._context.terminated.set()
                everything.cancel_scope.deadline = trio.current_time() + self._config.graceful_timeout
            everything.cancel_scope.cancel()

    async def _hurry_when_cancelled(self) -> None:
        """Wait; when everything is cancelled, tell those who would not notice."""
        try:
            await trio.sleep_forever()
        finally:
            for stream in self._streams:
                stream.hurry(_LAST_WORDS_SECONDS)

    # Protected, because the native door is: see `trio_sio.doors.native.listener`.
    @trio.lowlevel.enable_ki_protection
    async def _serve(self, ssl_context: ssl.SSLContext | None, sock: socket.socket, address: str | None) -> None:
        door = None if self._door is None or self._door.engine.drained.is_set() else self._door
        with sock:
            patience = math.inf if door is None else door.engine.config.write_stall_timeout
            plain = open_stream(sock, patience)
            if plain is None:
                return
            encrypted = None
            if ssl_context is not None:
                encrypted = SocketBelowTls(plain, sock, patience).encrypted(ssl_context)
            received: bytes | None = b""
            if door is not None:
                if encrypted is None:
                    serving = handle_connection(door, plain, sock, address=address, secure=False)
                else:
                    serving = self._serve_encrypted(door, encrypted, address)
                del plain  # as at our own ports: a WebSocket needs none, and another one can be made
                received = None
                try:
                    received = await serving
                except* Exception:
                    logger.exception("A connection from %s ended with an error that is not its client's; the others go on.", address)
                plain = None if received is None else open_stream(sock, math.inf)
            if received is None or plain is None:
                return
            if encrypted is not None:
                encrypted.transport_stream.write_stall_timeout = math.inf  # hypercorn's streams have a deadline of their own
            await self._host(encrypted or plain, received)

    async def _serve_encrypted(self, door: NativeDoor, stream: trio.SSLStream[SocketBelowTls], address: str | None) -> bytes | None:
        """Serve the engine's requests; return what was read when hypercorn is to go on, ``None`` when the connection is over."""
        if not await self._shake_hands(door, stream):
            await trio.aclose_forcefully(stream)
            return None
        if stream.selected_alpn_protocol() == "h2":
            return b""
        return await handle_connection(door, stream, None, address=address, secure=True)

    async def _shake_hands(self, door: NativeDoor, stream: trio.SSLStream[SocketBelowTls]) -> bool:
        """Make the TLS handshake; tell whether it came about."""
        done = False
        with trio.move_on_after(self._config.ssl_handshake_timeout) as scope, door.reading(scope), suppress(trio.BrokenResourceError):
            await stream.do_handshake()
            done = True
        return done

    async def _host(self, stream: AnyStream, received: bytes) -> None:
        from hypercorn.trio.tcp_server import TCPServer

        patient = PatientStream(stream, self._write_stall_timeout, received)
        self._streams.add(patient)
        try:
            async with self._firewall.around(stream):
                # It takes all of a stream from it that hypercorn uses.
                await TCPServer(self._app, self._config, self._context, self._state.copy(), cast("Any", patient)).run()
        finally:
            self._streams.discard(patient)


async def _close_idle(door: NativeDoor) -> None:
    """Let no idle connection wait for what a draining server does not do any more."""
    await door.engine.draining.wait()
    door.close_idle()
    await door.engine.drained.wait()
    door.close_idle()


def _parser_errors() -> tuple[type[Exception], ...]:
    """Return what hypercorn's parsers of HTTP/2 raise."""
    from h2.exceptions import H2Error
    from hpack.exceptions import HPACKError
    from hyperframe.exceptions import HyperframeError
    from priority.priority import PriorityError

    return H2Error, HPACKError, HyperframeError, PriorityError
