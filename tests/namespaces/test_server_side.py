"""Events between servers: through an adapter that connects the namespaces of several servers in one process."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from functools import partial

import pytest
import trio
import trio.testing

from trio_sio import AckTimeout, BroadcastAnswers, Config, EncodeError, Namespace, RouteError, Server
from trio_sio.namespaces import server_side
from trio_sio.namespaces.adapter import InMemoryAdapter

Clock = trio.testing.MockClock


class Bus(InMemoryAdapter):
    """Hands server-side events to the same namespace of all other servers on the bus."""

    def __init__(self, namespace: Namespace, members: list[Namespace]) -> None:
        super().__init__(namespace)
        self._members_of_bus = members
        members.append(namespace)

    def server_side_emit(self, event: Sequence[object], answers: BroadcastAnswers | None) -> None:
        super().server_side_emit(event, answers)
        for other in self._members_of_bus:
            if other is self._namespace or other.name != self._namespace.name:
                continue
            if answers is not None:
                answers.expect(1)
            reply = None if answers is None else partial(answers.arrive, None)
            other.server_side_event(str(event[0]), event[1:], reply)


def cluster(count: int) -> list[Server]:
    members: list[Namespace] = []
    return [Server(adapter=partial(Bus, members=members)) for _ in range(count)]


async def test_the_others_hear_it_and_oneself_does_not() -> None:
    servers, heard = cluster(3), list[tuple[object, ...]]()
    for number, server in enumerate(servers):

        @server.on_server_side_emit("reload")
        def reload(*args: object, number: int = number) -> None:
            heard.append((number, *args))

    servers[1].of("/chat").on_server_side_emit("reload")(lambda: heard.append(("another namespace",)))
    await servers[0].server_side_emit("reload", "config", 1)

    assert heard == [(1, "config", 1), (2, "config", 1)]


async def test_what_they_return_are_the_answers() -> None:
    first, second, third = (server.of("/chat") for server in cluster(3))
    second.on_server_side_emit("count")(lambda n: n + 1)
    third.on_server_side_emit("count")(lambda n: ("two", "values"))

    assert await first.server_side_emit_with_ack("count", 1) == [2, ("two", "values")]


async def test_who_does_not_answer_in_time_is_left_out(autojump_clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise LookupError("a mistake of the application")

    first, second, third, _ = cluster(4)
    second.on_server_side_emit("count")(lambda: "here")
    third.on_server_side_emit("count")(fail)
    start = trio.current_time()
    with caplog.at_level(logging.ERROR), pytest.raises(AckTimeout) as raised:
        await first.server_side_emit_with_ack("count", timeout=3)

    assert trio.current_time() == start + 3
    assert (raised.value.responses, raised.value.missing) == (["here"], [])
    assert caplog.messages == ["The function for server-side event 'count' in namespace '/' failed."]
    with pytest.raises(AckTimeout):
        await first.server_side_emit_with_ack("count")
    assert trio.current_time() == start + 3 + Config().ack_timeout


async def test_one_server_alone_has_its_answer_at_once(autojump_clock: Clock) -> None:
    server, start = Server(), trio.current_time()
    server.on_server_side_emit("count")(lambda: pytest.fail("It must not hear itself."))

    await server.server_side_emit("count")
    assert await server.server_side_emit_with_ack("count") == []
    assert trio.current_time() == start


@pytest.mark.parametrize("event", ["connect", "connection", "new_namespace", 5])
async def test_names_that_mean_something_else_are_refused(event: str) -> None:
    server = Server()
    with pytest.raises(EncodeError):
        await server.server_side_emit(event)
    with pytest.raises(EncodeError):
        await server.server_side_emit_with_ack(event)
    with pytest.raises(EncodeError):
        server.on_server_side_emit(event)


async def test_what_cannot_be_sent_is_refused_also_where_there_is_nobody_to_send_it_to() -> None:
    heard = list[object]()
    for server, other in (cluster(2), [Server(), Server()]):
        other.on_server_side_emit("x")(heard.append)
        with pytest.raises(EncodeError):
            await server.server_side_emit("x", object())
        with pytest.raises(EncodeError):
            await server.server_side_emit_with_ack("x", {1, 2})

    assert heard == []


def test_only_one_function_can_answer() -> None:
    server = Server()
    server.on_server_side_emit("x")(lambda: 1)
    with pytest.raises(RouteError, match="has a function for the server-side event 'x' already"):
        server.on_server_side_emit("x")(lambda: 2)


async def test_it_may_be_async_and_answers_when_it_is_done(autojump_clock: Clock) -> None:
    servers, start = cluster(3), trio.current_time()

    @servers[1].on_server_side_emit("count")
    async def slow(n: int) -> int:
        await trio.sleep(2)
        return n + 1

    servers[2].on_server_side_emit("count")(lambda n: slow(n + 10))  # and a plain function may return such a thing
    async with servers[0], servers[1], servers[2]:
        assert sorted(map(str, await servers[0].server_side_emit_with_ack("count", 1))) == ["12", "2"]
        assert trio.current_time() == start + 2


@pytest.mark.parametrize(("timeout", "limit"), [(None, Config().ack_timeout), (3, 3)])
async def test_an_async_one_that_takes_too_long_or_fails_answers_nothing(
    timeout: float | None, limit: float, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third = cluster(3)
    ended = list[float]()

    @second.on_server_side_emit("x", timeout=timeout)
    async def sleep() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    @third.on_server_side_emit("x")
    async def fail() -> None:
        raise LookupError("a mistake of the application")

    async with first, second, third:
        start = trio.current_time()
        with pytest.raises(AckTimeout):
            await first.server_side_emit_with_ack("x", timeout=limit + 1)
        assert ended == [start + limit]
        assert caplog.messages == [
            "The function for server-side event 'x' in namespace '/' failed.",
            "The function for server-side event 'x' in namespace '/' took too long.",
        ]


async def test_async_ones_end_with_their_server(autojump_clock: Clock) -> None:
    first, second = cluster(2)
    state = list[str]()

    @second.on_server_side_emit("x")
    async def sleep() -> None:
        state.append("begun")
        try:
            await trio.sleep_forever()
        finally:
            state.append("ended")

    async with first:
        async with second:
            await first.server_side_emit("x")
            await trio.testing.wait_all_tasks_blocked()
            assert state == ["begun"]
        assert state == ["begun", "ended"]
        await first.server_side_emit("x")  # which nobody hears
        assert state == ["begun", "ended"]


async def test_there_are_not_more_of_them_than_memory_has_room_for(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_side, "MOST_RUNNING", 2)
    first, second = cluster(2)
    heard, gate = list[int](), trio.Event()

    @second.on_server_side_emit("x")
    async def hear(number: int) -> None:
        heard.append(number)
        await gate.wait()

    async with second:
        for number in range(3):
            await first.server_side_emit("x", number)
            await trio.testing.wait_all_tasks_blocked()
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
        await first.server_side_emit("x", 3)
        await trio.testing.wait_all_tasks_blocked()
    assert heard == [0, 1, 3]
    assert caplog.messages == ["Server-side event 'x' in namespace '/' comes faster than its function ends."]


@pytest.mark.parametrize("timeout", [-1, math.nan])
def test_a_time_that_is_none_is_said_where_it_is_given(timeout: float) -> None:
    with pytest.raises(ValueError, match="must be a number of at least 0"):
        Server().on_server_side_emit("x", timeout=timeout)


def test_a_generator_is_no_function_for_it() -> None:
    def generate() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match=r"on_server_side_emit wants a function, async or not, but .* is a generator"):
        Server().on_server_side_emit("x")(generate)
