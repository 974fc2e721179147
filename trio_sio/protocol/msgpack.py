"""Socket.IO 5 as the official ``socket.io-msgpack-parser`` writes it: each packet is one binary Engine.IO message.

The message is a MessagePack map with ``type``, ``data``, ``id`` (if there is one) and ``nsp``; clients add ``options``.
Bytes stand where they belong, also in what is sent while connecting, so there are no attachments to wait for.
https://socket.io/docs/v4/custom-parser/#the-msgpack-parser
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, Final

from ..errors import DecodeError
from ..limits import Limits
from . import notepack
from .checks import check_ack, check_emitted, check_event, check_namespace, shown
from .frames import EncodedPacket
from .memory import value_memory
from .socketio import MAX_ID, Packet, PacketType

__all__ = ["Decoder", "encode_ack", "encode_connect", "encode_connect_error", "encode_disconnect", "encode_event"]

_TYPES: Final = (PacketType.CONNECT, PacketType.DISCONNECT, PacketType.EVENT, PacketType.ACK, PacketType.CONNECT_ERROR)


class Decoder:
    """Decodes the messages of one connection; every message is a packet.

    Args:
      limits: ``json_depth``, ``containers``, ``arguments``, ``namespace_length`` and ``auth_bytes`` are enforced here.
      max_bytes: How large a packet may be, its size counted as by `notepack.loads`.

    Attributes:
      pending: Always ``None``, as there are no attachments.
    """

    __slots__ = ("_limits", "_max_bytes")

    pending: Final[Packet | None] = None

    def __init__(self, limits: Limits, max_bytes: int) -> None:
        self._limits = limits
        self._max_bytes = max_bytes

    def text(self, payload: bytes) -> Packet | None:
        """Refuse a text message.

        Raises:
          DecodeError: always.
        """
        raise DecodeError(
            "A text message arrived, and msgpack has binary ones only; a client with another parser needs the same in Config.parser."
        )

    def binary(self, payload: bytes) -> Packet | None:
        """Take a binary message, and return the packet.

        Raises:
          DecodeError: if it is no packet, or exceeds a limit.
        """
        limits = self._limits
        # One level and one map more, because the packet itself is one.
        fields, size = notepack.loads(payload, limits.json_depth + 1, limits.containers + 1, self._max_bytes)
        if type(fields) is not dict:
            raise DecodeError(f"A packet is a map, not {shown(fields)}.")
        # Types are compared exactly: True is an int, too.
        number: Any = fields.get("type")
        if type(number) is not int or not 0 <= number < len(_TYPES):
            raise DecodeError(f"The type of a packet is {shown(number)}; it must be an integer from 0 to 4.")
        namespace: Any = fields.get("nsp")
        if type(namespace) is not str or not namespace.startswith("/"):
            raise DecodeError(f"The namespace of a packet is {shown(namespace)}; it must be a string that begins with a slash.")
        check_namespace(namespace, limits)
        ack_id: Any = fields.get("id")
        if ack_id is not None and (type(ack_id) is not int or not 0 <= ack_id <= MAX_ID):
            raise DecodeError(f"The ack id of a packet is {shown(ack_id)}; it must be an integer from 0 to 2**53 - 1.")
        kind = _TYPES[number]
        data: Any = fields.get("data")
        if kind is PacketType.EVENT:
            _require(kind, data, list)
            check_event(data, limits)
        elif kind is PacketType.ACK:
            # As in JSON, an ACK without data acknowledges with no arguments.
            data = [] if data is None else data
            _require(kind, data, list)
            check_ack(data, limits)
        else:
            data = self._control_data(kind, data, size)
            ack_id = None
        return Packet(kind, namespace, data, ack_id, size, value_memory(data, size))

    def _control_data(self, kind: PacketType, data: Any, size: int) -> Any:
        if kind is PacketType.CONNECT:
            if size > self._limits.auth_bytes:
                raise DecodeError(f"A CONNECT counts as {size} bytes; at most {self._limits.auth_bytes} are accepted.")
            # Nil, which clients in Python send, means the same as nothing.
            data = {} if data is None else data
            _require(kind, data, dict)
        elif kind is PacketType.CONNECT_ERROR:
            _require(kind, data, dict, str)
        else:
            _require(kind, data, NoneType)
        return data


def _require(kind: PacketType, data: object, *types: type) -> None:
    if type(data) not in types:
        raise DecodeError(f"The data of {kind.name} is {shown(data)}, which has no place there.")


def encode_event(namespace: str, args: Sequence[object], ack_id: int | None = None, *, compress: bool | None = None) -> EncodedPacket:
    """Encode an EVENT.

    Args:
      namespace: The namespace's name.
      args: The event's name and its arguments.
      ack_id: The ack id, if an acknowledgement is wanted.
      compress: See `EncodedPacket`.

    Raises:
      EncodeError: if the name is reserved, or a value cannot be encoded.
    """
    check_emitted(args[0])
    return _encode(PacketType.EVENT, namespace, args, ack_id, compress)


def encode_ack(namespace: str, ack_id: int, args: Sequence[object], *, compress: bool | None = None) -> EncodedPacket:
    """Encode an ACK.

    Raises:
      EncodeError: if a value cannot be encoded.
    """
    return _encode(PacketType.ACK, namespace, args, ack_id, compress)


def encode_connect(namespace: str, data: Mapping[str, object] | None) -> EncodedPacket:
    """Encode a CONNECT.

    Args:
      namespace: The namespace's name.
      data: From a client its credentials, if it has any; from a server ``{"sid": ...}``.

    Raises:
      EncodeError: if ``data`` cannot be encoded.
    """
    return _encode(PacketType.CONNECT, namespace, data)


def encode_connect_error(namespace: str, message: str, data: object = None) -> EncodedPacket:
    """Encode a CONNECT_ERROR; ``data`` is left out when it is ``None``.

    Raises:
      EncodeError: if ``data`` cannot be encoded.
    """
    return _encode(PacketType.CONNECT_ERROR, namespace, {"message": message} if data is None else {"message": message, "data": data})


def encode_disconnect(namespace: str) -> EncodedPacket:
    """Encode a DISCONNECT."""
    return _encode(PacketType.DISCONNECT, namespace, None)


def _encode(kind: PacketType, namespace: str, data: object, ack_id: int | None = None, compress: bool | None = None) -> EncodedPacket:
    fields: dict[str, object] = {"type": int(kind)}
    # Not nil: the official parser refuses a DISCONNECT with `data: null`.
    if data is not None:
        fields["data"] = data
    if ack_id is not None:
        fields["id"] = ack_id
    fields["nsp"] = namespace
    return EncodedPacket(None, (notepack.dumps(fields),), kind is PacketType.EVENT and ack_id is None, compress)
