"""A client that comes back says who it was, and gets what it missed."""

from __future__ import annotations

import trio
import trio.testing

from tests.client.fake_session import FakeServer
from trio_sio.client.events import EVENTS

Clock = trio.testing.MockClock  # every time-out passes at once


async def test_recovery(autojump_clock: Clock) -> None:
    server = FakeServer(joins=False)
    async with server.manager() as manager:
        server.session.answers = ('0{"sid":"s","pid":"p"}',)
        async with manager.socket(auth={"token": 1}) as socket:
            assert not socket.recovered
            server.session.deliver('2["a","o1"]', '51-["c",{"_placeholder":true,"num":0},"o2"]', b"x", '2["b",1]', '27["ack","no offset"]')
            await server.session.wait_read()
            server.session.lose()

            session = await server.wait_session(2)
            assert await session.next_sent() == '0{"pid":"p","offset":"o2","token":1}'
            # What was missed comes before the answer.
            session.deliver('2["missed","o3"]', '0{"sid":"s","pid":"p"}')
            await socket.connect()
            assert (socket.id, socket.recovered) == ("s", True)
            assert await socket.once("missed") == ("o3",)
            session.lose()

            session = await server.wait_session(3)
            assert await session.next_sent() == '0{"pid":"p","offset":"o3","token":1}'
            session.deliver('0{"sid":"other","pid":"q"}')
            await socket.connect()
            assert (socket.id, socket.recovered) == ("other", False)
            session.lose()

            # The old offset means nothing to the new pid, which goes alone, as nothing has come with it yet.
            session = await server.wait_session(4)
            assert await session.next_sent() == '0{"pid":"q","token":1}'


async def test_who_is_cut_before_the_first_event_comes_back(autojump_clock: Clock) -> None:
    server = FakeServer(joins=False)
    async with server.manager() as manager:
        server.session.answers = ('0{"sid":"s","pid":"p"}',)
        async with manager.socket() as socket:
            for number in (2, 3):
                server.session.lose()
                session = await server.wait_session(number)
                assert await session.next_sent() == '0{"pid":"p"}'
                session.deliver('0{"sid":"s","pid":"p"}')
                await socket.connect()
                assert (socket.id, socket.recovered) == ("s", True)


async def test_more_was_missed_than_may_wait_for_a_handler(autojump_clock: Clock) -> None:
    """The answer to CONNECT comes behind it."""
    server = FakeServer(joins=False)
    async with server.manager() as manager:
        server.session.answers = (*['2["a"]'] * (EVENTS * 2), '0{"sid":"s"}')
        async with manager.socket() as socket:
            assert len(socket.pending) == EVENTS
            socket.on("a", trio.sleep_forever)
            server.session.lose()
            again = await server.wait_session(2)
            assert await again.next_sent() == "0"
            again.deliver(*['2["a"]'] * (EVENTS * 2), '0{"sid":"t"}')
            await socket.connect()
            assert socket.id == "t"


async def test_no_pid_no_recovery(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager() as manager, manager.socket() as socket:
        server.session.deliver('2["a","text"]')
        await server.session.wait_read()
        server.session.lose()
        await socket.once("a")
        session = await server.wait_session(2)
        assert await session.next_sent() == "0"
