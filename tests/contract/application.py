"""An application in which everything occurs that a contract can say."""

from __future__ import annotations

import enum
import re
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
import pydantic

from trio_sio import (
    Ack,
    Context,
    Route,
    RoutingTable,
    Socket,
    broadcasts,
    emits,
    on_any_message,
    on_connection,
    on_disconnection,
    on_message,
    server_event,
)


class Kind(enum.Enum):
    TEXT = "text"
    IMAGE = "image"


@dataclass
class Message:
    """What somebody says."""

    text: str
    kind: Kind = Kind.TEXT
    replies: list[Message] = field(default_factory=list)


class Place(TypedDict):
    x: float
    y: float
    label: NotRequired[str]


class Order(msgspec.Struct, rename="camel"):
    """What is ordered."""

    order_id: uuid.UUID
    how_many: Annotated[int, msgspec.Meta(ge=1, le=99, description="Not more than a hundred.")]
    due: datetime | None = None


class Profile(pydantic.BaseModel):
    """Who somebody is."""

    name: str = pydantic.Field(max_length=20)
    age: int = 0
    friends: list[Profile] = []


@server_event
def said(name: str, message: Message) -> None:
    """Somebody has said something."""


@server_event("question")
def ask(text: str, choices: list[str] | None = None) -> int:
    """The client answers with the number of a choice."""
    raise NotImplementedError


@server_event
def moved(place: Place, *others: Place) -> None: ...


@server_event
def image(data: bytes, thumbnail: bytes | None) -> None: ...


@server_event
def pick(profile: Profile) -> tuple[Profile, Order]:
    raise NotImplementedError


class Chat:
    """Where people talk."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    @on_connection
    @emits("welcome")
    async def joined(self, ctx: Context) -> str:
        return "hello"

    @on_message("say")
    @broadcasts(said)
    async def say(self, message: Message) -> tuple[str, Message] | None:
        """Say something to everybody."""
        return "Ann", message

    @on_message("find")
    async def find(self, text: str, limit: int = 10, *tags: str, socket: Socket) -> list[Message]:
        """Find what was said."""
        return []

    @on_message("range")
    async def range(self, first: int, last: int | None = None) -> int:
        return first

    @on_message("order", "order again")
    async def order(self, order: Order, profile: Profile) -> tuple[Order, Literal["paid", "open"]]:
        return order, "open"

    @on_message("forget")
    async def forget(self, id: str | int) -> None: ...

    @on_message("upload")
    async def upload(self, name: str, data: bytes, new: bool = False) -> dict[str, int]:
        return {name: len(data)}

    @on_message("later")
    async def later(self, text: str, ack: Ack) -> None:
        await ack(text)

    @on_message("untyped")
    async def untyped(self, value: Any) -> Any:  # */ is no end of a comment
        """Anything */ goes."""
        return value

    @on_message("mixed")
    async def mixed(self, value: str | bytes) -> str | bytes:
        return value

    @on_any_message
    async def other(self, event: str, *args: object) -> None: ...

    @on_disconnection
    async def gone(self, reason: str) -> None: ...


class Board:
    @on_message("move")
    @emits("moves", to="board")
    async def move(self, place: Place) -> Place | None:
        return place

    @on_message("jump")
    @emits("moves", to="board")
    async def jump(self, place: Place) -> Place:
        return place

    @on_message("turn")
    @emits("turned")
    async def turn(self, angle: float) -> float:
        return angle

    @on_message("flip")
    @emits("turned")
    async def flip(self) -> str:
        return "over"


routes = RoutingTable(
    Route("/", Chat, events=[ask, moved, image, pick]),
    Route("/board", Board),
    Route(re.compile(r"/room-(?P<id>\d+)"), Board),
)
