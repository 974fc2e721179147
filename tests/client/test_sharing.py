"""Several namespaces on one connection, and a connection that nobody wants any more."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.client.fake_session import FakeServer
from tests.client.watching import collect
from trio_sio.client.states import Lost, State
from trio_sio.errors import ConnectFailed

Clock = trio.testing.MockClock  # every time-out passes at once


async def test_nobody_wants_a_connection_so_there_is_none(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager() as manager:
        async with manager.socket():
            pass
        server.session.lose()
        await trio.sleep(1_000)
        assert server.attempts == [0]
        assert (manager.connected, manager.transport) == (False, None)
        async with manager.socket() as socket:
            assert socket.id == "id2"
            assert (manager.connected, manager.transport) == (True, "websocket")
        assert server.attempts == [0, 1_000]


async def test_who_enters_while_the_others_wait_hears_of_the_next_failure(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager() as manager, manager.socket() as socket:
        server.failures.extend([ConnectFailed("not yet"), ConnectFailed("not now")])
        server.session.lose()
        await trio.sleep(1.5)
        with pytest.raises(ConnectFailed, match="not now"):
            async with manager.socket("/other"):
                pass
        assert trio.current_time() == 3
        async with manager.socket("/other") as other:
            assert other.id == "id2"
        assert trio.current_time() == 7
        assert socket.connected


async def test_waiting_for_the_connection_has_a_limit(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager(connect_timeout=10) as manager, manager.socket() as socket:
        server.failures.extend([ConnectFailed("not yet")] * 4)
        server.session.lose()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ConnectFailed, match="was not joined within 10 seconds"):
            await socket.connect()
        assert trio.current_time() == 10
        await trio.sleep(10)
        assert socket.connected


async def test_a_server_that_does_not_answer_connect_any_more_is_left_and_tried_again(autojump_clock: Clock) -> None:
    server = FakeServer()
    seen: list[State] = []
    async with server.manager() as manager, manager.socket() as socket, trio.open_nursery() as nursery:
        await nursery.start(collect, socket, seen)
        server.joins = False
        server.session.lose()
        session = await server.wait_session(2)
        server.joins = True
        await server.wait_session(3)
        assert session.closed is not None
        assert session.closed.reason == "transport error"
        assert trio.current_time() == 1 + 20 + 2
        assert seen[4] == Lost("transport error", "the server did not answer CONNECT for namespace '/'")
        await socket.connect()
        await socket.disconnect()


# Several namespaces.


async def test_namespaces_share_a_connection(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager() as manager, manager.socket("/a") as one, manager.socket("/b") as other:
        await one.emit("x")
        await other.emit("y", b"z")
        server.session.deliver('2/b,["for b"]', '2/a,["for a"]')
        assert await one.once("for a") == ()
        assert await other.once("for b") == ()
        assert list(server.session.sent) == [
            "0/a,",
            "0/b,",
            '2/a,["x"]',
            '51-/b,["y",{"_placeholder":true,"num":0}]',
            b"z",
        ]


async def test_a_namespace_that_was_given_up_while_joining_is_left_as_soon_as_it_is_joined(autojump_clock: Clock) -> None:
    server = FakeServer(joins=False)
    async with server.manager() as manager:
        session = server.session
        with trio.move_on_after(1):
            async with manager.socket("/a"):
                pass
        assert list(session.sent) == ["0/a,"]

        async def join_again() -> None:
            async with manager.socket("/a") as socket:
                assert socket.id == "second"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(join_again)
            await trio.testing.wait_all_tasks_blocked()
            # A second CONNECT before the answer to the first would be an error.
            assert list(session.sent) == ["0/a,"]
            session.deliver('0/a,{"sid":"first"}', '2/a,["not for us"]')
            await trio.testing.wait_all_tasks_blocked()
            assert list(session.sent) == ["0/a,", "1/a,", "0/a,"]
            session.deliver('0/a,{"sid":"second"}')

        with trio.move_on_after(1):
            async with manager.socket("/b"):
                pass
        session.deliver('4/b,{"message":"no"}')
        await session.wait_read()
        assert not manager._connection._abandoned


async def test_what_was_given_up_on_a_connection_that_is_gone_can_be_joined_on_the_next(autojump_clock: Clock) -> None:
    server = FakeServer(joins=False)
    async with server.manager() as manager:
        with trio.move_on_after(1):
            async with manager.socket("/a"):
                pass
        server.joins = True
        server.session.lose()
        async with manager.socket("/a") as socket:
            assert socket.id == "id2"
