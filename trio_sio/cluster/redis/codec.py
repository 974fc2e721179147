"""What Node's classic Redis adapter publishes, which is older than `trio_sio.cluster.messages`, and a format of its own. No I/O.

* A broadcast is ``[uid, packet, opts]`` in MessagePack.
* A request is a map with ``type``, in JSON, or in MessagePack where it has a packet in it; so are some of the answers. Others
  have no type: only who asked knows what they answer.

What versions 6 and 7 of that adapter send is understood as well, and so is what its emitter sends, without ``uid``.
https://github.com/socketio/socket.io-redis-adapter/blob/main/lib/index.ts
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from ...errors import BusMessageError
from ...limits import Limits
from .. import payload
from ..fields import (
    EVENT,
    Count,
    Id,
    Options,
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
from .requests import (
    AllRooms,
    AnswerLost,
    Broadcast,
    BroadcastAck,
    BroadcastClientCount,
    BroadcastRequest,
    Disconnect,
    Done,
    Fetch,
    Join,
    Leave,
    Request,
    Response,
    RoomsResponse,
    ServerSideEmit,
    ServerSideEmitResponse,
    SocketIds,
    SocketsResponse,
    UnknownRequest,
    UnknownResponse,
)

__all__ = [
    "decode_broadcast",
    "decode_request",
    "decode_response",
    "encode_broadcast",
    "encode_request",
    "encode_response",
]


# Out.


def encode_broadcast(broadcast: Broadcast, limits: Limits, max_bytes: int = payload.MAX_BYTES) -> bytes:
    """Encode a broadcast.

    Args:
      broadcast: The broadcast.
      limits: What other servers accept, as for `decode_broadcast`.
      max_bytes: The same for the size.

    Raises:
      EncodeError: if a value cannot be sent, or the others would not accept it.
    """
    wire = [broadcast.uid, _packet(broadcast.event, broadcast.namespace), write_options(broadcast.options)]
    return payload.dumps_msgpack(wire, limits, max_bytes)


def encode_request(request: Request, limits: Limits, max_bytes: int = payload.MAX_BYTES) -> bytes:
    """Encode a request; arguments and exceptions as of `encode_broadcast`."""
    wire: dict[str, object] = {}
    if request.uid is not None:
        wire["uid"] = request.uid
    if request.request_id is not None:
        wire["requestId"] = request.request_id
    wire["type"] = request.TYPE
    match request:
        case SocketIds():
            wire["rooms"] = sorted(request.rooms)
        case Join():
            if request.sid is None:
                wire["opts"] = write_options(request.options, flags=False)
                wire["rooms"] = sorted(request.rooms)
            else:
                wire["sid"] = request.sid
                (wire["room"],) = request.rooms
        case Disconnect():
            if request.sid is None:
                wire["opts"] = write_options(request.options, flags=False)
            else:
                wire["sid"] = request.sid
            wire["close"] = request.close
        case Fetch():
            wire["opts"] = write_options(request.options, flags=False)
        case ServerSideEmit():
            wire["data"] = request.event
        case BroadcastRequest():
            wire["packet"] = _packet(request.event, request.namespace)
            wire["opts"] = write_options(request.options)
            return payload.dumps_msgpack(wire, limits, max_bytes)
        case _:
            pass
    return payload.dumps(wire, limits, max_bytes)


def encode_response(response: Response, limits: Limits, max_bytes: int = payload.MAX_BYTES) -> bytes:
    """Encode an answer; arguments and exceptions as of `encode_broadcast`."""
    number = response.request_id
    match response:
        case SocketsResponse():
            sockets: list[object] = [write_socket(socket) for socket in response.sockets]
            return payload.dumps({"requestId": number, "sockets": sockets or response.ids}, limits, max_bytes)
        case RoomsResponse():
            return payload.dumps({"requestId": number, "rooms": sorted(response.rooms)}, limits, max_bytes)
        case ServerSideEmitResponse():
            return payload.dumps({"type": response.TYPE, "requestId": number, "data": response.value}, limits, max_bytes)
        case BroadcastClientCount():
            return payload.dumps({"type": response.TYPE, "requestId": number, "clientCount": response.count}, limits, max_bytes)
        case BroadcastAck():
            return payload.dumps_msgpack({"type": response.TYPE, "requestId": number, "packet": response.value}, limits, max_bytes)
        case AnswerLost():
            return payload.dumps({"type": response.TYPE, "requestId": number}, limits, max_bytes)
        case _:
            return payload.dumps({"requestId": number}, limits, max_bytes)


def _packet(event: tuple[Any, ...], namespace: str) -> dict[str, object]:
    return {"type": EVENT, "data": event, "nsp": namespace}


# In.


def decode_broadcast(data: bytes, limits: Limits, max_bytes: int = payload.MAX_BYTES) -> Broadcast:
    """Decode a broadcast.

    Args:
      data: What was published.
      limits: ``json_depth``, ``containers``, ``arguments`` and ``namespace_length`` are enforced here.
      max_bytes: How large it may be.

    Raises:
      BusMessageError: if it is none, or exceeds a limit.
    """
    value = payload.loads(data, limits, max_bytes)
    if type(value) is list:
        value = value[:3]  # as in Node; a later version may say more
    uid, packet, opts = read(value, _BROADCAST, "A broadcast")
    namespace = _namespace(packet, limits)
    return Broadcast(uid=uid, namespace=namespace, event=packet_event(packet, limits), options=options_from(opts))


def decode_request(data: bytes, limits: Limits, max_bytes: int = payload.MAX_BYTES) -> Request:
    """Decode a request; arguments and exceptions as of `decode_broadcast`.

    Returns:
      One of the eight kinds, or `UnknownRequest`.
    """
    fields = payload.loads(data, limits, max_bytes)
    head = read(fields, _Head, "A request")
    reader = _READERS.get(head.type)
    if reader is None:
        return UnknownRequest(uid=head.uid, request_id=head.requestId, type=head.type)
    return reader(head, fields, limits)


def decode_response(data: bytes, limits: Limits, max_bytes: int = payload.MAX_BYTES) -> Response:
    """Decode an answer; arguments and exceptions as of `decode_broadcast`."""
    wire = read(payload.loads(data, limits, max_bytes), _Response, "An answer")
    number = wire.requestId
    match wire.type:
        case ServerSideEmitResponse.TYPE:
            return ServerSideEmitResponse(request_id=number, value=wire.data)
        case BroadcastClientCount.TYPE:
            if wire.clientCount is None:
                raise BusMessageError("schema", "A number of clients on the bus has no number.")
            return BroadcastClientCount(request_id=number, count=wire.clientCount)
        case BroadcastAck.TYPE:
            return BroadcastAck(request_id=number, value=wire.packet)
        case AnswerLost.TYPE:
            return AnswerLost(request_id=number)
        case None:
            return _untyped(wire)
        case unknown:
            return UnknownResponse(request_id=number, type=unknown)


_BROADCAST: Final[Any] = tuple[Id, WirePacket, WireOptions]


class _Head(msgspec.Struct):
    type: int
    uid: Id | None = None
    requestId: Id | None = None


class _Response(msgspec.Struct):
    requestId: Id
    type: int | None = None
    sockets: tuple[Id | WireSocket, ...] | None = None
    rooms: tuple[str | int, ...] | None = None
    clientCount: Count | None = None
    data: Any = None
    packet: Any = None


def _untyped(wire: _Response) -> Response:
    if wire.sockets is not None:
        ids = tuple(one for one in wire.sockets if isinstance(one, str))
        sockets = tuple(socket_from(one) for one in wire.sockets if not isinstance(one, str))
        if ids and sockets:
            raise BusMessageError("schema", "A list of sockets on the bus has sockets and ids of sockets in it.")
        return SocketsResponse(request_id=wire.requestId, sockets=sockets, ids=ids)
    if wire.rooms is not None:
        return RoomsResponse(request_id=wire.requestId, rooms=room_names(wire.rooms))
    return Done(request_id=wire.requestId)


class _Ids(msgspec.Struct):
    rooms: tuple[str | int, ...] = ()


class _Rooms(msgspec.Struct):
    opts: WireOptions | None = None
    rooms: tuple[str | int, ...] | None = None
    sid: Id | None = None
    room: str | int | None = None


class _Disconnect(msgspec.Struct):
    opts: WireOptions | None = None
    close: bool | None = None
    sid: Id | None = None


class _Fetch(msgspec.Struct):
    opts: WireOptions


class _Emit(msgspec.Struct):
    data: list[Any]


class _BroadcastRequest(msgspec.Struct):
    packet: WirePacket
    opts: WireOptions


def _namespace(packet: WirePacket, limits: Limits) -> str:
    if packet.nsp is None:
        return "/"
    require_namespace(packet.nsp, limits)
    return packet.nsp


def _read_ids(head: _Head, fields: object, limits: Limits) -> Request:
    wire = read(fields, _Ids, "A request for ids")
    return SocketIds(uid=head.uid, request_id=_asked(head), rooms=room_names(wire.rooms))


def _read_all_rooms(head: _Head, fields: object, limits: Limits) -> Request:
    return AllRooms(uid=head.uid, request_id=_asked(head))


def _read_rooms(kind: type[Join]) -> Callable[[_Head, object, Limits], Request]:
    def read_rooms(head: _Head, fields: object, limits: Limits) -> Request:
        wire = read(fields, _Rooms, "A request to join or leave rooms")
        if wire.opts is not None and wire.rooms is not None:
            return kind(uid=head.uid, request_id=head.requestId, options=options_from(wire.opts), rooms=room_names(wire.rooms))
        if wire.opts is None and wire.sid is not None and wire.room is not None:
            options, rooms = Options(rooms=frozenset((wire.sid,))), room_names((wire.room,))
            return kind(uid=head.uid, request_id=_asked(head), options=options, rooms=rooms, sid=wire.sid)
        raise BusMessageError("schema", "A request to join or leave rooms has neither `opts` and `rooms`, nor `sid` and `room`.")

    return read_rooms


def _read_disconnect(head: _Head, fields: object, limits: Limits) -> Request:
    wire = read(fields, _Disconnect, "A request to disconnect")
    close = bool(wire.close)
    if wire.opts is not None:
        return Disconnect(uid=head.uid, request_id=head.requestId, options=options_from(wire.opts), close=close)
    if wire.sid is not None:
        options = Options(rooms=frozenset((wire.sid,)))
        return Disconnect(uid=head.uid, request_id=_asked(head), options=options, close=close, sid=wire.sid)
    raise BusMessageError("schema", "A request to disconnect has neither `opts` nor `sid`.")


def _read_fetch(head: _Head, fields: object, limits: Limits) -> Request:
    wire = read(fields, _Fetch, "A request for sockets")
    return Fetch(uid=head.uid, request_id=_asked(head), options=options_from(wire.opts))


def _read_emit(head: _Head, fields: object, limits: Limits) -> Request:
    wire = read(fields, _Emit, "A server-side event")
    return ServerSideEmit(uid=head.uid, request_id=head.requestId, event=server_side_event(wire.data, limits))


def _read_broadcast(head: _Head, fields: object, limits: Limits) -> Request:
    wire = read(fields, _BroadcastRequest, "A broadcast")
    namespace, event = _namespace(wire.packet, limits), packet_event(wire.packet, limits)
    return BroadcastRequest(uid=head.uid, request_id=_asked(head), namespace=namespace, event=event, options=options_from(wire.opts))


def _asked(head: _Head) -> str:
    if head.requestId is None:
        raise BusMessageError("schema", f"A request of type {head.type} on the bus wants an answer, and has no `requestId`.")
    return head.requestId


_READERS: Final[dict[int, Callable[[_Head, object, Limits], Request]]] = {
    SocketIds.TYPE: _read_ids,
    AllRooms.TYPE: _read_all_rooms,
    Join.TYPE: _read_rooms(Join),
    Leave.TYPE: _read_rooms(Leave),
    Disconnect.TYPE: _read_disconnect,
    Fetch.TYPE: _read_fetch,
    ServerSideEmit.TYPE: _read_emit,
    BroadcastRequest.TYPE: _read_broadcast,
}
