"""An application for those who come from Midway: what its documentation shows, and what its users asked for."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Self

import trio

from tests.conformance.app import Journal, Observer
from trio_sio import (
    Ack,
    Config,
    ConnectionRefused,
    Context,
    Middleware,
    Namespace,
    Next,
    Route,
    RouteError,
    RoutingTable,
    Server,
    Socket,
    broadcasts,
    emits,
    on_any_message,
    on_connection,
    on_disconnection,
    on_message,
)
from trio_sio.namespaces.adapter import InMemoryAdapter

RESULTS: Final[dict[str, object]] = {
    "none": None,
    "zero": 0,
    "empty text": "",
    "false": False,
    "text": "text",
    "object": {"a": 1},
    "list": [1, 2],
    "list in a list": [[1, 2]],
    "empty list": [],
    "tuple": (1, 2),
    "empty tuple": (),
}


class Table:
    """``/table``: what becomes of a result."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    @on_connection
    async def joined(self) -> None:
        await self.socket.join("lobby")

    @on_message("give", "give by another name")
    @emits("r")
    async def give(self, what: str) -> object:
        return RESULTS[what]

    @on_message("give without emits")
    async def give_without_emits(self, what: str) -> object:
        return RESULTS[what]

    @on_message("throw")
    @emits("r")
    async def throw(self) -> None:
        raise RuntimeError("thrown")

    @on_message("ack by hand")
    @emits("r")
    async def ack_by_hand(self, ack: Ack) -> str:
        await ack("by hand", 2)
        return "returned"

    @on_message("to the room")
    @emits("r", to="lobby")
    async def to_the_room(self) -> str:
        return "room"

    @on_message("twice")
    @emits("upper")
    @emits("lower")
    async def twice(self) -> str:
        return "both"

    @on_message("room and all")
    @emits("room", to="lobby")
    @broadcasts("all")
    async def room_and_all(self) -> str:
        return "each"

    @on_message("broadcast to the room")
    @broadcasts("r", to="lobby")
    async def broadcast_to_the_room(self) -> str:
        return "everybody"

    @on_message("pair")
    @emits("r")
    async def pair(self, a: int, b: int = 7) -> list[int]:
        return [a, b]

    @on_message("exactly two")
    @emits("r")
    async def exactly_two(self, a: int, b: int) -> list[int]:
        return [a, b]

    @on_message("rest")
    @emits("r")
    async def rest(self, a: int, *rest: int) -> list[int]:
        return [a, *rest]

    @on_message("fence")
    async def fence(self) -> None: ...

    @on_disconnection
    @emits("left", to="lobby")
    async def gone(self, reason: str) -> str:
        return reason


def traced(journal: Journal, name: str, namespace: str) -> Middleware:
    """Make middleware that writes down when it is entered and left, by clients of ``namespace``."""

    async def layer(ctx: Context, call_next: Next) -> object:
        if ctx.socket.namespace.name != namespace:
            return await call_next()
        what = "connection" if ctx.event is None else "message"
        journal.write(ctx.socket, f"{what}: {name} in")
        result = await call_next()
        journal.write(ctx.socket, f"{what}: {name} out")
        return result

    return layer


def make_order(journal: Journal) -> type:
    """Make the controller of ``/order``, whose middleware is all five kinds."""

    @dataclass
    class Order:
        socket: Socket

        @on_connection(middleware=[traced(journal, "hook's", "/order")])
        async def joined(self) -> None:
            journal.write(self.socket, "connection: hook")

        @on_message("do", middleware=[traced(journal, "event's", "/order")])
        async def do(self) -> str:
            journal.write(self.socket, "message: handler")
            return "done"

    return Order


async def forget(ctx: Context, call_next: Next) -> None:
    """Forget to return the result."""
    await call_next()


class Forgetful:
    """``/forgetful``: a result gets lost on its way."""

    @on_message("ask", middleware=[forget])
    @emits("r")
    async def ask(self) -> str:
        return "lost"

    @on_message("remember")
    async def remember(self) -> str:
        return "kept"


async def check_token(ctx: Context, call_next: Next) -> object:
    """Refuse clients without the token."""
    if ctx.socket.handshake.auth.get("token") != "secret":
        raise ConnectionRefused("bad token", data={"code": 4001, "bytes left": [1]})
    return await call_next()


async def wait_in_middleware(ctx: Context, call_next: Next) -> object:
    """Let clients that want it wait before they are let in."""
    if ctx.event is None and ctx.socket.handshake.auth["where"] == "middleware":
        server: Any = ctx.server
        await wait_for_ever(server.journal, ctx.socket, "middleware")
    return await call_next()


async def wait_for_ever(journal: Journal, socket: Socket, where: str) -> None:
    """Wait until the client has gone, and write down that this was cancelled."""
    journal.write(socket, f"{where} begins")
    try:
        await trio.sleep_forever()
    finally:
        journal.write(socket, f"{where} is cancelled")


@dataclass
class Leaving:
    """``/leaving``: somewhere on the way everything takes too long for the client."""

    socket: Socket
    journal: Journal

    async def __aenter__(self) -> Self:
        self.journal.write(self.socket, "entered")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.journal.write(self.socket, "left")

    @on_connection
    async def joined(self) -> None:
        if self.socket.handshake.auth["where"] == "hook":
            await wait_for_ever(self.journal, self.socket, "hook")

    @on_message("wait")
    async def wait(self) -> None:
        await wait_for_ever(self.journal, self.socket, "handler")

    @on_disconnection
    async def gone(self, reason: str) -> None:
        self.journal.write(self.socket, reason)


@dataclass
class Early:
    """``/early``: the connection hook takes its time."""

    socket: Socket
    journal: Journal

    @on_connection
    async def joined(self) -> None:
        self.journal.write(self.socket, "hook begins")
        await self.socket.once("go")
        self.journal.write(self.socket, "hook ends")

    @on_message("early")
    async def early(self, number: int) -> int:
        self.journal.write(self.socket, f"message {number}")
        return number


class First:
    """``/shared``: one of two controllers of a namespace."""

    @on_message("first")
    async def first(self) -> str:
        return "first"


class Second:
    """``/shared``: the other one."""

    @on_message("second")
    async def second(self) -> str:
        return "second"

    @on_any_message
    async def other(self, event: str, *args: object) -> list[object]:
        return [event, *args]


@dataclass
class Named:
    """Tells which route a client has come to."""

    name: str

    @on_message("name")
    async def answer(self, ctx: Context) -> list[object]:
        return [self.name, dict(ctx.socket.params)]


@dataclass
class Hall:
    """``/`` and ``/ns``: every form of sending that Midway's documentation shows."""

    socket: Socket

    @on_message("join")
    async def join(self, *rooms: str) -> None:
        await self.socket.join(*rooms)

    @on_message("say")
    async def say(self, form: str) -> None:
        socket, namespace = self.socket, self.socket.namespace
        server = socket.server
        match form:
            case "ctx.emit":
                await socket.emit("said")
            case "ctx.broadcast.emit":
                await socket.broadcast.emit("said")
            case 'ctx.to("game").emit':
                await socket.to("game").emit("said")
            case 'ctx.to("a").to("b").emit':
                await socket.to("a").to("b").emit("said")
            case 'app.in("game").emit':
                await server.in_("game").emit("said")
            case "ctx.nsp.emit":
                await namespace.emit("said")
            case 'app.of(ns).to("game").emit':
                await server.of(namespace.name).to("game").emit("said")
            case "app.local.emit":
                await server.local.emit("said")

    @on_message("emit to unknown")
    async def emit_to_unknown(self) -> None:
        await self.socket.server.of("/unknown").emit("said")

    @on_message("add middleware")
    async def add_middleware(self) -> str:
        server = self.socket.server
        assert isinstance(server, Server)
        try:
            server.use(check_token)
        except RouteError as error:
            return str(error)
        return "added"

    @on_message("fence")
    @broadcasts("fence")
    async def fence(self) -> tuple[()]:
        return ()


class Handled(Exception):
    """What has an exception handler."""


async def sorry(ctx: Context, exc: Handled) -> dict[str, str]:
    """Tell the client."""
    await ctx.socket.emit("sorry", str(exc))
    return {"sorry": str(exc)}


@dataclass
class Errors:
    """``/errors``: exceptions in every place."""

    socket: Socket
    journal: Journal

    def fail(self, where: str) -> None:
        match self.socket.handshake.auth.get(where):
            case "handled":
                raise Handled(where)
            case "unhandled":
                raise ValueError(where)

    @on_connection
    async def joined(self) -> None:
        self.fail("connect")

    @on_message("fail")
    async def message(self) -> None:
        self.fail("message")

    @on_disconnection
    async def gone(self, reason: str) -> None:
        self.journal.write(self.socket, reason)
        self.fail("disconnect")


@dataclass
class Sequence:
    """``/sequence``: in which order messages are handled."""

    socket: Socket

    @on_message("number")
    @emits("number")
    async def number(self, number: int) -> int:
        if number % 7 == 0:
            await trio.lowlevel.checkpoint()
        return number

    @on_message("slow")
    @emits("done")
    async def slow(self) -> str:
        # Without a checkpoint in between: whoever hears this may let it go on at once.
        self.socket.emit_nowait("waiting")
        await self.socket.once("go")
        return "slow"

    @on_message("fast")
    @emits("done")
    async def fast(self) -> str:
        return "fast"


class MidwayServer(Server):
    """The application's server, and what the tests want to know about it.

    Attributes:
      journal: What was seen of each client.
      adapters: How often the adapter of each namespace was made.
    """

    def __init__(self) -> None:
        self.journal = journal = Journal()
        self.adapters: Counter[str] = Counter()
        routes = RoutingTable(
            Route("/observer", Observer(journal)),
            Route("/", Hall),
            Route("ns", Hall),
            Route("/table", Table),
            Route("/order", make_order(journal), middleware=[traced(journal, "route's", "/order")]),
            Route("/forgetful", Forgetful()),
            Route("/guarded", Hall, middleware=[check_token]),
            Route("/leaving", partial(Leaving, journal=journal), middleware=[wait_in_middleware]),
            Route("/early", partial(Early, journal=journal)),
            Route("/shared", First()),
            Route("/shared", Second()),
            Route(re.compile(r"/dyn-(?P<number>\d+)"), Named("digits")),
            Route(re.compile(r"/dyn-.*"), Named("anything")),
            Route("/dyn-7", Named("literal")),
            Route("/errors", partial(Errors, journal=journal), exception_handlers={Handled: sorry}),
            Route("/sequence", Sequence),
            connection_middleware=[traced(journal, "global", "/order"), traced(journal, "global", "/shared")],
            message_middleware=[traced(journal, "global", "/order")],
        )
        config = Config(cleanup_timeout=0.5, generate_id=lambda: str(uuid.uuid4()))
        super().__init__(routes, config=config, adapter=self._adapter_of)

    def _adapter_of(self, namespace: Namespace) -> InMemoryAdapter:
        self.adapters[namespace.name] += 1
        return InMemoryAdapter(namespace)
