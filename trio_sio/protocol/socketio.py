"""Socket.IO 5: packets inside Engine.IO messages.

``<type>[<attachments>-][<namespace>,][<ack id>][<JSON>]``, followed by that many binary messages.
https://socket.io/docs/v4/socket-io-protocol/

`Decoder` turns the messages of one connection into packets, and never believes a number before it was compared with
its limit. The ``encode_`` functions do the opposite.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from ..errors import DecodeError, EncodeError
from ..limits import Limits
from . import json, nesting
from .frames import EncodedPacket
from .memory import PER_ATTACHMENT, json_memory

__all__ = [
    "ATTACHMENTS",
    "MAX_ID",
    "RESERVED_EVENTS",
    "Decoder",
    "Packet",
    "PacketType",
    "check_ack",
    "check_emitted",
    "check_event",
    "check_namespace",
    "encode_ack",
    "encode_connect",
    "encode_connect_error",
    "encode_disconnect",
    "encode_event",
    "shown",
]


class PacketType(enum.IntEnum):
    """The first digit of a packet."""

    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


class Packet(NamedTuple):
    """One received packet.

    Attributes:
      type: What it is; BINARY_EVENT and BINARY_ACK come out as EVENT and ACK with `bytes` in ``data``.
      namespace: Such as ``"/"``.
      data: EVENT: ``[name, *args]``; ACK: a list; CONNECT: a dict; CONNECT_ERROR: a dict or str; DISCONNECT: ``None``.
      id: The ack id of an EVENT or ACK, or ``None``.
      size: Payload bytes in all, attachments included.
      memory: How many bytes it takes as it is here, about.
    """

    type: PacketType
    namespace: str
    data: Any
    id: int | None
    size: int
    memory: int


RESERVED_EVENTS: Final = frozenset({"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"})
"""Event names that neither side may emit, because the official libraries use them for events of their own."""

MAX_ID: Final = 2**53 - 1
"""The largest ack id, which is the largest integer that JavaScript has exactly."""

ATTACHMENTS: Final = 10
"""How many attachments of one packet peers accept unless told otherwise (socket.io-parser 4.2.6 and later; `Limits.attachments`)."""

# Enum members are slow to look up through their class.
_EVENT: Final = PacketType.EVENT
_ACK: Final = PacketType.ACK

_TYPES: Final = {
    b"0": PacketType.CONNECT,
    b"1": PacketType.DISCONNECT,
    b"2": PacketType.EVENT,
    b"3": PacketType.ACK,
    b"4": PacketType.CONNECT_ERROR,
    b"5": PacketType.EVENT,
    b"6": PacketType.ACK,
}
_BINARY_TYPES: Final = (b"5", b"6")

# Type, attachment count, namespace, ack id. Everything but the type is optional; the comma may be missing at the end.
_HEADER: Final = re.compile(rb"([0-6])(?:([0-9]{1,10})-)?(?:(/[^,]*)(?:,|\Z))?([0-9]*)")
_MAX_ID_DIGITS: Final = len(str(MAX_ID))

# How placeholders look in JSON without blanks; inside a string there would be a backslash before each quotation mark.
_PLACEHOLDERS: Final = (b'{"_placeholder":true', b',"_placeholder":true')

_ARRAY: Final = b"["
_OBJECT: Final = b"{"
_STRING: Final = b'"'


class Decoder:
    """Decodes the messages of one connection; holds at most one half-received packet.

    Args:
      limits: ``attachments``, ``json_depth``, ``containers``, ``arguments``, ``namespace_length`` and ``auth_bytes`` are
        enforced here.
      max_bytes: How large a packet with attachments may be, all its messages together.

    Attributes:
      pending: The packet whose attachments are missing, its placeholders not yet filled in, or ``None``.
    """

    __slots__ = ("_attachments", "_count", "_few", "_limits", "_max_bytes", "_places", "_short", "pending")

    def __init__(self, limits: Limits, max_bytes: int) -> None:
        self._limits = limits
        self._max_bytes = max_bytes
        # Each list or dict takes two characters, so a payload of this length cannot have too many, nor be too deep.
        self._few = min(limits.json_depth, limits.containers)
        self._short = 2 * self._few
        self._count = 0
        self._attachments: list[bytes] = []
        self._places: list[tuple[Any, Any, int]] = []
        self.pending: Packet | None = None

    def text(self, payload: bytes) -> Packet | None:
        """Take a text message, without Engine.IO's leading ``4``.

        Returns:
          The packet, or ``None`` when attachments have to come first.

        Raises:
          DecodeError: if it is no packet, exceeds a limit, or comes where an attachment has to come.
        """
        if self.pending is not None:
            self._forget()
            raise DecodeError("A text message arrived before the attachments of the packet before it were complete.")
        return self._short_event(payload) or self._any_packet(payload)

    def _short_event(self, payload: bytes) -> Packet | None:
        """Decode the commonest packet, a short EVENT in the main namespace; leave everything else, and every error, to `_any_packet`."""
        if payload[:1] != b"2" or len(payload) > self._short:
            return None
        # One digit less than the largest id has, so that the id needs no comparison.
        start = payload.find(_ARRAY, 1, _MAX_ID_DIGITS + 1)
        if start == 1:
            ack_id = None
        elif start > 1 and (raw_id := payload[1:start]).isdigit():
            ack_id = int(raw_id)
        else:
            return None
        try:
            data = orjson.loads(payload[start:])
        except orjson.JSONDecodeError:
            return None
        if data and type(name := data[0]) is str and name not in RESERVED_EVENTS and len(data) - 1 <= self._limits.arguments:
            return Packet(_EVENT, "/", data, ack_id, len(payload), json_memory(payload))
        return None

    def _any_packet(self, payload: bytes) -> Packet | None:
        match = _HEADER.match(payload)
        if match is None:
            raise DecodeError(f"A packet begins with a digit from 0 to 6, not with {payload[:20]!r}.")
        digit, raw_count, raw_namespace, raw_id = match.groups()
        start = match.end()
        kind = _TYPES[digit]
        count = 0 if raw_count is None and digit not in _BINARY_TYPES else self._attachment_count(digit, raw_count)
        namespace = "/" if raw_namespace is None else self._namespace(raw_namespace)
        ack_id = _ack_id(raw_id) if raw_id else None
        if kind is _EVENT:
            data = self._json(payload, start, _ARRAY)
            check_event(data, self._limits)
        elif kind is _ACK:
            # An ACK without a payload acknowledges with no arguments.
            data = self._json(payload, start, _ARRAY) if start < len(payload) else []
            check_ack(data, self._limits)
        else:
            data = self._control_data(kind, payload, start)
            ack_id = None
        packet = Packet(kind, namespace, data, ack_id, len(payload), json_memory(payload))
        if not count:
            return packet
        self._expect(packet, count)
        return None

    def binary(self, payload: bytes) -> Packet | None:
        """Take a binary message: the next attachment.

        Returns:
          The packet when it is complete, otherwise ``None``.

        Raises:
          DecodeError: if no attachment is missing, or the packet becomes too large.
        """
        packet = self.pending
        if packet is None:
            raise DecodeError(
                "A binary message arrived that no packet announced; a client with another parser needs the same in Config.parser."
            )
        size = len(payload)
        packet = packet._replace(size=packet.size + size, memory=packet.memory + size + PER_ATTACHMENT)
        if packet.size > self._max_bytes:
            self._forget()
            raise DecodeError(f"A packet with its attachments is larger than {self._max_bytes} bytes.")
        self._attachments.append(payload)
        if len(self._attachments) < self._count:
            self.pending = packet
            return None
        for container, key, num in self._places:
            container[key] = self._attachments[num]
        self._forget()
        return packet

    def _expect(self, packet: Packet, count: int) -> None:
        if packet.size > self._max_bytes:
            raise DecodeError(f"A packet with its attachments is larger than {self._max_bytes} bytes.")
        self._places = _find_placeholders(packet.data, count)
        self._count = count
        self.pending = packet

    def _forget(self) -> None:
        self.pending = None
        self._attachments = []
        self._places = []

    def _attachment_count(self, digit: bytes, raw_count: bytes | None) -> int:
        if raw_count is None or digit not in _BINARY_TYPES:
            raise DecodeError("A binary packet, and no other, has its number of attachments and a hyphen after its type.")
        count = int(raw_count)
        if count == 0:
            raise DecodeError("A binary packet has no attachments; it has to be sent as a plain one.")
        if count > self._limits.attachments:
            raise DecodeError(f"A packet has {count} attachments; at most {self._limits.attachments} are accepted.")
        return count

    def _namespace(self, raw: bytes) -> str:
        try:
            namespace = raw.decode()
        except UnicodeDecodeError as exc:
            raise DecodeError("A namespace is not valid UTF-8.") from exc
        check_namespace(namespace, self._limits)
        return namespace

    def _json(self, payload: bytes, start: int, opening: bytes) -> Any:
        """Decode the JSON text at ``start``, which must begin with ``opening``: no blank, no byte order mark."""
        if not payload.startswith(opening, start):
            raise DecodeError(f"The payload of a packet begins with {payload[start : start + 20]!r} instead of {opening!r}.")
        text = payload[start:]
        if len(text) > self._short:
            self._check_nesting(text)
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise DecodeError(f"The payload of a packet is not valid JSON: {exc!s:.100}.") from exc

    def _check_nesting(self, text: bytes) -> None:
        """Refuse a JSON text of which too much would be made, before anything is."""
        # Counting all brackets is cheap and nearly always settles it.
        if text.count(b"[") + text.count(b"{") <= self._few:
            return
        limits, brackets = self._limits, nesting.brackets(text)
        if nesting.count(brackets) > limits.containers:
            raise DecodeError(f"The payload of a packet has more than {limits.containers} lists and dicts (Limits.containers).")
        if nesting.depth(brackets) > limits.json_depth:
            raise DecodeError(f"The payload of a packet is nested more than {limits.json_depth} levels deep.")

    def _control_data(self, kind: PacketType, payload: bytes, start: int) -> Any:
        size = len(payload) - start
        if kind is PacketType.CONNECT:
            if size > self._limits.auth_bytes:
                raise DecodeError(f"The payload of a CONNECT has {size} bytes; at most {self._limits.auth_bytes} are accepted.")
            return self._json(payload, start, _OBJECT) if size else {}
        if kind is PacketType.CONNECT_ERROR:
            return self._json(payload, start, _STRING if payload.startswith(_STRING, start) else _OBJECT)
        if size:
            raise DecodeError("A DISCONNECT has a payload.")
        return None


# What has nothing to do with how packets are written.


def check_namespace(name: str, limits: Limits) -> None:
    """Raise `DecodeError` if the name of a namespace is too long."""
    if len(name) > limits.namespace_length:
        raise DecodeError(f"The namespace {name[:40]!r}... has {len(name)} characters; at most {limits.namespace_length} are accepted.")


def check_event(data: list[Any], limits: Limits) -> None:
    """Raise `DecodeError` if the data of an EVENT has no usable name, or too many arguments; an integer becomes a string."""
    if not data:
        raise DecodeError("An EVENT has no name.")
    name = data[0]
    if type(name) is not str:
        if type(name) is not int:
            raise DecodeError(f"The name of an EVENT is {shown(name)}; it must be a string or an integer.")
        data[0] = str(name)
    elif name in RESERVED_EVENTS:
        raise DecodeError(f"The event name {name!r} is reserved.")
    if len(data) - 1 > limits.arguments:
        raise DecodeError(f"An EVENT has {len(data) - 1} arguments; at most {limits.arguments} are accepted.")


def check_ack(data: list[Any], limits: Limits) -> None:
    """Raise `DecodeError` if an ACK has too many arguments."""
    if len(data) > limits.arguments:
        raise DecodeError(f"An ACK has {len(data)} arguments; at most {limits.arguments} are accepted.")


def shown(value: object) -> str:
    """Return how a value of a peer looks in a message; of what may be huge, and would be written out before it is cut, only what it is."""
    return f"a {type(value).__name__}" if isinstance(value, list | dict) else f"{value!r:.40}"


def check_emitted(name: object) -> None:
    """Raise `EncodeError` if ``name`` is none that an event can be emitted with."""
    if not isinstance(name, str):
        raise EncodeError(f"The name of an event is {name!r:.40}; it must be a string.")
    if name in RESERVED_EVENTS:
        raise EncodeError(f"The event name {name!r} is reserved; choose another one.")


def _ack_id(raw: bytes) -> int:
    # By length first: int() refuses thousands of digits with an error of its own.
    if len(raw) > _MAX_ID_DIGITS or (ack_id := int(raw)) > MAX_ID:
        raise DecodeError(f"The ack id {raw[:20]!r} is larger than 2**53 - 1.")
    return ack_id


def _find_placeholders(data: list[Any], count: int) -> list[tuple[Any, Any, int]]:
    """Return (container, key, attachment number) for each placeholder in freshly parsed data; walks without recursion."""
    places: list[tuple[Any, Any, int]] = []
    level: list[Any] = [data]
    while level:
        # Enumerating is for those few that contain one.
        holders: list[Any] = []
        below: list[Any] = []
        for container in level:
            for item in container if type(container) is list else container.values():
                kind = type(item)
                if kind is list:
                    if item:
                        below.append(item)
                elif kind is dict and item:
                    if item.get("_placeholder") is not True:
                        below.append(item)
                    elif not holders or holders[-1] is not container:
                        holders.append(container)
        for container in holders:
            for key, item in enumerate(container) if type(container) is list else container.items():
                if type(item) is dict and item.get("_placeholder") is True:
                    places.append((container, key, _attachment_number(item, count)))
        level = below
    return places


def _attachment_number(placeholder: dict[str, Any], count: int) -> int:
    num = placeholder.get("num")
    # The type is compared exactly: a list takes True and -1 as an index, too.
    if type(num) is not int or not 0 <= num < count:
        raise DecodeError(f"A placeholder refers to attachment {shown(num)} of {count}.")
    return num


def encode_event(namespace: str, args: Sequence[object], id: int | None = None, *, most: int = ATTACHMENTS) -> EncodedPacket:
    """Encode an EVENT, or a BINARY_EVENT if there are bytes anywhere in it.

    Args:
      namespace: The namespace's name.
      args: The event's name and its arguments.
      id: The ack id, if an acknowledgement is wanted.
      most: How many attachments the peer accepts.

    Raises:
      EncodeError: if the name is reserved, a value cannot be encoded, one next to bytes looks like a placeholder, or there
        are more than ``most`` bytes objects.
    """
    check_emitted(args[0])
    return _encode(b"42", b"45", namespace, id, args, most, droppable=id is None)


def encode_ack(namespace: str, id: int, args: Sequence[object], *, most: int = ATTACHMENTS) -> EncodedPacket:
    """Encode an ACK, or a BINARY_ACK if there are bytes anywhere in it; see `encode_event`.

    Raises:
      EncodeError: if a value cannot be encoded, one next to bytes looks like a placeholder, or there are more than ``most``.
    """
    return _encode(b"43", b"46", namespace, id, args, most, droppable=False)


def _encode(
    prefix: bytes, binary_prefix: bytes, namespace: str, id: int | None, args: Sequence[object], most: int, *, droppable: bool
) -> EncodedPacket:
    attachments: Sequence[bytes] = ()
    try:
        payload = orjson.dumps(args, None, json.ORJSON_OPTIONS)
    except orjson.JSONEncodeError:
        payload, attachments = json.dumps(list(args))
        if attachments:
            if sum(map(payload.count, _PLACEHOLDERS)) > len(attachments):
                raise EncodeError(
                    "A dict with `_placeholder` set to True cannot be sent together with bytes, as it would be taken for the place of an "
                    "attachment; give that key another name, or send them in two packets."
                ) from None
            if len(attachments) > most:
                raise EncodeError(
                    f"This packet has {len(attachments)} attachments, and a peer that accepts {most} would disconnect: join some of them, "
                    "send them in several packets, or raise Limits.attachments (in our client: max_attachments) if all peers accept more."
                ) from None
            prefix = b"%b%d-" % (binary_prefix, len(attachments))
    if id is not None:
        payload = b"%d%b" % (id, payload)
    if namespace != "/":
        prefix = b"%b%b," % (prefix, namespace.encode())
    return EncodedPacket(prefix + payload, attachments, droppable=droppable)


def encode_connect(namespace: str, data: Mapping[str, object] | None) -> EncodedPacket:
    """Encode a CONNECT.

    Args:
      namespace: The namespace's name.
      data: From a client its credentials, if it has any; from a server ``{"sid": ...}``.

    Raises:
      EncodeError: if ``data`` cannot be encoded, or contains bytes, which a CONNECT cannot carry.
    """
    return _encode_control(b"40", namespace, data)


def encode_connect_error(namespace: str, message: str, data: object = None) -> EncodedPacket:
    """Encode a CONNECT_ERROR; ``data`` is left out when it is ``None``.

    Raises:
      EncodeError: if ``data`` cannot be encoded, or contains bytes, which a CONNECT_ERROR cannot carry.
    """
    error: dict[str, object] = {"message": message}
    if data is not None:
        error["data"] = data
    return _encode_control(b"44", namespace, error)


def encode_disconnect(namespace: str) -> EncodedPacket:
    """Encode a DISCONNECT."""
    return _encode_control(b"41", namespace, None)


def _encode_control(prefix: bytes, namespace: str, content: object) -> EncodedPacket:
    payload, attachments = (b"", []) if content is None else json.dumps(content)
    if attachments:
        raise EncodeError("Bytes cannot be sent while connecting; only events and acknowledgements carry them.")
    if namespace != "/":
        prefix = b"%b%b," % (prefix, namespace.encode())
    return EncodedPacket(prefix + payload)
