"""Handlers that do not end when they should: section P of the catalogue."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

import pytest
import trio
import trio.testing

from tests.hostile.http import hang_up
from tests.hostile.process import failures, join_main, listening, tcp_client
from tests.hostile.victim import BOUND
from tests.level import level, unchanged
from trio_sio import Config, Limits, Route, RoutingTable, Server, Socket, on_disconnection, on_message
from trio_sio.errors import RouteError
from trio_sio.testing import RawWebSocket, open_test_server


class Stubborn:
    """Shared by all its sockets: has a handler that no cancellation ends, and one that waits."""

    def __init__(self) -> None:
        self.started = trio.Event()
        self.let_go = trio.Event()
        self.reasons: list[str] = []

    @on_message("echo")
    def echo(self, value: object) -> object:
        return value

    @on_message("cling")
    async def cling(self, socket: Socket) -> None:
        await socket.join("somewhere")
        self.started.set()
        while not self.let_go.is_set():
            # The mistake itself.
            with contextlib.suppress(BaseException):
                await trio.sleep_forever()

    @on_message("wait", concurrent=True)
    async def wait(self) -> None:
        await self.let_go.wait()

    @on_disconnection
    def gone(self, reason: str) -> None:
        self.reasons.append(reason)


@pytest.mark.hostile("P06")
async def test_a_handler_that_swallows_its_cancellation_holds_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    stubborn = Stubborn()
    server = Server(RoutingTable(Route("/", stubborn)))
    async with listening(server) as port, tcp_client(port) as bystander, unchanged(server):
        assert await bystander.emit_with_ack("echo", 1) == 1
        before = level(server)
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        websocket = await RawWebSocket.open(stream, "/socket.io/?EIO=4&transport=websocket")
        await join_main(websocket)
        await websocket.send('42["cling"]')
        await stubborn.started.wait()

        await hang_up(stream, reset=True)

        with trio.fail_after(BOUND):
            # Only tasks are left of it, and what says that there are some: no id, no socket, no room, no descriptor.
            while level(server)._replace(running=0, tasks=0) != before._replace(running=0, tasks=0):  # noqa: ASYNC110
                await trio.sleep(0.005)
        assert level(server).running == before.running + 1
        assert not stubborn.reasons
        assert await bystander.emit_with_ack("echo", 2) == 2
        stubborn.let_go.set()
        with trio.fail_after(BOUND):
            while not stubborn.reasons:  # noqa: ASYNC110
                await trio.sleep(0.005)
        assert stubborn.reasons == ["transport close"]
    assert not failures(caplog)


@pytest.mark.hostile("P07")
async def test_handlers_that_hang_stall_their_own_client_only(caplog: pytest.LogCaptureFixture) -> None:
    stubborn = Stubborn()
    config = Config(limits=Limits(concurrent_handlers=2))
    async with (
        open_test_server(RoutingTable(Route("/", stubborn)), config) as memory,
        memory.strict_client() as bystander,
        unchanged(memory.server),
        memory.strict_client() as client,
    ):
        for _ in range(3):
            await client.emit("wait")
        await client.emit("echo")
        answers: list[object] = []
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def ask() -> None:
                answers.append(await client.emit_with_ack("echo", 1))

            await trio.testing.wait_all_tasks_blocked()
            assert await bystander.emit_with_ack("echo", 2) == 2
            # What it has sent waits behind them, in order.
            assert answers == []
            stubborn.let_go.set()
        assert answers == [1]
    assert not failures(caplog)


class Generous:
    """Shared by all its sockets: has an asynchronous generator under way when its client leaves."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.under_way = trio.Event()

    async def _values(self) -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            self.steps.append("generator closed")

    async def _take(self, values: AsyncIterator[int]) -> None:
        async for _ in values:
            self.under_way.set()
            await trio.sleep_forever()

    @on_message("close it")
    async def close(self) -> None:
        async with contextlib.aclosing(self._values()) as values:
            await self._take(values)

    @on_message("leave it open")
    async def leave_open(self) -> None:
        await self._take(self._values())

    @on_disconnection
    def gone(self) -> None:
        self.steps.append("gone")


@pytest.mark.hostile("P33")
@pytest.mark.parametrize("event", ["close it", "leave it open"])
async def test_a_generator_is_closed_with_the_handler_that_took_from_it(
    event: str, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    generous = Generous()
    async with open_test_server(RoutingTable(Route("/", generous))) as memory, unchanged(memory.server):
        async with memory.strict_client() as client:
            await client.emit(event)
            await generous.under_way.wait()
            # Trio closes what was left open, and says where.
            with pytest.warns(ResourceWarning, match="aclosing") if event == "leave it open" else contextlib.nullcontext():
                await client.connection.abort()
                await trio.sleep(memory.server.config.cleanup_timeout)
                await trio.testing.wait_all_tasks_blocked()
        if event == "close it":
            assert generous.steps == ["generator closed", "gone"]
        else:
            assert sorted(generous.steps) == ["generator closed", "gone"]
    assert not failures(caplog)


@pytest.mark.hostile("P33")
def test_a_handler_that_is_a_generator_is_refused_at_once() -> None:
    class Wrong:
        @on_message("values")
        async def values(self) -> AsyncIterator[int]:
            yield 1

    with pytest.raises(RouteError, match=r"Wrong\.values is an asynchronous generator"):
        RoutingTable(Route("/", Wrong))
