"""What messages between servers are made of, whatever they are written in: whom they are for, events, sockets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec

from ..errors import BusMessageError, DecodeError
from ..limits import CARRIED_BYTES, CARRIED_NAMES, Limits
from ..protocol.checks import check_event, check_namespace, shown

__all__ = [
    "EVENT",
    "EVERYBODY",
    "NO_FLAGS",
    "Count",
    "Flags",
    "Id",
    "Options",
    "ShortText",
    "SocketDetails",
    "WireOptions",
    "WirePacket",
    "WireSocket",
    "options_from",
    "packet_event",
    "read",
    "require_namespace",
    "room_names",
    "server_side_event",
    "socket_from",
    "write_options",
    "write_socket",
]

T = TypeVar("T")

EVENT: Final = 2
_EVENTS: Final = (EVENT, 5)  # older servers say that there are attachments, 5, though the bytes are in their places
_MILLISECONDS: Final = 1000

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
ShortText = Annotated[str, msgspec.Meta(max_length=100)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class Flags(msgspec.Struct, frozen=True, kw_only=True):
    """How something is sent.

    Attributes:
      volatile: Whether it may be lost when a client is slow.
      key: Of volatile packets with one key only the newest waits for a client; Node ignores it.
      compress: Whether it is compressed for each client; ``None``: as that server does by default.
      timeout: Seconds that whoever sent it waits for answers; ``None``: not said.
    """

    volatile: bool = False
    key: str | None = None
    compress: bool | None = None
    timeout: float | None = None


NO_FLAGS: Final = Flags()


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Whom something is for, and how it is sent (Node: ``BroadcastOptions``).

    Attributes:
      rooms: Members of any of these; empty: the whole namespace.
      excluded: But not the members of these.
      flags: How it is sent.
      carried: What instruments let travel with it, such as ``traceparent``; Node ignores it.
    """

    rooms: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()
    flags: Flags = NO_FLAGS
    carried: Mapping[str, str] | None = None


EVERYBODY: Final = Options()


class SocketDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A socket of another server, as it was when somebody asked.

    Attributes:
      id: Its public id.
      handshake: How it connected, with Node's field names.
      rooms: The rooms that it was in.
      data: What the application remembered about it.
    """

    id: str
    handshake: dict[str, Any]
    rooms: frozenset[str]
    data: Any = None


# The same as it is on the wire. What is `undefined` in JavaScript is missing in JSON, and may be nil in MessagePack.


class _WireFlags(msgspec.Struct):
    volatile: bool | None = None
    key: str | None = None
    compress: bool | None = None
    timeout: float | None = None


class WireOptions(msgspec.Struct):
    """`Options` before they are looked at more closely. Rooms are a tuple, as numbers could be chosen to collide in a set."""

    rooms: tuple[str | int, ...]
    excluded: tuple[str | int, ...] = msgspec.field(default=(), name="except")
    flags: _WireFlags | None = None
    carried: Any = None


class WirePacket(msgspec.Struct):
    """A Socket.IO packet in a message."""

    type: int
    data: list[Any]
    nsp: str | None = None


class WireSocket(msgspec.Struct):
    """`SocketDetails`, likewise."""

    id: Id
    handshake: dict[str, Any]
    rooms: tuple[str | int, ...]
    data: Any = None


def read(value: object, kind: type[T], what: str) -> T:
    """Return ``value`` as a ``kind``; fields that are not known are ignored.

    Raises:
      BusMessageError: if it is none; ``what`` says in the sentence what it was to be.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        raise BusMessageError("schema", f"{what} on the bus is not as it should be: {exc!s:.150}.") from exc


def room_names(rooms: Iterable[str | int]) -> frozenset[str]:
    """Return ``rooms`` as ours are, names: in Node a number may be a room, too."""
    return frozenset(map(str, rooms))


def options_from(wire: WireOptions) -> Options:
    """Return the options that ``wire`` stands for.

    Raises:
      BusMessageError: if the time to wait is none.
    """
    rooms, excluded, flags = wire.rooms, wire.excluded, wire.flags
    return Options(
        rooms=room_names(rooms),
        excluded=room_names(excluded),
        flags=NO_FLAGS if flags is None else _flags_from(flags),
        carried=wire.carried if _may_be_carried(wire.carried) else None,
    )


def _may_be_carried(value: object) -> bool:
    # An event is worth more than what comes with it, so that is dropped alone if it is not as it should be.
    if type(value) is not dict or len(value) > CARRIED_NAMES:
        return False
    texts = (*value.keys(), *value.values())
    return all(type(text) is str for text in texts) and sum(len(text.encode(errors="replace")) for text in texts) <= CARRIED_BYTES


def _flags_from(wire: _WireFlags) -> Flags:
    timeout = wire.timeout
    if timeout is not None:
        if not timeout >= 0:
            raise BusMessageError("schema", f"A message on the bus has the time-out {timeout!r}; it must be a number of milliseconds.")
        timeout = None if timeout == math.inf else timeout / _MILLISECONDS
    elif wire.volatile is None and wire.compress is None and wire.key is None:
        return NO_FLAGS
    return Flags(volatile=bool(wire.volatile), key=wire.key, compress=wire.compress, timeout=timeout)


def packet_event(packet: WirePacket, limits: Limits) -> tuple[Any, ...]:
    """Return name and arguments of the event in ``packet``.

    Raises:
      BusMessageError: if it is no event, its name is reserved, or it has too many arguments.
    """
    if packet.type not in _EVENTS:
        raise BusMessageError("schema", f"A packet on the bus has the type {packet.type}; only events, which have {EVENT}, are broadcast.")
    try:
        check_event(packet.data, limits)
    except DecodeError as exc:
        raise BusMessageError("schema", f"A packet on the bus cannot be delivered: {exc}") from exc
    return tuple(packet.data)


def server_side_event(data: list[Any], limits: Limits) -> tuple[Any, ...]:
    """Return name and arguments of an event between servers.

    Raises:
      BusMessageError: if it has no name, or too many arguments.
    """
    if not data or type(data[0]) is not str:
        raise BusMessageError("schema", f"A server-side event has the name {shown(data[0] if data else None)}; it must be a string.")
    if len(data) - 1 > limits.arguments:
        raise BusMessageError("schema", f"A server-side event has {len(data) - 1} arguments; at most {limits.arguments} are accepted.")
    return tuple(data)


def require_namespace(name: str, limits: Limits) -> None:
    """Raise `BusMessageError` if ``name`` is no name of a namespace."""
    if not name.startswith("/"):
        raise BusMessageError("schema", f"A message on the bus is for the namespace {name!r:.40}, whose name has no slash in front.")
    try:
        check_namespace(name, limits)
    except DecodeError as exc:
        raise BusMessageError("schema", f"A message on the bus is for nobody: {exc}") from exc


def socket_from(wire: WireSocket) -> SocketDetails:
    """Return the socket that ``wire`` stands for."""
    return SocketDetails(id=wire.id, handshake=wire.handshake, rooms=room_names(wire.rooms), data=wire.data)


def write_options(options: Options, *, flags: bool = True) -> dict[str, object]:
    """Return ``options`` as they go out; without ``flags`` where nobody looks at these."""
    wire: dict[str, object] = {"rooms": sorted(options.rooms), "except": sorted(options.excluded)}
    if flags:
        wire["flags"] = {} if options.flags is NO_FLAGS else _write_flags(options.flags)
    if options.carried:
        wire["carried"] = dict(options.carried)
    return wire


def _write_flags(flags: Flags) -> dict[str, object]:
    wire: dict[str, object] = {}
    if flags.volatile:
        wire["volatile"] = True
    if flags.key is not None:
        wire["key"] = flags.key
    if flags.compress is not None:
        wire["compress"] = flags.compress
    if flags.timeout is not None and flags.timeout != math.inf:
        wire["timeout"] = round(flags.timeout * _MILLISECONDS)
    return wire


def write_socket(socket: SocketDetails) -> dict[str, object]:
    """Return ``socket`` as it goes out."""
    return {"id": socket.id, "handshake": socket.handshake, "rooms": sorted(socket.rooms), "data": socket.data}
