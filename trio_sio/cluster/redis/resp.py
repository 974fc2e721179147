"""RESP 3, what Redis speaks, as far as publishing and subscribing need it. No I/O.

coredis has a parser as well; but what it was fed stays in its buffer until a read ends exactly where a reply does, which is rare in a
flood, and a message of any size has to be in memory before anybody can refuse it.
https://github.com/redis/redis-specifications/blob/master/protocol/RESP3.md
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["ErrorReply", "Push", "RespError", "RespReader", "pack", "pack_publish"]

_END: Final = b"\r\n"
_LONGEST_LINE: Final = 64 * 1024  # Redis sends errors as lines, and no other long ones
_DEEPEST: Final = 8
_NULL: Final = b"$-1\r\n"


class RespError(Exception):
    """What came is no RESP: it is no Redis, or we are out of step."""


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """What a command could not be done for.

    Attributes:
      text: As Redis says it, a code first, such as ``NOPERM``.
    """

    text: str

    @property
    def code(self) -> str:
        """The first word."""
        return self.text.partition(" ")[0]


class Push(list[Any]):
    """What comes unasked, such as a message."""


class _Incomplete(Exception):
    """More bytes are needed, at least so many in all."""

    def __init__(self, needed: int) -> None:
        super().__init__()
        self.needed = needed


def pack(*words: bytes) -> bytes:
    """Return a command."""
    return b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)])


def pack_publish(channel: bytes, payload: bytes) -> bytes:
    """Return the command PUBLISH."""
    return b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(channel), channel, len(payload), payload)


class RespReader:
    """Takes bytes, and returns replies and pushes.

    Args:
      max_bytes: How large a string may be. Of a larger one nothing is kept, and ``None`` is in its place.
    """

    __slots__ = ("_buffer", "_chunks", "_discard", "_max_bytes", "_needed", "_size")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = b""
        self._chunks: list[bytes] = []  # behind the buffer, until there is enough to go on
        self._size = 0  # of all of that
        self._needed = 0
        self._discard = 0  # bytes to come of a string that is too large

    def feed(self, data: bytes) -> Iterator[Any]:
        """Take what came; yield what is complete now.

        Yields:
          `bytes`, `int`, `float`, `bool`, ``None``, `list`, of a map a list of pairs, `ErrorReply`; and `Push`.

        Raises:
          RespError: if it is no RESP.
        """
        if self._discard:
            discarded = min(self._discard, len(data))
            self._discard -= discarded
            data = data[discarded:]
        self._chunks.append(data)
        self._size += len(data)
        if self._discard or self._size < self._needed:
            return
        self._buffer = b"".join((self._buffer, *self._chunks))
        self._chunks.clear()
        position = 0
        while position < len(self._buffer):
            try:
                value, position = self._value(position, 0)
            except _Incomplete as exc:
                self._needed = exc.needed - position
                break
            self._needed = 0
            yield value
        self._buffer = self._buffer[position:]
        self._size = len(self._buffer)

    def _value(self, position: int, depth: int) -> tuple[Any, int]:
        buffer = self._buffer
        end = buffer.find(_END, position)
        if end < 0:
            if len(buffer) - position > _LONGEST_LINE:
                raise RespError("A line does not end.")
            raise _Incomplete(len(buffer) + 1)
        kind, line, after = buffer[position : position + 1], buffer[position + 1 : end], end + 2
        match kind:
            case b"$" | b"=":
                return self._string(kind, _number(line), position, after)
            case b":":
                return _number(line), after
            case b"+":
                return line, after
            case b"-":
                return ErrorReply(line.decode(errors="replace")), after
            case b"*" | b">" | b"~" | b"%":
                return self._aggregate(kind, _number(line), after, depth)
            case b"_":
                return None, after
            case b"#":
                return line == b"t", after
            case b",":
                return _float(line), after
            case b"(":
                return _number(line), after
            case _:
                raise RespError(f"A reply begins with {kind!r}.")

    def _string(self, kind: bytes, length: int, position: int, after: int) -> tuple[bytes | None, int]:
        if length < 0:
            return None, after
        end = after + length + 2
        if length > self._max_bytes:
            # It is as if there had been nothing, and what comes of it later is not looked at.
            self._discard = max(0, end - len(self._buffer))
            self._buffer = b"".join((self._buffer[:position], _NULL, self._buffer[end:]))
            if self._discard:
                raise _Incomplete(0)
            return None, position + len(_NULL)
        if len(self._buffer) < end:
            raise _Incomplete(end)
        if self._buffer[end - 2 : end] != _END:
            raise RespError("A string is longer than it says.")
        return self._buffer[after if kind == b"$" else after + 4 : end - 2], end

    def _aggregate(self, kind: bytes, count: int, position: int, depth: int) -> tuple[Any, int]:
        if count < 0:
            return None, position
        if depth >= _DEEPEST or count > self._max_bytes:
            raise RespError("A reply is nested too deeply, or has too many parts.")
        values: list[Any] = Push() if kind == b">" else []
        for _ in range(2 * count if kind == b"%" else count):
            if position >= len(self._buffer):
                raise _Incomplete(len(self._buffer) + 1)
            value, position = self._value(position, depth + 1)
            values.append(value)
        if kind == b"%":
            return list(zip(values[::2], values[1::2], strict=True)), position
        return values, position


def _number(line: bytes) -> int:
    try:
        return int(line)
    except ValueError:
        raise RespError(f"A number is {line!r:.40}.") from None


def _float(line: bytes) -> float:
    try:
        return float(line)
    except ValueError:
        raise RespError(f"A number is {line!r:.40}.") from None
