"""A client that comes back to another server, cancelled at each step: its session is at one place at most, and nothing is left over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

import pytest
import trio

from trio_sio import Config, Disconnected, Recovery, Route, RoutingTable, Server, on_connection
from trio_sio.cluster.leaving import LeavingRecovery
from trio_sio.testing import InMemoryServer, LoopbackNetwork, cancel_everywhere, open_test_server

pytestmark = pytest.mark.slow

CONFIG: Final = Config(
    ping_interval=5, ping_timeout=5, drain_timeout=5, connection_state_recovery=Recovery(max_disconnection=60), cleanup_timeout=1
)


class Application:
    @on_connection
    async def joined(self) -> None:
        await trio.lowlevel.checkpoint()


class Pair:
    """Two servers, and a client of the first that is away."""

    def __init__(self) -> None:
        self.hosts = list[InMemoryServer]()
        self.stores = list[LeavingRecovery]()
        self.pid = ""
        self.offset: object = None

    async def start(self, stack: AsyncExitStack) -> None:
        network = LoopbackNetwork(delay=0.01)
        for _ in range(2):
            server = Server(RoutingTable(Route("/", Application)), config=CONFIG, cluster=network.cluster())
            self.hosts.append(await stack.enter_async_context(open_test_server(server)))
            recovery = server.of("/").adapter.recovery
            assert isinstance(recovery, LeavingRecovery)
            self.stores.append(recovery)
        await trio.sleep(0.1)
        async with self.hosts[0].strict_client() as client:
            assert isinstance(self.hosts[0].server, Server)
            await self.hosts[0].server.emit("x", 1)
            (_, self.offset) = await client.once("x")
            self.pid = str(client.pid)
            await client.connection.abort()
        await trio.sleep(0.1)

    @property
    def auth(self) -> dict[str, object]:
        return {"pid": self.pid, "offset": self.offset}


@asynccontextmanager
async def running() -> AsyncIterator[Pair]:
    pair = Pair()
    async with AsyncExitStack() as stack:
        await pair.start(stack)
        yield pair
        await trio.sleep(15)  # ping_interval, ping_timeout, and what a question may take
        # At one place, or given up.
        assert sum(store.has(pair.pid) for store in pair.stores) <= 1
        assert [store._lent for store in pair.stores] == [{}, {}]
        assert not any(len(store._adapter.requests) for store in pair.stores)
        await trio.sleep(70)
        assert [store._ids for store in pair.stores] == [set(), set()]


async def come_back(pair: Pair) -> None:
    with suppress(Disconnected):
        async with pair.hosts[1].strict_client(auth=pair.auth):
            await trio.sleep(0.1)


def test_cancelled_at_each_step() -> None:
    report = cancel_everywhere(come_back, running, part="client")
    assert report.struck == report.steps > 5


def test_the_connection_cancelled_at_each_step() -> None:
    report = cancel_everywhere(come_back, running, part="dispatcher")
    assert report.struck == report.steps > 0


@asynccontextmanager
async def nothing() -> AsyncIterator[None]:
    yield


async def leave(_: None) -> None:
    """A server drains and hands its session over; then its client comes to the other one."""
    pair = Pair()
    async with AsyncExitStack() as stack:
        # The one that is left last is entered first.
        network = LoopbackNetwork(delay=0.01)
        servers = [Server(RoutingTable(Route("/", Application)), config=CONFIG, cluster=network.cluster()) for _ in range(2)]
        there = await stack.enter_async_context(open_test_server(servers[1]))
        async with open_test_server(servers[0]) as here:
            await trio.sleep(0.1)
            async with here.strict_client() as client:
                pair.pid = str(client.pid)
                await client.connection.abort()
        async with there.strict_client(auth=pair.auth) as client:
            assert client.pid == pair.pid


def test_a_hand_over_cancelled_at_each_step() -> None:
    report = cancel_everywhere(leave, nothing, part="client")
    assert report.struck == report.steps > 50
