"""What servers with Node's classic Redis adapter say to each other, apart from how it is written: see `codec`."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import msgspec

from ..fields import Options, SocketDetails

__all__ = [
    "EMITTER",
    "AllRooms",
    "AnswerLost",
    "Broadcast",
    "BroadcastAck",
    "BroadcastClientCount",
    "BroadcastRequest",
    "Disconnect",
    "Done",
    "Fetch",
    "Join",
    "Leave",
    "Request",
    "Response",
    "RoomsResponse",
    "ServerSideEmit",
    "ServerSideEmitResponse",
    "SocketIds",
    "SocketsResponse",
    "UnknownRequest",
    "UnknownResponse",
]

EMITTER: Final = "emitter"
"""The ``uid`` of programs that emit and are no server."""


class Broadcast(msgspec.Struct, frozen=True, kw_only=True):
    """An event for clients.

    Attributes:
      uid: Which server sent it.
      namespace: For which namespace.
      event: Its name and its arguments.
      options: Whom it is for.
    """

    uid: str
    namespace: str
    event: tuple[Any, ...]
    options: Options


# Requests.


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What all requests have.

    Attributes:
      uid: Which server asks; ``None``: it does not say.
      request_id: What answers are to carry; ``None``: nobody waits for any.
    """

    TYPE: ClassVar[int]

    uid: str | None = None
    request_id: str | None = None


class SocketIds(Request, frozen=True, kw_only=True):
    """Which ids have the sockets in ``rooms``, or all? Answered with `SocketsResponse`; before version 8."""

    TYPE = 0

    rooms: frozenset[str] = frozenset()


class AllRooms(Request, frozen=True, kw_only=True):
    """Which rooms are there? Answered with `RoomsResponse`."""

    TYPE = 1


class Join(Request, frozen=True, kw_only=True):
    """Sockets are to join rooms.

    Attributes:
      options: Which sockets.
      rooms: Which rooms.
      sid: Before version 6.1: the one socket; its server answers with `Done`. `options` says the same.
    """

    TYPE = 2

    options: Options
    rooms: frozenset[str]
    sid: str | None = None


class Leave(Join, frozen=True, kw_only=True):
    """Sockets are to leave rooms; attributes as of `Join`."""

    TYPE = 3


class Disconnect(Request, frozen=True, kw_only=True):
    """Sockets are to be disconnected.

    Attributes:
      options: Which sockets.
      close: With their whole connections.
      sid: As of `Join`.
    """

    TYPE = 4

    options: Options
    close: bool = False
    sid: str | None = None


class Fetch(Request, frozen=True, kw_only=True):
    """Which sockets are there? Answered with `SocketsResponse`.

    Attributes:
      options: Which are meant.
    """

    TYPE = 5

    options: Options


class ServerSideEmit(Request, frozen=True, kw_only=True):
    """An event for servers; with a request id answered with `ServerSideEmitResponse`.

    Attributes:
      event: Its name and its arguments.
    """

    TYPE = 6

    event: tuple[Any, ...]


class BroadcastRequest(Request, frozen=True, kw_only=True):
    """An event for clients, to be answered with one `BroadcastClientCount` and a `BroadcastAck` for each client.

    Attributes:
      namespace: For which namespace.
      event: Its name and its arguments.
      options: Whom it is for.
    """

    TYPE = 7

    namespace: str
    event: tuple[Any, ...]
    options: Options


class UnknownRequest(Request, frozen=True, kw_only=True):
    """A request of a later version, to be counted and ignored.

    Attributes:
      type: What it says that it is.
    """

    type: int


# Responses.


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What all answers have.

    Attributes:
      request_id: Which request it answers.
    """

    request_id: str


class Done(Response, frozen=True, kw_only=True):
    """It is done."""


class SocketsResponse(Response, frozen=True, kw_only=True):
    """The sockets of one server.

    Attributes:
      sockets: The sockets, for `Fetch`.
      ids: Only their ids, for `SocketIds`; both are empty when there are none.
    """

    sockets: tuple[SocketDetails, ...] = ()
    ids: tuple[str, ...] = ()


class RoomsResponse(Response, frozen=True, kw_only=True):
    """The rooms of one server.

    Attributes:
      rooms: Their names, those of private rooms among them.
    """

    rooms: frozenset[str]


class ServerSideEmitResponse(Response, frozen=True, kw_only=True):
    """The answer of one server.

    Attributes:
      value: With what.
    """

    TYPE: ClassVar = 6

    value: Any = None


class BroadcastClientCount(Response, frozen=True, kw_only=True):
    """So many clients of one server got a broadcast.

    Attributes:
      count: How many.
    """

    TYPE: ClassVar = 8

    count: int


class BroadcastAck(Response, frozen=True, kw_only=True):
    """The answer of one client.

    Attributes:
      value: With what.
    """

    TYPE: ClassVar = 9

    value: Any = None


class AnswerLost(Response, frozen=True, kw_only=True):
    """A client that was to answer a `BroadcastRequest` is gone. Node's servers ignore that, and wait until the time is over."""

    TYPE: ClassVar[int] = 100


class UnknownResponse(Response, frozen=True, kw_only=True):
    """An answer of a later version, to be counted and ignored.

    Attributes:
      type: What it says that it is.
    """

    type: int
