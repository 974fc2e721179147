"""What a server does with its cluster, whatever that is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from tests.namespaces.serving import Handler, open_namespaces
from trio_sio import BroadcastAnswers, Config, Namespace, Server
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


async def test_gaps_are_counted_and_told(caplog: pytest.LogCaptureFixture, mock_clock: trio.testing.MockClock) -> None:
    cluster, heard = Journal(), list[str]()
    cluster.on_gap(heard.append)
    cluster.has_gap("The connection was lost.")
    mock_clock.jump(59)
    cluster.has_gap("The queue is full.")
    assert (cluster.gaps, heard) == (2, ["The connection was lost.", "The queue is full."])
    assert caplog.messages == ["Gap between servers: The connection was lost."]
    mock_clock.jump(1)
    cluster.has_gap("The queue is full again.")
    assert caplog.messages[1:] == ["Gap between servers: The queue is full again."]


async def test_a_function_that_is_told_of_a_gap_may_fail_and_may_make_another_one(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Journal()

    @cluster.on_gap
    def fails(why: str) -> None:
        raise LookupError("planted")

    @cluster.on_gap
    def emits(why: str) -> None:
        cluster.has_gap("One more.")

    cluster.has_gap("First.")
    cluster.has_gap("Second.")
    assert cluster.gaps == 4
    assert caplog.messages == ["Gap between servers: First.", *["A function that was given to on_gap failed."] * 2]


# What a namespace promises to adapters.


@pytest.mark.parametrize("asks", [False, True])
async def test_others_are_told_behind_those_who_are_here_and_before_what_listeners_say(asks: bool) -> None:
    handler, order = Handler(), list[str]()
    async with open_namespaces(handler) as server, server.strict_client() as client:
        namespace = handler.socket.namespace
        handler.socket.on_any_outgoing(lambda *event: order.append("listener"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(namespace.adapter), "send", lambda *args: order.append("sent"))
            if asks:
                namespace.ask(Broadcast(("x",)), BroadcastAnswers(0), lambda: order.append("told")).close()
            else:
                namespace.deliver(Broadcast(("x",)), lambda: order.append("told"))
        assert order == ["sent", "told", "listener"]
        assert not client.pending


async def test_a_question_that_fails_is_awaited_of_nobody() -> None:
    handler = Handler()

    def fail() -> None:
        raise LookupError("planted")

    async with open_namespaces(handler) as server, server.strict_client() as client:
        with pytest.raises(LookupError):
            handler.socket.namespace.ask(Broadcast(("x",)), BroadcastAnswers(1), fail)
        assert handler.socket._core.waiters._answers == {}
        assert await client.once("x") == ()


async def test_each_question_has_a_number_of_its_own() -> None:
    handler, answers = Handler(), [BroadcastAnswers(10) for _ in range(2)]
    async with open_namespaces(handler) as server, server.strict_client() as client:
        client.on("x", lambda number: number)
        namespace = handler.socket.namespace
        for number, sink in enumerate(answers):
            namespace.ask(Broadcast(("x", number)), sink)
        assert [[args async for _, args in sink] for sink in answers] == [[(0,)], [(1,)]]


def test_what_is_none_is_refused() -> None:
    wrong: Any = "redis://localhost"
    with pytest.raises(TypeError, match=r"cluster='redis://localhost' is no Cluster; write cluster=RedisCluster\(...\)"):
        Server(cluster=wrong)
    with pytest.raises(TypeError, match="either cluster= or adapter="):
        Server(cluster=Journal(), adapter=InMemoryAdapter)
