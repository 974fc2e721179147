"""Whom a broadcast is for."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Final

__all__ = ["EVERYBODY", "Target", "require_names"]


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


def require_names(rooms: Iterable[object], verb: str, method: str) -> None:
    """Raise `TypeError` if one of ``rooms`` is no string: somebody who wants to ``verb`` them gave ``method`` a list."""
    for room in rooms:
        if not isinstance(room, str):
            raise TypeError(f"Room {room!r} is not a string; to {verb} several rooms write {method}('a', 'b').")
