"""What a server does with its cluster, whatever that is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from trio_sio import Config, Namespace, Server
from trio_sio.namespaces.adapter import Adapter, Broadcast, Cluster, InMemoryAdapter


class Journal(Cluster):
    """Writes down what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[object] = []
        self.why: str | None = None
        self.fault: Exception | None = None

    async def run(self, config: Config, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.entries.append("begin")
        if self.fault is not None:
            raise self.fault
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            self.entries.append("end")

    def attach(self, namespace: Namespace) -> Adapter:
        self.entries.append(("attach", namespace.name))
        return Attached(namespace, self)

    async def server_count(self) -> int:
        return 1

    def unready(self) -> str | None:
        return self.why


class Attached(InMemoryAdapter):
    def __init__(self, namespace: Namespace, journal: Journal) -> None:
        super().__init__(namespace)
        self.entries = journal.entries

    def broadcast(self, broadcast: Broadcast) -> None:
        self.entries.append(broadcast.event[0])

    def close(self) -> None:
        self.entries.append("close")


async def test_it_runs_before_everything_and_until_all_is_over() -> None:
    cluster = Journal()

    @asynccontextmanager
    async def lifespan(server: Server) -> AsyncIterator[None]:
        await server.emit("up")
        yield
        await server.emit("down")

    server = Server(lifespan=lifespan, cluster=cluster)
    assert server.cluster is cluster
    async with server:
        assert server.ready().ready
        cluster.why = "The bus is down."
        assert server.ready().reason == "The bus is down."
        assert server.health().alive

    assert cluster.entries == [("attach", "/"), "begin", "up", "down", "close", "end"]


async def test_one_that_cannot_run_ends_the_server_before_it_begins() -> None:
    cluster = Journal()
    cluster.fault = LookupError("planted")

    def lifespan(server: Server) -> AbstractAsyncContextManager[None]:
        raise AssertionError("it begins")

    with pytest.RaisesGroup(LookupError, allow_unwrapped=True):
        async with Server(lifespan=lifespan, cluster=cluster):
            raise AssertionError("it runs")


async def test_one_that_fails_while_it_runs_ends_the_server() -> None:
    class Failing(Journal):
        async def run(self, config: Config, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            task_status.started()
            await trio.lowlevel.checkpoint()
            raise LookupError("planted")

    with pytest.RaisesGroup(LookupError, flatten_subgroups=True):
        async with Server(cluster=Failing()):
            await trio.sleep_forever()


def test_gaps_are_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    cluster, heard = Journal(), list[str]()
    cluster.on_gap(heard.append)
    cluster.has_gap("The connection was lost.")
    assert (cluster.gaps, heard) == (1, ["The connection was lost."])
    assert caplog.messages == ["Gap between servers: The connection was lost."]


def test_what_is_none_is_refused() -> None:
    wrong: Any = "redis://localhost"
    with pytest.raises(TypeError, match=r"cluster='redis://localhost' is no Cluster; write cluster=RedisCluster\(...\)"):
        Server(cluster=wrong)
    with pytest.raises(TypeError, match="either cluster= or adapter="):
        Server(cluster=Journal(), adapter=InMemoryAdapter)
