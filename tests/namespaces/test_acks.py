"""Acknowledgements in both directions."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from tests.namespaces.serving import Handler, open_namespaces
from tests.namespaces.standins import Standins
from trio_sio import Ack, Config, Disconnected, EncodeError, Limits, Server
from trio_sio.namespaces.socket import Socket
from trio_sio.protocol.socketio import Packet
from trio_sio.testing import open_test_server

Clock = trio.testing.MockClock  # every time-out passes at once


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ((), None),
        ((None,), None),
        ((0,), 0),
        (("",), ""),
        (([],), []),
        (([1, 2],), [1, 2]),
        (((b"\x00",)), b"\x00"),
        ((1, 2), (1, 2)),
        ((None, None), (None, None)),
    ],
)
async def test_emit_with_ack_returns_what_the_client_answers(answer: tuple[object, ...], value: object, autojump_clock: Clock) -> None:
    handler = Handler()
    async with open_namespaces(handler) as server, server.strict_client() as client:
        client.on("question", lambda *args: answer)

        assert await handler.socket.emit_with_ack("question", 1) == value
        assert not handler.socket._core.waiters._answers


async def test_a_client_that_does_not_answer_is_too_slow(autojump_clock: Clock) -> None:
    handler = Handler()
    async with open_namespaces(handler, Config(ack_timeout=7)) as server, server.strict_client():
        start = trio.current_time()
        with pytest.raises(trio.TooSlowError):
            await handler.socket.emit_with_ack("question")
        assert trio.current_time() == start + 7
        with pytest.raises(trio.TooSlowError):
            await handler.socket.emit_with_ack("question", timeout=2)
        assert trio.current_time() == start + 9

        assert not handler.socket._core.waiters._answers
        assert handler.socket.client.inbox._awaited == 0


async def test_a_socket_with_a_time_to_wait_gives_the_one_answer(autojump_clock: Clock) -> None:
    handler = Handler()
    async with open_namespaces(handler) as server, server.strict_client() as client:
        patient = handler.socket.timeout(2)
        client.on("question", lambda *args: args)
        assert await patient.emit_with_ack("question", 1) == 1
        assert await patient.emit_with_ack("question", 1, 2) == (1, 2)
        start = trio.current_time()
        with pytest.raises(trio.TooSlowError):
            await patient.emit_with_ack("another")
        assert trio.current_time() == start + 2


@pytest.mark.parametrize("seconds", [-1, math.nan])
async def test_nobody_can_wait_for_less_than_nothing(seconds: float) -> None:
    handler = Handler()
    async with open_namespaces(handler) as server, server.strict_client():
        namespace = handler.socket.namespace
        for timeout in (handler.socket.timeout, namespace.timeout, namespace.to("a").timeout):
            with pytest.raises(ValueError, match="must be a number of at least 0"):
                timeout(seconds)
        for ask in (namespace.fetch_sockets, namespace.to("a").count_sockets):
            with pytest.raises(ValueError, match="must be a number of at least 0"):
                await ask(timeout=seconds)


async def test_an_answer_that_comes_too_late_is_passed_over(autojump_clock: Clock) -> None:
    handler = Handler()

    async def think() -> str:
        await trio.sleep(5)
        return "late"

    async with open_namespaces(handler) as server, server.strict_client() as client:
        client.on("question", think)
        with pytest.raises(trio.TooSlowError):
            await handler.socket.emit_with_ack("question", timeout=2)
        await trio.sleep(10)
        client.on("question", lambda: "in time")

        assert await handler.socket.emit_with_ack("question") == "in time"


async def test_answers_find_their_questions_in_any_order(autojump_clock: Clock) -> None:
    handler, gates, answers = Handler(), [trio.Event() for _ in range(3)], dict[int, object]()

    async def answer(number: int) -> int:
        await gates[number].wait()
        return number * 10

    async def ask(number: int) -> None:
        answers[number] = await handler.socket.emit_with_ack("question", number)

    async with open_namespaces(handler) as server, server.strict_client() as client, trio.open_nursery() as nursery:
        client.on("question", answer)
        for number in range(3):
            nursery.start_soon(ask, number)
        for number in (2, 0, 1):
            gates[number].set()
            await trio.testing.wait_all_tasks_blocked()

        assert list(answers.items()) == [(2, 20), (0, 0), (1, 10)]


@pytest.mark.parametrize("how", ["client leaves", "connection breaks", "server disconnects"])
async def test_the_end_of_the_socket_ends_the_wait(how: str, autojump_clock: Clock) -> None:
    handler, errors = Handler(), list[str]()

    async def ask(socket: Socket) -> None:
        with pytest.raises(Disconnected) as raised:
            await socket.emit_with_ack("question", timeout=math.inf)
        errors.append(str(raised.value))

    async with open_namespaces(handler) as server, server.strict_client() as client, trio.open_nursery() as nursery:
        nursery.start_soon(ask, handler.socket)
        await trio.testing.wait_all_tasks_blocked()
        if how == "client leaves":
            await client.disconnect()
        elif how == "connection breaks":
            await client.connection.abort()
        else:
            await handler.socket.disconnect()
        await trio.testing.wait_all_tasks_blocked()

        assert errors == ["The socket was disconnected before the client answered."]
        assert not handler.socket._core.waiters._answers


async def test_nobody_is_asked_before_connect_or_after_the_end(autojump_clock: Clock) -> None:
    errors = list[str]()

    async def ask(socket: Socket) -> None:
        with pytest.raises(Disconnected) as raised:
            await socket.emit_with_ack("question")
        errors.append(str(raised.value))

    async def connect(socket: Socket, join: object) -> None:
        await ask(socket)
        assert callable(join)
        join()

    handler = Handler(connect=connect)
    async with open_namespaces(handler) as server, server.strict_client() as client:
        await client.disconnect()
        await trio.testing.wait_all_tasks_blocked()
        await ask(handler.socket)

    assert errors == ["The socket is not connected, so nobody can answer."] * 2


async def test_a_question_that_cannot_be_encoded_leaves_nothing(autojump_clock: Clock) -> None:
    handler = Handler()
    async with open_namespaces(handler) as server, server.strict_client() as client:
        with pytest.raises(EncodeError):
            await handler.socket.emit_with_ack("question", object())
        with pytest.raises(EncodeError):
            await handler.socket.emit_with_ack("disconnect")

        assert not handler.socket._core.waiters._answers
        assert client.pending == ()


async def test_a_cancelled_question_leaves_nothing(autojump_clock: Clock) -> None:
    handler = Handler()
    async with open_namespaces(handler) as server, server.strict_client(), trio.open_nursery() as nursery:
        nursery.start_soon(handler.socket.emit_with_ack, "question")
        await trio.testing.wait_all_tasks_blocked()
        assert handler.socket._core.waiters._answers
        nursery.cancel_scope.cancel()

    assert not handler.socket._core.waiters._answers
    assert handler.socket.client.inbox._awaited == 0


async def test_a_handler_may_ask_the_client_whose_event_it_handles(autojump_clock: Clock) -> None:
    async def receive(socket: Socket, packet: Packet) -> None:
        assert packet.id is not None
        await socket._core.answer(packet.id, [await socket.emit_with_ack("back", packet.data[1])])

    async with open_namespaces(Handler(receive)) as server, server.strict_client() as client:
        client.on("back", lambda number: number + 1)

        assert await client.emit_with_ack("ask", 1) == 2


# What a handler answers with.


async def test_an_ack_may_be_given_later_and_only_the_first_time_counts(autojump_clock: Clock) -> None:
    acks = list[Ack]()

    async def receive(socket: Socket, packet: Packet) -> None:
        acks.append(Ack(socket._core, packet.id))

    async def answer() -> None:
        await trio.testing.wait_all_tasks_blocked()
        assert (acks[0].wanted, acks[0].answered) == (True, False)
        await acks[0]("first", 1)
        assert acks[0].answered
        await acks[0]("second")

    async with open_namespaces(Handler(receive)) as server, server.strict_client() as client, trio.open_nursery() as nursery:
        nursery.start_soon(answer)

        assert await client.emit_with_ack("x") == ("first", 1)


@pytest.fixture
async def waiting_ack() -> tuple[Ack, Standins]:
    """An ack for a socket whose outbox is full."""
    standins = Standins(1)
    standins.fill(0)
    return Ack(standins.sockets[0]._core, 7), standins


def acknowledgements(standins: Standins) -> list[bytes]:
    """Take everything out of the outbox, and who waits for room with it."""
    packets = []
    while taken := standins.sockets[0].outbox.take(1):
        packets += [packet.text for packet in taken if packet.text]
    return packets


async def test_a_second_ack_while_the_first_waits_for_room_does_not_count(waiting_ack: tuple[Ack, Standins]) -> None:
    ack, standins = waiting_ack
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ack, "first")
        await trio.testing.wait_all_tasks_blocked()
        assert ack.answered
        await ack("second")

        assert acknowledgements(standins) == [b'437["first"]']


async def test_an_ack_that_was_cancelled_while_it_waited_can_be_given_again(waiting_ack: tuple[Ack, Standins]) -> None:
    ack, standins = waiting_ack
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ack, "first")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert not ack.answered
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ack, "second")
        await trio.testing.wait_all_tasks_blocked()

        assert acknowledgements(standins) == [b'437["second"]']


async def test_an_ack_that_nobody_wants_sends_nothing(autojump_clock: Clock) -> None:
    async def receive(socket: Socket, packet: Packet) -> None:
        ack = Ack(socket._core, packet.id)
        assert not ack.wanted
        await ack("unwanted")
        assert not ack.answered

    handler = Handler(receive)
    async with open_namespaces(handler) as server, server.strict_client() as client:
        await client.emit("x")
        await trio.testing.wait_all_tasks_blocked()

        assert handler.events == [["x"]]
        assert client.connected  # the test client does not put up with acks that it did not ask for


async def test_an_ack_that_cannot_be_encoded_can_be_given_again(autojump_clock: Clock) -> None:
    async def receive(socket: Socket, packet: Packet) -> None:
        ack = Ack(socket._core, packet.id)
        with pytest.raises(EncodeError):
            await ack(object())
        assert not ack.answered
        await ack("better")

    async with open_namespaces(Handler(receive)) as server, server.strict_client() as client:
        assert await client.emit_with_ack("x") == "better"


async def test_an_answer_waits_for_room_and_is_not_lost(autojump_clock: Clock) -> None:
    server = Server(config=Config(limits=Limits(outbox_packets=4)))

    @server.on("fill")
    async def fill(socket: Socket) -> str:
        with pytest.raises(trio.WouldBlock):
            while True:
                socket.emit_nowait("filler")
        return "the answer"

    async with open_test_server(server) as in_memory, in_memory.strict_client() as client:
        assert await client.emit_with_ack("fill", timeout=5) == "the answer"
        assert [event.name for event in client.pending] == ["filler"] * 4


async def test_an_ack_for_somebody_who_has_left_goes_nowhere(autojump_clock: Clock) -> None:
    acks = list[Ack]()

    async def receive(socket: Socket, packet: Packet) -> None:
        acks.append(Ack(socket._core, packet.id))

    async with open_namespaces(Handler(receive)) as server, server.strict_client() as client:
        await client.connection.send('420["x"]')
        await client.disconnect()
        await trio.testing.wait_all_tasks_blocked()
        await acks[0]("late")
        await trio.testing.wait_all_tasks_blocked()

        assert client.connection.close_code is None
