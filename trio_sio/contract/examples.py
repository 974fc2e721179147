"""A value of each type, for people: what a schema gives as an example or a default, or something that fits."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .model import Contract, Schema

__all__ = ["as_javascript", "as_json", "example_of"]

_BYTES: Final = bytes([0, 1, 2])
_TEXTS: Final = {
    "date-time": "2030-01-31T12:00:00Z",
    "date": "2030-01-31",
    "time": "12:00:00",
    "duration": "PT1H",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "ann@example.com",
    "uri": "https://example.com/",
    "decimal": "1.5",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}


def example_of(schema: Schema, contract: Contract, within: Sequence[str] = ()) -> Any:
    """Return a value that fits ``schema``; bytes where it is binary.

    Args:
      schema: Of the contract.
      contract: Has the types that it refers to.
      within: The types that are being made, so that one that contains itself comes to an end.
    """
    if schema.get("examples"):
        return schema["examples"][0]
    if schema.get("default") is not None:
        return schema["default"]
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return None if name in within else example_of(contract.schemas[name], contract, (*within, name))
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for several in ("anyOf", "oneOf"):
        if several in schema:
            possible = [one for one in schema[several] if one != {"type": "null"} and not _contains(one, within)]
            return example_of(possible[0], contract, within) if possible else None
    if "allOf" in schema:
        parts = [example_of(one, contract, within) for one in schema["allOf"]]
        return {name: value for part in parts if isinstance(part, dict) for name, value in part.items()} or parts[0]
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "string":
        return _text(schema)
    if kind in ("integer", "number"):
        return _number(schema, whole=kind == "integer")
    if kind == "boolean":
        return True
    if kind == "array":
        return _array(schema, contract, within)
    return _object(schema, contract, within) if kind == "object" else None


def as_json(value: object) -> str:
    """Return an example as JSON, with base64 for what is binary."""
    return _laid_out(value, lambda data: base64.b64encode(data).decode())


def as_javascript(value: object) -> str:
    """Return an example as one would write it in a program."""
    return _laid_out(value, lambda data: _MARK).replace(json.dumps(_MARK), f"new Uint8Array([{', '.join(map(str, _BYTES))}])")


_MARK: Final = "\0bytes"
_WIDTH: Final = 60


def _laid_out(value: object, binary: Any) -> str:
    short = json.dumps(value, default=binary, ensure_ascii=False)
    return short if len(short) <= _WIDTH else json.dumps(value, default=binary, ensure_ascii=False, indent=2)


def _contains(schema: Schema, names: Sequence[str]) -> bool:
    return str(schema.get("$ref", "")).rpartition("/")[2] in names


def _text(schema: Schema) -> str | bytes:
    kind = schema.get("format")
    if kind == "binary":
        return _BYTES
    text = _TEXTS.get(str(kind), "text")
    return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength", len(text) + schema.get("minLength", 0))]


def _number(schema: Schema, *, whole: bool) -> float:
    value: float = 1 if whole else 1.5
    if (least := schema.get("minimum", schema.get("exclusiveMinimum"))) is not None and value <= least:
        value = least if "minimum" in schema else least + 1
    if (most := schema.get("maximum", schema.get("exclusiveMaximum"))) is not None and value >= most:
        value = most if "maximum" in schema else most - 1
    return value


def _array(schema: Schema, contract: Contract, within: Sequence[str]) -> list[Any]:
    values = [example_of(one, contract, within) for one in schema.get("prefixItems", ())]
    items = schema.get("items")
    if not isinstance(items, Mapping) or items == {"not": {}}:
        return values
    wanted = max(schema.get("minItems", 0), 0 if values or _contains(items, within) else 1)
    return [*values, *(example_of(items, contract, within) for _ in range(len(values), min(wanted, 8)))]


def _object(schema: Schema, contract: Contract, within: Sequence[str]) -> dict[str, Any]:
    required = schema.get("required", ())
    properties = {
        name: example_of(one, contract, within)
        for name, one in schema.get("properties", {}).items()
        if name in required or not _contains(one, within)
    }
    more = schema.get("additionalProperties")
    return properties or ({"key": example_of(more, contract, within)} if isinstance(more, Mapping) and not _contains(more, within) else {})
