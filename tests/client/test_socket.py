"""One namespace of a client: sending, acknowledgements of the server, retries; on sessions without a wire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
import trio.testing

from tests.client.connecting import Background, connected, gone, start
from trio_sio.client import sending
from trio_sio.errors import ConnectFailed, Disconnected, EncodeError

Clock = trio.testing.MockClock  # every time-out passes at once


# Sending.


async def test_emitting(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        await socket.emit("a", 1, {"b": [2]})
        socket.emit_nowait("c")
        await socket.send("hello")
        await socket.emit("bytes", b"x")

        assert [await session.next_sent() for _ in range(3)] == ['2["a",1,{"b":[2]}]', '2["c"]', '2["message","hello"]']
        assert [await session.next_sent() for _ in range(2)] == ['51-["bytes",{"_placeholder":true,"num":0}]', b"x"]


@pytest.mark.parametrize(("event", "argument"), [("connect", 1), ("disconnect", 1), ("a", {1, 2}), ("a", object())])
async def test_what_cannot_be_sent_raises_where_it_is_given(event: str, argument: object, autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        calls: list[Callable[[], Awaitable[object]]] = [
            partial(socket.emit, event, argument),
            partial(socket.emit_with_ack, event, argument),
            partial(socket.volatile().emit, event, argument),
        ]
        for call in calls:
            with pytest.raises(EncodeError):
                await call()
        with pytest.raises(EncodeError):
            socket.emit_nowait(event, argument)
        assert not session.sent
        assert not socket._core.waiters.unanswered


async def test_emitting_is_a_checkpoint(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        with trio.testing.assert_checkpoints():
            await socket.emit("a")
        with trio.testing.assert_checkpoints():
            await socket.volatile().emit("a")
        with trio.move_on_after(0):
            await socket.emit("b")
        assert list(session.sent) == ['2["a"]', '2["a"]']


async def test_what_is_emitted_offline_leaves_in_order_after_the_next_connect(autojump_clock: Clock) -> None:
    async with connected() as (socket, server, _):
        await gone(socket, server)
        for number in range(5):
            await socket.emit("a", number)
        socket.emit_nowait("b")

        again = await server.wait_session(2)
        assert [await again.next_sent() for _ in range(7)] == ["0", *(f'2["a",{number}]' for number in range(5)), '2["b"]']
        assert trio.current_time() == 1


async def test_what_a_session_has_taken_is_not_sent_twice(autojump_clock: Clock) -> None:
    async with connected() as (socket, server, session):
        session.take_room(1)
        await socket.emit("taken")
        await socket.emit("waiting")
        await socket.emit("behind it")
        await gone(socket, server)

        assert list(session.sent) == ['2["taken"]']
        again = await server.wait_session(2)
        assert [await again.next_sent() for _ in range(3)] == ["0", '2["waiting"]', '2["behind it"]']


async def test_nothing_overtakes_what_waits_for_a_full_session(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        session.take_room(0)
        await socket.emit("a", 0)
        socket.emit_nowait("a", 1)
        session.take_room(1)
        await socket.emit("a", 2)
        session.take_room(10)
        await socket.emit("a", 3)

        assert [await session.next_sent() for _ in range(4)] == [f'2["a",{number}]' for number in range(4)]


async def test_what_the_server_would_not_take_raises_where_it_is_emitted(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        session.takes = 20
        large = "x" * 20
        for attempt in (socket.emit, socket.emit_with_ack, socket.volatile().emit):
            with pytest.raises(EncodeError, match="more than the server takes"):
                await attempt("a", large)
        with pytest.raises(EncodeError):
            socket.emit_nowait("a", large)
        socket.on("b", lambda: large)
        session.deliver('27["b"]')
        await session.wait_read()
        await socket.emit("a")

        assert list(session.sent) == ['2["a"]']


async def test_what_was_emitted_before_a_server_said_how_much_it_takes_is_dropped_then(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected() as (socket, server, _), trio.open_nursery() as nursery:
        await gone(socket, server)
        await socket.emit("a", "x" * 2_000_000)
        question = await start(nursery, partial(socket.emit_with_ack, "a", "x" * 2_000_000))
        await socket.emit("b")

        again = await server.wait_session(2)
        assert [await again.next_sent() for _ in range(2)] == ["0", '2["b"]']
        await question.done.wait()
        assert isinstance(question.error, Disconnected)
        assert caplog.text.count("is dropped: more than the server takes") == 2
        assert socket.connected


async def test_a_full_buffer_makes_emit_wait_and_emit_nowait_raise(autojump_clock: Clock) -> None:
    async with connected() as (socket, server, _):
        await gone(socket, server)
        for number in range(sending.PACKETS):
            socket.emit_nowait("a", number)
        with pytest.raises(trio.WouldBlock):
            socket.emit_nowait("a")
        async with trio.open_nursery() as nursery:
            emit = await start(nursery, partial(socket.emit, "a", sending.PACKETS))
            assert not emit.done.is_set()
            with trio.move_on_after(0.5) as scope:
                await socket.emit("never")
            assert scope.cancelled_caught

            again = await server.wait_session(2)
            await emit.done.wait()
        assert emit.error is None
        sent = [await again.next_sent() for _ in range(sending.PACKETS + 2)]
        assert sent[1:] == [f'2["a",{number}]' for number in range(sending.PACKETS + 1)]
        assert not again.sent


async def test_who_waits_for_room_hears_that_the_socket_ended(autojump_clock: Clock) -> None:
    async with connected() as (socket, server, _):
        await gone(socket, server)
        socket.emit_nowait("a", b"x" * sending.BYTES)
        async with trio.open_nursery() as nursery:
            emit = await start(nursery, partial(socket.emit, "a", b"x"))
            await socket.disconnect()
        assert isinstance(emit.error, Disconnected)


async def test_volatile_is_now_or_never(autojump_clock: Clock) -> None:
    async with connected() as (socket, server, session):
        await socket.volatile().emit("a")
        await socket.volatile().send("b")
        assert [await session.next_sent() for _ in range(2)] == ['2["a"]', '2["message","b"]']

        session.take_room(0)
        await socket.volatile().emit("full")
        await gone(socket, server)
        socket.volatile().emit_nowait("offline")

        assert socket.volatile_dropped == 2
        again = await server.wait_session(2)
        await socket.connect()
        assert list(again.sent) == ["0"]


# Acknowledgements of the server.


@pytest.mark.parametrize(("answer", "result"), [("[]", None), ("[null]", None), ("[0]", 0), ("[1,2]", (1, 2)), ("[[1,2]]", [1, 2])])
async def test_what_the_server_acknowledges(answer: str, result: object, autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session), trio.open_nursery() as nursery:
        background = await start(nursery, partial(socket.emit_with_ack, "a", 1))
        assert await session.next_sent() == '20["a",1]'
        session.deliver("30" + answer)
        await background.done.wait()
        assert background.result == result


async def test_acknowledgements_find_their_questions_in_any_order(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session), trio.open_nursery() as nursery:
        first = await start(nursery, partial(socket.emit_with_ack, "a"))
        second = await start(nursery, partial(socket.send_with_ack, "b"))
        assert [await session.next_sent() for _ in range(2)] == ['20["a"]', '21["message","b"]']
        session.deliver('31["second"]', '31["again"]', '39["unknown"]', '30["first"]', '3["without an id"]')
        await first.done.wait()
        await second.done.wait()
        assert (first.result, second.result) == ("first", "second")
        assert not socket._core.waiters.unanswered


async def test_an_acknowledgement_that_does_not_come(autojump_clock: Clock) -> None:
    async with connected(ack_timeout=7) as (socket, _, session):
        with pytest.raises(trio.TooSlowError):
            await socket.emit_with_ack("a")
        assert trio.current_time() == 7
        with pytest.raises(trio.TooSlowError):
            await socket.emit_with_ack("a", timeout=2)
        assert trio.current_time() == 9
        session.deliver('30["late"]')
        await session.wait_read()
        assert socket.connected


async def test_a_lost_connection_fails_what_left_on_it_at_once_and_nothing_else(autojump_clock: Clock) -> None:
    async with connected() as (socket, server, session), trio.open_nursery() as nursery:
        session.take_room(1)
        left = await start(nursery, partial(socket.emit_with_ack, "left"))
        waiting = await start(nursery, partial(socket.emit_with_ack, "waiting"))
        await gone(socket, server)
        offline = await start(nursery, partial(socket.emit_with_ack, "offline"))

        assert isinstance(left.error, Disconnected)
        assert trio.current_time() == 0
        again = await server.wait_session(2)
        assert [await again.next_sent() for _ in range(3)] == ["0", '21["waiting"]', '22["offline"]']
        again.deliver("31[1]", "32[2]")
        await waiting.done.wait()
        await offline.done.wait()
        assert (waiting.result, offline.result) == (1, 2)


async def test_a_lost_connection_also_fails_what_had_to_wait_before_it_left(autojump_clock: Clock) -> None:
    async with connected() as (socket, server, session), trio.open_nursery() as nursery:
        session.take_room(0)
        background = await start(nursery, partial(socket.emit_with_ack, "a"))
        session.take_room(1)
        assert await session.next_sent() == '20["a"]'
        await gone(socket, server)
        assert isinstance(background.error, Disconnected)
        assert trio.current_time() == 0


async def test_a_question_that_was_given_up_offline_does_not_leave(autojump_clock: Clock) -> None:
    async with connected() as (socket, server, _):
        await gone(socket, server)
        with pytest.raises(trio.TooSlowError):
            await socket.emit_with_ack("a", timeout=0.5)
        with trio.move_on_after(0.25):
            await socket.emit_with_ack("b")
        await socket.emit("c")

        again = await server.wait_session(2)
        await socket.connect()
        await trio.testing.wait_all_tasks_blocked()
        assert list(again.sent) == ["0", '2["c"]']


async def test_questions_that_were_given_up_take_no_room(autojump_clock: Clock) -> None:
    async with connected(ack_timeout=3) as (socket, server, _), trio.open_nursery() as nursery:
        await gone(socket, server)
        server.always_fails = ConnectFailed("no")
        questions = [Background() for _ in range(sending.PACKETS)]
        for question in questions:
            nursery.start_soon(question.run, partial(socket.emit_with_ack, "a"))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.WouldBlock):
            socket.emit_nowait("b")
        for question in questions:
            await question.done.wait()
        assert {type(question.error) for question in questions} == {trio.TooSlowError}
        socket.emit_nowait("b")
        assert len(socket._sender.outbox) == 1
        nursery.cancel_scope.cancel()


# Retries.


async def test_retries_have_one_packet_in_flight_in_order(autojump_clock: Clock) -> None:
    async with connected(retries=3) as (socket, _, session), trio.open_nursery() as nursery:
        emits = [await start(nursery, partial(socket.emit, "a", number)) for number in range(3)]
        for number in range(3):
            assert list(session.sent) == [f'2{number}["a",{number}]']
            assert not emits[number].done.is_set()
            await session.next_sent()
            session.deliver(f"3{number}[]")
            await emits[number].done.wait()
            await trio.testing.wait_all_tasks_blocked()
        assert [emit.error for emit in emits] == [None] * 3


async def test_retries_are_counted(autojump_clock: Clock) -> None:
    async with connected(retries=2, ack_timeout=10) as (socket, _, session):
        with pytest.raises(trio.TooSlowError):
            await socket.emit("a")
        assert trio.current_time() == 30
        assert list(session.sent) == ['20["a"]', '21["a"]', '22["a"]']


async def test_no_retry_is_one_try(autojump_clock: Clock) -> None:
    async with connected(retries=0, ack_timeout=10) as (socket, server, session):
        with pytest.raises(trio.TooSlowError):
            await socket.emit_with_ack("a", timeout=3)
        assert trio.current_time() == 3
        assert list(session.sent) == ['20["a"]']
        async with trio.open_nursery() as nursery:
            emit = await start(nursery, partial(socket.emit, "b"))
            await gone(socket, server)
            assert isinstance(emit.error, Disconnected)


async def test_an_answer_to_a_retry_is_the_answer(autojump_clock: Clock) -> None:
    async with connected(retries=2, ack_timeout=10) as (socket, _, session), trio.open_nursery() as nursery:
        background = await start(nursery, partial(socket.emit_with_ack, "a"))
        await trio.sleep(15)
        assert list(session.sent) == ['20["a"]', '21["a"]']
        session.deliver('30["to the first try, too late"]', '31["to the second"]')
        await background.done.wait()
        assert background.result == "to the second"


async def test_a_lost_connection_is_a_try_and_the_next_one_waits_for_the_connection(autojump_clock: Clock) -> None:
    async with connected(retries=1, ack_timeout=10) as (socket, server, session), trio.open_nursery() as nursery:
        background = await start(nursery, partial(socket.emit_with_ack, "a"))
        assert await session.next_sent() == '20["a"]'
        server.failures.extend([ConnectFailed("no")] * 4)
        await gone(socket, server)

        again = await server.wait_session(2)
        # It took longer than the time to answer, which had not begun.
        assert trio.current_time() > 10
        assert [await again.next_sent() for _ in range(2)] == ["0", '21["a"]']
        again.deliver('31["ok"]')
        await background.done.wait()
        assert background.result == "ok"


async def test_retries_end_with_the_socket(autojump_clock: Clock) -> None:
    async with connected(retries=100) as (socket, server, _), trio.open_nursery() as nursery:
        emits = [await start(nursery, partial(socket.emit, "a")) for _ in range(2)]
        server.session.deliver("1")
        for emit in emits:
            await emit.done.wait()
            assert isinstance(emit.error, Disconnected)


async def test_retries_do_not_reach_into_the_next_life_of_the_socket(autojump_clock: Clock) -> None:
    async with connected(retries=100) as (socket, _, session), trio.open_nursery() as nursery:
        calls = [await start(nursery, lambda: socket.emit("a")) for _ in range(3)]

        async def come_back() -> None:
            await socket.closed()
            await socket.connect()

        back = await start(nursery, come_back)
        session.deliver("1")
        await back.done.wait()
        await trio.testing.wait_all_tasks_blocked()

        assert [type(call.error) for call in calls] == [Disconnected] * 3
        assert list(session.sent) == ['20["a"]', "0"]


async def test_with_retries_emit_nowait_would_always_have_to_wait_and_volatile_never(autojump_clock: Clock) -> None:
    async with connected(retries=1) as (socket, _, session):
        with pytest.raises(trio.WouldBlock):
            socket.emit_nowait("a")
        await socket.volatile().emit("b")
        assert list(session.sent) == ['2["b"]']
