"""How the messages of a cluster are written: as Node's adapters write them, in JSON, or in MessagePack where there are bytes. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from ..limits import Limits
from . import payload
from .fields import (
    Count,
    Id,
    ShortText,
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
)
from .messages import (
    AdapterClose,
    AnswerLost,
    Broadcast,
    BroadcastAck,
    BroadcastClientCount,
    DisconnectSockets,
    FetchSockets,
    FetchSocketsResponse,
    FindSession,
    FoundSession,
    HandOver,
    Heartbeat,
    InitialHeartbeat,
    Message,
    OpenNamespace,
    ServerSideEmit,
    ServerSideEmitResponse,
    SocketsJoin,
    SocketsLeave,
    Taken,
    UnknownMessage,
)
from .moving import WireKnowledge, WirePast, WireSession, events_from, knowledge_from, past_from, session_from

__all__ = ["decode", "encode"]


def encode(message: Message, limits: Limits, max_bytes: int = payload.MAX_BYTES) -> bytes:
    """Encode ``message``, as Node's sharded adapter does.

    Args:
      message: One of those that there are.
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
      One of those that there are, or `UnknownMessage`.

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


class _Find(msgspec.Struct):
    requestId: Id
    pid: Id
    offset: ShortText | None = None


class _Found(msgspec.Struct):
    requestId: Id
    isMoving: bool = False
    session: WireSession | None = None
    events: list[list[Any]] = []
    heard: dict[Id, Count] = {}
    gone: dict[Id, tuple[Count, float]] = {}


class _HandOver(msgspec.Struct):
    session: WireSession
    past: WirePast
    heard: dict[Id, Count]
    gone: dict[Id, tuple[Count, float]]


class _Taken(msgspec.Struct):
    taken: bool


class _Open(msgspec.Struct):
    name: str


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


def _read_find(uid: str, namespace: str, data: object, limits: Limits) -> Message:
    wire = read(data, _Find, "A question for a session")
    return FindSession(uid=uid, namespace=namespace, request_id=wire.requestId, pid=wire.pid, offset=wire.offset)


def _read_found(uid: str, namespace: str, data: object, limits: Limits) -> Message:
    wire = read(data, _Found, "A session")
    return FoundSession(
        uid=uid,
        namespace=namespace,
        request_id=wire.requestId,
        is_moving=wire.isMoving,
        session=None if wire.session is None else session_from(wire.session),
        events=events_from(wire.events, limits),
        knowledge=knowledge_from(WireKnowledge(wire.heard, wire.gone)),
    )


def _read_hand_over(uid: str, namespace: str, data: object, limits: Limits) -> Message:
    wire = read(data, _HandOver, "A session that another server leaves")
    return HandOver(
        uid=uid,
        namespace=namespace,
        session=session_from(wire.session),
        past=past_from(wire.past, limits),
        knowledge=knowledge_from(WireKnowledge(wire.heard, wire.gone)),
    )


def _read_taken(uid: str, namespace: str, data: object, limits: Limits) -> Message:
    wire = read(data, _Taken, "An answer about a session")
    return Taken(uid=uid, namespace=namespace, taken=wire.taken)


def _read_open(uid: str, namespace: str, data: object, limits: Limits) -> Message:
    wire = read(data, _Open, "A request to use a namespace")
    require_namespace(wire.name, limits)
    return OpenNamespace(uid=uid, namespace=namespace, name=wire.name)


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
    FindSession.TYPE: _read_find,
    FoundSession.TYPE: _read_found,
    HandOver.TYPE: _read_hand_over,
    Taken.TYPE: _read_taken,
    OpenNamespace.TYPE: _read_open,
}
