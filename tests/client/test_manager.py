"""One connection after another: when a client comes back, when it does not, and what it tells."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial

import pytest
import trio
import trio.testing

from tests.client.connecting import start
from tests.client.fake_session import FakeServer, FakeSession
from trio_sio.client.events import EVENTS
from trio_sio.client.reconnection import Reconnection
from trio_sio.client.socket import ClientSocket
from trio_sio.client.states import Connected, Connecting, Ended, Lost, State, Upgraded, Waiting
from trio_sio.errors import ConfigurationError, ConnectFailed, ConnectionRefused, Disconnected, EncodeError

Clock = trio.testing.MockClock  # every time-out passes at once

LOST = Lost("transport close", "the network is gone")


async def collect(socket: ClientSocket, seen: list[State], task_status: trio.TaskStatus[None]) -> None:
    async with socket.states() as states:
        task_status.started()
        async for state in states:
            seen.append(state)  # noqa: PERF401  # one by one: tests look before it ends


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


# Credentials.


async def test_credentials_are_asked_for_each_time(autojump_clock: Clock) -> None:
    asked = 0

    def count() -> dict[str, object]:
        nonlocal asked
        asked += 1
        return {"asked": asked}

    async def count_async() -> dict[str, object]:
        await trio.sleep(1)
        return count()

    for auth, expected in ((count, [1, 2]), (count_async, [3, 4]), ({"token": 1}, None), (lambda: None, None)):
        server = FakeServer()
        async with server.manager() as manager, manager.socket(auth=auth) as socket:
            server.session.lose()
            await server.wait_session(2)
            await socket.connect()
        if expected is not None:
            sent = [f'0{{"asked":{number}}}' for number in expected]
        else:
            sent = ['0{"token":1}'] * 2 if isinstance(auth, dict) else ["0", "0"]
        assert [session.sent[0] for session in server.sessions] == sent


async def test_credentials_that_cannot_be_had_raise_at_first_and_end_the_socket_later(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    failing = True

    async def auth() -> Mapping[str, object] | None:
        if failing:
            raise KeyError("token")
        return None

    server = FakeServer()
    async with server.manager() as manager:
        with pytest.raises(KeyError):
            async with manager.socket(auth=auth):
                pass
        with pytest.raises(EncodeError):
            async with manager.socket(auth={"bytes": b""}):
                pass
        assert not caplog.records
        failing = False
        async with manager.socket(auth=auth) as socket:
            failing = True
            server.session.lose()
            ended = await socket.closed()
            assert isinstance(ended.error, KeyError)
            assert [record.levelname for record in caplog.records if record.exc_info] == ["ERROR"]


async def test_a_function_for_credentials_that_hangs_does_not_hold_up_the_others(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager() as manager, manager.socket("/other") as other:
        with pytest.raises(ConnectFailed):
            async with manager.socket(auth=trio.sleep_forever):
                pass
        server.session.deliver('2/other,["a"]')
        assert await other.once("a") == ()


async def test_credentials_for_a_connection_that_is_gone_are_not_waited_for(autojump_clock: Clock) -> None:
    asked = 0

    async def auth() -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            await trio.sleep_forever()

    server = FakeServer()
    async with server.manager() as manager, manager.socket(auth=auth) as socket:
        server.session.lose()
        again = await server.wait_session(2)
        await trio.testing.wait_all_tasks_blocked()
        again.lose()
        await server.wait_session(3)
        await socket.connect()
        assert (socket.id, trio.current_time()) == ("id3", 1 + 2)


# Recovery.


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
