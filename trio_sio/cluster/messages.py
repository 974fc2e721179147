"""The thirteen messages of Node's ``ClusterAdapter``, which all of its newer adapters speak, and one of ours.

On the wire each is ``{"type", "data", "uid", "nsp"}``, in JSON, or in MessagePack where there are bytes in it. No I/O here.
https://github.com/socketio/socket.io/blob/main/packages/socket.io-adapter/lib/cluster-adapter.ts
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

import msgspec

from ..limits import Limits
from . import payload
from .fields import (
    EVENT,
    Count,
    Id,
    Options,
    SocketDetails,
    WireOptions,
    WirePacket,
    WireSocket,
    options_from,
    packet_event,
    read,
    require_namespace,
    room_names,
    server_side_event,
    socket_from,
    write_options,
    write_socket,
)

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
    "Heartbeat",
    "InitialHeartbeat",
    "Message",
    "ServerSideEmit",
    "ServerSideEmitResponse",
    "SocketsJoin",
    "SocketsLeave",
    "UnknownMessage",
    "decode",
    "encode",
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


class AdapterClose(Message, frozen=True, kw_only=True):
    """A server goes."""

    TYPE = 13


class UnknownMessage(Message, frozen=True, kw_only=True):
    """A message of a later version, to be counted and ignored.

    Attributes:
      type: What it says that it is.
    """

    type: int


def encode(message: Message, limits: Limits, max_bytes: int = payload.MAX_BYTES) -> bytes:
    """Encode ``message``, as Node's sharded adapter does.

    Args:
      message: One of the thirteen.
      limits: What other servers accept, as for `decode`.
      max_bytes: The same for the size.

    Raises:
      EncodeError: if a value cannot be sent, or the others would not accept it.
    """
    wire: dict[str, object] = {"type": message.TYPE}
    if (data := message.data()) is not None:
        wire["data"] = data
    wire["uid"] = message.uid
    wire["nsp"] = message.namespace
    if message.number is not None:
        wire["number"] = message.number
    return payload.dumps(wire, limits, max_bytes)


class _Envelope(msgspec.Struct):
    type: int
    uid: Id
    nsp: str
    data: Any = None
    number: Count | None = None


def decode(data: bytes, limits: Limits, max_bytes: int = payload.MAX_BYTES) -> Message:
    """Decode a message.

    Args:
      data: What came over the bus.
      limits: ``json_depth``, ``containers``, ``arguments`` and ``namespace_length`` are enforced here.
      max_bytes: How large it may be.

    Returns:
      One of the thirteen, or `UnknownMessage`.

    Raises:
      BusMessageError: if it is no message, or exceeds a limit.
    """
    envelope = read(payload.loads(data, limits, max_bytes), _Envelope, "A message")
    require_namespace(envelope.nsp, limits)
    reader = _READERS.get(envelope.type)
    if reader is None:
        return UnknownMessage(uid=envelope.uid, namespace=envelope.nsp, number=envelope.number, type=envelope.type)
    message = reader(envelope.uid, envelope.nsp, envelope.data, limits)
    return message if envelope.number is None else msgspec.structs.replace(message, number=envelope.number)


class _Broadcast(msgspec.Struct):
    packet: WirePacket
    opts: WireOptions
    requestId: Id | None = None


class _Rooms(msgspec.Struct):
    opts: WireOptions
    rooms: tuple[str | int, ...]


class _Disconnect(msgspec.Struct):
    opts: WireOptions
    close: bool | None = None


class _Fetch(msgspec.Struct):
    opts: WireOptions
    requestId: Id


class _Sockets(msgspec.Struct):
    requestId: Id
    sockets: tuple[WireSocket, ...]


class _Emit(msgspec.Struct):
    packet: list[Any]
    requestId: Id | None = None


class _Answer(msgspec.Struct):
    requestId: Id
    packet: Any = None


class _Lost(msgspec.Struct):
    requestId: Id


class _Counted(msgspec.Struct):
    requestId: Id
    clientCount: Count


def _read_broadcast(uid: str, namespace: str, data: object, limits: Limits) -> Message:
    wire = read(data, _Broadcast, "A broadcast")
    event = packet_event(wire.packet, limits)
    return Broadcast(uid=uid, namespace=namespace, event=event, options=options_from(wire.opts), request_id=wire.requestId)


def _read_rooms(kind: type[SocketsJoin]) -> Callable[[str, str, object, Limits], Message]:
    def read_rooms(uid: str, namespace: str, data: object, limits: Limits) -> Message:
        wire = read(data, _Rooms, "A request to join or leave rooms")
        return kind(uid=uid, namespace=namespace, options=options_from(wire.opts), rooms=room_names(wire.rooms))

    return read_rooms


def _read_disconnect(uid: str, namespace: str, data: object, limits: Limits) -> Message:
    wire = read(data, _Disconnect, "A request to disconnect")
    return DisconnectSockets(uid=uid, namespace=namespace, options=options_from(wire.opts), close=bool(wire.close))


def _read_fetch(uid: str, namespace: str, data: object, limits: Limits) -> Message:
    wire = read(data, _Fetch, "A request for sockets")
    return FetchSockets(uid=uid, namespace=namespace, options=options_from(wire.opts), request_id=wire.requestId)


def _read_sockets(uid: str, namespace: str, data: object, limits: Limits) -> Message:
    wire = read(data, _Sockets, "A list of sockets")
    return FetchSocketsResponse(uid=uid, namespace=namespace, request_id=wire.requestId, sockets=tuple(map(socket_from, wire.sockets)))


def _read_emit(uid: str, namespace: str, data: object, limits: Limits) -> Message:
    wire = read(data, _Emit, "A server-side event")
    return ServerSideEmit(uid=uid, namespace=namespace, event=server_side_event(wire.packet, limits), request_id=wire.requestId)


def _read_answer(kind: type[ServerSideEmitResponse]) -> Callable[[str, str, object, Limits], Message]:
    def read_answer(uid: str, namespace: str, data: object, limits: Limits) -> Message:
        wire = read(data, _Answer, "An answer")
        return kind(uid=uid, namespace=namespace, request_id=wire.requestId, value=wire.packet)

    return read_answer


def _read_count(uid: str, namespace: str, data: object, limits: Limits) -> Message:
    wire = read(data, _Counted, "A number of clients")
    return BroadcastClientCount(uid=uid, namespace=namespace, request_id=wire.requestId, count=wire.clientCount)


def _read_lost(uid: str, namespace: str, data: object, limits: Limits) -> Message:
    return AnswerLost(uid=uid, namespace=namespace, request_id=read(data, _Lost, "A lost answer").requestId)


def _read_bare(kind: type[Message]) -> Callable[[str, str, object, Limits], Message]:
    return lambda uid, namespace, data, limits: kind(uid=uid, namespace=namespace)


_READERS: Final[dict[int, Callable[[str, str, object, Limits], Message]]] = {
    InitialHeartbeat.TYPE: _read_bare(InitialHeartbeat),
    Heartbeat.TYPE: _read_bare(Heartbeat),
    Broadcast.TYPE: _read_broadcast,
    SocketsJoin.TYPE: _read_rooms(SocketsJoin),
    SocketsLeave.TYPE: _read_rooms(SocketsLeave),
    DisconnectSockets.TYPE: _read_disconnect,
    FetchSockets.TYPE: _read_fetch,
    FetchSocketsResponse.TYPE: _read_sockets,
    ServerSideEmit.TYPE: _read_emit,
    ServerSideEmitResponse.TYPE: _read_answer(ServerSideEmitResponse),
    BroadcastClientCount.TYPE: _read_count,
    BroadcastAck.TYPE: _read_answer(BroadcastAck),
    AdapterClose.TYPE: _read_bare(AdapterClose),
    AnswerLost.TYPE: _read_lost,
}
