"""One connection after another: when a client comes back, when it does not, and what it tells."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import pytest
import trio
import trio.testing

from tests.client.connecting import start
from tests.client.fake_session import FakeServer, FakeSession
from tests.client.watching import collect
from trio_sio.client.reconnection import Reconnection
from trio_sio.client.socket import ClientSocket
from trio_sio.client.states import Connected, Connecting, Ended, Lost, State, Upgraded, Waiting
from trio_sio.errors import ConfigurationError, ConnectFailed, ConnectionRefused, Disconnected

Clock = trio.testing.MockClock  # every time-out passes at once

LOST = Lost("transport close", "the network is gone")


# Coming back.


async def test_it_comes_back_and_tells_how(autojump_clock: Clock) -> None:
    server = FakeServer()
    seen: list[State] = []
    async with server.manager() as manager, manager.socket() as socket, trio.open_nursery() as nursery:
        await nursery.start(collect, socket, seen)
        server.failures.extend([ConnectFailed("not yet")] * 4)
        server.session.lose()
        await (await server.wait_session(2)).next_sent()
        await socket.connect()
        assert (socket.id, socket.recovered) == ("id2", False)
        assert server.session.receiver is not None
        server.session.receiver.upgraded("websocket")
        await socket.disconnect()

    assert seen == [
        Connected("id1", recovered=False, transport="websocket"),
        LOST,
        Waiting(1, 1),
        Connecting(1),
        Waiting(2, 2),
        Connecting(2),
        Waiting(3, 4),
        Connecting(3),
        Waiting(4, 5),
        Connecting(4),
        Waiting(5, 5),
        Connecting(5),
        Connected("id2", recovered=False, transport="websocket"),
        Upgraded("websocket"),
        Ended("io client disconnect"),
    ]
    assert server.attempts == [0, 1, 3, 7, 12, 17]


async def test_a_success_begins_a_new_row_of_attempts(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager() as manager, manager.socket():
        server.failures.extend([ConnectFailed("not yet"), None])
        server.session.lose()
        await (await server.wait_session(2)).next_sent()
        await trio.testing.wait_all_tasks_blocked()
        server.session.lose()
        await server.wait_session(3)
    assert server.attempts == [0, 1, 3, 4]


@pytest.mark.hostile("P34")
async def test_connections_that_open_and_are_dropped_at_once_are_no_success(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager() as manager, manager.socket():
        server.joins = False
        server.session.lose()
        for number in range(2, 7):
            session = await server.wait_session(number)
            await session.next_sent()
            session.lose()
    assert server.attempts == [0, 1, 3, 7, 12, 17]


async def test_attempts_are_exhausted(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager(reconnection=Reconnection(attempts=3)) as manager, manager.socket() as socket:
        server.always_fails = ConnectFailed("nobody answers")
        server.session.lose()
        ended = await socket.closed()

        assert isinstance(ended.error, ConnectFailed)
        assert str(ended.error) == "The connection did not come back in 3 attempts."
        assert server.attempts == [0, 1, 3, 7]
        with pytest.raises(Disconnected) as raised:
            await socket.emit("a")
        assert raised.value.__cause__ is ended.error
        await trio.sleep(1_000)
        assert len(server.attempts) == 4

        # By hand it is one attempt, which raises.
        with pytest.raises(ConnectFailed, match="nobody answers"):
            await socket.connect()
        assert server.attempts[4:] == [1_007]
        server.always_fails = None
        await socket.connect()
        assert socket.connected


async def test_without_reconnection_the_socket_is_over_with_its_connection(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager(reconnection=None) as manager, manager.socket() as socket:
        server.session.lose()
        ended = await socket.closed()
        assert ended.reason == "transport close"
        assert isinstance(ended.error, Disconnected)
        await trio.sleep(1_000)
        assert server.attempts == [0]
        await socket.connect()
        assert (socket.id, server.attempts) == ("id2", [0, 1_000])


@pytest.mark.hostile("P35")
async def test_a_refusal_of_the_server_is_final(autojump_clock: Clock) -> None:
    """Never again for a 4xx: hammering a server that has said no helps nobody (P35)."""
    server = FakeServer()
    async with server.manager() as manager, manager.socket() as one, manager.socket("/other") as other:
        server.always_fails = ConnectFailed("401 Unauthorized", status=401, retryable=False)
        server.session.lose()
        assert (await one.closed()).error is server.always_fails
        assert (await other.closed()).error is server.always_fails
        assert server.attempts == [0, 1]
        await trio.sleep(1_000)
        assert server.attempts == [0, 1]
        assert not manager.connected


async def test_a_namespace_that_is_refused_on_coming_back_stays_out_and_the_others_come_back(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager() as manager, manager.socket() as one, manager.socket("/other") as other:
        server.joins = False
        server.session.lose()
        session = await server.wait_session(2)
        assert {await session.next_sent(), await session.next_sent()} == {"0", "0/other,"}
        session.deliver('4{"message":"no"}', '0/other,{"sid":"back"}')
        ended = await one.closed()
        assert isinstance(ended.error, ConnectionRefused)
        assert ended.reason == "connect_error"
        await other.connect()
        assert other.id == "back"
        await trio.sleep(1_000)
        assert not session.sent
        assert len(server.attempts) == 2


async def test_who_was_sent_away_does_not_come_back_but_can_be_brought_back(autojump_clock: Clock) -> None:
    server = FakeServer()
    seen: list[State] = []
    async with server.manager() as manager, manager.socket() as socket, trio.open_nursery() as nursery:
        await nursery.start(collect, socket, seen)
        server.session.deliver("1")
        assert await socket.closed() == Ended("io server disconnect")
        await trio.sleep(1_000)
        assert list(server.session.sent) == ["0"]

        await socket.connect()
        assert list(server.session.sent) == ["0", "0"]
        assert len(server.attempts) == 1


async def test_a_connection_that_ends_behind_the_goodbye_of_the_server_is_replaced_once(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager() as manager, manager.socket() as socket:
        for number in (1, 2):
            session = server.session
            session.deliver("1")
            await socket.closed()
            session.joins = False
            server.joins = number == 1
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lose_all, server)
                if server.joins:
                    await socket.connect()
                    assert socket.id == "id2"
                else:
                    with pytest.raises(ConnectFailed, match="was lost before namespace"):
                        await socket.connect()
        assert (len(server.attempts), trio.current_time()) == (3, 0)


@pytest.mark.parametrize("reconnection", [Reconnection(), None])
async def test_who_was_sent_away_can_be_brought_back_although_the_server_closes_behind_it(
    reconnection: Reconnection | None, autojump_clock: Clock
) -> None:
    server = FakeServer()
    async with server.manager(reconnection=reconnection) as manager, manager.socket() as socket, trio.open_nursery() as nursery:
        session = server.session
        session.deliver("1")
        await socket.closed()
        session.joins = False
        connect = await start(nursery, socket.connect)
        session.lose()
        await connect.done.wait()
        assert (connect.error, socket.id) == (None, "id2")


async def test_who_is_sent_away_at_once_had_been_there(autojump_clock: Clock) -> None:
    """Whichever task runs first: entering succeeds, and the block finds out."""
    for _ in range(50):
        server = FakeServer(joins=False)
        async with server.manager() as manager:
            server.session.answers = ('0{"sid":"s"}', "1")
            async with manager.socket() as socket:
                assert await socket.closed() == Ended("io server disconnect")


async def test_who_is_sent_away_instead_of_being_let_in(autojump_clock: Clock) -> None:
    server = FakeServer(joins=False)
    async with server.manager() as manager:
        server.session.answers = ("1",)
        with pytest.raises(Disconnected, match=r"is over \(io server disconnect\)"):
            async with manager.socket():
                pass


async def test_of_two_that_connect_each_may_be_cancelled(autojump_clock: Clock) -> None:
    for cancelled in (0, 1):
        server = FakeServer()
        async with server.manager() as manager, manager.socket() as socket, trio.open_nursery() as nursery:
            await socket.disconnect()
            server.session.joins = False
            scopes = [trio.CancelScope(), trio.CancelScope()]

            async def connect(scope: trio.CancelScope, socket: ClientSocket = socket) -> bool:
                with scope:
                    await socket.connect()
                return scope.cancelled_caught

            calls = [await start(nursery, partial(connect, scope)) for scope in scopes]
            scopes[cancelled].cancel()
            await calls[cancelled].done.wait()
            assert calls[cancelled].result is True
            server.session.deliver('0{"sid":"again"}')
            await calls[1 - cancelled].done.wait()
            assert (calls[1 - cancelled].result, calls[1 - cancelled].error) == (False, None)
            assert (socket.connected, socket.id) == (True, "again")


async def test_when_all_that_connect_are_cancelled_the_socket_is_over(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager() as manager, manager.socket() as socket:
        await socket.disconnect()
        server.session.joins = False
        with trio.move_on_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(socket.connect)
                nursery.start_soon(socket.connect)
        assert await socket.closed(timeout=1) == Ended("io client disconnect")


async def test_who_connects_while_the_socket_is_being_disconnected_joins_behind_that(autojump_clock: Clock) -> None:
    for _ in range(20):  # whichever task runs first
        server = FakeServer()
        async with server.manager() as manager, manager.socket() as socket, trio.open_nursery() as nursery:
            server.session.take_room(0)
            await socket.emit("a")
            disconnect = await start(nursery, socket.disconnect)
            connect = await start(nursery, socket.connect)
            server.session.take_room(10)
            await disconnect.done.wait()
            await connect.done.wait()
            assert (connect.error, socket.connected) == (None, True)
            assert list(server.session.sent) == ["0", '2["a"]', "1", "0"]


async def test_who_connects_while_the_server_takes_not_even_the_goodbye(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager() as manager, manager.socket() as socket, trio.open_nursery() as nursery:
        server.session.take_room(0)
        await socket.emit("a")
        disconnect = await start(nursery, socket.disconnect)
        connect = await start(nursery, socket.connect)
        await disconnect.done.wait()
        await connect.done.wait()
        assert (connect.error, socket.id, trio.current_time()) == (None, "id2", 5)


async def lose_all(server: FakeServer) -> None:
    """Lose each session that does not answer CONNECT."""
    while not server.session.joins:
        await trio.testing.wait_all_tasks_blocked()
        count = len(server.sessions)
        server.session.lose()
        await trio.testing.wait_all_tasks_blocked()
        if len(server.sessions) == count:
            return


# Leaving.


def at_once(server: FakeServer, session: FakeSession) -> None:
    session.lose()


def at_the_next_attempt(server: FakeServer, session: FakeSession) -> None:
    server.always_fails = ConnectFailed("nobody answers")
    session.lose()


@pytest.mark.parametrize("after", [0, 0.5, 1, 1.5, 2, 30])
@pytest.mark.parametrize("lose", [at_once, at_the_next_attempt])
@pytest.mark.parametrize("cancel", [False, True])
@pytest.mark.hostile("P36")
async def test_closed_while_reconnecting(
    after: float, lose: Callable[[FakeServer, FakeSession], None], cancel: bool, autojump_clock: Clock
) -> None:
    """No task is left, and no session is open, whenever it happens (P36)."""
    server = FakeServer()
    tasks = trio.lowlevel.current_statistics().tasks_living
    with trio.CancelScope() as scope:
        async with server.manager() as manager, manager.socket() as socket:
            await socket.emit("a")
            lose(server, server.session)
            await trio.sleep(after)
            if cancel:
                scope.cancel()
                await trio.sleep_forever()
    assert trio.current_time() == after
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    attempts = len(server.attempts)
    await trio.sleep(100)
    assert len(server.attempts) == attempts
    assert all(session.closed is not None for session in server.sessions)


@pytest.mark.hostile("P36")
async def test_cancelled_in_connect(autojump_clock: Clock) -> None:
    async def hang(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await trio.sleep_forever()

    calls: list[Callable[[FakeServer, AsyncExitStack], Awaitable[object]]] = [
        lambda server, stack: stack.enter_async_context(server.manager()),
        enter_with_hanging_auth,
        enter_without_an_answer,
    ]
    tasks = trio.lowlevel.current_statistics().tasks_living
    for call in calls:
        server = FakeServer(joins=False)
        with trio.move_on_after(0 if call is calls[0] else 1):
            async with AsyncExitStack() as stack:
                await call(server, stack)
        assert all(session.closed is not None for session in server.sessions)
        assert trio.lowlevel.current_statistics().tasks_living == tasks


async def enter_with_hanging_auth(server: FakeServer, stack: AsyncExitStack) -> None:
    manager = await stack.enter_async_context(server.manager())
    await stack.enter_async_context(manager.socket(auth=trio.sleep_forever))


async def enter_without_an_answer(server: FakeServer, stack: AsyncExitStack) -> None:
    manager = await stack.enter_async_context(server.manager())
    await stack.enter_async_context(manager.socket())


async def test_a_socket_that_is_left_while_the_connection_is_gone(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager() as manager:
        async with manager.socket() as socket:
            server.always_fails = ConnectFailed("nobody answers")
            server.session.lose()
            await trio.testing.wait_all_tasks_blocked()
            await socket.emit("never sent")
        assert trio.current_time() == 0
        await trio.sleep(1_000)
        # The delay had begun, and nobody was there to want it at its end.
        assert server.attempts == [0]


def test_infinity_is_any_number_of_attempts() -> None:
    assert Reconnection().attempts == math.inf


async def test_mistakes_are_found_before_anything_is_asked(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager() as manager:
        with pytest.raises(ConfigurationError):
            async with manager.socket("no slash"):
                pass
        assert not server.session.sent
