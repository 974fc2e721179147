"""The contract of a routing table: every namespace, every event in both directions, its arguments and its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Argument", "Contract", "EventContract", "NamespaceContract", "Refusal", "Schema"]

Schema = Mapping[str, Any]
"""A JSON Schema (2020-12). Binary data, an attachment on the wire, is ``{"type": "string", "format": "binary"}``."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of an event.

    Attributes:
      name: The parameter's.
      schema: What it may be.
      required: Whether it may not be left out.
    """

    name: str
    schema: Schema
    required: bool = True


@dataclass(frozen=True, slots=True)
class Refusal:
    """With what a client may be refused.

    Attributes:
      name: Of the exception.
      description: Its docstring, the first paragraph.
      data: What comes with the message.
    """

    name: str
    description: str
    data: Schema


@dataclass(frozen=True, slots=True)
class EventContract:
    """One event.

    Attributes:
      name: Its name.
      description: The docstring of the function that handles or declares it.
      arguments: Its arguments, in order.
      rest: Any number of arguments behind them; ``None``: there are none.
      answer: The values with which it is acknowledged; ``None``: with nothing that says anything.
      refusals: With what it may be refused, as far as that is declared; then what acknowledges it is an object with ``status``
        (``"error"``), ``message`` and ``data``.
    """

    name: str
    description: str
    arguments: Sequence[Argument]
    rest: Argument | None
    answer: Sequence[Schema] | None
    refusals: Sequence[Refusal] = ()

    def payload(self) -> Schema:
        """The arguments as the schema of an array."""
        schema: dict[str, Any] = {"type": "array"}
        if self.arguments:
            schema["prefixItems"] = [{"title": one.name, **one.schema} for one in self.arguments]
        schema["minItems"] = sum(one.required for one in self.arguments)
        if self.rest is None:
            schema["maxItems"] = len(self.arguments)
            schema["items"] = {"not": {}}
        else:
            schema["items"] = {"title": self.rest.name, **self.rest.schema}
        return schema

    def reply(self) -> Schema | None:
        """The answer as the schema of an array."""
        if self.answer is None:
            return None
        count = len(self.answer)
        return {"type": "array", "prefixItems": [*self.answer], "minItems": count, "maxItems": count, "items": {"not": {}}}


@dataclass(frozen=True, slots=True)
class NamespaceContract:
    """One namespace.

    Attributes:
      name: Its name, or the text of the pattern.
      is_pattern: Whether it is a pattern, which stands for many namespaces.
      description: The docstrings of its controllers.
      sent: What clients send.
      heard: What clients hear.
      refusals: With what clients may be refused that connect, as far as that is declared: CONNECT_ERROR with message and data.
    """

    name: str
    is_pattern: bool
    description: str
    sent: Sequence[EventContract]
    heard: Sequence[EventContract]
    refusals: Sequence[Refusal] = ()


@dataclass(frozen=True, slots=True)
class Contract:
    """What a server and its clients say to each other; see `RoutingTable.contract`.

    Attributes:
      namespaces: All of them: names first, then patterns.
      schemas: The types that have names, by name. References to them are ``{"$ref": "#/$defs/Name"}``.
    """

    namespaces: Sequence[NamespaceContract]
    schemas: Mapping[str, Schema]

    def json_schema(self) -> dict[str, Any]:
        """Return the types as ``$defs``, and the events as arrays of their arguments, by namespace."""
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$defs": dict(self.schemas),
            "namespaces": {
                namespace.name: {"sent": {event.name: _as_json(event) for event in namespace.sent}}
                | {"heard": {event.name: _as_json(event) for event in namespace.heard}}
                | _refusals(namespace.refusals)
                for namespace in self.namespaces
            },
        }

    def text(self, format: Literal["typescript", "asyncapi", "jsonschema"]) -> str:  # the command line's word
        """Return it as TypeScript for ``socket.io-client``, as AsyncAPI 3.0, or as JSON Schema; the last two as JSON."""
        from .asyncapi import asyncapi
        from .typescript import typescript
        from .writing import as_text

        if format == "typescript":
            return typescript(self)
        return as_text(asyncapi(self) if format == "asyncapi" else self.json_schema())


def _as_json(event: EventContract) -> dict[str, Any]:
    described = {"description": event.description} if event.description else {}
    reply = event.reply()
    return {**described, "arguments": event.payload(), **({} if reply is None else {"answer": reply}), **_refusals(event.refusals)}


def _refusals(refusals: Sequence[Refusal]) -> dict[str, Any]:
    if not refusals:
        return {}
    return {"refusals": {one.name: {**({"description": one.description} if one.description else {}), "data": one.data} for one in refusals}}
