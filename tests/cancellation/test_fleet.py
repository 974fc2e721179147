"""Two servers of one cluster, and what they ask of each other, cancelled at each step: nothing is left, here or there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import pytest
import trio
import trio.testing

from trio_sio import Config, Route, RoutingTable, Server, Socket, on_connection, on_message
from trio_sio.cluster.node_adapter import NodeAdapter
from trio_sio.testing import InMemoryServer, LoopbackCluster, LoopbackNetwork, StrictSocket, cancel_everywhere, level, open_test_server
from trio_sio.testing.level import restored

pytestmark = pytest.mark.slow

PATIENCE: Final = 100.0  # longer than every time-out here
CONFIG: Final = Config(ping_interval=5, ping_timeout=5, ack_timeout=20, drain_timeout=5)


class Application:
    """Asks the other server for its clients."""

    @on_connection
    async def joined(self, socket: Socket) -> None:
        await socket.join("lobby")

    @on_message("ask")
    async def ask(self, socket: Socket) -> list[object]:
        return await socket.namespace.to("lobby").emit_with_ack("question")

    @on_message("find")
    async def find(self, socket: Socket) -> int:
        return len(await socket.namespace.fetch_sockets())

    @on_message("ask servers")
    async def ask_servers(self, socket: Socket) -> list[object]:
        return await socket.namespace.server_side_emit_with_ack("question")

    @on_message("listen")
    async def listen(self, socket: Socket) -> object:
        async with socket.namespace.subscribe("lobby") as channel:
            await socket.emit("listening")
            return (await channel.receive()).args


class Pair:
    """Two servers.

    Attributes:
      clusters: What connects them.
      servers: The servers.
      adapters: Of the main namespace of each.
      hosts: Where clients reach them.
    """

    def __init__(self) -> None:
        self.network = LoopbackNetwork(delay=0.01)
        self.clusters: list[LoopbackCluster] = [self.network.cluster() for _ in range(2)]
        routes = RoutingTable(Route("/", Application))
        self.servers = [Server(routes, config=CONFIG, cluster=cluster) for cluster in self.clusters]
        self.adapters: list[NodeAdapter] = [adapter for cluster in self.clusters for adapter in cluster._adapters.values()]
        self.hosts = list[InMemoryServer]()
        for number, server in enumerate(self.servers):
            self._register(server, number)

    def _register(self, server: Server, number: int) -> None:
        @server.on_server_side_emit("question")
        async def answer() -> int:
            await trio.sleep(0.1)
            return number

    async def start(self, stack: AsyncExitStack) -> None:
        """Run both until ``stack`` ends."""
        for server in self.servers:
            self.hosts.append(await stack.enter_async_context(open_test_server(server)))
        await trio.sleep(0.1)

    async def check_nothing_waits(self) -> None:
        """Require that no question is open, at either end; what others ask is given up a second after the last answer at most."""
        with trio.move_on_after(CONFIG.ack_timeout + 2):
            while any(len(adapter._relays) for adapter in self.adapters):  # noqa: ASYNC110
                await trio.sleep(1)
        for adapter in self.adapters:
            assert len(adapter._requests) == 0, "requests"
            assert len(adapter._relays) == 0, "relays"
            assert not adapter._newcomers.statistics().tasks_waiting, "newcomers"
        assert [server.of("/").taps for server in self.servers] == [set(), set()]


@asynccontextmanager
async def running() -> AsyncIterator[Pair]:
    """Run two servers, and require that each holds at the end what it held at the beginning."""
    pair = Pair()
    async with AsyncExitStack() as stack:
        await pair.start(stack)
        before = [level(server) for server in pair.servers]
        yield pair
        for server, then in zip(pair.servers, before, strict=True):
            await restored(server, then, PATIENCE)
        await pair.check_nothing_waits()
    assert pair.network._running == []


@asynccontextmanager
async def not_running() -> AsyncIterator[Pair]:
    """Require that of two servers that the scenario runs nothing is left."""
    pair = Pair()
    before = [level(server) for server in pair.servers]
    yield pair
    for server, then in zip(pair.servers, before, strict=True):
        await restored(server, then, PATIENCE)
    await pair.check_nothing_waits()
    assert pair.network._running == []


# The scenarios.


@asynccontextmanager
async def clients(pair: Pair) -> AsyncIterator[tuple[StrictSocket, StrictSocket]]:
    async with pair.hosts[0].strict_client() as here, pair.hosts[1].strict_client() as there:
        for number, client in enumerate((here, there)):
            client.on("question", lambda number=number: number)
        yield here, there


async def emit_with_ack(pair: Pair) -> None:
    async with clients(pair) as (here, _):
        assert set(await here.emit_with_ack("ask")) <= {0, 1}


async def emit_with_ack_without_answers(pair: Pair) -> None:
    async with pair.hosts[1].strict_client() as there, trio.open_nursery() as nursery:
        nursery.start_soon(pair.servers[0].emit_with_ack, "silence")
        await there.once("silence")
        nursery.cancel_scope.cancel()


async def fetch_sockets(pair: Pair) -> None:
    async with clients(pair) as (here, _):
        assert await here.emit_with_ack("find") in (1, 2)


async def server_side_emit_with_ack(pair: Pair) -> None:
    async with pair.hosts[0].strict_client() as here:
        assert await here.emit_with_ack("ask servers") == [1]


async def subscribe(pair: Pair) -> None:
    async with pair.hosts[0].strict_client() as here, trio.open_nursery() as nursery:
        nursery.start_soon(here.emit_with_ack, "listen")
        await here.once("listening")
        await pair.servers[1].to("lobby").emit("news", 1)


async def run_both(pair: Pair) -> None:
    async with AsyncExitStack() as stack:
        await pair.start(stack)
        await emit_with_ack(pair)


SCENARIOS: Final[list[Callable[[Pair], Awaitable[None]]]] = [
    emit_with_ack,
    emit_with_ack_without_answers,
    fetch_sockets,
    server_side_emit_with_ack,
    subscribe,
]


CASES: Final = [
    pytest.param(scenario, part, id=f"{scenario.__name__}-{part}")
    for scenario in SCENARIOS
    for part in ("client", "handler")
    if (scenario, part) != (emit_with_ack_without_answers, "handler")
]


@pytest.mark.parametrize(("scenario", "part"), CASES)
def test_cancelled_at_each_step(scenario: Callable[[Pair], Awaitable[None]], part: str) -> None:
    report = cancel_everywhere(scenario, running, part=part)
    assert report.struck == report.steps > 0


def test_servers_that_are_cancelled_as_they_come_and_go() -> None:
    report = cancel_everywhere(run_both, not_running, part="client")
    assert report.struck == report.steps > 100
