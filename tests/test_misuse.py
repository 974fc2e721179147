"""What is registered wrongly raises where it is written, with a sentence that says what to write; and never does nothing in silence."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self, cast

import pytest
import trio

import trio_sio
from trio_sio import (
    Config,
    ConfigurationError,
    Context,
    EngineServer,
    Next,
    Route,
    RouteError,
    RoutingTable,
    Server,
    Session,
    Socket,
    on_any_message,
    on_connection,
    on_message,
)
from trio_sio.concurrency.functions import fault_of_awaited, fault_of_handler
from trio_sio.errors import EncodeError
from trio_sio.testing import WebSocketClosed, open_test_server


async def handler(socket: Socket, *args: object) -> object:
    return args


def plain(ctx: Context, call_next: Next) -> None: ...


async def middleware(ctx: Context, call_next: Next) -> object:
    return await call_next()


async def swapped(call_next: Next, ctx: Context) -> object:
    return await call_next()


def annotated_swapped(error: KeyError, context: Context) -> None: ...


class NoSelf:
    @on_message("say")
    async def say(text: str) -> None: ...  # type: ignore[misc]  # this mistake is the subject


async def no_socket(text: str) -> None: ...


async def python_socketio(sid: str, data: object) -> None: ...


async def lists(texts: list[str]) -> None: ...


async def agen(*args: object) -> AsyncIterator[object]:
    yield args


def gen(*args: object) -> Iterator[object]:
    yield args


class Plain:
    """Middleware that is not async, in every form."""

    def __call__(self, ctx: Context, call_next: Next) -> None: ...

    def method(self, ctx: Context, call_next: Next) -> None: ...

    @staticmethod
    def static(ctx: Context, call_next: Next) -> None: ...


class TwoArguments:
    def __init__(self, ctx: Context, call_next: Next) -> None: ...


class Async:
    """Middleware that is async, in every form."""

    async def __call__(self, ctx: Context, call_next: Next) -> object:
        return await call_next()

    async def method(self, ctx: Context, call_next: Next) -> object:
        return await call_next()

    @staticmethod
    async def static(ctx: Context, call_next: Next) -> object:
        return await call_next()

    @classmethod
    async def of_class(cls, ctx: Context, call_next: Next) -> object:
        return await call_next()


@functools.wraps(middleware)
def wrapper(*args: Any) -> Any:
    return middleware(*args)


def annotated(ctx: Context, call_next: Next) -> Awaitable[object]:
    return call_next()


def annotated_too(ctx: Context, call_next: Next) -> Coroutine[Any, Any, object]:
    return middleware(ctx, call_next)


class Awaited:
    """A class whose instances can be awaited is middleware, too."""

    def __init__(self, ctx: Context, call_next: Next) -> None:
        self._call_next = call_next

    def __await__(self) -> Any:
        return self._call_next().__await__()


class Echo:
    @on_message("echo")
    async def echo(self, *args: object) -> object:
        return args


class AsyncInit:
    async def __init__(self, socket: Socket) -> None: ...  # type: ignore[misc]  # this mistake is the subject

    @on_message("echo")
    async def echo(self) -> None: ...


async def bare_lifespan(server: Server) -> None: ...


async def lifespan_generator(server: Server) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def lifespan(server: Server) -> AsyncIterator[None]:
    yield


FIVE: Awaitable[object] = cast("Awaitable[object]", 5)
ANY: Any = trio_sio  # for calls that no type checker would let through

# What is written -> what is raised, and what the sentence says.
MISUSES: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    # Functions of the server and its namespaces.
    "on(5)": (lambda: ANY.Server().on(5), RouteError, "5 is no event name"),
    "on('')": (lambda: ANY.Server().on(""), RouteError, "'' is no event name"),
    "on(function)": (lambda: ANY.Server().on(handler), RouteError, r'names no event; write `.on\("event"\)`'),
    "on('x', 5)": (lambda: ANY.Server().on("x", 5), RouteError, "5 is no event name"),
    "on('x', None)": (lambda: ANY.Server().on("x", None), RouteError, "None is no event name"),
    "on('x')(5)": (lambda: ANY.Server().on("x")(5), RouteError, r"5 is not a function; write a handler with `def` or `async def`"),
    "on('x', agen)": (
        lambda: ANY.Server().on("x", agen),
        RouteError,
        "agen is an asynchronous generator, and nobody would iterate over it",
    ),
    "on('x', gen)": (lambda: ANY.Server().on("x", gen), RouteError, "gen is a generator, and nobody"),
    "on('x', partial(gen))": (lambda: ANY.Server().on("x", functools.partial(gen, 1)), RouteError, "gen is a generator"),
    "on('connect', f)": (lambda: ANY.Server().on("connect", handler), RouteError, "'connect' is reserved.*Use @on_connection"),
    "on('connection', f)": (lambda: ANY.Server().on("connection", handler), RouteError, "'connection' would be.*Use on_connection"),
    "on('connection')": (lambda: ANY.Server().on("connection"), RouteError, "Use on_connection"),
    "on('x', 'connection')": (lambda: ANY.Server().on("x", "connection"), RouteError, "Use on_connection"),
    "on('disconnect', f)": (lambda: ANY.Server().on("disconnect", handler), RouteError, "Use @on_disconnection"),
    "on('disconnecting', f)": (lambda: ANY.Server().on("disconnecting", handler), RouteError, "Use @on_disconnection"),
    "on('connect_error', f)": (lambda: ANY.Server().on("connect_error", handler), RouteError, "'connect_error' is reserved"),
    "on('new_namespace', f)": (lambda: ANY.Server().on("new_namespace", handler), RouteError, "Use on_new_namespace"),
    "of().on('connection', f)": (lambda: ANY.Server().of("/x").on("connection", handler), RouteError, "Use on_connection"),
    "on('x', middleware=f)": (lambda: ANY.Server().on("x", middleware=middleware), RouteError, r"write middleware=\[middleware\]"),
    "on('x', middleware=5)": (lambda: ANY.Server().on("x", middleware=5), RouteError, r"middleware=5 is no list; write middleware=\[...\]"),
    "on_any_message(5)": (lambda: ANY.Server().on_any_message(5), RouteError, "5 is not a function"),
    "on_any_message('x')": (lambda: ANY.Server().on_any_message("x"), RouteError, "'x' is not a function"),
    "on_any_message()(agen)": (lambda: ANY.Server().on_any_message()(agen), RouteError, "asynchronous generator"),
    "on_connection(5)": (lambda: ANY.Server().on_connection(5), RouteError, "5 is not a function"),
    "on_connection()(5)": (lambda: ANY.Server().on_connection()(5), RouteError, "5 is not a function"),
    "on_connection(agen)": (lambda: ANY.Server().on_connection(agen), RouteError, "asynchronous generator"),
    "on_disconnection(5)": (lambda: ANY.Server().on_disconnection(5), RouteError, "5 is not a function"),
    "on_disconnection()(gen)": (lambda: ANY.Server().on_disconnection()(gen), RouteError, "gen is a generator"),
    "use(5)": (lambda: ANY.Server().use(5), RouteError, "use: the middleware int is 5, which cannot be called"),
    "use(plain)": (lambda: ANY.Server().use(plain), RouteError, r"plain is not async, so its result.*write `async def \(ctx, call_next\)`"),
    "use(swapped)": (
        lambda: ANY.Server().use(swapped),
        RouteError,
        r"takes the context behind 'call_next', but is called as \(ctx, call_next\)",
    ),
    "use(node's)": (lambda: ANY.Server().use(lambda socket: None), RouteError, r"cannot be called as \(ctx, call_next\)"),
    "of(5)": (lambda: ANY.Server().of(5), TypeError, r'of\(5\) names no namespace; write of\("/chat"\)'),
    "of(pattern)": (lambda: ANY.Server().of(re.compile("/x")), TypeError, r"Route\(re.compile\(...\), controller\)"),
    "of(function)": (lambda: ANY.Server().of(lambda name, auth: True), TypeError, "names no namespace"),
    "on_new_namespace(5)": (lambda: ANY.Server().on_new_namespace(5), TypeError, "on_new_namespace wants a function, not 5"),
    "on_new_namespace(async)": (lambda: ANY.Server().on_new_namespace(handler), TypeError, "not async"),
    "on_server_side_emit(5)": (lambda: ANY.Server().on_server_side_emit(5), EncodeError, "must be a string"),
    "on_server_side_emit(function)": (lambda: ANY.Server().on_server_side_emit(handler), EncodeError, "must be a string"),
    "on_server_side_emit('connection')": (lambda: ANY.Server().on_server_side_emit("connection"), EncodeError, "reserved"),
    "on_server_side_emit('x')(5)": (lambda: ANY.Server().on_server_side_emit("x")(5), TypeError, "5 is not a function"),
    # The server.
    "Server(Route)": (lambda: ANY.Server(ANY.Route("/", Echo)), TypeError, r"write Server\(RoutingTable\(Route\(...\), ...\)\)"),
    "Server([Route])": (lambda: ANY.Server([ANY.Route("/", Echo)]), TypeError, "takes a RoutingTable, not "),
    "Server(Controller)": (lambda: ANY.Server(Echo), TypeError, "takes a RoutingTable, not "),
    "Server(config=dict)": (lambda: ANY.Server(config={"path": "/x"}), TypeError, r"is no Config; write config=Config\(...\)"),
    "Server(adapter=async)": (
        lambda: ANY.Server(adapter=bare_lifespan),
        TypeError,
        "adapter= makes adapters at once, but",
    ),
    "Server(adapter=5)": (
        lambda: ANY.Server(adapter=5),
        TypeError,
        "adapter= makes adapters at once, but 5 is no function",
    ),
    "Server(lifespan=5)": (
        lambda: ANY.Server(lifespan=5),
        TypeError,
        "lifespan=5 cannot be called. Write an async generator function under",
    ),
    "Server(lifespan=async)": (
        lambda: ANY.Server(lifespan=bare_lifespan),
        TypeError,
        "bare_lifespan returns no async context manager. Write",
    ),
    "Server(lifespan=agen)": (
        lambda: ANY.Server(lifespan=lifespan_generator),
        TypeError,
        "lifespan_generator returns no async context manager",
    ),
    "Server(lifespan=called)": (lambda: ANY.Server(lifespan=lifespan(Server())), TypeError, "each server needs one of its own"),
    "asgi(5)": (lambda: ANY.Server().asgi(5), TypeError, "takes another ASGI application, not 5"),
    "EngineServer(5)": (lambda: ANY.EngineServer(5), TypeError, "5 is not a function; write `async def handler"),
    "EngineServer(plain)": (lambda: ANY.EngineServer(lambda_free), TypeError, "lambda_free is not async"),
    "EngineServer(agen)": (lambda: ANY.EngineServer(agen), TypeError, "asynchronous generator"),
    "EngineServer(config=dict)": (lambda: ANY.EngineServer(echo_session, config={}), TypeError, "is no Config"),
    "open_test_server(Controller)": (lambda: trio.run(_enter, Echo), TypeError, "takes a RoutingTable, not "),
    # Tables, routes and decorators.
    "Route(5)": (lambda: ANY.Route(5, Echo), RouteError, "a namespace is a string"),
    "Route(swapped)": (lambda: ANY.Route(Echo, "/"), RouteError, "a namespace is a string"),
    "Route(None)": (lambda: ANY.Route("/", None), RouteError, "NoneType has no handler"),
    "Route(async __init__)": (lambda: ANY.Route("/", AsyncInit), RouteError, "AsyncInit.__init__ is async, and nobody would await it"),
    "Route(middleware=5)": (lambda: ANY.Route("/", Echo, middleware=5), RouteError, "middleware=5 is no list"),
    "Route(middleware=None)": (lambda: ANY.Route("/", Echo, middleware=None), RouteError, "middleware=None is no list"),
    "Route(middleware=f)": (lambda: ANY.Route("/", Echo, middleware=middleware), RouteError, r"\[middleware\]"),
    "Route(middleware=text)": (lambda: ANY.Route("/", Echo, middleware="ab"), RouteError, "'a', which cannot be called"),
    "Route(handlers=list)": (
        lambda: ANY.Route("/", Echo, exception_handlers=[handler]),
        RouteError,
        r"is no dict; write exception_handlers=\{KeyError: function\}",
    ),
    "Route(handlers={5:})": (lambda: ANY.Route("/", Echo, exception_handlers={5: plain}), RouteError, "no subclass of Exception"),
    "Route(handlers={KeyError: 5})": (lambda: ANY.Route("/", Echo, exception_handlers={KeyError: 5}), RouteError, "cannot be called"),
    "Route(handlers={KeyError: agen})": (
        lambda: ANY.Route("/", Echo, exception_handlers={KeyError: agen}),
        RouteError,
        "would do nothing: agen is",
    ),
    "Route(handlers={KeyError: swapped})": (
        lambda: ANY.Route("/", Echo, exception_handlers={KeyError: lambda error, ctx: None}),
        RouteError,
        r"KeyError takes the context behind 'error', but is called as \(ctx, exc\); change their order",
    ),
    "Route(handlers={KeyError: annotated})": (
        lambda: ANY.Route("/", Echo, exception_handlers={KeyError: annotated_swapped}),
        RouteError,
        "takes the context behind 'error'",
    ),
    "Route(self forgotten)": (
        lambda: ANY.RoutingTable(ANY.Route("/", NoSelf)),
        RouteError,
        "NoSelf.say: its first parameter gets the controller, so 'text' cannot be str; write `self` before it",
    ),
    "on('x', no socket)": (
        lambda: _entered(no_socket),
        RouteError,
        "no_socket: its first parameter gets the socket, so 'text' cannot be str; write `socket: Socket` before it",
    ),
    "on('x', sid)": (lambda: _entered(python_socketio), RouteError, "'sid' cannot be str.*, or in its place"),
    "on('x', list)": (lambda: _entered(lists), RouteError, r"'texts' cannot be list\[str\]"),
    "RoutingTable([...])": (lambda: ANY.RoutingTable([ANY.Route("/", Echo)]), RouteError, r"write RoutingTable\(Route"),
    "RoutingTable(Controller)": (lambda: ANY.RoutingTable(Echo), RouteError, "takes routes, not "),
    "RoutingTable(handlers=list)": (lambda: ANY.RoutingTable(exception_handlers=[]), RouteError, "is no dict"),
    "@on_message": (lambda: ANY.on_message(handler), RouteError, r'write @on_message\("event"\)'),
    "on_message('x')(5)": (lambda: ANY.on_message("x")(5), RouteError, "5 cannot be marked as a handler; put the decorator on"),
    "on_message('x')(method)": (lambda: ANY.on_message("x")(Echo().echo), RouteError, "cannot be marked as a handler"),
    "on_message('x', middleware=f)": (lambda: ANY.on_message("x", middleware=middleware), RouteError, r"\[middleware\]"),
    "@on_connection('x')": (lambda: ANY.on_connection("x"), RouteError, "'x' cannot be marked as a handler"),
    "@on_disconnection('x')": (lambda: ANY.on_disconnection("x"), RouteError, "'x' cannot be marked as a handler"),
    "@on_any_message('x')": (lambda: ANY.on_any_message("x"), RouteError, "'x' cannot be marked as a handler"),
    "@emits": (lambda: ANY.emits(handler), RouteError, r'write @emits\("event"\)'),
    "emits(to=5)": (lambda: ANY.emits("x", to=5), RouteError, "to=5 names no room; leave `to` out"),
    "broadcasts(to=5)": (lambda: ANY.broadcasts("x", to=5), RouteError, "to=5 names no room"),
}


def lambda_free(session: Session) -> None: ...


async def echo_session(session: Session) -> None:
    async for message in session:
        await session.send(message)


def _entered(function: Callable[..., object]) -> None:
    """Enter a server with ``function``, and raise what is wrong with it alone."""
    server = Server()
    server.on("x", function)
    try:
        trio.run(_enter, server)
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            (error,) = error.exceptions
        raise error from None


async def _enter(served: Any) -> None:
    async with open_test_server(served):
        pass


@pytest.mark.parametrize("written", MISUSES)
def test_it_raises_where_it_is_written(written: str) -> None:
    call, error, sentence = MISUSES[written]
    with pytest.raises(error, match=sentence):
        call()


# Middleware that cannot be awaited, wherever it is given.

NOT_ASYNC: dict[str, Any] = {
    "function": plain,
    "partial": functools.partial(plain),
    "partial of a partial": functools.partial(functools.partial(plain)),
    "object": Plain(),
    "bound method": Plain().method,
    "static method": Plain.static,
    "class": TwoArguments,
    "asynchronous generator": agen,
    "generator": gen,
    "async generator's partial": functools.partial(agen),
}
GIVEN: dict[str, Callable[[Any], object]] = {
    "server.use": lambda layer: Server().use(layer),
    "Route": lambda layer: Route("/", Echo, middleware=[layer]),
    "Route's connection": lambda layer: Route("/", Echo, connection_middleware=[layer]),
    "RoutingTable's connection": lambda layer: RoutingTable(connection_middleware=[layer]),
    "RoutingTable's message": lambda layer: RoutingTable(message_middleware=[layer]),
    "on_message": lambda layer: _route_with(on_message("x", middleware=[layer])),
    "on_any_message": lambda layer: _route_with(on_any_message(middleware=[layer])),
    "on_connection": lambda layer: _route_with(on_connection(middleware=[layer])),
}


def _route_with(decorator: Callable[[Any], Any]) -> Route:
    @decorator
    async def handle(self: object, *args: object) -> None: ...

    return Route("/", type("Controller", (), {"handle": handle}))


@pytest.mark.parametrize("where", GIVEN)
@pytest.mark.parametrize("kind", NOT_ASYNC)
def test_middleware_that_cannot_be_awaited(kind: str, where: str) -> None:
    with pytest.raises(RouteError, match=r"cannot be awaited|nobody would iterate over it"):
        GIVEN[where](NOT_ASYNC[kind])


def test_a_first_parameter_may_be_annotated_with_what_it_is() -> None:
    class Base:
        @on_message("base")
        async def base(self: Self) -> None: ...

    class Controller(Base):
        def __init__(self, socket: Any) -> None: ...

        @on_message("class")
        @classmethod
        async def of_class(cls: type[Controller], text: str) -> None: ...

        @on_message("static")
        @staticmethod
        async def static(text: str) -> None: ...

    def typed(socket: Socket[dict[str, str]], text: str) -> None: ...
    def any_socket(socket: Any) -> None: ...
    def rest(*texts: str) -> None: ...

    RoutingTable(Route("/", Controller))
    for function in (handler, typed, any_socket, rest):
        _entered(function)


MAY_BE_ASYNC: dict[str, Any] = {
    "async": middleware,
    "partial": functools.partial(middleware),
    "object": Async(),
    "bound method": Async().method,
    "static method": Async.static,
    "class method": Async.of_class,
    "wrapper": wrapper,
    "annotated": annotated,
    "annotated too": annotated_too,
    "lambda": lambda ctx, call_next: Async().method(ctx, call_next),
    "class": Awaited,
}


@pytest.mark.parametrize("kind", MAY_BE_ASYNC)
async def test_middleware_that_can_be_awaited(kind: str) -> None:
    table = RoutingTable(
        Route("/", Echo), connection_middleware=[MAY_BE_ASYNC[kind]], message_middleware=[MAY_BE_ASYNC[kind], MAY_BE_ASYNC[kind]]
    )
    async with open_test_server(table) as server, server.client() as client:
        assert await client.emit_with_ack("echo", 1) == 1


async def test_middleware_of_which_nobody_can_know_says_so_when_it_is_called(caplog: pytest.LogCaptureFixture) -> None:
    def annotated_wrongly(ctx: Context, call_next: Next) -> Awaitable[object]:
        return FIVE

    table = RoutingTable(Route("/", Echo), message_middleware=[annotated_wrongly])
    async with open_test_server(table) as server, server.client() as client:
        assert await client.emit_with_ack("echo", 1) == {"status": "error", "message": "Internal server error"}
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "annotated_wrongly returned 5, which cannot be awaited; write it with `async def`."


async def test_a_handler_of_an_engine_server_of_which_nobody_can_know(caplog: pytest.LogCaptureFixture) -> None:
    def wrong(session: Session) -> Awaitable[object]:
        return FIVE

    async with open_test_server(EngineServer(wrong)) as server, await server.websocket() as client:
        await client.receive()
        with pytest.raises(WebSocketClosed):
            await client.receive()
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert "returned 5, which cannot be awaited; write it with `async def`." in str(record.exc_info[1])


async def test_a_lifespan_of_which_nobody_can_know() -> None:
    @contextmanager
    def not_async(server: Server) -> Iterator[None]:
        yield

    with pytest.raises(TypeError, match=r"lifespan=.*not_async returned .* which is no async context manager\. Write"):
        async with ANY.Server(lifespan=not_async):
            pass


# What the handlers return may be awaited, whatever made it.


async def _checkpoint() -> None:
    await trio.lowlevel.checkpoint()


class Later:
    """What can be awaited and is no coroutine, as Cython and some libraries make it."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __await__(self) -> Any:
        yield from _checkpoint().__await__()
        return self._value


async def test_what_a_handler_returns_is_awaited_when_it_can_be() -> None:
    seen = list[object]()

    class Controller:
        @on_connection
        def joined(self) -> Awaitable[object]:
            return Note("joined")

        @on_message("plain")
        def plain(self, value: object) -> Awaitable[object]:
            return Later(value)

        @on_message("around", middleware=[middleware])
        def around(self, value: object) -> Awaitable[object]:
            return Later(value)

    class Note(Later):
        def __await__(self) -> Any:
            seen.append(self._value)
            return (yield from super().__await__())

    async with open_test_server(RoutingTable(Route("/", Controller))) as server, server.client() as client:
        assert await client.emit_with_ack("plain", 1) == 1
        assert await client.emit_with_ack("around", 2) == 2
        assert seen == ["joined"]


# Calls that register at once.


async def test_on_takes_the_function_as_that_of_a_socket_does() -> None:
    server = Server()
    assert server.on("x", handler) is handler
    server.of("/chat").on("x", handler, concurrent=True)
    server.on("y", "z")(handler)
    server.on("partial", functools.partial(handler))
    async with open_test_server(server) as running, running.client() as client, running.client("/chat") as chat:
        assert await client.emit_with_ack("x", 1) == 1
        assert await chat.emit_with_ack("x", 1) == 1
        assert await client.emit_with_ack("y", 2) == 2
        assert await client.emit_with_ack("z", 2) == 2
        assert await client.emit_with_ack("partial", 3) == 3


async def test_what_is_given_twice_is_found_before_anything_is_served() -> None:
    server = Server()
    server.on("x", handler)
    server.on("x")(Echo().echo)
    with pytest.raises(RouteError, match="both handle 'x'"):
        async with server:
            pass


# On one socket, and on that of a client.

ON_A_SOCKET: dict[str, tuple[Callable[[Any], object], type[Exception], str]] = {
    "on(5, f)": (lambda socket: socket.on(5, handler), TypeError, r'names no event; write `socket.on\("event", function\)`'),
    "@on": (lambda socket: socket.on(handler)(handler), TypeError, "names no event"),
    "on('x', 5)": (lambda socket: socket.on("x", 5), TypeError, "5 is not a function, so it cannot handle events"),
    "on('x')(5)": (lambda socket: socket.on("x")(5), TypeError, "5 is not a function"),
    "on('x', agen)": (lambda socket: socket.on("x", agen), TypeError, "asynchronous generator, and nobody would iterate over it"),
    "on('x', gen)": (lambda socket: socket.on("x", gen), TypeError, "gen is a generator"),
    "on('connection', f)": (lambda socket: socket.on("connection", handler), ValueError, "on_connection"),
    "on('disconnect', f)": (lambda socket: socket.on("disconnect", handler), ValueError, "on_disconnection"),
    "on('disconnecting', f)": (lambda socket: socket.on("disconnecting", handler), ValueError, "on_disconnection"),
    "off(f)": (
        lambda socket: socket.off(handler),
        TypeError,
        r'`off` on <function.* names no event; write `socket.off\("event", function\)`',
    ),
    "off('x', 5)": (lambda socket: socket.off("x", 5), TypeError, "5 is not a function, so `off` cannot forget it"),
    "on_any(5)": (lambda socket: socket.on_any(5), TypeError, "on_any wants a function, not 5"),
    "on_any(async)": (lambda socket: socket.on_any(handler), TypeError, "not async"),
    "off_any(5)": (lambda socket: socket.off_any(5), TypeError, "`off_any` cannot forget it"),
    "on_any_outgoing('x')": (lambda socket: socket.on_any_outgoing("x"), TypeError, "on_any_outgoing wants a function, not 'x'"),
    "on_any_outgoing(async)": (lambda socket: socket.on_any_outgoing(handler), TypeError, "not async"),
    "off_any_outgoing('x')": (lambda socket: socket.off_any_outgoing("x"), TypeError, "`off_any_outgoing` cannot forget it"),
    "use(5)": (lambda socket: socket.use(5), TypeError, "5 is not a function, so it cannot be middleware"),
    "use(plain)": (lambda socket: socket.use(plain), TypeError, r"plain is not async.*write `async def \(event, call_next\)`"),
    "use(object)": (lambda socket: socket.use(Plain()), TypeError, "Plain is not async"),
    "use(agen)": (lambda socket: socket.use(agen), TypeError, "asynchronous generator"),
    "join(5)": (lambda socket: socket.join_nowait(5), TypeError, r"Room 5 is not a string; convert it with str\(\)\."),
    "join(['a'])": (lambda socket: socket.join_nowait(["a"]), TypeError, r"to join several rooms write join\('a', 'b'\)"),
    "leave(5)": (lambda socket: socket.leave_nowait(5), TypeError, r"Room 5 is not a string; convert it with str\(\)\."),
    "leave(['a'])": (lambda socket: socket.leave_nowait(["a"]), TypeError, r"to leave several rooms write leave\('a', 'b'\)"),
    "once('x', f)": (lambda socket: socket.once("x", handler), TypeError, "positional arguments"),
}
ONCE: dict[str, tuple[object, type[Exception], str]] = {
    "5": (5, TypeError, r'names no event; write `await socket.once\("event"\)`'),
    "function": (handler, TypeError, "names no event"),
    "disconnect": ("disconnect", ValueError, "on_disconnection"),
}


@pytest.fixture
async def socket() -> AsyncIterator[Socket]:
    server = Server()
    sockets = list[Socket]()

    @server.on_connection
    async def joined(socket: Socket) -> None:
        sockets.append(socket)

    async with open_test_server(server) as running, running.strict_client():
        yield sockets[0]


@pytest.mark.parametrize("written", ON_A_SOCKET)
async def test_on_a_socket_it_raises_at_once(written: str, socket: Socket) -> None:
    call, error, sentence = ON_A_SOCKET[written]
    with pytest.raises(error, match=sentence):
        call(socket)


@pytest.mark.parametrize("event", ONCE)
async def test_to_wait_for_what_cannot_come_raises(event: str, socket: Socket) -> None:
    given, error, sentence = ONCE[event]
    asked: Any = socket
    with trio.fail_after(1), pytest.raises(error, match=sentence):
        await asked.once(given)


async def test_middleware_of_a_socket_of_which_nobody_can_know(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    server.on("x", handler)

    @server.on_connection
    async def joined(socket: Socket) -> None:
        def wrong(event: list[Any], call_next: Callable[[], Awaitable[None]]) -> Awaitable[object]:
            return FIVE

        socket.use(wrong)

    async with open_test_server(server) as running, running.client() as client:
        assert await client.emit_with_ack("x", 1) == {"status": "error", "message": "Internal server error"}
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert "returned 5, which cannot be awaited; write it with `async def`." in str(record.exc_info[1])


ON_A_CLIENT: dict[str, tuple[Callable[[Any], object], str]] = {
    "on(5, f)": (lambda client: client.on(5, handler), r'`on` on 5 names no event; write `on\("event"\)`'),
    "@on": (lambda client: client.on(handler)(handler), "names no event"),
    "on('x', 5)": (lambda client: client.on("x", 5), "5 is not a function"),
    "on('x')(agen)": (lambda client: client.on("x")(agen), "asynchronous generator"),
    "on('connect', f)": (lambda client: client.on("connect", handler), "states"),
    "on('disconnect')(f)": (lambda client: client.on("disconnect")(handler), "states"),
    "on_any(5)": (lambda client: client.on_any(5), "5 is not a function"),
    "on_any(gen)": (lambda client: client.on_any(gen), "gen is a generator"),
    "off(f)": (lambda client: client.off(handler), "`off` on <function.* names no event"),
    "off('x', 5)": (lambda client: client.off("x", 5), "5 is not a function, so `off` cannot forget it"),
    "off('disconnect')": (lambda client: client.off("disconnect"), "states"),
}


@pytest.mark.parametrize("written", ON_A_CLIENT)
async def test_on_a_client_it_raises_at_once(written: str) -> None:
    call, sentence = ON_A_CLIENT[written]
    async with open_test_server(RoutingTable(Route("/", Echo))) as server, server.client() as client:
        with pytest.raises(ConfigurationError, match=sentence):
            call(client)


@pytest.mark.parametrize(("event", "sentence"), [(5, "names no event"), ("connect", "states"), ("disconnect", "states")])
async def test_a_client_does_not_wait_for_what_cannot_come(event: Any, sentence: str) -> None:
    async with open_test_server(RoutingTable(Route("/", Echo))) as server, server.client() as client:
        with trio.fail_after(1), pytest.raises(ConfigurationError, match=sentence):
            await client.once(event)


@pytest.mark.parametrize("given", [5, agen], ids=["5", "agen"])
async def test_the_strict_client_of_the_test_kit(given: Any) -> None:
    async with open_test_server(RoutingTable(Route("/", Echo))) as server, server.strict_client() as client:
        with pytest.raises(TypeError, match="so it cannot handle events"):
            client.on("x", given)


def test_what_cannot_be_known_is_no_fault() -> None:
    assert fault_of_awaited(print) is None
    assert fault_of_awaited(functools.lru_cache(plain)) is None
    assert fault_of_handler(print) is None
    assert fault_of_handler(int) is None


def test_config_is_looked_at_before_anything_else() -> None:
    with pytest.raises(TypeError, match="is no Config"):
        ANY.Server(config=False)
    assert Server(config=Config(path="/x")).config.path == "/x"
