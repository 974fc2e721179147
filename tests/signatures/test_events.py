"""Events that are declared: what is sent for them, what is made of what comes, and what is refused."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import pydantic
import pytest
import trio

from trio_sio import (
    AckTimeout,
    BadAnswer,
    BadMessage,
    BroadcastAnswers,
    Config,
    EncodeError,
    Route,
    RouteError,
    RoutingTable,
    Server,
    ServerEvent,
    Socket,
    broadcasts,
    emits,
    on_message,
    server_event,
)
from trio_sio.testing import InMemoryServer, open_test_server


@dataclass
class Message:
    text: str
    color: Literal["red", "blue"] = "red"


class Model(pydantic.BaseModel):
    size: int


class Kind(enum.Enum):
    ONE = "one"


@server_event
def said(name: str, message: Message) -> None:
    """Somebody has said something."""


@server_event("question")
def ask(text: str, choices: list[str] | None = None, at_most: int = 1) -> int:
    raise NotImplementedError


@server_event
def numbers(first: int, *more: int) -> list[int]:
    raise NotImplementedError


@server_event
def pair() -> tuple[int, str]:
    raise NotImplementedError


@server_event
def anything(value: Any) -> Any: ...


@server_event
def mixed(model: Model, kind: Kind, data: bytes, when: datetime) -> Message:
    raise NotImplementedError


class Controller:
    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    @on_message("say")
    @broadcasts(said)
    async def say(self, text: str) -> tuple[str, Message]:
        return "Ann", Message(text)

    @on_message("wrong")
    @emits(said)
    async def wrong(self) -> object:
        return "Ann", "no message"


ROUTES = RoutingTable(Route("/", Controller, events=[ask, numbers, pair]))


def only(server: InMemoryServer) -> Socket:
    assert isinstance(server.server, Server)
    (socket,) = server.server.of("/").sockets.values()
    return socket


# What a declaration says.


def test_it_has_the_name_of_its_function_or_the_one_that_is_given() -> None:
    assert (said.name, ask.name) == ("said", "question")
    assert repr(pair) == "<ServerEvent 'pair' pair() -> tuple[int, str]>"


def test_it_is_never_called() -> None:
    with pytest.raises(TypeError, match=r"write `await socket.emit\(said, ...\)`"):
        said("Ann", Message("hello"))


@pytest.mark.parametrize(
    ("args", "named", "sent"),
    [
        (("a",), {}, ("a", None, 1)),
        (("a", ["x"], 2), {}, ("a", ["x"], 2)),
        ((), {"text": "a"}, ("a", None, 1)),
        (("a",), {"at_most": 3}, ("a", None, 3)),
        (("a",), {"choices": ["x"]}, ("a", ["x"], 1)),
    ],
)
def test_arguments_have_places_whether_they_are_given_by_name_or_not(
    args: tuple[object, ...], named: dict[str, object], sent: tuple[object, ...]
) -> None:
    assert ask.bind(args, named) == sent


def test_what_takes_the_rest_may_get_nothing() -> None:
    assert numbers.bind((1, 2, 3), {}) == (1, 2, 3)
    assert numbers.bind((), {"first": 1}) == (1,)


@pytest.mark.parametrize(("args", "named"), [((), {}), (("a", [], 1, 2), {}), (("a",), {"text": "b"}), (("a",), {"choice": []})])
def test_other_arguments_are_a_type_error_that_shows_the_declaration(args: tuple[object, ...], named: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=r"Event 'question' is declared as ask\(text: str, .*\) -> int: "):
        ask.bind(args, named)


async def coroutine() -> None: ...


def keyword(*, text: str) -> None: ...


def timeout(timeout: float) -> None: ...


def method(self: object, text: str) -> None: ...


def connect() -> None: ...


@pytest.mark.parametrize(
    ("declare", "sentence"),
    [
        (lambda: server_event(coroutine), "coroutine declares an event and is never called; write it with `def`"),
        (lambda: server_event(keyword), "keyword: the parameter 'text' has no place in a message"),
        (lambda: server_event(timeout), "a parameter called 'timeout' could not be told from one of `emit_with_ack`; rename it"),
        (lambda: server_event(method), "method is in a class; declare events outside of it"),
        (lambda: server_event(connect), "the event name 'connect' is reserved"),
        (lambda: server_event("")(said.function), "the event name '' is empty"),
        (lambda: server_event(3), "@server_event is on 3, which is no function"),  # type: ignore[call-overload]
        (lambda: Route("/", Controller, events=[said.function]), "which is not declared; write `@server_event`"),  # type: ignore[list-item]
        (lambda: Route("/", Controller, events=said), r"is no list; write events=\[...\]"),  # type: ignore[arg-type]
    ],
)
def test_what_can_be_no_event_is_said_where_it_is_declared(declare: Callable[[], object], sentence: str) -> None:
    with pytest.raises(RouteError, match=sentence):
        declare()


def test_a_type_that_no_message_carries_is_found_when_the_route_is_made() -> None:
    @server_event
    def odd(socket: Socket) -> None: ...

    with pytest.raises(RouteError, match=r"odd: parameter 'socket' is annotated Socket, but a message cannot be converted"):
        Route("/", Controller, events=[odd])


def test_one_name_stands_for_one_declaration_in_a_namespace() -> None:
    @server_event("said")
    def other() -> None: ...

    with pytest.raises(RouteError, match="both declare the event 'said' in namespace /; a client cannot tell them apart"):
        RoutingTable(Route("/", Controller, events=[other]))
    RoutingTable(Route("/", Controller), Route("/other", Controller, events=[said]))


# What is checked (`Config.check_events`).


@pytest.mark.parametrize(
    ("event", "args"),
    [
        (said, ("Ann", Message("hello", "blue"))),
        (said, ("Ann", {"text": "hello"})),
        (mixed, (Model(size=3), Kind.ONE, b"data", "2026-01-01T00:00:00Z")),
        (mixed, ({"size": 3}, "one", bytearray(b"data"), datetime.fromisoformat("2026-01-01T00:00:00+00:00"))),
        (numbers, (1, 2, 3)),
        (anything, (trio.Event,)),
        (ask, ("a",)),
    ],
)
def test_what_clients_get_as_it_was_declared_is_right(event: ServerEvent[..., object], args: tuple[object, ...]) -> None:
    event.check(args)


@pytest.mark.parametrize(
    ("event", "args", "sentence"),
    [
        (
            said,
            ("Ann", {"text": "hello", "color": "green"}),
            r"Event 'said': argument 'message' is not what said declares: .*'green' at \$\[1\].color",
        ),
        (said, (3, Message("hello")), r"argument 'name' .* Expected `str`, got `int` at \$\[0\]"),
        (mixed, ({"size": "x"}, "one", b"", "2026-01-01"), r"at \$\[0\].size"),
        (numbers, (1, "2"), r"argument 'more' .* at \$\[1\]"),
    ],
)
def test_anything_else_is_not(event: ServerEvent[..., object], args: tuple[object, ...], sentence: str) -> None:
    with pytest.raises(EncodeError, match=sentence):
        event.check(args)


async def test_the_test_kit_checks_where_the_configuration_is_its_own() -> None:
    async with open_test_server(ROUTES) as server, server.client() as client:
        socket = only(server)
        with pytest.raises(EncodeError, match="argument 'name'"):
            await socket.emit(said, 3, Message("hello"))  # type: ignore[call-overload]
        with pytest.raises(EncodeError, match="argument 'name'"):
            socket.emit_nowait(said, 3, Message("hello"))  # type: ignore[call-overload]
        for operator in (socket.namespace, socket.to("a").volatile(), socket.namespace.server):
            with pytest.raises(EncodeError, match="argument 'name'"):
                await operator.emit(said, 3, Message("hello"))  # type: ignore[call-overload]
        with pytest.raises(EncodeError, match="argument 'text'"):
            await socket.emit_with_ack(ask, 3)  # type: ignore[misc]
        await socket.emit("said", 3)
    async with open_test_server(ROUTES, Config()) as server, server.client() as client:
        await only(server).emit(said, 3, Message("hello"))  # type: ignore[call-overload]
        assert await client.once("said") == (3, {"text": "hello", "color": "red"})


# Emitted and heard.


async def test_it_goes_wherever_the_name_of_an_event_does() -> None:
    async with open_test_server(ROUTES) as server, server.client() as client:
        socket, namespace = only(server), only(server).namespace
        heard = ("Ann", Message("hello", "blue"))
        await socket.emit(said, "Ann", Message("hello", "blue"))
        assert await client.once(said) == heard
        socket.emit_nowait(said, "Ann", message=Message("hello", "blue"))
        assert await client.once(said) == heard
        await namespace.emit(said, name="Ann", message=Message("hello", "blue"))
        assert await client.once(said) == heard
        namespace.volatile().emit_nowait(said, "Ann", Message("hello", "blue"))
        assert await client.once(said) == heard
        await namespace.server.emit(ask, "a")
        assert await client.once(ask) == ("a", None, 1)
        assert await client.emit_with_ack("say", "hello") == ("Ann", {"text": "hello", "color": "red"})
        assert await client.once(said, timeout=5) == ("Ann", Message("hello"))


async def test_a_handler_of_the_client_gets_what_was_declared() -> None:
    async with open_test_server(ROUTES) as server, server.client() as client:
        calls: list[object] = []

        @client.on(said)
        async def heard(name: str, message: Message) -> None:
            calls.append((name, message))

        @client.on(ask)
        def answer(text: str, choices: list[str] | None, at_most: int) -> int:
            calls.append((text, choices, at_most))
            return 42

        socket = only(server)
        await socket.emit(said, "Ann", Message("hello"))
        assert await socket.emit_with_ack(ask, "How old?") == 42
        assert calls == [("Ann", Message("hello")), ("How old?", None, 1)]
        client.off(said, heard)
        client.off(ask)
        assert not client._core.handlers.has("said")
        assert not client._core.handlers.has("question")


async def test_what_does_not_fit_never_gets_to_the_handler(caplog: pytest.LogCaptureFixture) -> None:
    async with open_test_server(ROUTES) as server, server.client() as client:

        @client.on(said)
        async def heard(name: str, message: Message) -> None:
            raise AssertionError

        await only(server).emit("said", "Ann")
        await only(server).emit("said", "Ann", {"text": 3})
        await only(server).emit("end")
        await client.once("end")
        with pytest.raises(BadMessage, match="is declared with at least 2 arguments, but 1 came"):
            said.arguments(["Ann"])
        with pytest.raises(BadMessage, match="Expected `str`, got `int`"):
            said.arguments(["Ann", {"text": 3}])
    assert caplog.text.count("A handler") >= 1


async def test_a_client_may_emit_an_event_that_is_declared() -> None:
    async with open_test_server(ROUTES) as server, server.client() as client:
        socket = only(server)
        async with trio.open_nursery() as nursery:
            got: list[object] = []

            async def wait() -> None:
                got.append(await socket.once(numbers, timeout=5))

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await client.emit("numbers", 1.0, 2)
        assert got == [(1, 2)]
        with pytest.raises(trio.TooSlowError):
            await socket.once("never", timeout=0)


# Answers.


@pytest.mark.parametrize(
    ("event", "values", "answer"),
    [
        (ask, [42], 42),
        (ask, [42.0], 42),
        (numbers, [[1, 2]], [1, 2]),
        (pair, [1, "a"], (1, "a")),
        (mixed, [{"text": "a"}], Message("a")),
        (said, [], None),
        (said, ["whatever", 3], None),
        (anything, [1, 2], (1, 2)),
        (anything, [], None),
    ],
)
def test_an_answer_is_what_the_declaration_says(event: ServerEvent[..., object], values: list[object], answer: object) -> None:
    assert event.answer(values) == answer


@pytest.mark.parametrize(
    ("event", "values", "path"),
    [
        (ask, ["42"], "$"),
        (ask, [], "$"),
        (ask, [1, 2], "$"),
        (numbers, [[1, "2"]], "$[1]"),
        (pair, [1], "$"),
        (pair, [1, 2], "$[1]"),
        (mixed, [{"text": 3}], "$.text"),
    ],
)
def test_any_other_is_refused(event: ServerEvent[..., object], values: list[object], path: str) -> None:
    with pytest.raises(BadAnswer, match=f"The answer to event '{event.name}' is not what") as caught:
        event.answer(values)
    assert caught.value.path == path


async def test_a_bad_answer_is_told_to_who_asked_one_client() -> None:
    async with open_test_server(ROUTES) as server, server.client() as client:
        client.on("question", lambda *args: "old")
        with pytest.raises(BadAnswer, match="Expected `int`, got `str`"):
            await only(server).emit_with_ack(ask, "How old?", None, 1, timeout=5)


async def test_one_bad_answer_of_many_spoils_no_other(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with open_test_server(ROUTES) as server, server.client() as good, server.client() as bad:
        good.on("question", lambda *args: 42)
        bad.on("question", lambda *args: "old")
        namespace = only_namespace(server)
        assert await namespace.emit_with_ack(ask, "How old?", None, 1, timeout=5) == [42]
        async with namespace.acks(ask, "How old?") as answers:
            assert [value async for _, value in answers] == [42]
            assert answers.responses == [42]
            assert answers.missing == [bad.id]
        async with namespace.acks("question", "How old?", timeout=5) as plain:
            assert isinstance(plain, BroadcastAnswers)
            assert sorted([args async for _, args in plain], key=str) == [("old",), (42,)]
    assert f"Socket {bad.id} is as good as gone for who asked" in caplog.text


async def test_who_is_late_is_missing(autojump_clock: object) -> None:
    async with open_test_server(ROUTES) as server, server.client() as good, server.client() as late:
        good.on("question", lambda *args: 42)
        with pytest.raises(AckTimeout) as caught:

            @late.on("question")
            async def slow(*args: object) -> None:
                await trio.sleep(100)

            await only_namespace(server).emit_with_ack(ask, "How old?", timeout=5)
        assert caught.value.responses == [42]
        assert caught.value.missing == [late.id]


def only_namespace(server: InMemoryServer) -> Any:
    assert isinstance(server.server, Server)
    return server.server.of("/")


# Slips.


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({"to": "room"}, r'write `await server.to\("room"\).emit\(...\)`'),
        ({"room": "room"}, r'write `await server.to\("room"\).emit\(...\)`'),
        ({"skip_sid": "sid"}, r"write `await server.except_\(sid\).emit"),
        ({"namespace": "/chat"}, r'write `await server.of\("/namespace"\).emit'),
        ({"callback": print}, r"write `answer = await socket.emit_with_ack\(...\)`"),
        ({"text": "a"}, "only an event that is declared with @server_event has arguments with names"),
    ],
)
async def test_arguments_with_names_are_explained_to_who_knows_them_from_elsewhere(named: dict[str, object], sentence: str) -> None:
    async with open_test_server(ROUTES) as server, server.client():
        socket = only(server)
        with pytest.raises(TypeError, match=sentence):
            await socket.emit("x", **named)
        with pytest.raises(TypeError, match=sentence):
            await socket.namespace.emit("x", **named)


async def test_a_function_that_is_not_declared_is_no_event() -> None:
    async with open_test_server(ROUTES) as server, server.client():
        with pytest.raises(EncodeError, match="it must be a string, or a function under `@server_event`"):
            await only(server).emit(said.function)  # type: ignore[call-overload]
