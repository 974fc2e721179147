"""What spans say: by OpenTelemetry's conventions for messaging, within bounds.

Names of spans are those of `Labels`. What clients chose is in attributes only, cut, and printable. What they sent is nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from opentelemetry.util.types import AttributeValue

__all__ = [
    "CLIENT",
    "COUNT",
    "ERROR",
    "EVENT",
    "OUTCOME",
    "REASON",
    "ROOMS",
    "SIZE",
    "about",
    "about_event",
    "bounded",
    "rooms",
]

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
