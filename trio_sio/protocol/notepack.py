"""MessagePack as notepack.io 2, the library below the official parser, reads and writes it: what `json` is for JSON.

msgspec does the reading and writing, between `survey`, which looks at a message before anything is made of it, and
`_plain`, which admits what `trio_sio.protocol.json` admits, and `datetime.datetime`. What differs from JSON:

* A JavaScript ``Date`` is an aware `datetime.datetime` in UTC, in both directions, to the millisecond. A time without a
  zone names no moment and is refused. (In JSON a ``Date`` arrives as ISO text; a parameter annotated ``datetime`` takes both.)
* NaN and the infinities are sent and received as they are, because MessagePack has them.
* ``undefined`` arrives as ``None``, as nil does, also where JSON leaves it out: in an object.
* Integers beyond 64 bits leave as floats, which is what JavaScript makes of them in JSON.
* Lone surrogates, which UTF-8 lacks, leave as U+FFFD, as they do from ``TextEncoder``.
"""

from __future__ import annotations

import datetime
import enum
import struct
import uuid
from types import NoneType
from typing import Any, Final

import msgspec

from ..errors import DecodeError, EncodeError
from .collector import LARGE, uncollected
from .records import is_record, to_plain, unsendable

__all__ = ["dumps", "loads", "survey"]

# notepack.io gives one extension type several meanings, and tells them apart by how the length is written.
_EXTENSION: Final = 0  # with a fixed length: `undefined` (1 byte), or a Date (8 bytes, milliseconds since 1970)
_ARRAY_BUFFER: Final = 1  # what we make of it where the length is explicit: an ArrayBuffer, or a view of one

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND: Final = datetime.timedelta(milliseconds=1)
_INT64: Final = struct.Struct(">q")

# What a value begins with (https://github.com/msgpack/msgpack/blob/master/spec.md).
_NUMBERS: Final = {0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}  # -> bytes of the value
_SHORT_STRINGS: Final = {0xA0 + length: 1 + length for length in range(32)}  # -> bytes of the value
_SINGLE_BYTES: Final = dict.fromkeys((*range(0x80), *range(0xC0, 0xC4), *range(0xE0, 0x100)), 1)
_FIXED: Final = {**_SINGLE_BYTES, **_SHORT_STRINGS, **_NUMBERS}
_SIZES: Final = tuple(_FIXED.get(first, 0) for first in range(256))
_COUNTED: Final = (0xC4, 0xD9)  # bytes and text of which the next byte is the length
_LENGTHS: Final = {0xC5: 2, 0xC6: 4, 0xDA: 2, 0xDB: 4}  # others -> bytes of the length
_BUFFERS: Final = {0xC7: 1, 0xC8: 2, 0xC9: 4}  # extensions with a length -> bytes of the length
_EXTENSIONS: Final = {0xD4: 3, 0xD7: 10}  # `undefined` and Date -> bytes of the value
_STRINGS: Final = frozenset({*_SHORT_STRINGS, 0xD9, 0xDA, 0xDB})
_TIMESTAMPS: Final = {b"\xd6\xff": 6, b"\xd7\xff": 10, b"\xc7\x0c\xff": 15}  # what these begin with -> bytes of the value

# An empty array is one byte here and two in JSON, a map with a member three and seven, an extension three and up to thirty,
# and the memory that they take is the same. With these a message counts about as much as it would in JSON, so that limits
# mean the same.
_ARRAY_SURCHARGE: Final = 2
_MAP_SURCHARGE: Final = 4
_MEMBER_SURCHARGE: Final = 1  # for each after the first
_EXTENSION_SURCHARGE: Final = 8

_CONTAINERS: Final = {  # -> number of values, or else bytes of the number of items; whether it is a map; and the surcharge
    **{0x80 + count: (2 * count, 0, True, _MAP_SURCHARGE + _MEMBER_SURCHARGE * max(0, count - 1)) for count in range(16)},
    **{0x90 + count: (count, 0, False, _ARRAY_SURCHARGE) for count in range(16)},
    0xDC: (0, 2, False, _ARRAY_SURCHARGE),
    0xDD: (0, 4, False, _ARRAY_SURCHARGE),
    0xDE: (0, 2, True, _MAP_SURCHARGE),
    0xDF: (0, 4, True, _MAP_SURCHARGE),
}


def loads(payload: bytes, depth: int, containers: int, max_size: int, *, timestamps: bool = False) -> tuple[Any, int]:
    """Decode a message of a peer.

    Args:
      payload: The message.
      depth: How many levels deep arrays and maps may nest.
      containers: How many arrays and maps there may be.
      max_size: How many bytes it may count as.
      timestamps: Whether a Date may also be MessagePack's own timestamp, as notepack.io 3 writes it.

    Returns:
      The value, and for how many bytes it counts: its own, 2 more for each array, 4 for each map, 1 for each member of a
      map after the first, and 8 for each extension.

    Raises:
      DecodeError: if it is no value, or exceeds a limit.
    """
    most = max_size - len(payload)
    surcharge, buffers = survey(payload, depth, containers, most, timestamps)
    if surcharge > most:
        raise DecodeError(
            f"A packet counts as more than {max_size} bytes: its own, {_ARRAY_SURCHARGE} more for each array, {_MAP_SURCHARGE} for "
            f"each map, {_MEMBER_SURCHARGE} for each member after the first, and {_EXTENSION_SURCHARGE} for each extension."
        )
    if buffers:
        patched = bytearray(payload)
        for position in buffers:
            patched[position] = _ARRAY_BUFFER
        payload = bytes(patched)
    try:
        value = _DECODER.decode(payload) if len(payload) < LARGE else uncollected(_DECODER.decode, payload)
    except (ValueError, RecursionError) as exc:
        raise DecodeError(f"A packet is not valid MessagePack: {exc!s:.100}.") from exc
    return value, len(payload) + surcharge


def survey(payload: bytes, depth: int, containers: int, most: int, timestamps: bool) -> tuple[int, list[int]]:
    """Look at every value of a message, and make none of them.

    Some things come too late when msgspec has made the value: that numbers are keys, which an attacker can choose so
    that they all collide (a megabyte of them keeps a dict busy for a quarter of a minute); nesting that the interpreter
    does not survive; how the length of an extension was written; that there is too much to make.

    Returns:
      For how many bytes more than it has the message counts, and where those extensions that are array buffers have their
      type. What follows is not looked at once these are more than ``most`` bytes.

    Raises:
      DecodeError: if a key is no string, or the message is nested too deeply, has too many arrays and maps, has an unknown
        extension, or is not one value.
    """
    sizes = _SIZES
    surcharge = position = made = 0
    buffers: list[int] = []
    # How many values the innermost container still has to come, and whether it is a map; the same for those around it.
    left, is_map = 1, False
    around: list[tuple[int, bool]] = []
    try:
        while True:
            while not left:
                if not around:
                    if position != len(payload):
                        raise DecodeError("A packet is truncated, or something follows it.")
                    return surcharge, buffers
                left, is_map = around.pop()
            first = payload[position]
            # Keys and values of a map alternate, and a value comes last.
            if is_map and not left & 1 and first not in _STRINGS:
                raise DecodeError("A key of a map is not a string.")
            left -= 1
            if size := sizes[first]:
                position += size
                continue
            if first in _CONTAINERS:
                around.append((left, is_map))
                if len(around) > depth:
                    raise DecodeError(f"A packet is nested more than {depth} levels deep.")
                left, width, is_map, weight = _CONTAINERS[first]
                position += 1
                if width:
                    left = int.from_bytes(payload[position : position + width], "big")
                    position += width
                    if is_map:
                        surcharge += _MEMBER_SURCHARGE * max(0, left - 1)
                        left *= 2
                surcharge += weight
                made += 1
                if made > containers:
                    raise DecodeError(f"A packet has more than {containers} arrays and maps (Limits.containers).")
            elif first in _COUNTED:
                position += 2 + payload[position + 1]
                continue
            elif first in _LENGTHS:
                start = position + 1 + _LENGTHS[first]
                position = start + int.from_bytes(payload[position + 1 : start], "big")
            elif first in _EXTENSIONS and payload[position + 1] == _EXTENSION:
                surcharge += _EXTENSION_SURCHARGE
                position += _EXTENSIONS[first]
            elif first in _BUFFERS and payload[start := position + 1 + _BUFFERS[first]] == _EXTENSION:
                surcharge += _EXTENSION_SURCHARGE
                buffers.append(start)
                position = start + 1 + int.from_bytes(payload[position + 1 : start], "big")
            elif timestamps and (
                size := _TIMESTAMPS.get(payload[position : position + 2]) or _TIMESTAMPS.get(payload[position : position + 3], 0)
            ):
                surcharge += _EXTENSION_SURCHARGE
                position += size
            else:
                raise DecodeError("A packet has an extension that is neither undefined nor a Date nor an ArrayBuffer.")
            if surcharge > most:
                return surcharge, buffers
    except IndexError:
        raise DecodeError("A packet is truncated.") from None


def _make_extension(kind: int, data: memoryview) -> object:
    if kind == _ARRAY_BUFFER:
        return bytes(data)
    if len(data) == 1:
        return None
    try:
        return _EPOCH + _INT64.unpack(data)[0] * _MILLISECOND
    except OverflowError:
        raise ValueError("a date outside of the years 1 to 9999") from None


_DECODER: Final = msgspec.msgpack.Decoder(ext_hook=_make_extension)
_ENCODER: Final = msgspec.msgpack.Encoder()


def dumps(value: object) -> bytes:
    """Encode ``value``.

    Raises:
      EncodeError: if it contains something that cannot be sent.
    """
    try:
        plain = _plain(value)
        try:
            return _ENCODER.encode(plain)
        except UnicodeEncodeError:
            return _ENCODER.encode(_well_formed(plain))
    except RecursionError as exc:
        raise EncodeError("The value contains itself, or is nested too deeply to be sent.") from exc


_PLAIN: Final = frozenset({NoneType, bool, float, str, bytes})


def _plain(value: object) -> object:
    """Copy ``value`` in the types that msgspec writes as the official parser does, or refuse it: alone it would write much more."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, int):
        return _plain_int(int(value))
    if isinstance(value, list | tuple):
        items = []
        for item in value:
            items.append(_plain(item))  # noqa: PERF401  # a comprehension would use up two frames per level
        return items
    if isinstance(value, dict):
        members = {}
        for key, member in value.items():
            if not isinstance(key, str):
                raise EncodeError(
                    f"The key {key!r:.60} of a dict cannot be sent; JavaScript has only strings as keys, so convert it with str()."
                )
            members[str.__str__(key)] = _plain(member)
        return members
    return _plain_rarity(value)


def _plain_int(number: int) -> int | float:
    if -(2**63) <= number < 2**64:
        return number
    try:
        return float(number)
    except OverflowError:
        raise EncodeError("An integer that is larger than every float cannot be sent; send it as text.") from None


def _plain_rarity(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, datetime.datetime):
        if value.utcoffset() is None:
            raise EncodeError(f"The time {value} cannot be sent, as it has no time zone; give it one, as in datetime.now(UTC).")
        return msgspec.msgpack.Ext(_EXTENSION, _INT64.pack((value - _EPOCH) // _MILLISECOND))
    if is_record(value):
        return _plain(to_plain(value))
    raise unsendable(value, "None, bool, int, float, str, bytes, datetime, records")


def _well_formed(value: object) -> object:
    """Copy what `_plain` returned with U+FFFD for lone surrogates (as ``String.prototype.toWellFormed`` does)."""
    if type(value) is str:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if type(value) is list:
        items = []
        for item in value:
            items.append(_well_formed(item))  # noqa: PERF401  # a comprehension would use up two frames per level
        return items
    if type(value) is dict:
        members = {}
        for key, member in value.items():
            members[_well_formed(key)] = _well_formed(member)
        return members
    return value
