"""Between what is written on the bus and what a namespace says: whom something is for, and how it is sent."""

from __future__ import annotations

import datetime
from typing import Any

from ..namespaces.adapter import Broadcast, Flags, Target
from .fields import Flags as WireFlags
from .fields import Options

__all__ = ["answer_of", "broadcast_from", "options_of", "target_of", "without_dates"]


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


def without_dates(value: Any) -> Any:
    """Return ``value`` with text in the places of times, as JavaScript's ``toJSON`` writes it; the same object where there are none."""
    match value:
        case datetime.datetime():
            text = value.astimezone(datetime.UTC).isoformat(timespec="milliseconds")
            return text.removesuffix("+00:00") + "Z"
        case dict():
            items = {key: without_dates(item) for key, item in value.items()}
            return items if any(items[key] is not item for key, item in value.items()) else value
        case list() | tuple():
            elements = [without_dates(element) for element in value]
            if all(new is old for new, old in zip(elements, value, strict=True)):
                return value
            return tuple(elements) if isinstance(value, tuple) else elements
        case _:
            return value
