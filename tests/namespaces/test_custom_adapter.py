"""An application's own adapter: one per namespace, asked for everything that concerns rooms."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.namespaces.serving import Handler, Join, open_namespaces
from trio_sio import ConfigurationError, ConnectionRefused, Disconnected, Instrument, Namespace, Route, RoutingTable, Server, on_connection
from trio_sio.namespaces.adapter import Broadcast, InMemoryAdapter, Target
from trio_sio.namespaces.socket import Socket
from trio_sio.testing import open_test_server


class Recorder(InMemoryAdapter):
    """Writes down what it is asked for, and does it."""

    def __init__(self, namespace: Namespace, journal: list[tuple[object, ...]]) -> None:
        super().__init__(namespace)
        self._name = namespace.name
        self._journal = journal

    def add(self, socket: Socket, rooms: Iterable[str]) -> None:
        rooms = set(rooms)
        self._journal.append((self._name, "add", socket.id, rooms))
        super().add(socket, rooms)

    def broadcast(self, broadcast: Broadcast) -> None:
        self._journal.append((self._name, "broadcast", broadcast.event, broadcast.target))
        super().broadcast(broadcast)

    def connected(self, socket: Socket) -> None:
        self._journal.append((self._name, "connected", socket.id, set(self.rooms_of(socket))))

    def left(self, socket: Socket) -> None:
        self._journal.append((self._name, "left", socket.id, set(self.rooms_of(socket))))


class Hall:
    """Lets everybody in."""

    @on_connection
    def joined(self) -> None: ...


async def test_each_namespace_gets_one_of_its_own_and_asks_it() -> None:
    journal: list[tuple[object, ...]] = []
    main, chat = Handler(), Handler()
    adapter = partial(Recorder, journal=journal)
    async with open_namespaces({"/": main, "/chat": chat}, adapter=adapter) as server, server.strict_client() as client:
        member = await client.connection.join("/chat")
        await main.socket.join("a", "b")
        await chat.socket.join("c")
        await chat.socket.namespace.to("c").emit("said", 1)

        assert await member.once("said") == (1,)
        assert journal == [
            ("/", "connected", client.id, set()),
            ("/chat", "connected", member.id, set()),
            ("/", "add", client.id, {"a", "b"}),
            ("/chat", "add", member.id, {"c"}),
            ("/chat", "broadcast", ("said", 1), Target(rooms=frozenset({"c"}))),
        ]
        journal.clear()
        await member.disconnect()
        await trio.testing.wait_all_tasks_blocked()
        assert journal == [("/chat", "left", member.id, set())]


async def test_one_that_is_refused_never_took_part() -> None:
    async def refuse(socket: Socket, join: Join) -> None:
        raise ConnectionRefused("no")

    journal: list[tuple[object, ...]] = []
    adapter = partial(Recorder, journal=journal)
    async with open_namespaces(Handler(connect=refuse), adapter=adapter) as server:
        with pytest.raises(ConnectionRefused):
            async with server.strict_client():
                raise AssertionError("it got in")
    assert journal == []


@pytest.mark.parametrize(
    ("instrument", "expected"),
    [
        (lambda socket: socket.join_nowait("a"), ["connected", "add", "left"]),
        (lambda socket: socket.disconnect_nowait(), []),
    ],
)
async def test_one_knows_a_socket_before_an_instrument_lets_it_join_or_go(
    instrument: Callable[[Socket], None], expected: list[str]
) -> None:
    class Hasty(Instrument):
        def socket_joined(self, socket: Socket) -> None:
            instrument(socket)

    journal: list[tuple[object, ...]] = []
    server = Server(RoutingTable(Route("/", Hall)), adapter=partial(Recorder, journal=journal), instruments=[Hasty()])
    async with open_test_server(server) as in_memory:
        async with await in_memory.websocket() as websocket:
            await websocket.receive()
            await websocket.send("40")
            assert str(await websocket.receive()).startswith("40")
            await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()
    assert [called for _, called, *_ in journal] == expected


async def test_a_class_is_enough_and_the_namespace_is_complete_when_it_is_made() -> None:
    seen: list[tuple[str, int, int]] = []

    class Curious(InMemoryAdapter):
        def __init__(self, namespace: Namespace) -> None:
            super().__init__(namespace)
            seen.append((namespace.name, len(namespace.sockets), namespace.next_ack_id()))

    async with open_namespaces(Handler(), adapter=Curious) as server, server.strict_client():
        assert seen == [("/", 0, 0)]


async def test_one_that_fails_to_let_a_socket_go_holds_up_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(InMemoryAdapter):
        def remove(self, socket: Socket, rooms: Iterable[str]) -> None:
            raise RuntimeError("no")

    async def connect(socket: Socket, join: Join) -> None:
        join()
        socket.start_soon(trio.sleep_forever)

    first, second = Handler(connect=connect), Handler(connect=connect)
    async with open_namespaces({"/": first, "/b": second}, adapter=Stubborn) as server:
        async with trio.open_nursery() as nursery, server.strict_client() as client:
            await client.connection.join("/b")
            nursery.start_soon(fail_to_hear, first.socket)
            await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()

        assert first.reasons == second.reasons == ["transport close"]
        assert [socket.task_count for socket in (first.socket, second.socket)] == [0, 0]
    assert caplog.text.count("failed to let <Socket") == 2


async def fail_to_hear(socket: Socket) -> None:
    with pytest.raises(Disconnected):
        await socket.emit_with_ack("x")


def test_rooms_are_in_memory_without_it() -> None:
    assert type(Server().of("/").adapter) is InMemoryAdapter


async def test_who_cannot_be_added_to_its_rooms_is_disconnected(caplog: pytest.LogCaptureFixture) -> None:
    class Full(InMemoryAdapter):
        def add(self, socket: Socket, rooms: Iterable[str]) -> None:
            raise RuntimeError("no")

    async def connect(socket: Socket, join: Join) -> None:
        await socket.join("lobby")
        join()
        raise AssertionError("the connection hook runs")

    async with open_namespaces({"/": Handler(connect=connect)}, adapter=Full) as server, await server.websocket() as client:
        await client.receive()
        await client.send("40")
        assert str(await client.receive()).startswith("40{")
        assert await client.receive() == "41"
        assert await server.server.count_sockets() == 0  # type: ignore[union-attr]
    assert "failed, so its client is disconnected." in caplog.text


def test_what_it_raises_reaches_whoever_asks_for_the_namespace() -> None:
    def refuse(namespace: Namespace) -> InMemoryAdapter:
        raise RuntimeError(f"no adapter for {namespace.name}")

    with pytest.raises(RuntimeError, match="no adapter for /"):
        Server(adapter=refuse)


def test_what_is_no_adapter_is_refused(recwarn: pytest.WarningsRecorder) -> None:
    async def later(namespace: Namespace) -> InMemoryAdapter:
        return InMemoryAdapter(namespace)

    make: Any = lambda namespace: later(namespace)  # noqa: E731, PLW0108  # as somebody might write it who does not know
    with pytest.raises(ConfigurationError, match=r"adapter= returned <coroutine object .* for namespace '/'; it must return an Adapter\."):
        Server(adapter=make)
    gc.collect()
    assert not recwarn.list
