"""Events between servers: through an adapter that connects the namespaces of several servers in one process."""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from functools import partial

import pytest
import trio
import trio.testing

from trio_sio import AckTimeout, BroadcastAnswers, Config, EncodeError, Namespace, RouteError, Server
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
            answer = other.server_side_event(str(event[0]), event[1:])
            if answers is not None and answer is not None:
                answers.arrive(None, answer)


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


def test_it_is_not_async() -> None:
    async def wait() -> None: ...

    with pytest.raises(TypeError, match="on_server_side_emit wants a function that is not async"):
        Server().on_server_side_emit("x")(wait)


async def test_one_that_hands_out_a_coroutine_answers_nothing(caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder) -> None:
    async def wait(n: int) -> int:
        return n

    server = Server()
    server.on_server_side_emit("x")(lambda n: wait(n + 1))

    assert server.of("/").server_side_event("x", (1,)) is None
    gc.collect()
    assert caplog.messages == ["The function for server-side event 'x' in namespace '/' must not be async."]
    assert not recwarn.list
