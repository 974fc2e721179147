"""A whole server without a network: its connections are in-memory streams, everything else is what runs in production."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio
import trio.testing

from ..client.core import Auth
from ..client.open import open_client
from ..client.reconnection import Reconnection
from ..client.socket import ClientSocket
from ..concurrency.unwrapping import unwrapping
from ..config import Config, TransportName
from ..doors.native.http import NativeDoor, handle_connection
from ..doors.native.site import Site
from ..engine_server import EngineServer
from ..errors import ConfigurationError
from ..routing.table import RoutingTable
from ..server import Server
from .raw import RawHttp, RawWebSocket
from .strict import StrictSocket, open_strict_client

__all__ = ["InMemoryServer", "open_test_server"]

InMemoryStream = trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]

# What handlers see as the address of an in-memory client.
ADDRESS: Final = "test"

_RECONNECTION: Final = Reconnection()


@asynccontextmanager
async def open_test_server(
    served: RoutingTable | Server | EngineServer | None = None,
    config: Config | None = None,
) -> AsyncIterator[InMemoryServer]:
    """Run a server that clients reach through in-memory streams; leaving drains it.

    It needs neither a port nor real time: with `trio.testing.MockClock` every time-out passes at once. An exception
    that escapes from a connection fails the test; a listener would log it.

    Args:
      served: A routing table, a server that is not running yet, or nothing for an empty table.
      config: The configuration of a server that is made here; without it what is emitted is checked (`Config.check_events`).

    Raises:
      ConfigurationError: if ``config`` is given together with a server, which has its own.
    """
    if isinstance(served, Server | EngineServer):
        if config is not None:
            raise ConfigurationError("A server has its own Config already; give `config` to its constructor, or give a routing table here.")
        server = served
    else:
        server = Server(served, config=Config(check_events=True) if config is None else config)
    with unwrapping() as body:
        async with trio.open_nursery() as nursery:
            async with server:
                in_memory = InMemoryServer(server, nursery)
                nursery.start_soon(in_memory._close_idle)
                with body:
                    try:
                        yield in_memory
                    except BaseException:
                        # A test that failed is not worth a drain, which may have to wait for what the test hung up.
                        nursery.cancel_scope.cancel()
                        raise
            nursery.cancel_scope.cancel()


class InMemoryServer:
    """A running server, from a client's point of view.

    Attributes:
      server: The `Server` (or `EngineServer`) itself.
    """

    def __init__(self, server: Server | EngineServer, nursery: trio.Nursery) -> None:
        self.server = server
        self._nursery = nursery
        config = server.config
        bundle = None if config.serve_client is None else Path(config.serve_client)
        self._door = NativeDoor(server.engine, Site(None, bundle, config.path))

    async def connect_stream(self, *, address: str = ADDRESS, secure: bool = False) -> InMemoryStream:
        """Open a connection and return the client's end of it.

        Args:
          address: The host that the server sees.
          secure: Whether the server takes it for TLS.
        """
        await trio.lowlevel.checkpoint()
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._serve, theirs, address, secure)
        return ours

    async def connect_lockstep_stream(self) -> trio.StapledStream[trio.abc.SendStream, trio.abc.ReceiveStream]:
        """Open a connection that holds nothing, and return the client's end: each side sends as the other one receives, and no faster.

        So what a client does not read waits in the server's outbox, as behind a network whose buffers are full.
        """
        await trio.lowlevel.checkpoint()
        ours, theirs = trio.testing.lockstep_stream_pair()
        self._nursery.start_soon(self._serve, theirs, ADDRESS, False)
        return ours

    async def _serve(self, stream: trio.abc.Stream, address: str, secure: bool) -> None:
        # By its nursery `cancel_everywhere` can cancel this connection and no other.
        async with trio.open_nursery() as nursery:  # noqa: ASYNC112
            nursery.start_soon(partial(handle_connection, self._door, stream, None, address=address, secure=secure))

    def cancel(self) -> None:
        """Cancel the server and everything in its block, at once and without a goodbye."""
        self._nursery.cancel_scope.cancel()

    async def http(self) -> RawHttp:
        """Open a connection for HTTP requests; use it with ``async with``, or close its stream."""
        return RawHttp(await self.connect_stream())

    async def websocket(self, query: str = "EIO=4&transport=websocket", *, headers: Mapping[str, str] | None = None) -> RawWebSocket:
        """Open a raw WebSocket to the engine; use it with ``async with``, or close its stream.

        Raises:
          UpgradeRefused: if the server refuses it.
        """
        return await RawWebSocket.open(await self.connect_stream(), f"{self.server.config.path.rstrip('/')}/?{query}", headers=headers)

    def client(
        self,
        namespace: str = "/",
        *,
        auth: Auth | None = None,
        transports: Sequence[TransportName] = ("polling", "websocket"),
        upgrade: bool = True,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        ack_timeout: float = 60,
        retries: int | None = None,
        reconnection: Reconnection | None = _RECONNECTION,
    ) -> AbstractAsyncContextManager[ClientSocket]:
        """Connect the client that programs use, and join ``namespace``; arguments and errors as of `trio_sio.open_client`."""
        config = self.server.config
        return open_client(
            self,
            namespace,
            auth=auth,
            path=config.path,
            parser=config.parser,
            max_attachments=config.limits.attachments,
            transports=transports,
            upgrade=upgrade,
            query=query,
            headers=headers,
            ack_timeout=ack_timeout,
            retries=retries,
            reconnection=reconnection,
        )

    @asynccontextmanager
    async def strict_client(
        self,
        namespace: str = "/",
        auth: Mapping[str, object] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        answer_pings: bool = True,
    ) -> AsyncIterator[StrictSocket]:
        """Connect a client that does what the test says and nothing else; arguments and errors as of `open_strict_client`."""
        stream = await self.connect_stream()
        config = self.server.config
        async with open_strict_client(
            stream, namespace, auth, path=config.path, query=query, headers=headers, parser=config.parser, answer_pings=answer_pings
        ) as socket:
            yield socket

    async def _close_idle(self) -> None:
        """Do what a listener does while the server drains: close the connections that wait for a request."""
        await self.server.engine.draining.wait()
        self._door.close_idle()
