"""The first connection of a socket, which works or raises, and what comes on any that makes no sense."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.client.fake_session import FakeServer
from tests.client.watching import collect
from trio_sio.client.states import Lost, State
from trio_sio.errors import ConnectFailed, ConnectionRefused

Clock = trio.testing.MockClock  # every time-out passes at once


# The first connection.


async def test_a_first_connection_that_fails_raises_and_is_not_tried_again(autojump_clock: Clock) -> None:
    server = FakeServer()
    server.always_fails = ConnectFailed("nobody answers")
    with pytest.raises(ConnectFailed, match="nobody answers"):
        async with server.manager():
            pass
    assert server.attempts == [0]


async def test_a_refusal_raises_with_message_and_data(autojump_clock: Clock) -> None:
    server = FakeServer(joins=False)
    async with server.manager() as manager:
        server.session.answers = ('4{"message":"bad token","data":{"code":4001}}',)
        with pytest.raises(ConnectionRefused) as raised:
            async with manager.socket():
                pass
        assert (raised.value.message, raised.value.data) == ("bad token", {"code": 4001})
        # The connection is still good for others.
        server.session.joins = True
        async with manager.socket("/other") as other:
            assert other.connected


@pytest.mark.parametrize(("payload", "message"), [('"plain text"', "plain text"), ('{"no":"message"}', "Connection refused")])
async def test_a_refusal_in_another_form(payload: str, message: str, autojump_clock: Clock) -> None:
    server = FakeServer(joins=False)
    async with server.manager() as manager:
        server.session.answers = (f"4{payload}",)
        with pytest.raises(ConnectionRefused, match=f"^{message}$"):
            async with manager.socket():
                pass


async def test_a_server_that_does_not_answer_connect(autojump_clock: Clock) -> None:
    server = FakeServer(joins=False)
    async with server.manager(connect_timeout=7) as manager:
        with pytest.raises(ConnectFailed, match=r"^Namespace '/chat' was not joined within 7 seconds\.$"):
            async with manager.socket("/chat"):
                pass
        assert trio.current_time() == 7


async def test_a_connection_that_is_lost_while_joining_for_the_first_time(autojump_clock: Clock) -> None:
    server = FakeServer(joins=False)
    async with server.manager() as manager:

        async def lose() -> None:
            await server.session.next_sent()
            server.session.lose("ping timeout", "no ping came")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lose)
            with pytest.raises(ConnectFailed, match=r"was lost before namespace '/' was joined: no ping came\.$"):
                async with manager.socket():
                    pass
        await trio.sleep(100)
        assert len(server.attempts) == 1


# Servers that lie (P34).


@pytest.mark.parametrize(
    "message",
    ["0", "0[]", '0{"sid":5}', '0{"sid":""}', "9", '2["connect"]', '51-["a",{"_placeholder":true,"num":3}]', b"nobody announced it"],
)
@pytest.mark.hostile("P34")
async def test_what_is_no_packet_fails_the_first_connection(message: str | bytes, autojump_clock: Clock) -> None:
    server = FakeServer(joins=False)
    async with server.manager() as manager:
        server.session.answers = (message,)
        with pytest.raises(ConnectFailed):
            async with manager.socket():
                pass
        assert server.session.closed is not None
        assert server.session.closed.reason == "parse error"


@pytest.mark.hostile("P34")
async def test_what_is_no_packet_is_a_loss_later(autojump_clock: Clock) -> None:
    server = FakeServer()
    seen: list[State] = []
    async with server.manager() as manager, manager.socket() as socket, trio.open_nursery() as nursery:
        await nursery.start(collect, socket, seen)
        for message in ("9", '0{"sid":"again"}', '4{"message":"too late"}'):
            session = server.session
            session.deliver(message, '2["never seen"]')
            await trio.testing.wait_all_tasks_blocked()
            assert not socket.connected
            await socket.connect()
        assert [state.reason for state in seen if isinstance(state, Lost)] == ["parse error"] * 3
        assert socket.pending == ()
        await socket.disconnect()


@pytest.mark.hostile("P34")
async def test_packets_for_other_namespaces_are_ignored(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager() as manager, manager.socket() as socket:
        server.session.deliver('0/other,{"sid":"x"}', '2/other,["a"]', '4/other,{"message":"no"}', "1/other,", "3/other,1[]", '2["mine"]')
        assert await socket.once("mine") == ()
        assert socket.connected
        assert list(server.session.sent) == ["0"]


async def test_what_comes_after_goodbye_is_ignored(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager() as manager, manager.socket() as socket, manager.socket("/other") as other:
        await socket.disconnect()
        server.session.deliver('2["late"]', '31["late"]', "1", '0{"sid":"late"}', '2/other,["a"]')
        await other.once("a")
        assert (socket.connected, socket.pending) == (False, ())
