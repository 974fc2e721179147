"""A bad network for real sockets: a TCP proxy that applies the rules of chaos.py to every connection through it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import trio

from ..concurrency.streams import RECEIVE_SIZE
from .chaos import ChaosRules, chaos_stream, reset

__all__ = ["ChaosProxy", "open_chaos_proxy"]


class ChaosProxy:
    """A proxy that is running; made by `open_chaos_proxy`.

    Attributes:
      host, port: Where it listens.
      connections: How many there were so far.
    """

    def __init__(self, target: tuple[str, int], to_server: ChaosRules, to_client: ChaosRules) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self.connections = 0
        self._target = target
        self._to_server = to_server
        self._to_client = to_client

    async def _serve(self, stream: trio.SocketStream) -> None:
        # Each connection has an accident of its own; which one depends on its place in the order of arrival.
        number, self.connections = self.connections, self.connections + 1
        to_server = replace(self._to_server, seed=self._to_server.seed + number)
        to_client = replace(self._to_client, seed=self._to_client.seed + number)
        try:
            server = await trio.open_tcp_stream(*self._target)
        except OSError:
            await reset(stream)
            return
        client = chaos_stream(stream, sent=to_client, received=to_server)
        async with server, client:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_pump, client, server)
                    nursery.start_soon(_pump, server, client)
            except* (trio.BrokenResourceError, trio.ClosedResourceError):
                await reset(server)
                await reset(stream)


async def _pump(source: trio.abc.HalfCloseableStream, target: trio.abc.HalfCloseableStream) -> None:
    while data := await source.receive_some(RECEIVE_SIZE):
        await target.send_all(data)
    await target.send_eof()


@asynccontextmanager
async def open_chaos_proxy(
    host: str, port: int, *, to_server: ChaosRules | None = None, to_client: ChaosRules | None = None
) -> AsyncIterator[ChaosProxy]:
    """Run a proxy on a free port of 127.0.0.1 and yield it; leaving cuts every connection through it.

    Args:
      host, port: Where the server is.
      to_server: What happens to what clients send; the seed of each connection is one more than that of the one before.
      to_client: What happens to what the server sends, likewise.
    """
    proxy = ChaosProxy((host, port), to_server or ChaosRules(), to_client or ChaosRules())
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, proxy._serve, 0, host=proxy.host))
        proxy.port = listener.socket.getsockname()[1]
        yield proxy
        nursery.cancel_scope.cancel()
