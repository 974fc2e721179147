"""What of a session another server needs to go on with it: values that can be written down, apart from all that is of this process."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from ..limits import Limits

if TYPE_CHECKING:
    from ..protocol.frames import EncodedPacket
    from ..protocol.parsers import Parser

__all__ = ["SessionRecord", "event_of", "is_plain"]

# What left this server may be more than it would take.
_ANYTHING: Final = replace(Limits(), attachments=1 << 30, arguments=1 << 30, json_depth=1 << 30, containers=1 << 30)

_SCALARS: Final = (str, bool, bytes, type(None))
_INTEGERS: Final = range(-(2**63), 2**64)  # beyond these JSON and MessagePack have none


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session whose client is away, with the names that Node gives to what it has.

    Attributes:
      sid: `Socket.id`.
      pid: The secret by which its client comes back.
      rooms: Where it is, besides the room named by its id.
      data: `Socket.data`, as plain data.
      seconds: For how long it is to be kept.
      expires_at: As of `Socket.expires_at`, in seconds since 1970; ``None``: without limit.
      is_typed: Whether that is how a value of a type was written, which its namespace knows; otherwise it is a dict of plain data.
    """

    sid: str
    pid: str
    rooms: frozenset[str]
    data: Any
    seconds: float
    expires_at: float | None = None
    is_typed: bool = False


def is_plain(data: object) -> bool:
    """Tell whether ``data`` is the same once it was written down and read again: dicts, lists, text, bytes and numbers.

    But for half of a character that is a pair in UTF-16, as JavaScript may cut one in two: that is U+FFFD in MessagePack.
    """
    try:
        return _is_plain(data)
    except RecursionError:
        return False


def _is_plain(data: object) -> bool:
    kind = type(data)
    if kind is dict:
        return all(type(key) is str and _is_plain(value) for key, value in data.items())  # type: ignore[attr-defined]
    if kind is list:
        return all(map(_is_plain, data))  # type: ignore[call-overload]
    if isinstance(data, int) and kind is int:
        return data in _INTEGERS
    return kind in _SCALARS or (isinstance(data, float) and kind is float and math.isfinite(data))


def event_of(packet: EncodedPacket, parser: Parser) -> Sequence[object]:
    """Return name and arguments of an event of a log, without its offset, whose packet ``parser`` has written."""
    decoder = parser.decoder(_ANYTHING, 1 << 62)
    decoded = None if packet.text is None else decoder.text(packet.text[1:])
    for attachment in packet.attachments:
        decoded = decoder.binary(attachment)
    assert decoded is not None
    event: Sequence[object] = decoded.data[:-1]
    return event
