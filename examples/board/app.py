"""Boards to draw on together: everybody sees the others' cursors, and their lines as they are drawn."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from trio_sio import (
    Config,
    ConnectionRefused,
    Context,
    Next,
    Route,
    RoutingTable,
    Server,
    Socket,
    on_connection,
    on_disconnection,
    on_message,
    server_event,
)

BUNDLE = Path(__file__).parents[2] / "node_modules/socket.io-client/dist"

Part = Annotated[float, Meta(ge=0, le=1)]  # of the board's width, or height
Point = tuple[Part, Part]
Points = Annotated[list[Point], Meta(min_length=1, max_length=32)]


@dataclass
class Person:
    """Who is at a board, as the others see it: `socket.data`."""

    id: str
    name: str = ""


@dataclass
class Line:
    """A piece of a line that somebody has drawn."""

    author: str
    points: list[Point]


@dataclass
class Board:
    """Who is there, and what was drawn: so much that it fits into one event. Forgotten when the last one goes."""

    people: dict[str, Person] = field(default_factory=dict)
    lines: deque[Line] = field(default_factory=partial(deque, maxlen=2_000))


@server_event
def welcome(me: Person, lines: list[Line]) -> None:
    """What the board looks like to somebody who comes, or comes back."""


@server_event
def here(people: list[Person]) -> None:
    """Somebody has come or gone, and these are here now."""


@server_event
def moved(id: str, x: float, y: float) -> None:
    """Somebody's cursor is there now; some of its way may be missing."""


@server_event
def drawn(line: Line) -> None:
    """Somebody else has drawn something."""


@server_event
def cleared() -> None:
    """The board is empty again."""


async def introduce(ctx: Context, call_next: Next) -> object:
    name = ctx.socket.handshake.auth.get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= 24:
        raise ConnectionRefused("Connect with auth: {name: ...}, of 1 to 24 characters.")
    ctx.socket.data.name = name
    return await call_next()


@dataclass
class BoardController:
    """One person at the board that the namespace is named after: `/board-tea`."""

    socket: Socket[Person]
    boards: dict[str, Board]

    @property
    def board(self) -> Board:
        return self.boards.setdefault(self.socket.params["name"], Board())

    @on_connection(middleware=[introduce])
    async def arrived(self) -> None:
        self.board.people[self.socket.id] = self.socket.data
        await self.socket.emit(welcome, self.socket.data, [*self.board.lines])
        await self.socket.namespace.emit(here, [*self.board.people.values()])

    @on_message("move")
    async def move(self, x: Part, y: Part) -> None:
        # Of each cursor only the newest place waits for somebody whose network is slow.
        await self.socket.broadcast.volatile(key=f"cursor:{self.socket.id}").emit(moved, self.socket.id, x, y)

    @on_message("draw")
    async def draw(self, points: Points) -> None:
        line = Line(self.socket.data.name, points)
        self.board.lines.append(line)
        await self.socket.broadcast.emit(drawn, line)

    @on_message("clear")
    async def clear(self) -> None:
        self.board.lines.clear()
        await self.socket.namespace.emit(cleared)

    @on_disconnection
    def left(self) -> None:
        self.board.people.pop(self.socket.id, None)
        self.socket.namespace.emit_nowait(here, [*self.board.people.values()])
        if not self.board.people:
            del self.boards[self.socket.params["name"]]


routes = RoutingTable(
    Route(
        re.compile(r"/board-(?P<name>[a-z0-9-]{1,30})"),
        partial(BoardController, boards={}),
        data=lambda socket: Person(socket.id),
        events=[welcome, here, moved, drawn, cleared],
    )
)

if __name__ == "__main__":
    logging.basicConfig(level="INFO")
    server = Server(routes, config=Config(serve_client=str(BUNDLE) if BUNDLE.is_dir() else None))  # else the page asks a CDN
    sys.exit(server.run(port=int(os.environ.get("PORT", "3000")), static=Path(__file__).with_name("web")))
