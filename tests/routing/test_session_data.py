"""`Socket.data` that a route makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self, TypedDict, cast

import msgspec
import pytest
import trio.testing

from trio_sio import Config, Context, Next, Recovery, Route, RouteError, RoutingTable, Server, Socket, on_connection, on_message
from trio_sio.client.states import Connected
from trio_sio.errors import ConnectionRefused, ConnectionReset
from trio_sio.namespaces.descriptions import PlainData
from trio_sio.testing import open_test_server


@dataclass
class SessionData:
    user: str = ""
    seen: list[str] = field(default_factory=list)


async def authenticate(ctx: Context, call_next: Next) -> object:
    ctx.socket.data.user = ctx.socket.handshake.auth["user"]
    return await call_next()


class Chat:
    def __init__(self, socket: Socket[SessionData]) -> None:
        self.socket = socket

    @on_connection
    async def joined(self) -> None:
        self.socket.data.seen.append("connection")

    @on_message("say")
    async def say(self, text: str, socket: Socket[SessionData]) -> list[str]:
        assert socket is self.socket
        socket.data.seen.append(text)
        return [socket.data.user, *socket.data.seen]


class Other:
    @on_message("other")
    async def other(self) -> None: ...


async def test_each_socket_has_its_own_before_middleware_runs() -> None:
    routes = RoutingTable(Route("/", Chat, data=SessionData, middleware=[authenticate]), Route("/", Other))
    async with open_test_server(routes) as server, server.client(auth={"user": "Ann"}) as ann, server.client(auth={"user": "Bob"}) as bob:
        assert await ann.emit_with_ack("say", "a") == ["Ann", "connection", "a"]
        assert await bob.emit_with_ack("say", "b") == ["Bob", "connection", "b"]


async def test_a_function_makes_it_from_the_socket() -> None:
    def make(socket: Socket) -> SessionData:
        return SessionData(socket.handshake.auth["user"])

    async with open_test_server(RoutingTable(Route("/", Chat, data=make))) as server, server.client(auth={"user": "Ann"}) as ann:
        assert await ann.emit_with_ack("say", "a") == ["Ann", "connection", "a"]


async def test_a_socket_that_is_recovered_keeps_its_own(autojump_clock: trio.testing.MockClock) -> None:
    config = Config(connection_state_recovery=Recovery(), check_events=True)
    async with open_test_server(RoutingTable(Route("/", Chat, data=SessionData, middleware=[authenticate])), config) as server:
        chat = cast("Server", server.server).of("/")
        async with server.client(auth={"user": "Ann"}, transports=["websocket"]) as ann:
            assert await ann.emit_with_ack("say", "before") == ["Ann", "connection", "before"]
            (socket,) = chat.sockets.values()
            await socket.emit("news")  # whose offset the client has to know
            await ann.once("news")
            async with ann.states() as states:
                socket.client.connection.end(ConnectionReset("the test cuts it"))
                async for state in states:
                    if isinstance(state, Connected) and state.recovered:
                        break
            assert (await ann.emit_with_ack("say", "after"))[:3] == ["Ann", "connection", "before"]


async def test_what_fails_to_make_it_refuses_the_client(caplog: pytest.LogCaptureFixture) -> None:
    def make(socket: Socket) -> SessionData:
        raise KeyError("user")

    async with open_test_server(RoutingTable(Route("/", Chat, data=make))) as server:
        with pytest.raises(ConnectionRefused, match="Internal server error"):
            async with server.client():
                pass
    assert "KeyError" in caplog.text


async def coroutine(socket: Socket) -> SessionData:
    return SessionData()


@dataclass
class Needs:
    user: int
    other: int


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Route("/", Chat, data=SessionData()), "makes no data; give a class, or a function of the socket"),  # type: ignore[arg-type]
        (lambda: Route("/", Chat, data=coroutine), "is a coroutine function; what takes time belongs into connection middleware"),
        (lambda: Route("/", Chat, data=Needs), "Needs needs more than the socket"),
        (
            lambda: RoutingTable(Route("/", Chat, data=SessionData), Route("/", Other, data=Slots)),
            "make different data for the sockets in namespace /, which have one",
        ),
    ],
)
def test_what_cannot_make_it_is_said_when_the_route_is_made(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(RouteError, match=sentence):
        make()


class Struct(msgspec.Struct):
    user: str


class Slots:
    __slots__ = ("unset", "user")

    def __init__(self) -> None:
        self.user = "Ann"


@pytest.mark.parametrize("data", [{"user": "Ann"}, Struct("Ann"), Slots()])
def test_other_servers_learn_what_is_in_it(data: object) -> None:
    assert PlainData().of(data) == {"user": "Ann"}


async def test_fetched_it_is_the_same_here_and_described_for_others() -> None:
    async with open_test_server(RoutingTable(Route("/", Chat, data=SessionData))) as server, server.client():
        assert isinstance(server.server, Server)
        (socket,) = await server.server.of("/").fetch_sockets()
        data: Any = socket.data
        assert data == SessionData("", ["connection"])
        assert server.server.of("/").describe(socket)["data"] == {"user": "", "seen": ["connection"]}  # type: ignore[arg-type]


class Visitor(TypedDict, total=False):
    user: str


@pytest.mark.parametrize("given", [Visitor, dict, partial(Visitor, user="")])
async def test_a_typed_dict_begins_with_what_it_is_given(given: Callable[..., object]) -> None:
    class Door:
        @on_message("who")
        async def who(self, socket: Socket[Visitor]) -> str:
            return socket.data["user"]

    async def name(ctx: Context, call_next: Next) -> object:
        assert ctx.socket.data in ({}, {"user": ""})
        ctx.socket.data["user"] = ctx.socket.handshake.auth["user"]
        return await call_next()

    async with open_test_server(RoutingTable(Route("/", Door, data=given, connection_middleware=[name]))) as server:
        for user in ("Ann", "Bob"):
            async with server.client(auth={"user": user}) as client:
                assert await client.emit_with_ack("who") == user


class Made(msgspec.Struct):
    name: str = ""

    @classmethod
    def new(cls, socket: Socket) -> Self:
        return cls(socket.id)

    @classmethod
    def spelled(cls, socket: Socket) -> Made:
        return cls(socket.id)


def unknown(socket: Socket) -> Nowhere:  # type: ignore[name-defined]  # noqa: F821 - as if it was imported for type checkers alone
    return Made()


def silent(socket: Socket):  # type: ignore[no-untyped-def]
    return Made()


def anything(socket: Socket) -> Any:
    return Made()


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (None, None),
        (SessionData, "SessionData"),
        (partial(SessionData, seen=[]), "SessionData"),
        (dict, "dict"),
        (Visitor, "Visitor"),
        (Made.new, "Made"),
        (Made.spelled, "Made"),
        (partial(Made.new), "Made"),
        (unknown, None),
        (silent, None),
        (anything, None),
        (lambda socket: Made(), None),
    ],
)
def test_the_type_is_that_of_the_class_or_what_the_function_says(given: Callable[..., object] | None, name: str | None) -> None:
    ((_, routes),) = RoutingTable(Route("/", Chat, data=given)).entries
    assert (routes.data_type and routes.data_type.name) == name
