"""What the two parsers require of a packet, however it is written."""

from __future__ import annotations

from typing import Any, Final

from ..errors import DecodeError, EncodeError
from ..limits import Limits

__all__ = ["RESERVED_EVENTS", "check_ack", "check_emitted", "check_event", "check_namespace", "shown"]

RESERVED_EVENTS: Final = frozenset({"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"})
"""Event names that neither side may emit, because the official libraries use them for events of their own."""


def check_namespace(name: str, limits: Limits) -> None:
    """Raise `DecodeError` if the name of a namespace is too long."""
    if len(name) > limits.namespace_length:
        raise DecodeError(f"The namespace {name[:40]!r}... has {len(name)} characters; at most {limits.namespace_length} are accepted.")


def check_event(data: list[Any], limits: Limits) -> None:
    """Raise `DecodeError` if the data of an EVENT has no usable name, or too many arguments; an integer becomes a string."""
    if not data:
        raise DecodeError("An EVENT has no name.")
    name = data[0]
    if type(name) is not str:
        if type(name) is not int:
            raise DecodeError(f"The name of an EVENT is {shown(name)}; it must be a string or an integer.")
        data[0] = str(name)
    elif name in RESERVED_EVENTS:
        raise DecodeError(f"The event name {name!r} is reserved.")
    if len(data) - 1 > limits.arguments:
        raise DecodeError(f"An EVENT has {len(data) - 1} arguments; at most {limits.arguments} are accepted.")


def check_ack(data: list[Any], limits: Limits) -> None:
    """Raise `DecodeError` if an ACK has too many arguments."""
    if len(data) > limits.arguments:
        raise DecodeError(f"An ACK has {len(data)} arguments; at most {limits.arguments} are accepted.")


def shown(value: object) -> str:
    """Return how a value of a peer looks in a message; of what may be huge, and would be written out before it is cut, only what it is."""
    return f"a {type(value).__name__}" if isinstance(value, list | dict) else f"{value!r:.40}"


def check_emitted(name: object) -> None:
    """Raise `EncodeError` if ``name`` is none that an event can be emitted with."""
    if not isinstance(name, str):
        raise EncodeError(f"The name of an event is {name!r:.40}; it must be a string.")
    if name in RESERVED_EVENTS:
        raise EncodeError(f"The event name {name!r} is reserved; choose another one.")
