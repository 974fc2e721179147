"""Several servers of one cluster in one Trio run, and clients of each."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import trio

from ..config import Config
from ..namespaces.adapter import Cluster
from ..namespaces.socket import Socket
from ..routing.markers import on_connection
from ..routing.table import Route, RoutingTable
from ..server import Server
from .server import InMemoryServer, open_test_server
from .strict import StrictSocket

__all__ = ["ROOMS", "Fleet", "open_fleet"]

ROOMS: Final = re.compile(r"/room-\d+")
"""Namespaces with such names are open on every server of a fleet, beside ``/`` and ``/chat``."""

PATIENCE: Final = 10.0


class _Crowd:
    """Those who connect and only listen."""

    @on_connection
    def joined(self, socket: Socket) -> None:
        """Let everybody in."""


class Fleet:
    """Some servers of one cluster.

    Attributes:
      hosts: Where clients reach each of them.
      servers: The servers.
      clusters: What connects each of them with the others.
    """

    def __init__(self, hosts: Sequence[InMemoryServer], stack: AsyncExitStack) -> None:
        self.hosts = hosts
        self._stack = stack
        self.servers = [host.server for host in hosts if isinstance(host.server, Server)]
        self.clusters = [server.cluster for server in self.servers if server.cluster is not None]

    async def client(self, number: int, *rooms: str, namespace: str = "/", auth: dict[str, Any] | None = None) -> StrictSocket:
        """Connect a client to one of the servers, let it join ``rooms``, and return it; it stays until the fleet ends."""
        client = await self._stack.enter_async_context(self.hosts[number].strict_client(namespace, auth))
        if rooms:
            await self.socket(number, client).join(*rooms)
        return client

    def socket(self, number: int, client: StrictSocket) -> Socket:
        """Return what that server has for ``client``."""
        return self.servers[number].of(client.namespace).sockets[client.id]

    async def settle(self, servers: int | None = None) -> None:
        """Wait until every server knows of so many, or of all of them.

        Raises:
          trio.TooSlowError: after ten seconds.
        """
        wanted = len(self.clusters) if servers is None else servers
        with trio.fail_after(PATIENCE):
            for cluster in self.clusters:
                # A cluster need not tell when that changes.
                while await cluster.server_count() != wanted:  # noqa: ASYNC110
                    await trio.sleep(0.01)


@asynccontextmanager
async def open_fleet(clusters: Sequence[Cluster], config: Config | None = None, servers: int | None = None) -> AsyncIterator[Fleet]:
    """Run a server for each of ``clusters``; leaving drains one after the other.

    Args:
      clusters: What connects them, each for one server.
      config: The configuration of all.
      servers: How many servers they have to know before this begins; ``None``: each other.
    """
    async with AsyncExitStack() as stack:
        hosts = []
        for cluster in clusters:
            routes = RoutingTable(Route("/", _Crowd), Route("/chat", _Crowd), Route(ROOMS, _Crowd))
            server = Server(routes, config=config, cluster=cluster)
            hosts.append(await stack.enter_async_context(open_test_server(server)))
        fleet = Fleet(hosts, await stack.enter_async_context(AsyncExitStack()))
        await fleet.settle(servers)
        yield fleet
