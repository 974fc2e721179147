"""A TCP proxy that cuts connections at random bytes, in each way in which networks do.

`trio_sio.testing.open_chaos_proxy` has one rule for all its connections; here each is cut somewhere else and in another way,
the server not always hears of it, and that ends when the test has seen enough.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

__all__ = ["CuttingProxy"]

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER for zero seconds


class CuttingProxy:
    """Forwards to ``port`` on the loopback interface, for a while.

    A cut is a reset, an orderly close, or one that only the client hears of: the server keeps a wire that nobody reads.

    Args:
      port: The server's.
      seed: Decides where connections are cut.
      mean: How many bytes a connection carries in either direction before it is cut, on average.

    Attributes:
      port: The port to connect to.
      cutting: Whether connections are cut.
    """

    def __init__(self, port: int, *, seed: int, mean: float) -> None:
        self.port = 0
        self.cutting = True
        self._target = port
        self._random = random.Random(seed)
        self._mean = mean
        self._deserted: list[trio.SocketStream] = []

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        try:
            await trio.serve_listeners(self._forward, listeners)
        finally:
            for stream in self._deserted:
                stream.socket.close()

    async def _forward(self, client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream("127.0.0.1", self._target)
        try:
            async with trio.open_nursery() as nursery:
                cut = partial(self._cut, client, server)
                nursery.start_soon(self._pump, client, server, cut, nursery.cancel_scope)
                nursery.start_soon(self._pump, server, client, cut, nursery.cancel_scope)
        finally:
            for stream in (client, server):
                if stream not in self._deserted:
                    stream.socket.close()

    async def _pump(self, source: trio.SocketStream, sink: trio.SocketStream, cut: Callable[[], None], both: trio.CancelScope) -> None:
        left = self._random.expovariate(1 / self._mean)
        try:
            async for data in source:
                if len(data) >= left and self.cutting:
                    await sink.send_all(data[: int(left)])
                    cut()
                    break
                left -= len(data)
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the other side was faster
        both.cancel()

    def _cut(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        match self._random.choice(("reset", "close", "desert")):
            case "reset":
                for stream in (client, server):
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            case "desert":
                self._deserted.append(server)
