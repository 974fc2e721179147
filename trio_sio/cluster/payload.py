"""What goes over a bus, as bytes: JSON, or MessagePack where it has bytes in it, as Node's adapters write them.

Nothing that comes over a bus is trusted: it may be another tenant's. So size, nesting and the number of lists and dicts are
looked at before anything is made of it. On the way out the same limits hold, since what the others would drop is of no use.
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import BusMessageError, DecodeError, EncodeError
from ..limits import Limits
from ..protocol import json, nesting, notepack

__all__ = ["MAX_BYTES", "dumps", "dumps_msgpack", "loads"]

MAX_BYTES: Final = 8 * 1024 * 1024
"""How large a message may be, unless something else is said; Redis itself cuts off who is so far behind for a minute."""

_OBJECT: Final = b"{"
_PICKLE: Final = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # how pickles begin
_NO_PICKLES: Final = (
    "A message on the bus is a pickle, as python-socketio before 5.14 sends. None is ever loaded: give who sends it another key."
)
_ENVELOPE: Final = 8  # levels, and lists and dicts, around what an application has emitted
_MOST_SURCHARGE: Final = 5  # how often its own size a message can count as: `notepack` has surcharges for the sake of clients


def loads(payload: bytes, limits: Limits, max_bytes: int) -> Any:
    """Decode a message of another server: JSON if it begins with a brace, else MessagePack.

    Args:
      payload: The message.
      limits: ``json_depth`` and ``containers`` are enforced here.
      max_bytes: How large it may be.

    Raises:
      BusMessageError: if it is neither, or exceeds a limit.
    """
    if len(payload) > max_bytes:
        raise BusMessageError("size", f"A message on the bus has {len(payload)} bytes; at most {max_bytes} are accepted.")
    if payload.startswith(_PICKLE):
        raise BusMessageError("pickle", _NO_PICKLES)
    try:
        if payload.startswith(_OBJECT):
            _check_nesting(payload, limits)
            return json.loads(payload)
        depth, containers = limits.json_depth + _ENVELOPE, limits.containers + _ENVELOPE
        return notepack.loads(payload, depth, containers, _MOST_SURCHARGE * max_bytes, timestamps=True)[0]
    except (DecodeError, ValueError, RecursionError) as exc:
        raise BusMessageError("format", f"A message on the bus cannot be decoded: {str(exc).rstrip('.'):.200}.") from exc


def dumps(value: object, limits: Limits, max_bytes: int) -> bytes:
    """Encode ``value``: as JSON, or as MessagePack where there are bytes, or something else that JSON lacks.

    Raises:
      EncodeError: if it contains something that cannot be sent, or exceeds a limit that `loads` has.
    """
    text = _as_json(value)
    if text is None:
        return dumps_msgpack(value, limits, max_bytes)
    _check_size(text, max_bytes)
    try:
        _check_nesting(text, limits)
    except DecodeError as exc:
        raise EncodeError(f"The other servers would not accept this: {exc}") from None
    return text


def dumps_msgpack(value: object, limits: Limits, max_bytes: int) -> bytes:
    """Encode ``value`` as MessagePack.

    Raises:
      EncodeError: as `dumps`.
    """
    payload = notepack.dumps(value)
    _check_size(payload, max_bytes)
    # A level takes a byte, so what is short is not too deep.
    if len(payload) > min(limits.json_depth, limits.containers):
        depth, containers = limits.json_depth + _ENVELOPE, limits.containers + _ENVELOPE
        try:
            notepack.survey(payload, depth, containers, _MOST_SURCHARGE * max_bytes, timestamps=False)
        except DecodeError as exc:
            raise EncodeError(f"The other servers would not accept this: {exc}") from None
    return payload


def _as_json(value: object) -> bytes | None:
    try:
        text, attachments = json.dumps(value)
    except EncodeError:
        return None  # a `datetime.datetime`, perhaps; what is wrong with it otherwise is wrong in MessagePack, too
    return None if attachments else text


def _check_nesting(text: bytes, limits: Limits) -> None:
    # Counting all brackets is cheap and nearly always settles it.
    if text.count(b"[") + text.count(b"{") <= min(limits.json_depth, limits.containers):
        return
    brackets = nesting.brackets(text)
    if nesting.count(brackets) > limits.containers + _ENVELOPE:
        raise DecodeError(f"It has more than {limits.containers} lists and dicts (Limits.containers).")
    if nesting.depth(brackets) > limits.json_depth + _ENVELOPE:
        raise DecodeError(f"It is nested more than {limits.json_depth} levels deep.")


def _check_size(payload: bytes, max_bytes: int) -> None:
    if len(payload) > max_bytes:
        raise EncodeError(f"This has {len(payload)} bytes on the bus, and the other servers accept {max_bytes}: send it in parts.")
