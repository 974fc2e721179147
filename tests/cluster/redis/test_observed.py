"""What an instrument is told of Redis: whether it is there, how long it takes to answer, and what travels beside Node's fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import pytest
import trio

from tests.cluster.redis_server import RedisServer
from tests.instruments.ledger import Ledger
from trio_sio import Route, RoutingTable, Server, Socket, on_connection
from trio_sio.cluster.redis import RedisCluster
from trio_sio.cluster.redis import cluster as cluster_module
from trio_sio.cluster.redis.pubsub import PubSubSettings
from trio_sio.testing import open_test_server


class Hall:
    @on_connection
    def joined(self, socket: Socket) -> None:
        """Let everybody in."""


class Quick(RedisCluster):
    SETTINGS: ClassVar = PubSubSettings(ping_interval=0.3, answer_timeout=0.3, connect_timeout=1, delay=0.02, delay_max=0.1)


class Traced(Ledger):
    def inject(self, namespace: str, event: str) -> Mapping[str, str]:
        return {"traceparent": "00-x"}


def serving(redis: RedisServer, ledger: Ledger) -> Server:
    return Server(RoutingTable(Route("/", Hall)), cluster=Quick(redis.url), instruments=[ledger])


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110  # an instrument has nobody to wake
            await trio.sleep(0.01)


async def test_what_is_injected_travels_through_redis(redis_server: RedisServer) -> None:
    here, there = Traced(), Ledger()
    first, second = serving(redis_server, here), serving(redis_server, there)
    async with open_test_server(first), open_test_server(second) as in_memory, in_memory.strict_client() as client:
        client.on("question", lambda: 1)
        await first.emit("news")
        assert (await client.receive()).name == "news"
        assert await first.emit_with_ack("question") == [1]
        assert there.of("delivering") == [("/", name, (("traceparent", "00-x"),)) for name in ("news", "question")]


async def test_redis_comes_and_goes(fragile_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "TICK", 0.02)
    ledger = Ledger()
    server = serving(fragile_redis, ledger)
    async with open_test_server(server):
        assert ledger.names("bus_up", "bus_down") == ["bus_up"]
        await until(lambda: ledger.of("bus_lag"))
        assert all(0 < seconds < 5 for (seconds,) in ledger.of("bus_lag"))
        server.of("/another")  # to subscribe something is no end of the connection
        await trio.sleep(0.05)
        fragile_redis.kill()
        await until(lambda: ledger.of("bus_down"))
        fragile_redis.start()
        await until(lambda: ledger.names("bus_up", "bus_down") == ["bus_up", "bus_down", "bus_up"])
        await until(lambda: ledger.of("bus_gap"))
    assert ledger.of("bus_down")[-1] == ("The server has ended.",)
    ledger.require_balanced()
