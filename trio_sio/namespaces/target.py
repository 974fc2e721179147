"""What is emitted to several sockets, and to whom: values that also travel between servers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Final

__all__ = ["EVERYBODY", "PLAIN", "Broadcast", "Flags", "Target", "require_names"]


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a broadcast is for.

    Attributes:
      rooms: Members of any of these rooms, each once; empty: the whole namespace.
      excluded: But not the members of these. A socket's id is a room too.
      local: Only sockets of this process.
    """

    rooms: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()
    local: bool = False

    def includes(self, rooms: Set[str]) -> bool:
        """Tell whether somebody who is in ``rooms`` is meant."""
        return (not self.rooms or not self.rooms.isdisjoint(rooms)) and self.excluded.isdisjoint(rooms)


EVERYBODY: Final = Target()


@dataclass(frozen=True, slots=True)
class Flags:
    """How a broadcast is sent (Node: ``BroadcastFlags``).

    Attributes:
      volatile: Whether it may be lost where a client is slow.
      key: Of the volatile ones of a namespace with one key only the newest waits for a client.
      compress: Whether it is compressed for each client that can do it; ``None``: see `EncodedPacket`.
      timeout: Seconds to wait for answers; ``None``: `Config.ack_timeout`.
    """

    volatile: bool = False
    key: str | None = None
    compress: bool | None = None
    timeout: float | None = None


PLAIN: Final = Flags()


@dataclass(frozen=True, slots=True)
class Broadcast:
    """One event for several sockets, before it is encoded.

    Attributes:
      event: Its name and its arguments.
      target: Whom it is for.
      flags: How it is sent.
    """

    event: Sequence[object]
    target: Target = EVERYBODY
    flags: Flags = PLAIN


def require_names(rooms: Iterable[object], verb: str, method: str) -> None:
    """Raise `TypeError` if one of ``rooms`` is no string; who wants to ``verb`` several gives ``method`` a list."""
    for room in rooms:
        if not isinstance(room, str):
            several = isinstance(room, list | tuple | set | frozenset)
            hint = f"to {verb} several rooms write {method}('a', 'b')" if several else "convert it with str()"
            raise TypeError(f"Room {room!r:.200} is not a string; {hint}.")
