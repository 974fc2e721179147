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
from typing import Any, Final

import msgspec
import orjson

from ..errors import DecodeError, EncodeError
from ..limits import Limits
from . import json, nesting
from .attachments import Attachments, check_attachments
from .checks import RESERVED_EVENTS, check_ack, check_emitted, check_event, check_namespace
from .frames import EncodedPacket
from .json import ORJSON_OPTIONS
from .memory import PER_ATTACHMENT, json_memory

__all__ = [
    "ATTACHMENTS",
    "MAX_ID",
    "Decoder",
    "Packet",
    "PacketType",
    "encode_ack",
    "encode_connect",
    "encode_connect_error",
    "encode_disconnect",
    "encode_event",
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


class Packet(msgspec.Struct, frozen=True):
    """One received packet. A struct, as it is made four times as fast as a named tuple, per message.

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

_EVENT_DIGIT: Final = b"2"[0]
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

    __slots__ = ("_attachments", "_few", "_limits", "_max_bytes", "_most_values", "_short", "pending")

    def __init__(self, limits: Limits, max_bytes: int) -> None:
        self._limits = limits
        self._max_bytes = max_bytes
        # Each list or dict takes two characters, so a payload of this length cannot have too many, nor be too deep.
        self._few = min(limits.json_depth, limits.containers)
        self._short = 2 * self._few
        self._most_values = 1 + limits.arguments
        self.pending: Packet | None = None
        self._attachments: Attachments | None = None  # those of `pending`

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
        # The commonest packet: a short EVENT in the main namespace. All others, and every error, are left to `_any_packet`.
        start = payload.find(_ARRAY)
        # One digit less than the largest id has, so that the id needs no comparison.
        if 0 < start <= _MAX_ID_DIGITS and payload[0] == _EVENT_DIGIT and len(payload) <= self._short:
            raw_id = payload[1:start]
            try:
                data = orjson.loads(payload[start:]) if not raw_id or raw_id.isdigit() else None
            except orjson.JSONDecodeError:
                data = None
            if data and type(name := data[0]) is str and name not in RESERVED_EVENTS and len(data) <= self._most_values:
                return Packet(_EVENT, "/", data, int(raw_id) if raw_id else None, len(payload), json_memory(payload))
        return self._any_packet(payload)

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
        packet, attachments = self.pending, self._attachments
        if packet is None or attachments is None:
            raise DecodeError(
                "A binary message arrived that no packet announced; a client with another parser needs the same in Config.parser."
            )
        size = len(payload)
        packet = msgspec.structs.replace(packet, size=packet.size + size, memory=packet.memory + size + PER_ATTACHMENT)
        if packet.size > self._max_bytes:
            self._forget()
            raise DecodeError(f"A packet with its attachments is larger than {self._max_bytes} bytes.")
        if not attachments.add(payload):
            self.pending = packet
            return None
        self._forget()
        return packet

    def _expect(self, packet: Packet, count: int) -> None:
        if packet.size > self._max_bytes:
            raise DecodeError(f"A packet with its attachments is larger than {self._max_bytes} bytes.")
        self._attachments = Attachments(packet.data, count)
        self.pending = packet

    def _forget(self) -> None:
        self.pending = None
        self._attachments = None

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


def _ack_id(raw: bytes) -> int:
    # By length first: int() refuses thousands of digits with an error of its own.
    if len(raw) > _MAX_ID_DIGITS or (ack_id := int(raw)) > MAX_ID:
        raise DecodeError(f"The ack id {raw[:20]!r} is larger than 2**53 - 1.")
    return ack_id


def encode_event(
    namespace: str, args: Sequence[object], ack_id: int | None = None, *, compress: bool | None = None, most: int = ATTACHMENTS
) -> EncodedPacket:
    """Encode an EVENT, or a BINARY_EVENT if there are bytes anywhere in it.

    Args:
      namespace: The namespace's name.
      args: The event's name and its arguments.
      ack_id: The ack id, if an acknowledgement is wanted.
      compress: See `EncodedPacket`.
      most: How many attachments the peer accepts.

    Raises:
      EncodeError: if the name is reserved, a value cannot be encoded, one next to bytes looks like a placeholder, or there
        are more than ``most`` bytes objects.
    """
    check_emitted(args[0])
    return _encode(b"42", b"45", namespace, ack_id, args, most, ack_id is None, compress)


def encode_ack(
    namespace: str, ack_id: int, args: Sequence[object], *, compress: bool | None = None, most: int = ATTACHMENTS
) -> EncodedPacket:
    """Encode an ACK, or a BINARY_ACK if there are bytes anywhere in it; see `encode_event`.

    Raises:
      EncodeError: if a value cannot be encoded, one next to bytes looks like a placeholder, or there are more than ``most``.
    """
    try:
        payload = orjson.dumps(args, None, ORJSON_OPTIONS)
    except orjson.JSONEncodeError:
        return _encode(b"43", b"46", namespace, ack_id, args, most, False, compress)
    text = b"43%d%b" % (ack_id, payload) if namespace == "/" else b"43%b,%d%b" % (namespace.encode(), ack_id, payload)
    return EncodedPacket(text, (), False, compress)


def _encode(
    prefix: bytes,
    binary_prefix: bytes,
    namespace: str,
    ack_id: int | None,
    args: Sequence[object],
    most: int,
    droppable: bool,
    compress: bool | None,
) -> EncodedPacket:
    attachments: Sequence[bytes] = ()
    try:
        payload = orjson.dumps(args, None, ORJSON_OPTIONS)
    except orjson.JSONEncodeError:
        payload, attachments = json.dumps(list(args))
        if attachments:
            check_attachments(payload, len(attachments), most)
            prefix = b"%b%d-" % (binary_prefix, len(attachments))
    if namespace != "/":
        prefix = b"%b%b," % (prefix, namespace.encode())
    text = prefix + payload if ack_id is None else b"%b%d%b" % (prefix, ack_id, payload)
    return EncodedPacket(text, attachments, droppable, compress)


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
