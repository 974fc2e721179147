"""The contract as TypeScript, for ``socket.io-client``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from .model import Argument, Contract, EventContract, NamespaceContract, Refusal
from .writing import identifiers

__all__ = ["parameter_name", "type_of", "typescript"]

_HEAD: Final = """\
// Written by `trio-sio contract`: do not change it, run that again.

import type { Socket as ClientSocket } from "socket.io-client";

/** What is sent as an attachment. It arrives as an ArrayBuffer in browsers, as a Buffer in Node. */
export type Binary = ArrayBuffer | ArrayBufferView;

/** What acknowledges an event whose handler has failed, or whose arguments do not fit, unless the server is told otherwise. */
export interface ErrorAnswer {
  status: "error";
  message: string;
  path?: string;
}

type Events<Map> = Record<keyof Map, (...args: any[]) => void>;

type Unacknowledged<Arguments> = Arguments extends [...infer Front, (...answer: any[]) => void] ? Front : Arguments;

type Answer<Arguments> = Arguments extends [...any[], (...answer: infer Values) => void]
  ? Values extends [infer First, ...any[]]
    ? First
    : undefined
  : null;

interface Asking<Sent extends Events<Sent>> {
  emitWithAck<Event extends keyof Sent & string>(
    event: Event,
    ...args: Unacknowledged<Parameters<Sent[Event]>>
  ): Promise<Answer<Parameters<Sent[Event]>>>;
}

/** The client's socket. Its `emit` may do without an acknowledgement, and `emitWithAck` has types behind `timeout`, too. */
type TypedSocket<Heard extends Events<Heard>, Sent extends Events<Sent>> = Omit<
  ClientSocket<Heard, Sent>,
  "emit" | "emitWithAck" | "timeout"
> &
  Asking<Sent> & {
    emit<Event extends keyof Sent & string>(
      event: Event,
      ...args: Parameters<Sent[Event]> | Unacknowledged<Parameters<Sent[Event]>>
    ): unknown;
    timeout(milliseconds: number): Omit<ReturnType<ClientSocket<Heard, Sent>["timeout"]>, "emitWithAck"> & Asking<Sent>;
  };
"""
# Names of parameters in Python that are none in TypeScript, or are taken here.
_RESERVED: Final = frozenset(
    {"arguments", "case", "catch", "const", "debugger", "default", "delete", "do", "enum", "eval", "export", "extends", "false", "function"}
    | {"implements", "instanceof", "interface", "let", "new", "null", "package", "private", "protected", "public", "static", "super"}
    | {"switch", "this", "throw", "true", "typeof", "var", "void", "ack", "args"}
)
_SIMPLE: Final = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def typescript(contract: Contract) -> str:
    """Return a module with the types that have names, and a TypeScript namespace for each namespace."""
    names = identifiers(namespace.name for namespace in contract.namespaces)
    lines = [_HEAD]
    types = identifiers(contract.schemas)
    for name, schema in contract.schemas.items():
        lines += [*_comment(schema.get("description", ""), ""), f"export type {types[name]} = {type_of(schema, types, '')};", ""]
    for namespace in contract.namespaces:
        taken = names[namespace.name]
        while taken in {
            *types.values(),
            "Binary",
            "ErrorAnswer",
            "ClientSocket",
            "TypedSocket",
            "Events",
            "Unacknowledged",
            "Answer",
            "Asking",
        }:
            taken += "Namespace"
        lines += [*_namespace(namespace, taken, types), ""]
    return "\n".join(lines).rstrip() + "\n"


def _namespace(namespace: NamespaceContract, name: str, types: Mapping[str, str]) -> Iterator[str]:
    description = f"Namespaces that match `{namespace.name}`.\n\n{namespace.description}" if namespace.is_pattern else namespace.description
    yield from _comment(description.strip(), "")
    yield f"export namespace {name} {{"
    if not namespace.is_pattern:
        yield f"  export const path = {_text(namespace.name)};"
        yield ""
    for interface, events in (("ClientToServerEvents", namespace.sent), ("ServerToClientEvents", namespace.heard)):
        yield f"  export interface {interface} {{"
        for event in events:
            yield from _comment(event.description, "    ")
            yield f"    {_text(event.name)}: ({_parameters(event, types)}) => void;"
        yield "  }"
        yield ""
    if namespace.refusals:
        yield "  /** What `connect_error` brings where the server refuses a client. */"
        yield f"  export type ConnectError = Error & {{ data?: {_data(namespace.refusals, types)} }};"
        yield ""
    if any(event.refusals for event in namespace.sent):
        yield "  /** What acknowledges an event that is refused. */"
        yield "  export interface Refusals {"
        for event in namespace.sent:
            if event.refusals:
                yield f"    {_text(event.name)}: ErrorAnswer & {{ data: {_data(event.refusals, types)} }};"
        yield "  }"
        yield ""
    yield "  export type Socket = TypedSocket<ServerToClientEvents, ClientToServerEvents>;"
    yield "}"


def _data(refusals: Sequence[Refusal], types: Mapping[str, str]) -> str:
    return " | ".join(dict.fromkeys(type_of(one.data, types, "    ") for one in refusals))


def _parameters(event: EventContract, types: Mapping[str, str]) -> str:
    ack = None
    if event.answer is not None:
        names = ["answer"] if len(event.answer) == 1 else [f"answer{number}" for number in range(1, len(event.answer) + 1)]
        values = [f"{name}: {type_of(one, types, '    ')}" for name, one in zip(names, event.answer, strict=True)]
        ack = f"ack: ({', '.join(values)}) => void"
    required = [one for one in event.arguments if one.required]
    optional = [one for one in event.arguments if not one.required]
    rest = () if event.rest is None else (f"...{parameter_name(event.rest)}: {_item(type_of(event.rest.schema, types, '    '))}[]",)
    if ack is None or not (optional or rest):
        return ", ".join([*(_spelled(one, types) for one in event.arguments), *rest, *([] if ack is None else [ack])])
    # A parameter that is required cannot stand behind one that is not, but a tuple may have several lengths.
    tuples = []
    for count in range(len(optional) + 1):
        last = rest if count == len(optional) else ()
        tuples.append(f"[{', '.join([*(_spelled(one, types, '') for one in (*required, *optional[:count])), *last, ack])}]")
    return f"...args: {' | '.join(tuples)}"


def _spelled(argument: Argument, types: Mapping[str, str], optional: str = "?") -> str:
    return f"{parameter_name(argument)}{'' if argument.required else optional}: {type_of(argument.schema, types, '    ')}"


def parameter_name(argument: Argument) -> str:
    """Return the name of a parameter, where TypeScript has that word itself with something behind it."""
    return f"{argument.name}_" if argument.name in _RESERVED else argument.name


def type_of(schema: Mapping[str, Any], types: Mapping[str, str], indent: str) -> str:
    """Return a type; ``types``: what those are called that have a name, ``indent``: of its lines but the first."""
    if "$ref" in schema:
        return types[schema["$ref"].rpartition("/")[2]]
    if "const" in schema:
        return _literal(schema["const"])
    if "enum" in schema:
        return " | ".join(map(_literal, schema["enum"]))
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " | ".join(dict.fromkeys(type_of(one, types, indent) for one in schema[several]))
    if "allOf" in schema:
        return " & ".join(_item(type_of(one, types, indent)) for one in schema["allOf"])
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(type_of({**schema, "type": one}, types, indent) for one in kind)
    if kind == "string" and schema.get("format") == "binary":
        return "Binary"
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if kind == "array":
        return _array(schema, types, indent)
    if kind == "object":
        return _object(schema, types, indent)
    return "unknown"


def _array(schema: Mapping[str, Any], types: Mapping[str, str], indent: str) -> str:
    items = schema.get("items")
    rest = "unknown" if items is None else None if items == {"not": {}} else _item(type_of(items, types, indent))
    if "prefixItems" not in schema:
        return "[]" if rest is None else f"{rest}[]"
    fixed = [type_of(one, types, indent) for one in schema["prefixItems"]]
    return f"[{', '.join([*fixed, *([] if rest is None or schema.get('maxItems') == len(fixed) else [f'...{rest}[]'])])}]"


def _object(schema: Mapping[str, Any], types: Mapping[str, str], indent: str) -> str:
    properties, more = schema.get("properties", {}), schema.get("additionalProperties")
    if not properties:
        return f"Record<string, {type_of(more, types, indent)}>" if isinstance(more, Mapping) else "Record<string, unknown>"
    inner = f"{indent}  "
    lines = ["{"]
    for name, one in properties.items():
        lines += _comment(one.get("description", ""), inner)
        key = name if re.fullmatch(r"[A-Za-z_$][\w$]*", name) else _text(name)
        lines.append(f"{inner}{key}{'' if name in schema.get('required', ()) else '?'}: {type_of(one, types, inner)};")
    return "\n".join([*lines, f"{indent}}}"])


def _item(text: str) -> str:
    return f"({text})" if re.search(r" [|&] ", text) else text


def _literal(value: object) -> str:
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _text(text: str) -> str:
    return json.dumps(text)


def _comment(text: str, indent: str) -> Sequence[str]:
    lines: Iterable[str] = text.replace("*/", "* /").splitlines()
    found = [f"{indent} * {line}".rstrip() for line in lines]
    if len(found) == 1:
        return [f"{indent}/**{found[0].removeprefix(f'{indent} *')} */"]
    return [f"{indent}/**", *found, f"{indent} */"] if found else []
