"""What spans are called, and what they say: by OpenTelemetry's conventions for messaging, within bounds.

A backend groups spans by name, so a name has nothing in it of a client's choosing: an event that no route knows is `OTHER`. What
clients chose is in attributes only, cut, and printable. What they sent is nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from opentelemetry.util.types import AttributeValue

__all__ = [
    "CLIENT",
    "COUNT",
    "ERROR",
    "EVENT",
    "OTHER",
    "OUTCOME",
    "REASON",
    "ROOMS",
    "SIZE",
    "Names",
    "about",
    "about_event",
    "bounded",
    "rooms",
]

OTHER: Final = "other"

SYSTEM: Final = "messaging.system"
OPERATION: Final = "messaging.operation.name"
TYPE: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
CLIENT: Final = "messaging.client.id"
SIZE: Final = "messaging.message.body.size"
COUNT: Final = "messaging.batch.message_count"
ERROR: Final = "error.type"

# As the instrumentation of Node's server calls them.
EVENT: Final = "messaging.socket.io.event_name"
NAMESPACE: Final = "messaging.socket.io.namespace"
ROOMS: Final = "messaging.socket.io.rooms"

OUTCOME: Final = "messaging.socket.io.outcome"
REASON: Final = "messaging.socket.io.reason"

_LONGEST: Final = 128  # characters
_MOST_ROOMS: Final = 8
_REMEMBERED: Final = 1_000  # namespaces made for patterns

_NONE: Final = (OTHER, frozenset[str]())

Attributes = dict[str, AttributeValue]


def bounded(text: str) -> str:
    """Return ``text`` as it may stand in an attribute: no longer than that, and without what exporters could stumble over."""
    text = text[:_LONGEST]
    return text if text.isprintable() else "".join(character if character.isprintable() else "\ufffd" for character in text)


def rooms(names: Iterable[str]) -> list[str]:
    """Return the first few of ``names``, in order."""
    return [bounded(name) for name in sorted(names)[:_MOST_ROOMS]]


def about(operation: str, namespace: str) -> Attributes:
    """Return the attributes that a span begins with."""
    destination = bounded(namespace)
    return {SYSTEM: "socket.io", OPERATION: operation, DESTINATION: destination, NAMESPACE: destination}


def about_event(operation: str, kind: str, namespace: str, event: str) -> Attributes:
    """Return those of a span that is about an event; ``kind``: which of the operations that the conventions know."""
    return about(operation, namespace) | {TYPE: kind, EVENT: bounded(event)}


class Names:
    """What may stand in the name of a span.

    Args:
      known: For each namespace, or pattern, the events that are known there.
    """

    def __init__(self, known: Iterable[tuple[str | re.Pattern[str], frozenset[str]]]) -> None:
        self._found: dict[str, tuple[str, frozenset[str]]] = {}
        self._fixed: dict[str, tuple[str, frozenset[str]]] = {}
        self._patterns: list[tuple[re.Pattern[str], frozenset[str]]] = []
        for where, events in known:
            if isinstance(where, str):
                self._fixed[where] = where, events
            else:
                self._patterns.append((where, events))

    def namespace(self, name: str) -> str:
        """Return what a namespace is called: by its pattern, if it was made for one."""
        return self._of(name)[0]

    def event(self, namespace: str, event: str) -> str:
        """Return what an event of a client is called."""
        return event if event in self._of(namespace)[1] else OTHER

    def _of(self, name: str) -> tuple[str, frozenset[str]]:
        found = self._fixed.get(name) or self._found.get(name)
        if found is None:
            matching = ((where.pattern, events) for where, events in self._patterns if where.fullmatch(name))
            if len(self._found) >= _REMEMBERED:
                self._found.clear()
            found = self._found[name] = next(matching, _NONE)
        return found
