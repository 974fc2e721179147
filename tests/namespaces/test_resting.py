"""A socket whose client only listens has no task; one comes with its first event, with `start_soon` and with its end."""

from __future__ import annotations

import math
from contextvars import ContextVar
from dataclasses import replace
from typing import Final

import pytest
import trio
import trio.testing

from trio_sio import Config, Disconnected, Route, RoutingTable, Server, Socket, on_connection, on_disconnection, on_message
from trio_sio.namespaces.core import SocketCore
from trio_sio.namespaces.task import TASKS, SocketTask, TaskState
from trio_sio.testing import InMemoryServer, open_test_server

WHO: Final = ContextVar("WHO", default="nobody")
CONFIG: Final = Config(ping_interval=1_000, cleanup_timeout=5)


class Controller:
    """Notes what happens."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.seen: list[str] = socket.data.setdefault("seen", [])

    @on_connection
    async def come(self) -> None:
        """Set what is to be there for all that follows."""
        WHO.set(self.socket.id)

    @on_message("who")
    async def who(self) -> str:
        """Answer with what was set."""
        return WHO.get()

    @on_message("slow")
    async def slow(self) -> None:
        """Take a while."""
        await trio.sleep(1)
        self.seen.append("slow")

    @on_message("start")
    async def start(self) -> None:
        """Have a task."""
        self.socket.start_soon(trio.sleep_forever)

    @on_disconnection
    async def gone(self, reason: str) -> None:
        """Note it."""
        self.seen.append(f"{reason}, as {WHO.get() == self.socket.id}")


ROUTES: Final = RoutingTable(Route("/", Controller))


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


def only_socket(server: InMemoryServer) -> Socket:
    assert isinstance(server.server, Server)
    (socket,) = server.server.of("/").sockets.values()
    return socket


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def test_its_first_event_brings_a_task_which_stays() -> None:
    async with open_test_server(ROUTES, CONFIG) as server, server.strict_client() as client:
        await settle()
        resting = tasks()
        socket = only_socket(server)
        assert socket._core.task.rests
        for _ in range(3):
            assert await client.emit_with_ack("who") == socket.id
            await settle()
            assert tasks() == resting + 1


async def test_what_is_started_from_outside_dies_with_it() -> None:
    async with open_test_server(ROUTES, CONFIG) as server, server.strict_client() as client:
        await settle()
        resting, socket, ran = tasks(), only_socket(server), list[str]()

        async def child(name: str) -> None:
            ran.append(name)
            try:
                await trio.sleep_forever()
            finally:
                ran.append(f"{name} ends")

        socket.start_soon(child, "a")
        socket.start_soon(child, "b")
        await settle()
        assert sorted(ran) == ["a", "b"]
        assert (tasks(), socket.task_count) == (resting + 3, 2)
        await client.disconnect()
        await settle()

        assert sorted(ran) == ["a", "a ends", "b", "b ends"]
        assert tasks() == resting
        with pytest.raises(Disconnected):
            socket.start_soon(trio.sleep_forever)


@pytest.mark.parametrize("rests", [True, False])
async def test_what_is_started_sees_the_context_of_who_starts_it(rests: bool) -> None:
    async with open_test_server(ROUTES, CONFIG) as server, server.strict_client() as client:
        await settle()
        socket, seen = only_socket(server), list[str]()
        if not rests:
            await client.emit_with_ack("who")

        async def child() -> None:
            seen.append(WHO.get())

        WHO.set("me")
        socket.start_soon(child)
        WHO.set("somebody else")
        assert socket.task_count == 1
        await settle()

        assert (seen, socket.task_count) == (["me"], 0)


@pytest.mark.parametrize("orderly", [True, False])
async def test_what_was_started_learns_of_an_end_that_comes_before_its_first_turn(orderly: bool) -> None:
    async with open_test_server(ROUTES, CONFIG) as server, server.strict_client():
        await settle()
        socket, seen = only_socket(server), list[str]()

        async def child() -> None:
            try:
                await trio.sleep_forever()
            finally:
                seen.append("closed what it was given")

        socket.start_soon(child)
        if orderly:
            socket._core.client.text(b"1")
        else:
            socket.disconnect_nowait()
        await settle()

        assert seen == ["closed what it was given"]


async def test_one_that_starts_something_while_it_connects_does_not_rest() -> None:
    class Clock:
        """Starts a task at once."""

        @on_connection
        async def come(self, socket: Socket) -> None:
            """Start it."""
            socket.start_soon(trio.sleep_forever)

    async with open_test_server(RoutingTable(Route("/", Clock())), CONFIG) as server, server.strict_client():
        await settle()
        socket = only_socket(server)
        assert (socket._core.task.rests, socket.task_count) == (False, 1)


@pytest.mark.parametrize("cleanup_timeout", [5, math.inf])
@pytest.mark.parametrize("orderly", [True, False])
async def test_what_came_before_an_orderly_end_is_handled_though_its_task_has_not_begun(
    orderly: bool, cleanup_timeout: float, autojump_clock: trio.testing.MockClock
) -> None:
    config = replace(CONFIG, cleanup_timeout=cleanup_timeout)
    async with open_test_server(ROUTES, config) as server, server.strict_client() as client:
        await settle()
        socket = only_socket(server)
        # In one turn, without a checkpoint between the two.
        socket._core.client.text(b'2["slow"]')
        if orderly:
            socket._core.client.text(b"1")
        else:
            socket.disconnect_nowait()
        await trio.sleep(3)

        reason = "client namespace disconnect" if orderly else "server namespace disconnect"
        assert socket.data["seen"] == [*(["slow"] if orderly else []), f"{reason}, as True"]
        assert client is not None


async def test_an_orderly_end_bounds_what_came_before_it_from_then_on(autojump_clock: trio.testing.MockClock) -> None:
    class Stuck(Controller):
        """Does not come to an end."""

        @on_message("stuck")
        async def stuck(self) -> None:
            """Hang."""
            try:
                await trio.sleep_forever()
            finally:
                self.seen.append(f"stuck until {trio.current_time():g}")

    async with open_test_server(RoutingTable(Route("/", Stuck)), CONFIG) as server, server.strict_client():
        await settle()
        socket, start = only_socket(server), trio.current_time()
        socket._core.client.text(b'2["stuck"]')
        socket._core.client.text(b"1")
        await trio.sleep(60)

        assert socket.data["seen"] == [f"stuck until {start + 5:g}", "client namespace disconnect, as True"]


async def test_what_drains_ends_those_that_rest_as_well(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(ROUTES, CONFIG) as server, server.strict_client(), server.strict_client() as busy:
        assert isinstance(server.server, Server)
        await busy.emit_with_ack("who")
        await settle()
        sockets = list(server.server.of("/").sockets.values())
        assert sorted(socket._core.task.rests for socket in sockets) == [False, True]
        await server.server.drain()

        assert [socket.data["seen"] for socket in sockets] == [["server shutting down, as True"]] * 2


async def test_one_that_rests_ends_with_a_connection_that_is_cancelled() -> None:
    async with open_test_server(ROUTES, CONFIG) as server, server.strict_client():
        await settle()
        socket = only_socket(server)
        socket._core.client.connection.cancel()
        await settle()

        assert socket.data["seen"] == ["server shutting down, as True"]


@pytest.mark.parametrize("ends", [False, True])
async def test_another_may_be_due_before_the_one_that_rests_is_quite_over(ends: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    may_rest, sockets = SocketTask._may_rest, list[Socket]()

    def strike(task: SocketTask, nursery: trio.Nursery) -> bool:
        rests = may_rest(task, nursery)
        assert rests
        # Its nursery has still a turn to take, which is when the other one may begin.
        core = task._socket
        assert isinstance(core, SocketCore)
        sockets.append(core.socket)
        core.client.text(b'2["start"]')
        if ends:
            core.disconnect()
        return rests

    monkeypatch.setattr(SocketTask, "_may_rest", strike)
    async with open_test_server(ROUTES, CONFIG) as server, server.strict_client():
        await settle()
        (socket,) = sockets
        if not ends:
            assert (socket.connected, socket.task_count, socket.data["seen"]) == (True, 1, [])
            socket.disconnect_nowait()
            await settle()

        assert socket.data["seen"] == ["server namespace disconnect, as True"]
        assert socket._core.task.state is TaskState.OVER


async def test_the_ways_of_a_task_through_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    ways, become = dict[SocketTask, list[str]](), SocketTask._become

    def note(task: SocketTask, event: str) -> None:
        become(task, event)
        ways.setdefault(task, []).append(event)

    monkeypatch.setattr(SocketTask, "_become", note)
    async with open_test_server(ROUTES, CONFIG) as server, server.strict_client() as silent, server.strict_client() as busy:
        await busy.emit_with_ack("who")
        await settle()
        resting, living = ["begun", "rests"], ["begun", "rests", "woken", "begun"]
        assert sorted(ways.values()) == [resting, living]
        await busy.disconnect()
        await silent.disconnect()
        await settle()

        assert sorted(ways.values()) == [[*living, "finishes", "is over"], [*resting, "woken", "finishes", "is over"]]
        assert all(task.state is TaskState.OVER for task in ways)
        assert {event for way in ways.values() for event in way} == {event for _, event in TASKS}
