"""What the page about events is tried with: every kind of field, a namespace that refuses, one by pattern, and markup everywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec

from trio_sio import (
    ConnectionRefused,
    Context,
    Next,
    Route,
    RoutingTable,
    Socket,
    broadcasts,
    emits,
    on_connection,
    on_message,
    server_event,
)


@dataclass
class Message:
    """What somebody says."""

    text: str
    color: Literal["black", "red"] = "black"
    tags: list[str] = field(default_factory=list)


@server_event
def said(name: str, message: Message) -> None:
    """Somebody has said something."""


@server_event("question")
def ask(text: str) -> int:
    """The server wants to know a number."""
    raise NotImplementedError


@server_event
def image(data: bytes) -> None:
    """A picture, as an attachment."""


class Desk:
    """Where people talk.

    <script>document.title = "hacked"</script><img src=x onerror="document.title = 'hacked'">
    """

    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    @on_message("say")
    @broadcasts(said)
    async def say(self, message: Message) -> tuple[str, Message]:
        """Say something to everybody, as in ``say``.

        Everybody hears `said`, the one who says it, too. <b>Not bold</b>.
        """
        return "Ann", message

    @on_message("add")
    async def add(self, first: Annotated[int, msgspec.Meta(ge=1, le=99)], second: float = 2, negative: bool = False) -> float:
        """Add two numbers."""
        return -(first + second) if negative else first + second

    @on_message("upload")
    async def upload(self, name: str, data: bytes) -> int:
        """Keep a file; `image` comes back.

        - name: what it is called
        - data: what is in it
        """
        await self.socket.emit(image, data[:4])
        return len(data)

    @on_message("survey")
    async def survey(self) -> int:
        """Ask the one who asks."""
        return await self.socket.emit_with_ack(ask, "How old?", timeout=20) + 1

    @on_message("tell")
    @emits("told")
    async def tell(self, *words: str) -> str:
        return " ".join(words)

    @on_message("flood")
    async def flood(self, count: int) -> int:
        """Emit `told` so many times."""
        for number in range(count):
            await self.socket.emit("told", str(number))
        return count

    @on_message('"><script>document.title = "hacked"</script>')
    async def odd(self, value: int | str | None = None) -> None:
        """</script><script>document.title = "hacked"</script>"""


async def authenticate(ctx: Context, call_next: Next) -> object:
    if ctx.socket.handshake.auth.get("token") != "secret":
        raise ConnectionRefused("Bad <b>token</b>.", data={"code": 4001})
    return await call_next()


class Private:
    """Only for those with a token: `{"token": "secret"}`."""

    @on_message("who")
    async def who(self, socket: Socket) -> str:
        """Tell the name of the namespace."""
        return socket.namespace.name


class Room:
    """A room by its number."""

    @on_connection
    @emits("number")
    async def joined(self, socket: Socket) -> str:
        return str(socket.params["id"])


routes = RoutingTable(
    Route("/", Desk, events=[ask, image]),
    Route("/private", Private, middleware=[authenticate]),
    Route(re.compile(r"/room-(?P<id>\d+)"), Room),
)
