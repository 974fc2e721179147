"""How Socket.IO packets are written: what the official libraries call the ``parser`` option. Both sides must use the same."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from ..limits import Limits
from . import msgpack, socketio
from .frames import EncodedPacket
from .socketio import Packet

__all__ = ["JSON", "MSGPACK", "PARSERS", "Decoder", "Parser", "parser_for"]


class Decoder(Protocol):
    """Decodes the messages of one connection."""

    @property
    def pending(self) -> Packet | None:
        """The packet whose attachments are missing, if any."""

    def text(self, payload: bytes) -> Packet | None:
        """Take a text message, without Engine.IO's leading ``4``; return the packet, or ``None`` when attachments come first.

        Raises:
          DecodeError: if it is no packet, exceeds a limit, or has no place here.
        """

    def binary(self, payload: bytes) -> Packet | None:
        """Take a binary message, like `text`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parser:
    """One way to write packets; the parts are as in `trio_sio.protocol.socketio`.

    Attributes:
      decoder: Makes the decoder of a connection out of the limits and the size of the largest packet in bytes.
      encode_event, encode_ack, encode_connect, encode_connect_error, encode_disconnect: See there.
    """

    decoder: Callable[[Limits, int], Decoder]
    encode_event: Callable[..., EncodedPacket]
    encode_ack: Callable[..., EncodedPacket]
    encode_connect: Callable[..., EncodedPacket]
    encode_connect_error: Callable[..., EncodedPacket]
    encode_disconnect: Callable[..., EncodedPacket]


JSON: Final = Parser(
    decoder=socketio.Decoder,
    encode_event=socketio.encode_event,
    encode_ack=socketio.encode_ack,
    encode_connect=socketio.encode_connect,
    encode_connect_error=socketio.encode_connect_error,
    encode_disconnect=socketio.encode_disconnect,
)
"""JSON with binary attachments: what clients speak unless told otherwise."""

MSGPACK: Final = Parser(
    decoder=msgpack.Decoder,
    encode_event=msgpack.encode_event,
    encode_ack=msgpack.encode_ack,
    encode_connect=msgpack.encode_connect,
    encode_connect_error=msgpack.encode_connect_error,
    encode_disconnect=msgpack.encode_disconnect,
)
"""MessagePack, one binary message per packet: ``parser: require("socket.io-msgpack-parser")`` in JavaScript."""

PARSERS: Final[Mapping[str, Parser]] = {"json": JSON, "msgpack": MSGPACK}
"""By the name that `Config.parser` gives."""


@functools.cache
def parser_for(name: str, attachments: int) -> Parser:
    """Return the parser called ``name``, for peers that accept so many ``attachments`` in one packet."""
    parser = PARSERS[name]
    if parser is MSGPACK or attachments == socketio.ATTACHMENTS:
        return parser
    encode_event = functools.partial(parser.encode_event, most=attachments)
    return replace(parser, encode_event=encode_event, encode_ack=functools.partial(parser.encode_ack, most=attachments))
