"""Routes and the table: what is accepted, what is refused with which sentence, and how it is printed."""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from trio_sio.errors import RouteError
from trio_sio.namespaces.acks import Ack
from trio_sio.namespaces.socket import Socket
from trio_sio.routing import (
    Context,
    Functions,
    Next,
    Route,
    RoutingTable,
    broadcasts,
    emits,
    on_connection,
    on_disconnection,
    on_message,
)
from trio_sio.server import Server

if TYPE_CHECKING:
    from decimal import Decimal


async def audit(ctx: Context, call_next: Next) -> object:
    return await call_next()


class Echo:
    @on_message("echo")
    async def echo(self, value: object) -> object:
        return value


class Other:
    @on_message("other")
    async def other(self) -> None: ...


class History:
    pass


@dataclass
class Chat:
    socket: Socket
    history: History

    @on_message("say")
    async def say(self, text: str) -> None: ...


def refusal(controller: object, **options: Any) -> str:
    """Return why a route with ``controller`` cannot be built."""
    with pytest.raises(RouteError) as caught:
        Route("/", controller, **options)
    return str(caught.value)


def refusal_of(handler: Callable[..., object]) -> str:
    """Return why a controller with ``handler`` as its method ``run`` cannot be built."""
    return refusal(type("Controller", (), {"run": handler}))


# What a route may be given.


def make_echo() -> Echo:
    return Echo()


def make_chat(socket: Socket) -> Chat:
    return Chat(socket, History())


class Factory:
    def make(self, socket: Socket) -> Chat:
        return make_chat(socket)


class Untouched:
    def __init__(self, verbose: bool = False) -> None:
        self.verbose = verbose

    @on_message("x")
    async def x(self) -> None: ...


class Optional(Untouched):
    def __init__(self, socket: Socket | None = None) -> None:
        assert socket is not None
        self.socket = socket


class Speaks(Protocol):
    id: str


class Duck:
    def __init__(self, peer: Speaks) -> None:
        self.peer = peer

    @on_message("x")
    async def x(self) -> None: ...


@pytest.mark.parametrize(
    ("controller", "name"),
    [
        (Echo, "Echo"),
        (functools.partial(Echo), "Echo"),
        (functools.partial(Chat, history=History()), "Chat"),
        (functools.partial(functools.partial(Chat), history=History()), "Chat"),
        (make_echo, "Echo"),
        (make_chat, "Chat"),
        (Factory().make, "Chat"),
        (Duck, "Duck"),
        (Untouched, "Untouched"),
        (Optional, "Optional"),
        (Echo(), "Echo"),
    ],
)
def test_controllers_may_be_given_in_many_ways(controller: object, name: str) -> None:
    route = Route("/", controller)
    assert route.controller.name == name
    socket: Any = object()
    made = route.controller.make(socket)
    assert type(made).__name__ == name
    assert getattr(made, "socket", socket) is socket
    assert getattr(made, "peer", socket) is socket
    assert getattr(made, "verbose", False) is False


def test_a_class_makes_one_controller_per_socket_and_an_instance_is_shared() -> None:
    socket: Any = object()
    shared = Echo()
    assert Route("/", shared).controller.make(socket) is shared
    make = Route("/", Echo).controller.make
    assert make(socket) is not make(socket)


def test_handlers_of_base_classes_are_inherited_and_may_be_replaced() -> None:
    class Louder(Echo, Other):
        @on_message("more")
        async def more(self) -> None: ...

        @on_message("echo", "shout")
        async def echo(self, value: object) -> object:
            return value

    handlers = Route("/", Louder).controller.handlers
    assert [(handler.where, handler.marks.messages[0].events) for handler in handlers] == [
        ("Louder.other", ("other",)),
        ("Louder.echo", ("echo", "shout")),
        ("Louder.more", ("more",)),
    ]


@pytest.mark.parametrize(("given", "namespace"), [("chat", "/chat"), ("/chat", "/chat"), ("/", "/"), ("", "/")])
def test_a_missing_slash_is_added(given: str, namespace: str) -> None:
    assert Route(given, Echo).namespace == namespace


# What a route may not be given.


def test_a_controller_needs_a_handler() -> None:
    class Empty:
        async def say(self, text: str) -> None: ...

    assert refusal(Empty) == "Empty has no handler; mark methods with @on_message, @on_any_message, @on_connection or @on_disconnection."
    assert "Empty has no handler" in refusal(Empty())
    assert "no handler" in refusal(Functions())


def test_replies_need_a_handler() -> None:
    class Controller:
        @emits("x")
        async def say(self, text: str) -> None: ...

    assert "Controller.say has @emits or @broadcasts but handles nothing" in refusal(Controller)


def test_an_override_without_its_decorator_is_refused() -> None:
    class Quiet(Echo):
        async def echo(self, value: object) -> object:
            return None

    assert "Quiet.echo overrides the handler Echo.echo without a marker" in refusal(Quiet)


def test_a_factory_has_to_say_what_it_makes() -> None:
    def unannotated(socket):  # type: ignore[no-untyped-def]
        return make_chat(socket)

    def vague(socket: Socket) -> object:
        return make_chat(socket)

    async def late(socket: Socket) -> Chat:
        return make_chat(socket)

    assert "annotate it with the class that it returns, as in `def unannotated(socket: Socket) -> ChatController`" in refusal(unannotated)
    assert "annotate it with the class" in refusal(vague)
    assert "annotate it with the class" in refusal(functools.partial(vague))
    assert "late is a coroutine function" in refusal(late)


def test_a_constructor_that_needs_more_than_the_socket_is_refused() -> None:
    assert refusal(Chat) == (
        "Chat needs more than the socket: nothing fills the parameter 'history'; make the socket the first parameter "
        "and bind the others, as in functools.partial(Chat, history=...)."
    )


def test_a_constructor_that_needs_a_keyword_is_refused() -> None:
    class Controller(Echo):
        def __init__(self, *, history: History) -> None: ...

    assert "nothing fills the parameter 'history'" in refusal(Controller)


def test_a_constructor_whose_only_parameter_is_something_else_is_refused() -> None:
    class Controller(Echo):
        def __init__(self, history: History) -> None: ...

    assert "Controller would be given the socket as 'history', which is annotated History; bind it" in refusal(Controller)


@pytest.mark.parametrize("event", ["connect", "disconnect", "connect_error", "disconnecting", "newListener", "removeListener"])
def test_reserved_events_can_neither_be_handled_nor_emitted(event: str) -> None:
    @on_message(event)
    def handles(self: object) -> None: ...

    @on_message("x")
    @emits(event)
    def sends(self: object) -> None: ...

    assert f"Controller.run: the event name {event!r} is reserved" in refusal_of(handles)
    assert f"Controller.run: the event name {event!r} is reserved" in refusal_of(sends)


@pytest.mark.hostile("S25", "S26")
def test_other_names_mean_nothing_special() -> None:
    names = ["error", "connection", "message", "ping", "__proto__", "toString", "__class__", "on_disconnect", "run"]

    class Controller:
        @on_message(names[0], *names[1:])
        def run(self) -> None: ...

    RoutingTable(Route("/", Controller))


@pytest.mark.hostile("S21")
@pytest.mark.parametrize("event", ["", 5, None])
def test_an_event_name_is_text(event: Any) -> None:
    @on_message(event)
    def handler(self: object) -> None: ...

    assert f"Controller.run: {event!r} is no event name" in refusal_of(handler)


@pytest.mark.parametrize("to", [[], ["a", 3]])
def test_rooms_are_text(to: Any) -> None:
    @on_message("x")
    @broadcasts("y", to=to)
    def handler(self: object) -> None: ...

    assert "names no room" in refusal_of(handler)


def test_a_reply_to_a_client_that_is_gone_is_refused() -> None:
    @on_disconnection
    @emits("bye")
    def handler(self: object) -> None: ...

    assert "@emits('bye') would reply to a client that is gone" in refusal_of(handler)


def test_a_keyword_only_parameter_is_refused() -> None:
    @on_message("x")
    def handler(self: object, *, text: str) -> None: ...

    assert "Controller.run: the keyword-only parameter 'text' can never be filled" in refusal_of(handler)


def test_an_annotation_that_cannot_be_converted_is_refused() -> None:
    @on_message("x")
    def path(self: object, where: Path) -> None: ...

    @on_message("x")
    def paths(self: object, where: dict[str, list[Path | None]]) -> None: ...

    @on_message("x")
    def union(self: object, what: dict[str, int] | History) -> None: ...

    @on_message("x")
    def callback(self: object, function: Callable[[], None]) -> None: ...

    assert "Controller.run: parameter 'where' is annotated Path, but a message cannot be converted to Path" in refusal_of(path)
    assert "a message cannot be converted to Path" in refusal_of(paths)
    assert "Controller.run: parameter 'what' cannot be converted to dict[str, int] |" in refusal_of(union)
    assert "a message cannot be converted to Callable" in refusal_of(callback)


def test_a_union_that_is_ambiguous_is_refused() -> None:
    @on_message("x")
    def handler(self: object, what: list[int] | set[int]) -> None: ...

    assert "Controller.run: parameter 'what' cannot be converted to list[int] | set[int]" in refusal_of(handler)


def test_an_annotation_that_exists_for_type_checkers_only_is_refused() -> None:
    @on_message("x")
    def handler(self: object, amount: Decimal) -> None: ...

    assert "Controller.run: the annotation 'Decimal' of parameter 'amount' cannot be resolved" in refusal_of(handler)


def test_a_method_without_self_is_refused() -> None:
    @on_message("x")
    def handler() -> None: ...

    assert "Controller.run takes no first parameter; add `self`" in refusal_of(handler)


def test_generators_are_refused() -> None:
    @on_message("x")
    def generator(self: object) -> Iterator[int]:
        yield 1

    @on_message("x")
    async def asynchronous(self: object) -> AsyncIterator[int]:
        yield 1

    assert "Controller.run is a generator" in refusal_of(generator)
    assert "Controller.run is an asynchronous generator" in refusal_of(asynchronous)


def test_hooks_take_no_arguments_that_nobody_gives() -> None:
    @on_connection
    def connected(self: object, name: str) -> None: ...

    @on_connection
    def answers(self: object, ack: Ack) -> None: ...

    @on_disconnection
    def gone(self: object, reason: str, more: str) -> None: ...

    assert "Controller.run: nothing fills the parameter 'name'" in refusal_of(connected)
    assert "a hook has nothing to acknowledge" in refusal_of(answers)
    assert "nothing fills the parameter 'more'; a hook like this takes the reason and" in refusal_of(gone)


def test_something_that_is_no_method_is_refused() -> None:
    class Slotted:
        def __init__(self) -> None:
            on_message("x")(self)

        def __call__(self) -> None: ...

    class Described:
        def __init__(self) -> None:
            itself: Any = self
            on_message("x")(itself)

        def __get__(self, instance: object, owner: type) -> Described:
            return self

    assert "Controller.run is marked as a handler but is no method" in refusal_of(Slotted())
    given: Any = Described()
    assert "Controller.run is marked as a handler but cannot be called" in refusal_of(given)


def test_attributes_that_are_no_handlers_are_left_alone() -> None:
    class Proxy:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"{name} was looked up")

    class Controller(Echo):
        database = Proxy()

    Route("/", Controller)


@pytest.mark.parametrize("namespace", ["/a,b", "/a?b=c", b"/a", 3, re.compile(rb"/a")])
def test_a_namespace_that_cannot_be_is_refused(namespace: Any) -> None:
    with pytest.raises(RouteError, match="namespace"):
        Route(namespace, Echo)


def no_arguments() -> None: ...


@pytest.mark.parametrize("option", ["middleware", "connection_middleware"])
def test_middleware_that_cannot_be_called_is_refused(option: str) -> None:
    assert "Route(/): the middleware no_arguments cannot be called as (ctx, call_next)" in refusal(Echo, **{option: [no_arguments]})
    assert "write middleware=[audit]" in refusal(Echo, **{option: audit})
    assert "which cannot be called" in refusal(Echo, **{option: [3]})


@pytest.mark.parametrize("option", ["connection_middleware", "message_middleware"])
def test_middleware_of_the_table_is_checked(option: str) -> None:
    options: dict[str, Any] = {option: [no_arguments]}
    with pytest.raises(RouteError, match="RoutingTable: the middleware no_arguments"):
        RoutingTable(**options)


@pytest.mark.parametrize(
    "handlers", [{"KeyError": lambda ctx, exc: None}, {BaseException: lambda ctx, exc: None}, {KeyError: no_arguments}]
)
def test_exception_handlers_are_checked_at_every_layer(handlers: Any) -> None:
    @on_message("x", exception_handlers=handlers)
    def message(self: object) -> None: ...

    @on_connection(exception_handlers=handlers)
    def connection(self: object) -> None: ...

    assert "Controller.run: " in refusal_of(message)
    assert "Controller.run: " in refusal_of(connection)
    assert "Route(/): " in refusal(Echo, exception_handlers=handlers)
    with pytest.raises(RouteError, match="RoutingTable: "):
        RoutingTable(exception_handlers=handlers)


def test_middleware_of_handlers_is_checked() -> None:
    given: Any = [no_arguments]

    @on_message("x", middleware=given)
    def message(self: object) -> None: ...

    @on_connection(middleware=given)
    def connection(self: object) -> None: ...

    assert "Controller.run: the middleware no_arguments" in refusal_of(message)
    assert "Controller.run: the middleware no_arguments" in refusal_of(connection)


# What a table may not contain.


def test_only_routes_make_a_table() -> None:
    given: Any = Echo
    with pytest.raises(RouteError, match="RoutingTable takes routes"):
        RoutingTable(given)


def test_an_event_has_one_handler_per_namespace() -> None:
    class Again:
        @on_message("echo")
        def again(self) -> None: ...

    with pytest.raises(RouteError, match=r"Echo\.echo and Again\.again both handle 'echo' in namespace /chat"):
        RoutingTable(Route("/chat", Echo), Route("chat", Again))
    RoutingTable(Route("/chat", Echo), Route("/other", Again))


def test_one_controller_cannot_handle_an_event_twice_either() -> None:
    class Twice:
        @on_message("x")
        def one(self) -> None: ...

        @on_message("x")
        def two(self) -> None: ...

    with pytest.raises(RouteError, match=r"Twice\.one and Twice\.two both handle 'x'"):
        RoutingTable(Route("/", Twice))


def test_identical_patterns_are_refused() -> None:
    with pytest.raises(RouteError, match="the same pattern"):
        RoutingTable(Route(re.compile("/a"), Echo), Route(re.compile("/a"), Other))


# What a table tells.


def test_names_go_before_patterns_and_patterns_keep_their_order() -> None:
    first, second = re.compile("/a.*"), re.compile("/.*")
    table = RoutingTable(Route(first, Echo), Route("/b", Echo), Route(second, Echo), Route("/a", Echo), Route("/b", Other))
    assert [namespace for namespace, _ in table.entries] == ["/b", "/a", first, second]


def test_functions_are_routes_like_any_other() -> None:
    functions = Functions()

    @functions.on("echo", "again")
    @emits("heard")
    def echo(socket: Socket, value: object) -> object:
        return value

    functions.on_connection(lambda socket: None)
    functions.on_disconnection()(lambda socket, reason: None)
    functions.use(audit)
    table = RoutingTable(Route("/f", functions, connection_middleware=functions.middleware))
    assert "echo" in table.describe()
    for register in (functions.on("late"), functions.on_connection, functions.use):
        with pytest.raises(RouteError, match="late was registered after the server had started"):
            register(late)
    given: Any = late
    with pytest.raises(RouteError, match="late names no event"):
        functions.on(given)


async def late(socket: Any, call_next: Any) -> None: ...


def test_the_description_is_an_aligned_table() -> None:
    class Controller:
        @on_connection(middleware=[audit])
        @emits("welcome")
        def joined(self) -> None: ...

        @on_message("say", "shout")
        @emits("said", to="lobby")
        @broadcasts("seen", to=["a", "b"])
        @broadcasts("noise")
        def say(self) -> None: ...

        @on_disconnection
        def gone(self) -> None: ...

    table = RoutingTable(Route("/", Controller, middleware=[audit]), Route(re.compile(r"/room-\d+"), Echo()), connection_middleware=[late])
    assert table.describe().splitlines() == [
        r"namespace            controller  event            method  emits                                             middleware",
        r"/                    Controller  (connection)     joined  welcome                                           late, audit, audit",
        r"/                    Controller  say              say     said to lobby; seen to all of a, b; noise to all  audit",
        r"/                    Controller  shout            say     said to lobby; seen to all of a, b; noise to all  audit",
        r"/                    Controller  (disconnection)  gone",
        r"/room-\d+ (pattern)  Echo        (connection)                                                               late",
        r"/room-\d+ (pattern)  Echo        echo             echo",
    ]


def test_the_description_shows_who_guards_a_namespace_without_a_hook() -> None:
    async def members_only(ctx: Context, call_next: Next) -> object:
        return await call_next()

    async def audit(ctx: Context, call_next: Next) -> object:
        return await call_next()

    class Silent:
        @on_message("say")
        async def say(self) -> None: ...

    server = Server(RoutingTable(Route("/", Silent, connection_middleware=[members_only]), Route("/open", Silent)))
    server.of("/functions").use(audit)
    server.of("/functions").on("say", lambda socket: None)
    rows = [line.split() for line in server.compile_routes().describe().splitlines()[1:]]
    assert rows[:3] == [["/", "Silent", "(connection)", "members_only"], ["/", "Silent", "say", "say"], ["/open", "Silent", "say", "say"]]
    assert rows[3] == ["/functions", "(functions)", "(connection)", "audit"]
