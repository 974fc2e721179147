"""JSON as JavaScript means it, and the placeholders that stand for binary attachments.

orjson does nearly all of it. The standard library steps in where orjson refuses what ``JSON.stringify`` and
``JSON.parse`` exchange freely: lone surrogates in both directions, integers beyond 64 bits on the way out.

What can be sent: ``None``, `bool`, `int`, `float`, `str`, `list`, `tuple`, `dict` with `str` keys, subclasses of these,
members of an `enum.Enum` (their value), `uuid.UUID` (its text), records (their fields, see records.py), and `bytes`,
`bytearray`, `memoryview` as attachments. NaN and the infinities become ``null``. Everything else is refused: how a bare
date or set should look is the application's decision. So is, by socketio.py, a dict next to attachments that looks like the
placeholder of one.
"""

from __future__ import annotations

import enum
import json
import math
import re
import uuid
from typing import Any, Final, NoReturn

import orjson

from ..errors import EncodeError
from .collector import LARGE, uncollected
from .records import is_record, to_plain, unsendable

__all__ = ["ORJSON_OPTIONS", "dumps", "loads"]

ORJSON_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
"""With these orjson encodes what this module documents, and nothing more."""

# The escape of a surrogate without its other half, in a text without escaped backslashes.
_LONE_SURROGATE: Final = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F])"
)
_ENCODER: Final = json.JSONEncoder(ensure_ascii=True, check_circular=False, allow_nan=False, separators=(",", ":"))


def loads(payload: bytes) -> Any:
    """Decode a JSON text of a peer.

    Integers beyond 64 bits become floats, as they do in JavaScript; what overflows a float is refused.

    Raises:
      ValueError: if it is not JSON.
      RecursionError: if it is nested too deeply for the interpreter.
    """
    if len(payload) >= LARGE:
        # Nothing large is decoded twice, and found wanting at its end.
        return uncollected(_decode if _has_lone_surrogate(payload) else orjson.loads, payload)
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        if not _has_lone_surrogate(payload):
            raise
    return _decode(payload)


def _has_lone_surrogate(payload: bytes) -> bool:
    # The search has to stop wherever an escape begins like this; many texts have thousands of others.
    if b"\\ud" not in payload and b"\\uD" not in payload:
        return False
    return _LONE_SURROGATE.search(payload.replace(rb"\\", b"__")) is not None


def _decode(payload: bytes) -> Any:
    # Decoded here, because json.loads() would let surrogates pass that are not escaped.
    return _DECODER.decode(payload.decode())


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# orjson reads the numbers here, too: so they are the same, and no function in Python is called for each of half a million.
_DECODER: Final = json.JSONDecoder(parse_int=orjson.loads, parse_float=orjson.loads, parse_constant=_refuse_constant)


def dumps(value: object) -> tuple[bytes, list[bytes]]:
    """Encode ``value`` and take its binary parts out.

    Returns:
      The JSON text, in which ``{"_placeholder":true,"num":n}`` stands for attachment n, and the attachments in the order
      in which they occur. They are copies, so later changes of a `bytearray` do not change what is sent.

    Raises:
      EncodeError: if it contains something that cannot be sent.
    """
    attachments: list[bytes] = []

    def attach(part: object) -> object:
        if isinstance(part, bytes | bytearray | memoryview):
            return _attach(part, attachments)
        if is_record(part):
            return to_plain(part)
        raise TypeError

    try:
        return orjson.dumps(value, attach, ORJSON_OPTIONS), attachments
    except orjson.JSONEncodeError:
        attachments = []
    try:
        return _ENCODER.encode(_plain(value, attachments)).encode(), attachments
    except RecursionError as exc:
        raise EncodeError("The value contains itself, or is nested too deeply to be sent.") from exc
    except ValueError as exc:
        raise EncodeError(f"The value cannot be sent as JSON: {exc}.") from exc


def _attach(part: bytes | bytearray | memoryview, attachments: list[bytes]) -> dict[str, object]:
    attachments.append(bytes(part))
    return {"_placeholder": True, "num": len(attachments) - 1}


def _plain(value: object, attachments: list[bytes]) -> object:
    """Copy ``value`` as the standard library's encoder has to see it, to agree with orjson."""
    if isinstance(value, enum.Enum):
        return _plain(value.value, attachments)
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes | bytearray | memoryview):
        return _attach(value, attachments)
    if isinstance(value, list | tuple):
        items = []
        for item in value:
            items.append(_plain(item, attachments))  # noqa: PERF401  # a comprehension would use up two frames per level
        return items
    if isinstance(value, dict):
        members = {}
        for key, member in value.items():
            if not isinstance(key, str):
                raise EncodeError(f"The key {key!r:.60} of a dict cannot be sent; JSON has only strings as keys, so convert it with str().")
            members[key] = _plain(member, attachments)
        return members
    if isinstance(value, uuid.UUID):
        return str(value)
    if is_record(value):
        return _plain(to_plain(value), attachments)
    raise unsendable(value, "None, bool, int, float, str, bytes, records")
