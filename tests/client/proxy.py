"""A TCP proxy that a test can cut: what a network does to connections.

`trio_sio.testing.open_chaos_proxy` is something else: what happens to its connections is decided by bytes and a seed, before
there are any. Here a test decides, when the client is where it wants it: cut now, let nobody in, hold back that WebSocket.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

__all__ = ["Proxy", "open_proxy"]


class Proxy:
    """Connections through here end when the test wants it.

    Attributes:
      port: Where it listens.
      down: Whether new connections are dropped at once.
      connections: How many were accepted in all, those that were dropped included.
      websockets: WebSockets come through once it is set, as it is from the start.
    """

    def __init__(self, port: int, server_port: int) -> None:
        self.port = port
        self.down = False
        self.connections = 0
        self.websockets = trio.Event()
        self.websockets.set()
        self._server_port = server_port
        self._cuts: set[trio.CancelScope] = set()

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"http://127.0.0.1:{self.port}"

    def cut(self, *, down: bool = False) -> None:
        """End every connection; with ``down``, the next ones too until `down` is set otherwise."""
        self.down = down
        for scope in self._cuts:
            scope.cancel()

    async def serve(self, client: trio.SocketStream) -> None:
        """Carry one connection."""
        self.connections += 1
        if self.down:
            return
        with trio.CancelScope() as scope:
            self._cuts.add(scope)
            try:
                server = await trio.open_tcp_stream("127.0.0.1", self._server_port)
                async with server, trio.open_nursery() as nursery:
                    nursery.start_soon(self._carry, client, server, nursery.cancel_scope)
                    nursery.start_soon(self._carry, server, client, nursery.cancel_scope)
            finally:
                self._cuts.remove(scope)

    async def _carry(self, source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope) -> None:
        try:
            async for data in source:
                if b"transport=websocket" in data:
                    await self.websockets.wait()
                await sink.send_all(data)
            await sink.send_eof()
        except trio.BrokenResourceError:
            scope.cancel()


@asynccontextmanager
async def open_proxy(server_port: int) -> AsyncIterator[Proxy]:
    """Run a proxy in front of a server on a loopback port."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    proxy = Proxy(listeners[0].socket.getsockname()[1], server_port)
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, proxy.serve, listeners)
        yield proxy
        nursery.cancel_scope.cancel()
