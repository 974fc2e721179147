"""A chat that forgets nothing: messages and people are in SQLite, and a client that was away hears what it has missed."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import trio
from msgspec import Meta

from trio_sio import (
    BadMessage,
    Config,
    ConnectionRefused,
    Context,
    Next,
    Recovery,
    Route,
    RoutingTable,
    Server,
    Socket,
    broadcasts,
    on_message,
    server_event,
)

Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # as SQLite's
Room = Annotated[str, Meta(pattern=r"^[\w-]{1,30}$")]
Text = Annotated[str, Meta(min_length=1, max_length=2_000, pattern="^[^\ud800-\udfff]*$")]  # SQLite has no half characters

SCHEMA = """
create table if not exists people (name text primary key, token_hash text not null unique);
create table if not exists messages (id integer primary key, room text not null, author text not null, text text not null);
"""
FIND = "select id, room, author, text from messages where room = ? and id > ? order by id desc limit 100"


@dataclass
class Message:
    """Something that was said; ids grow."""

    id: int
    room: str
    author: str
    text: str


@dataclass
class Session:
    """What is known of a client: `socket.data`, which a client that is recovered still has."""

    name: str = ""


@server_event
def said(message: Message) -> None:
    """Somebody, perhaps oneself, has said something in a room that one is in."""


@dataclass
class Database:
    """One connection, which threads use in turn."""

    path: str
    turn: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))

    @asynccontextmanager
    async def open(self, server: object = None) -> AsyncIterator[None]:
        self.connection = await trio.to_thread.run_sync(lambda: sqlite3.connect(self.path, timeout=5, check_same_thread=False))
        try:
            await trio.to_thread.run_sync(self.connection.executescript, SCHEMA)
            yield
        finally:
            self.connection.close()

    async def run(self, statement: str, *values: object) -> list[Any]:
        """Run one statement in a thread, as a transaction."""

        def work() -> list[Any]:
            with self.connection:
                return self.connection.execute(statement, values).fetchall()

        return await trio.to_thread.run_sync(work, limiter=self.turn)


def hash_of(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


@dataclass
class Chat:
    """What clients can do. One instance serves all of them: what is known of one is in `socket.data` and `socket.rooms`."""

    database: Database

    async def authenticate(self, ctx: Context, call_next: Next) -> object:
        token = str(ctx.socket.handshake.auth.get("token"))
        found = await self.database.run("select name from people where token_hash = ?", hash_of(token))
        if not found:
            raise ConnectionRefused("Connect with auth: {token: ...}.", data={"code": "bad token"})
        ctx.socket.data.name = found[0][0]
        return await call_next()

    @on_message("enter")
    async def enter(self, socket: Socket[Session], room: Room, after: Id = 0) -> list[Message]:
        """Enter a room, and learn what was said there after a message that one has: the last hundred at most."""
        # First, so that nothing is said between. The prefix keeps these rooms apart from the one that each socket is alone in, its id.
        await socket.join(f"chat:{room}")
        return [Message(*row) for row in reversed(await self.database.run(FIND, room, after))]

    # What is kept is heard, also when its author goes meanwhile.
    @on_message("say", cancel_on_disconnect=False)
    @broadcasts(said, to=lambda ctx: f"chat:{ctx.args[0]}")
    async def say(self, socket: Socket[Session], room: Room, text: Text) -> Message:
        if f"chat:{room}" not in socket.rooms:
            raise BadMessage(f"Enter {room} first.")
        add = "insert into messages (room, author, text) values (?, ?, ?) returning *"
        (row,) = await self.database.run(add, room, socket.data.name, text)
        return Message(*row)


def make_server(path: str = "chat.db") -> Server:
    chat = Chat(Database(path))
    routes = RoutingTable(Route("/", chat, connection_middleware=[chat.authenticate], data=Session))
    return Server(routes, config=Config(connection_state_recovery=Recovery()), lifespan=chat.database.open)


async def add(path: str, name: str) -> None:
    database, token = Database(path), secrets.token_urlsafe()
    async with database.open():
        await database.run("insert into people values (?, ?)", name, hash_of(token))
    print(token)


if __name__ == "__main__":
    logging.basicConfig(level="INFO")
    path = os.environ.get("DATABASE", "chat.db")
    if len(sys.argv) > 1:
        trio.run(add, path, sys.argv[1])
    else:
        sys.exit(make_server(path).run(port=int(os.environ.get("PORT", "3000"))))
