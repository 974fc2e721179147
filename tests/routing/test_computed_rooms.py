"""`emits` and `broadcasts` with ``to=`` a function of the context."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from trio_sio import Context, Route, RouteError, RoutingTable, Server, Socket, broadcasts, emits, on_connection, on_message
from trio_sio.testing import open_test_server


def board(ctx: Context) -> str:
    return f"board-{ctx.args[0]}"


def named_in_path(ctx: Context) -> list[str]:
    return [f"room-{ctx.socket.params['id']}"]


class Board:
    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    @on_connection
    @broadcasts("came", to=named_in_path)
    async def joined(self) -> str:
        await self.socket.join("board-1", f"room-{self.socket.params['id']}")
        return self.socket.id

    @on_message("draw")
    @emits("drawn", to=board)
    @broadcasts("seen", to=named_in_path)
    @emits("nobody", to=lambda ctx: ())
    async def draw(self, number: int, line: str) -> str:
        return line

    @on_message("forgets")
    @broadcasts("x", to=lambda ctx: None)  # type: ignore[arg-type, return-value]
    async def forgets(self) -> int:
        return 1


ROUTES = RoutingTable(Route(re.compile(r"/(?P<id>\d)"), Board))


async def test_rooms_come_from_arguments_and_from_the_namespace() -> None:
    async with open_test_server(ROUTES) as server, server.client("/1") as ann, server.client("/1") as bob:
        assert await ann.once("came") == (ann.id,)
        assert await ann.once("came") == await bob.once("came") == (bob.id,)
        assert await ann.emit_with_ack("draw", 1, "a line") == "a line"
        assert await bob.once("seen") == ("a line",)
        assert await bob.once("drawn") == ("a line",)
        assert await ann.emit_with_ack("draw", 2, "another") == "another"
        assert await bob.once("seen") == ("another",)
        await ann.once("seen")
        await ann.once("seen")
        assert not ann.pending
        assert not bob.pending


async def test_a_function_that_returns_no_room_fails_and_emits_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with open_test_server(ROUTES) as server, server.client("/1") as ann:
        await ann.once("came")
        assert await ann.emit_with_ack("forgets") == 1
        assert not ann.pending
    assert "returned None, which is no room; return one or more strings, or () for nobody." in caplog.text


async def coroutine(ctx: Context) -> str:
    return "room"


@pytest.mark.parametrize("decorate", [emits, broadcasts])
def test_what_would_have_to_be_awaited_is_refused(decorate: Callable[..., object]) -> None:
    with pytest.raises(RouteError, match=r"to= is asked for rooms at once, but .* is async; write a plain function of the context"):
        decorate("x", to=coroutine)


def test_the_table_names_the_function() -> None:
    text = ROUTES.describe()
    assert "drawn to board(ctx)" in text
    assert "seen to all of named_in_path(ctx)" in text


def test_after_the_end_rooms_can_still_be_computed() -> None:
    server = Server()

    @server.on_disconnection
    @emits("left", to=lambda ctx: "lobby")
    def gone(socket: Socket) -> str:
        return socket.id

    server.compile_routes()
