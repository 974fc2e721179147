"""The benchmark's application on trio_sio: an ordinary controller, default configuration.

python trio_sio_server.py PORT [--ping-interval SECONDS] [--middleware] [--tls CERTIFICATE KEY] [--redis PORT]
"""

from __future__ import annotations

import argparse
import ssl
from dataclasses import dataclass

import trio

from trio_sio import Config, Context, Next, Route, RoutingTable, Server, Socket, on_message
from trio_sio.cli.collector import collect_seldom
from trio_sio.namespaces.adapter import Cluster


@dataclass
class Typed:
    """The argument of `typed`."""

    id: int
    text: str
    tags: list[str]


@dataclass
class BenchmarkController:
    """Acknowledges `echo` with its argument, and sends `broadcast`'s to everybody and `shout`'s to the lobby."""

    socket: Socket

    @on_message("echo")
    async def echo(self, data: str) -> str:
        """Answer with what came."""
        return data

    @on_message("typed")
    async def typed(self, data: Typed) -> int:
        """Answer with the number of an object that is checked and converted."""
        return data.id

    @on_message("broadcast")
    async def broadcast(self, data: str | bytes) -> None:
        """Send it to every client."""
        await self.socket.namespace.emit("msg", data)

    @on_message("join")
    async def join(self, rooms: list[str]) -> None:
        """Join all of them."""
        await self.socket.join(*rooms)

    @on_message("shout")
    async def shout(self, data: str) -> None:
        """Send it to everybody in the lobby."""
        await self.socket.namespace.to("lobby").emit("msg", data)


async def has_event(ctx: Context, call_next: Next) -> object:
    """Be the first middleware."""
    return await call_next() if ctx.event else None


async def has_argument(ctx: Context, call_next: Next) -> object:
    """Be the second one."""
    return await call_next() if ctx.args else None


def make_server(ping_interval: float = 25, *, middleware: bool = False, redis: int | None = None, cluster: Cluster | None = None) -> Server:
    """Return a server with nothing but the controller.

    Args:
      ping_interval: In seconds.
      middleware: Whether every message goes through two of them.
      redis: The port of one that other servers share.
      cluster: Through what else it hears them.
    """
    routes = RoutingTable(Route("/", BenchmarkController), message_middleware=[has_event, has_argument] if middleware else [])
    if redis is not None:
        from trio_sio.cluster.redis import RedisCluster

        cluster = RedisCluster(f"redis://127.0.0.1:{redis}")
    return Server(routes, config=Config(ping_interval=ping_interval), cluster=cluster)


async def main() -> None:
    """Serve what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--ping-interval", type=float, default=25)
    parser.add_argument("--middleware", action="store_true")
    parser.add_argument("--tls", nargs=2)
    parser.add_argument("--redis", type=int)
    arguments = parser.parse_args()
    context = None
    if arguments.tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*arguments.tls)
    server = make_server(arguments.ping_interval, middleware=arguments.middleware, redis=arguments.redis)
    collect_seldom()  # as `trio-sio run` does
    await server.serve("127.0.0.1", arguments.port, ssl_context=context)


if __name__ == "__main__":
    trio.run(main)
