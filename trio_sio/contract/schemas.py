"""From annotations to JSON Schema: msgspec and pydantic make the schemas, here they become one set.

What a client sends may lack what has a default; what it hears is always complete. So a type that goes both ways and has
defaults is two: ``Message``, and ``MessageInput`` for what is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from ..errors import RouteError
from ..protocol.records import is_model
from ..signatures.conversion import parts_of, spell

__all__ = ["Types"]

REFERENCE: Final = "#/$defs/"
BINARY: Final = {"type": "string", "format": "binary"}
_BUILT_IN: Final = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    bytes: BINARY,
    list: {"type": "array"},
    dict: {"type": "object"},
    type(None): {"type": "null"},
}


class Types:
    """The annotations of a contract, collected first, in both directions, and then asked for one by one."""

    def __init__(self) -> None:
        self._wanted: dict[bool, list[Any]] = {True: [], False: []}

    def add(self, annotation: Any, *, heard: bool) -> Slot:
        """Note an annotation; ``heard``: of what clients hear."""
        wanted = self._wanted[heard]
        wanted.append(annotation)
        return Slot(heard, len(wanted) - 1)

    def of(self, slot: Slot) -> Any:
        """Return the annotation that was noted there."""
        return self._wanted[slot.heard][slot.place]

    def schemas(self) -> tuple[dict[Slot, dict[str, Any]], dict[str, dict[str, Any]]]:
        """Return the schema of each annotation, and those that have names.

        Raises:
          RouteError: if there is none for one of them.
        """
        found = {heard: _schemas_of(wanted, heard=heard) for heard, wanted in self._wanted.items()}
        (heard_schemas, heard_named), (sent_schemas, sent_named) = found[True], found[False]
        renamed: dict[str, str] = {}
        for name in sorted(_different(heard_named, sent_named)):
            renamed[name] = f"{name}Input"
            while renamed[name] in {*heard_named, *sent_named}:
                renamed[name] += "_"
        named = dict(heard_named)
        for name, schema in sent_named.items():
            named[renamed.get(name, name)] = _renamed(schema, renamed)
        schemas = {Slot(True, index): schema for index, schema in enumerate(heard_schemas)}
        schemas |= {Slot(False, index): _renamed(schema, renamed) for index, schema in enumerate(sent_schemas)}
        return schemas, dict(sorted(named.items()))


class Slot(NamedTuple):
    """Where a schema will be."""

    heard: bool
    place: int


def _schemas_of(annotations: Sequence[Any], *, heard: bool) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    simple = {index: schema for index, annotation in enumerate(annotations) if (schema := _of_built_in(annotation)) is not None}
    others = [annotation for index, annotation in enumerate(annotations) if index not in simple]
    models: dict[str, Any] = {}

    def hook(cls: Any) -> dict[str, Any]:
        if cls is object:
            return {"title": "Any"}  # an empty one would say that there is none
        if not is_model(cls):
            return {}
        models[cls.__name__] = cls
        return {"$ref": f"{REFERENCE}{cls.__name__}"}

    classes = list(dict.fromkeys(cls for annotation in others for cls in _complete(annotation)))
    try:
        made, named = msgspec.json.schema_components([*others, *classes], schema_hook=hook, ref_template=REFERENCE + "{name}")
    except (TypeError, RecursionError) as exc:
        raise RouteError(f"One of {', '.join(map(spell, others)):.300} has no JSON Schema: {exc}") from exc
    complete = {schema["$ref"].removeprefix(REFERENCE) for schema in made[len(others) :] if "$ref" in schema}
    for name, model in models.items():
        try:
            schema = model.model_json_schema(ref_template=REFERENCE + "{model}", mode="serialization" if heard else "validation")
        except RuntimeError as exc:  # which pydantic's own errors are
            raise RouteError(f"{name} has no JSON Schema: {exc}") from exc
        inner = schema.pop("$defs", {})
        # A model that contains itself is among its own definitions.
        named |= inner | ({} if "$ref" in schema and name in inner else {name: schema})
        complete |= {name, *inner}
    tidied = {name: _tidied(schema) for name, schema in named.items()}
    if heard:
        for name in complete & set(tidied):
            if "properties" in tidied[name]:
                tidied[name]["required"] = list(tidied[name]["properties"])
    rest = iter(made[: len(others)])
    return [simple[index] if index in simple else _tidied(next(rest)) for index in range(len(annotations))], tidied


def _of_built_in(annotation: Any) -> dict[str, Any] | None:
    """Return the schema of a union that msgspec does not know, such as ``str | bytes``."""
    members = getattr(annotation, "__args__", ())
    if members and not hasattr(annotation, "__metadata__") and all(isinstance(one, type) and one in _BUILT_IN for one in members):
        try:
            msgspec.inspect.type_info(annotation)
        except TypeError:
            return {"anyOf": [_BUILT_IN[one] for one in members]}
    return None


def _complete(annotation: Any) -> Iterator[type]:
    """Yield the classes in ``annotation`` whose instances are always sent with all of their fields."""
    for part in parts_of(msgspec.inspect.type_info(annotation)):
        if isinstance(part, msgspec.inspect.DataclassType) or (
            isinstance(part, msgspec.inspect.StructType) and not part.cls.__struct_config__.omit_defaults and not part.array_like
        ):
            yield part.cls


def _tidied(schema: Any) -> Any:
    """Return a copy without titles that only repeat names, and with one form of binary data."""
    if isinstance(schema, list):
        return [_tidied(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "string" and (schema.get("contentEncoding") == "base64" or schema.get("format") == "binary"):
        return {**{key: value for key, value in schema.items() if key in ("description", "minLength", "maxLength")}, **BINARY}
    tidy = {}
    for key, value in schema.items():
        if key == "properties":
            tidy[key] = {name: _tidied(one) for name, one in value.items()}
        elif key in ("enum", "const", "default", "examples", "required", "discriminator"):
            tidy[key] = value
        elif key == "items" and value is False:
            tidy[key] = {"not": {}}
        elif key != "title":
            tidy[key] = _tidied(value)
    return tidy


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key == "$ref":
                yield str(value).removeprefix(REFERENCE)
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for one in schema:
            yield from _references(one)


def _different(heard: Mapping[str, Any], sent: Mapping[str, Any]) -> set[str]:
    """Return the names that do not mean the same in both directions, those that refer to one among them."""
    both = set(heard) & set(sent)
    different = {name for name in both if heard[name] != sent[name]}
    while more := {name for name in both - different if different.intersection(_references(sent[name]))}:
        different |= more
    return different


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    if isinstance(schema, list):
        return [_renamed(one, names) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REFERENCE)
        return {**schema, "$ref": REFERENCE + names.get(name, name)}
    return {key: _renamed(value, names) for key, value in schema.items()}
