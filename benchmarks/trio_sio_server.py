"""The benchmark's application on trio_sio: an ordinary controller, default configuration.

python trio_sio_server.py PORT [PING_INTERVAL]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import trio

from trio_sio import Config, Route, RoutingTable, Server, Socket, on_message
from trio_sio.cli.collector import collect_seldom


@dataclass
class BenchmarkController:
    """Acknowledges `echo` with its argument, and sends `broadcast`'s to everybody."""

    socket: Socket

    @on_message("echo")
    async def echo(self, data: str) -> str:
        """Answer with what came."""
        return data

    @on_message("broadcast")
    async def broadcast(self, data: str) -> None:
        """Send it to every client."""
        await self.socket.namespace.emit("msg", data)


def make_server(ping_interval: float = 25) -> Server:
    """Return a server with nothing but the controller."""
    return Server(RoutingTable(Route("/", BenchmarkController)), config=Config(ping_interval=ping_interval))


if __name__ == "__main__":
    server = make_server(*map(float, sys.argv[2:]))
    collect_seldom()  # as `trio-sio run` does
    trio.run(server.serve, "127.0.0.1", int(sys.argv[1]))
