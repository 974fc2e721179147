"""What of a message, or of a socket's data, is shown: as much as fits on a page, and nothing that could not be sent there."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..protocol import json

__all__ = ["MOST_SHOWN", "SHARE", "cut", "size_of"]

MOST_SHOWN: Final = 4_096
"""How many characters of one event, or of the data of one socket, are shown, more or less."""

SHARE: Final = 4
"""One part in so many of the bytes that may wait for a page, and of those that may travel between servers, one message has."""

_LONGEST: Final = 1_024  # characters of one text
_DEEPEST: Final = 8
_SMALL: Final = 8  # what a number or a bracket takes
_INT64: Final = 1 << 63
_ELLIPSIS: Final = "…"


class _Purse:
    """How many characters there is room for."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


def cut(value: object, room: int = MOST_SHOWN) -> Any:
    """Return ``value`` as JSON can say it, without what is too large or too deep; never raises for what an application emits.

    Bytes become the text ``<5 bytes>``, as the page would show nothing of them, and an object that is no data becomes its type.

    Args:
      value: Anything.
      room: For how many characters there is room.
    """
    return _cut(value, _Purse(room), _DEEPEST)


def size_of(shown: object) -> int:
    """Return how many bytes it has, as it is sent: JSON, in which there may be half of a character."""
    text, _ = json.dumps(shown)
    return len(text)


def _cut(value: object, purse: _Purse, depth: int) -> Any:
    purse.left -= _SMALL
    try:
        return _shown(value, purse, depth)
    except Exception:  # what it consists of only its own methods know, and these may be the application's
        return f"<{type(value).__name__}>"


def _shown(value: object, purse: _Purse, depth: int) -> Any:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, str):
        return _text(value, purse)
    if isinstance(value, int):
        return int(value) if -_INT64 <= value < _INT64 else f"<a number of {value.bit_length()} bits>"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{memoryview(value).nbytes} bytes>"
    if isinstance(value, dict | list | tuple | set | frozenset):
        if depth == 0 or purse.left <= 0:
            return _ELLIPSIS
        return _mapping(value, purse, depth) if isinstance(value, dict) else _sequence(value, purse, depth)
    return _other(value, purse, depth)


def _text(text: str, purse: _Purse) -> str:
    most = max(0, min(_LONGEST, purse.left))
    purse.left -= min(len(text), most)
    return str(text) if len(text) <= most else f"{text[:most]}{_ELLIPSIS} ({len(text)} characters)"


def _mapping(value: dict[Any, object], purse: _Purse, depth: int) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for key, one in value.items():
        if purse.left <= 0:
            shown[_ELLIPSIS] = f"{len(value)} in all"
            break
        shown[_text(key if isinstance(key, str) else _name_of(key), purse)] = _cut(one, purse, depth - 1)
    return shown


def _name_of(key: object) -> str:
    try:
        return f"{key!r:.80}"
    except Exception:
        return f"<{type(key).__name__}>"


def _sequence(value: list[Any] | tuple[Any, ...] | set[Any] | frozenset[Any], purse: _Purse, depth: int) -> list[Any]:
    shown: list[Any] = []
    for one in value:
        if purse.left <= 0:
            shown.append(f"{_ELLIPSIS} {len(value)} in all")
            break
        shown.append(_cut(one, purse, depth - 1))
    return shown


def _other(value: object, purse: _Purse, depth: int) -> Any:
    """Return what a record says, of whatever library it is; of what is none its type."""
    try:
        plain = msgspec.to_builtins(value, builtin_types=(bytes, bytearray, memoryview))
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        plain = value
    return f"<{type(value).__name__}>" if type(plain) is type(value) else _cut(plain, purse, depth)
