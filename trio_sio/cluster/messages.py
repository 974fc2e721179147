"""The thirteen messages of Node's ``ClusterAdapter``, which all of its newer adapters speak, and a few of ours.

On the wire each is ``{"type", "data", "uid", "nsp"}``, in JSON, or in MessagePack where there are bytes in it. No I/O here.
https://github.com/socketio/socket.io/blob/main/packages/socket.io-adapter/lib/cluster-adapter.ts
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import msgspec

from .fields import (
    EVENT,
    Options,
    SocketDetails,
    write_options,
    write_socket,
)
from .moving import Knowledge, Past, SessionDetails, write_past, write_session

__all__ = [
    "EMITTER",
    "AdapterClose",
    "AnswerLost",
    "Broadcast",
    "BroadcastAck",
    "BroadcastClientCount",
    "DisconnectSockets",
    "FetchSockets",
    "FetchSocketsResponse",
    "FindSession",
    "FoundSession",
    "HandOver",
    "Heartbeat",
    "InitialHeartbeat",
    "Message",
    "OpenNamespace",
    "ServerSideEmit",
    "ServerSideEmitResponse",
    "SocketsJoin",
    "SocketsLeave",
    "Taken",
    "UnknownMessage",
]

EMITTER: Final = "emitter"
"""The `Message.uid` of programs that emit and are no server, so nobody counts them."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What all messages have.

    Attributes:
      uid: Which adapter sent it.
      namespace: For which namespace.
      number: Its number among all that this adapter has published, so that others notice what they have not got, and what came
        twice; ``None``: it is an answer, or comes from Node, which does not count and ignores this.
    """

    TYPE: ClassVar[int]

    uid: str
    namespace: str
    number: int | None = None

    def data(self) -> dict[str, object] | None:
        """Return what it says besides, as it goes out."""
        return None


class InitialHeartbeat(Message, frozen=True, kw_only=True):
    """A server is new: everybody answers with a `Heartbeat`."""

    TYPE = 1


class Heartbeat(Message, frozen=True, kw_only=True):
    """A server is there."""

    TYPE = 2


class Broadcast(Message, frozen=True, kw_only=True):
    """An event for clients.

    Attributes:
      event: Its name and its arguments.
      options: Whom it is for.
      request_id: Given when it is to be answered: with one `BroadcastClientCount` of each server, and a `BroadcastAck` for
        each client.
    """

    TYPE = 3

    event: tuple[Any, ...]
    options: Options
    request_id: str | None = None

    def data(self) -> dict[str, object]:
        """See `Message.data`."""
        wire: dict[str, object] = {"packet": {"type": EVENT, "data": self.event}}
        if self.request_id is not None:
            wire["requestId"] = self.request_id
        wire["opts"] = write_options(self.options)
        return wire


class SocketsJoin(Message, frozen=True, kw_only=True):
    """Sockets are to join rooms.

    Attributes:
      options: Which sockets.
      rooms: Which rooms.
    """

    TYPE = 4

    options: Options
    rooms: frozenset[str]

    def data(self) -> dict[str, object]:
        """See `Message.data`."""
        return {"opts": write_options(self.options), "rooms": sorted(self.rooms)}


class SocketsLeave(SocketsJoin, frozen=True, kw_only=True):
    """Sockets are to leave rooms; attributes as of `SocketsJoin`."""

    TYPE = 5


class DisconnectSockets(Message, frozen=True, kw_only=True):
    """Sockets are to be disconnected.

    Attributes:
      options: Which.
      close: With their whole connections.
    """

    TYPE = 6

    options: Options
    close: bool = False

    def data(self) -> dict[str, object]:
        """See `Message.data`."""
        return {"opts": write_options(self.options), "close": self.close}


class FetchSockets(Message, frozen=True, kw_only=True):
    """Which sockets are there?

    Attributes:
      options: Which are meant.
      request_id: What the answers are to carry.
    """

    TYPE = 7

    options: Options
    request_id: str

    def data(self) -> dict[str, object]:
        """See `Message.data`."""
        return {"opts": write_options(self.options), "requestId": self.request_id}


class FetchSocketsResponse(Message, frozen=True, kw_only=True):
    """The answer of one server to `FetchSockets`.

    Attributes:
      request_id: Which question it answers.
      sockets: Its sockets that are meant.
    """

    TYPE = 8

    request_id: str
    sockets: tuple[SocketDetails, ...]

    def data(self) -> dict[str, object]:
        """See `Message.data`."""
        return {"requestId": self.request_id, "sockets": [write_socket(socket) for socket in self.sockets]}


class ServerSideEmit(Message, frozen=True, kw_only=True):
    """An event for servers.

    Attributes:
      event: Its name and its arguments.
      request_id: Given when each is to answer it.
    """

    TYPE = 9

    event: tuple[Any, ...]
    request_id: str | None = None

    def data(self) -> dict[str, object]:
        """See `Message.data`."""
        return {"packet": self.event} if self.request_id is None else {"requestId": self.request_id, "packet": self.event}


class ServerSideEmitResponse(Message, frozen=True, kw_only=True):
    """The answer of one server to `ServerSideEmit`.

    Attributes:
      request_id: Which question it answers.
      value: With what.
    """

    TYPE = 10

    request_id: str
    value: Any = None

    def data(self) -> dict[str, object]:
        """See `Message.data`."""
        return {"requestId": self.request_id, "packet": self.value}


class BroadcastClientCount(Message, frozen=True, kw_only=True):
    """So many clients of one server got a `Broadcast` that is to be answered.

    Attributes:
      request_id: Which.
      count: How many.
    """

    TYPE = 11

    request_id: str
    count: int

    def data(self) -> dict[str, object]:
        """See `Message.data`."""
        return {"requestId": self.request_id, "clientCount": self.count}


class BroadcastAck(ServerSideEmitResponse, frozen=True, kw_only=True):
    """The answer of one client to a `Broadcast`; attributes as of `ServerSideEmitResponse`."""

    TYPE = 12


class AnswerLost(Message, frozen=True, kw_only=True):
    """A client that was to answer a `Broadcast` is gone. Node's servers know no such message, ignore it and wait until the time is over.

    Attributes:
      request_id: Which broadcast.
    """

    TYPE = 100

    request_id: str

    def data(self) -> dict[str, object]:
        """See `Message.data`."""
        return {"requestId": self.request_id}


class FindSession(Message, frozen=True, kw_only=True):
    """A client wants to come back: who has its session? Node's servers know no such message, and are not asked.

    Attributes:
      request_id: What the answers are to carry.
      pid: The secret that it presents.
      offset: That of the newest event that it has.
    """

    TYPE = 101

    request_id: str
    pid: str
    offset: str | None = None

    def data(self) -> dict[str, object]:
        """See `Message.data`."""
        return {"requestId": self.request_id, "pid": self.pid, "offset": self.offset}


class FoundSession(Message, frozen=True, kw_only=True):
    """The answer of one server to `FindSession`.

    With a session it has a number, which grows with each session that this server gives away, and is answered with `Taken`.

    Attributes:
      request_id: Which question it answers.
      is_moving: Whether it has just let another server have it: ask once more.
      session: The session.
      events: What its client has missed.
      knowledge: What this server had heard then.
    """

    TYPE = 102

    request_id: str
    is_moving: bool = False
    session: SessionDetails | None = None
    events: tuple[tuple[Any, ...], ...] = ()
    knowledge: Knowledge = Knowledge()

    def data(self) -> dict[str, object]:
        """See `Message.data`."""
        wire: dict[str, object] = {"requestId": self.request_id, "isMoving": self.is_moving}
        if self.session is not None:
            wire |= {"session": write_session(self.session), "events": self.events} | self.knowledge.data()
        return wire


class HandOver(Message, frozen=True, kw_only=True):
    """A server ends, and would let another one have a session; it has a number of those of `FoundSession`, and is answered likewise.

    Attributes:
      session: The session.
      past: What its client may have missed.
      knowledge: What this server had heard then.
    """

    TYPE = 103

    session: SessionDetails
    past: Past
    knowledge: Knowledge

    def data(self) -> dict[str, object]:
        """See `Message.data`."""
        return {"session": write_session(self.session), "past": write_past(self.past)} | self.knowledge.data()


class OpenNamespace(Message, frozen=True, kw_only=True):
    """A server ends, and has sessions of a namespace that not all others use: begin to use it, and it will find you there.

    It is for whom another namespace knows, `Message.namespace`.

    Attributes:
      name: The name of the namespace.
    """

    TYPE = 105

    name: str

    def data(self) -> dict[str, object]:
        """See `Message.data`."""
        return {"name": self.name}


class Taken(Message, frozen=True, kw_only=True):
    """The answer to `FoundSession` with a session, or to `HandOver`, whose number it has.

    Attributes:
      taken: Whether this server has it from now on; if not, the other one still has.
    """

    TYPE = 104

    taken: bool

    def data(self) -> dict[str, object]:
        """See `Message.data`."""
        return {"taken": self.taken}


class AdapterClose(Message, frozen=True, kw_only=True):
    """A server goes."""

    TYPE = 13


class UnknownMessage(Message, frozen=True, kw_only=True):
    """A message of a later version, to be counted and ignored.

    Attributes:
      type: What it says that it is.
    """

    type: int
