"""Between what is written on a bus and what a namespace says."""

from __future__ import annotations

from typing import Any

from ..namespaces.adapter import Broadcast, Flags, Target
from .fields import Flags as WireFlags
from .fields import Options

__all__ = ["answer_of", "broadcast_from", "options_of", "target_of"]


def options_of(target: Target, flags: Flags | None = None) -> Options:
    """Return whom something is for, as it is written on the bus."""
    if flags is None:
        return Options(rooms=target.rooms, excluded=target.excluded)
    wire = WireFlags(volatile=flags.volatile, key=flags.key, compress=flags.compress, timeout=flags.timeout)
    return Options(rooms=target.rooms, excluded=target.excluded, flags=wire)


def target_of(options: Options) -> Target:
    """Return whom something is for, of those on this server."""
    return Target(rooms=options.rooms, excluded=options.excluded, local=True)


def broadcast_from(event: tuple[Any, ...], options: Options) -> Broadcast:
    """Return what another server emits."""
    flags = options.flags
    return Broadcast(event, target_of(options), Flags(volatile=flags.volatile, key=flags.key, compress=flags.compress))


def answer_of(values: tuple[object, ...]) -> object:
    """Return the one value that an answer is on the bus: of several a list, of none ``None``."""
    return values[0] if len(values) == 1 else list(values) or None
