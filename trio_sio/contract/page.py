"""The contract as a page to read, and to try the events on.

What there is to read is HTML that works without scripts. The script adds the forms, if the official client is there. Whatever comes
from a program, be it a name or a docstring, is text: it is escaped here, and the script never makes markup of text. The policy in
the response's head lets no other script run, and no connection go elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
import posixpath
import re
from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any, Final, NamedTuple

from ..protocol.http import Response
from .examples import as_javascript, as_json, example_of
from .model import Argument, Contract, EventContract, NamespaceContract, Refusal, Schema
from .typescript import parameter_name, type_of

__all__ = ["Surroundings", "page"]

_ICON: Final = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect width='32' height='32' rx='9' "
    "fill='%230b6e5f'/%3E%3Cpath d='M8 13h14l-5-5M24 19H10l5 5' fill='none' stroke='%23fff' stroke-width='3'/%3E%3C/svg%3E"
)
_BOUNDS: Final = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matches {}",
    "format": "{}",
}


class Surroundings(NamedTuple):
    """Where the page stands.

    Attributes:
      path: Its own path.
      engine: The engine's.
      client: The name of the official client's bundle below the engine's path; ``None``: it is not served.
      transports: The engine's, as the client shall try them.
    """

    path: str
    engine: str
    client: str | None
    transports: Sequence[str]

    @property
    def way(self) -> str:
        """The way from the page to the engine, which is the same behind a proxy that puts something before both."""
        way = posixpath.relpath(self.engine.rstrip("/") or "/", posixpath.dirname(self.path))
        return f"./{way}/"


def page(contract: Contract, surroundings: Surroundings) -> Response:
    """Return the page, with the fields of its head that say what may be done with it."""
    style, script = _asset("page.css"), _asset("page.js")
    text = "".join(_Writer(contract).document(surroundings, style, script))
    body = text.encode(errors="replace")  # half of a character may be in a name
    scripts = f"'{_digest(script)}'" if surroundings.client is None else f"'self' '{_digest(script)}'"
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src '{_digest(style)}'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return Response(
        200,
        body,
        [
            (b"Content-Type", b"text/html; charset=utf-8"),
            (b"Cache-Control", b"no-cache"),
            (b"ETag", f'"{hashlib.sha256(body).hexdigest()[:32]}"'.encode()),
            (b"Content-Security-Policy", policy.encode()),
            (b"X-Content-Type-Options", b"nosniff"),
            (b"Referrer-Policy", b"no-referrer"),
        ],
    )


@cache
def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


class _Writer:
    """Writes the page of one contract."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._anchors = {name: f"type-{number}" for number, name in enumerate(contract.schemas)}
        self._marked = {name: f"\0{name}\0" for name in contract.schemas}

    def document(self, surroundings: Surroundings, style: str, script: str) -> Iterator[str]:
        """Yield the page in pieces."""
        namespaces = self._contract.namespaces
        events = sum(len(one.sent) + len(one.heard) for one in namespaces)
        yield (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" content="light dark">\n'
            f'<title>Events</title>\n<link rel="icon" href="{_ICON}">\n<style>{style}</style>\n</head>\n<body>\n'
            '<a class="skip" href="#main">Skip to the events</a>\n<header>\n<h1>Events</h1>\n'
            f"<p>{_count(events, 'event')} in {_count(len(namespaces), 'namespace')}</p>\n</header>\n"
        )
        yield from self._navigation()
        yield f'<main id="main" tabindex="-1">\n{_notice(surroundings)}'
        for number, namespace in enumerate(namespaces):
            yield from self._namespace(namespace, f"n{number}")
        if not namespaces:
            yield "<p>No namespace is open to clients: the server has no routes.</p>\n"
        yield from self._types()
        yield (
            f'</main>\n<script type="application/json" id="contract">{_as_data(self._data(surroundings))}</script>\n'
            f"{_client(surroundings)}"
            f'<script type="module">{script}</script>\n</body>\n</html>\n'
        )

    def _navigation(self) -> Iterator[str]:
        yield '<nav aria-label="Events">\n'
        for number, namespace in enumerate(self._contract.namespaces):
            yield f'<h2><a href="#n{number}">{escape(namespace.name)}</a></h2>\n<ul>\n'
            for kind, events in (("sent", namespace.sent), ("heard", namespace.heard)):
                for place, event in enumerate(events):
                    yield f'<li class="{kind}"><a href="#n{number}-{kind}-{place}">{escape(event.name)}</a></li>\n'
            yield "</ul>\n"
        if self._contract.schemas:
            yield '<h2><a href="#types">Types</a></h2>\n'
        yield "</nav>\n"

    def _namespace(self, namespace: NamespaceContract, anchor: str) -> Iterator[str]:
        yield f'<section class="namespace" id="{anchor}" aria-labelledby="{anchor}-title">\n'
        yield f'<h2 id="{anchor}-title"><code>{escape(namespace.name)}</code></h2>\n'
        if namespace.is_pattern:
            yield "<p>A pattern: it stands for every namespace whose whole name matches.</p>\n"
        yield _prose(namespace.description)
        if namespace.refusals:
            yield "<h3>Clients are refused with</h3>\n"
            yield self._refusals(namespace.refusals)
        yield '<div class="connection"></div>\n'  # the script's
        for kind, title, events in (("sent", "Clients send", namespace.sent), ("heard", "Clients hear", namespace.heard)):
            if events:
                yield f"<h3>{title}</h3>\n"
            for place, event in enumerate(events):
                yield from self._event(event, kind, f"{anchor}-{kind}-{place}")
        yield "</section>\n"

    def _event(self, event: EventContract, kind: str, anchor: str) -> Iterator[str]:
        brief = event.description.strip().partition("\n\n")[0]
        yield (
            f'<details class="event {kind}" id="{anchor}">\n<summary><code>{escape(event.name)}</code> '
            f'<span class="brief">{_inline(" ".join(brief.split()))}</span></summary>\n<div class="body">\n'
        )
        yield _prose(event.description.strip().partition("\n\n")[2])
        if event.arguments or event.rest is not None:
            yield "<h4>Arguments</h4>\n"
            yield self._rows([*event.arguments, *([] if event.rest is None else [event.rest])], event.rest)
        else:
            yield "<h4>Arguments</h4>\n<p>None.</p>\n"
        yield f"<h4>{'Acknowledged with' if kind == 'sent' else 'The client answers with'}</h4>\n"
        if event.answer is None:
            yield f"<p>{'Nothing that says anything: <code>null</code>.' if kind == 'sent' else 'Nothing.'}</p>\n"
        elif not event.answer:
            yield "<p>No value.</p>\n"
        else:
            yield self._rows([Argument("" if len(event.answer) == 1 else f"{n}.", one) for n, one in enumerate(event.answer, 1)], None)
        if event.refusals:
            yield "<h4>Refused with</h4>\n"
            yield self._refusals(event.refusals)
        example = self._sending(event) if kind == "sent" else self._hearing(event)
        yield f"<h4>Example</h4>\n<pre><code>{escape(example)}</code></pre>\n"
        yield "</div>\n</details>\n"

    def _rows(self, arguments: Sequence[Argument], rest: Argument | None) -> str:
        rows = []
        for one in arguments:
            notes = ["any number of them" if one is rest else "" if one.required else "may be left out", *_notes(one)]
            title = f'<code class="name">{"..." if one is rest else ""}{escape(one.name)}</code> ' if one.name else ""
            note = f' <span class="note">{escape(" · ".join(filter(None, notes)))}</span>' if any(notes) else ""
            doc = _prose(str(one.schema.get("description", "")))
            rows.append(f'<li>{title}<code class="type">{self._spelled(one.schema)}</code>{note}{doc}</li>\n')
        return f'<ul class="fields">\n{"".join(rows)}</ul>\n'

    def _refusals(self, refusals: Sequence[Refusal]) -> str:
        described = [({"description": one.description} if one.description else {}) | {**one.data} for one in refusals]
        return self._rows([Argument(one.name, schema) for one, schema in zip(refusals, described, strict=True)], None)

    def _spelled(self, schema: Schema) -> str:
        """Return a type as TypeScript has it, the names in it as links."""
        without = {key: value for key, value in schema.items() if key != "description"}
        text = escape(type_of(without, self._marked, ""))
        return re.sub("\0([^\0]*)\0", self._link, text)

    def _link(self, found: re.Match[str]) -> str:
        anchor = self._anchors.get(found[1])
        return found[1] if anchor is None else f'<a href="#{anchor}">{found[1]}</a>'

    def _types(self) -> Iterator[str]:
        if not self._contract.schemas:
            return
        yield '<section id="types" aria-labelledby="types-title">\n<h2 id="types-title">Types</h2>\n'
        for name, schema in self._contract.schemas.items():
            yield f'<article class="type" id="{self._anchors[name]}">\n<h3><code>{escape(name)}</code></h3>\n'
            yield _prose(str(schema.get("description", "")))
            properties = schema.get("properties")
            if properties:
                required = schema.get("required", ())
                yield self._rows([Argument(key, one, key in required) for key, one in properties.items()], None)
            else:
                yield self._rows([Argument("", schema)], None)
            yield "</article>\n"
        yield "</section>\n"

    # Examples, and what the script needs to know.

    def _values(self, event: EventContract) -> list[Any]:
        rest = [] if event.rest is None else [event.rest]
        return [example_of(one.schema, self._contract) for one in (*event.arguments, *rest)]

    def _answers(self, event: EventContract) -> list[Any]:
        return [example_of(one, self._contract) for one in event.answer or ()]

    def _sending(self, event: EventContract) -> str:
        sent = ", ".join([json.dumps(event.name, ensure_ascii=False), *map(as_javascript, self._values(event))])
        if event.answer is None:
            return f"socket.emit({sent});"
        if len(event.answer) == 1:
            return f"const answer = await socket.emitWithAck({sent});\n// {_commented(self._answers(event))}"
        names = ", ".join(f"answer{number}" for number in range(1, len(event.answer) + 1))
        return f"socket.emit({sent}, ({names}) => {{\n  // {_commented(self._answers(event), '  ')}\n}});"

    def _hearing(self, event: EventContract) -> str:
        names = [parameter_name(one) for one in event.arguments]
        names += [] if event.rest is None else [f"...{parameter_name(event.rest)}"]
        lines = [f"// {_commented(values, '  ')}"] if (values := self._values(event)) else []
        if event.answer is not None:
            names.append("ack")
            lines.append(f"ack({', '.join(map(as_javascript, self._answers(event)))});".replace("\n", "\n  "))
        body = "".join(f"\n  {line}" for line in lines)
        return f"socket.on({json.dumps(event.name, ensure_ascii=False)}, ({', '.join(names)}) => {{{body}\n}});"

    def _data(self, surroundings: Surroundings) -> dict[str, Any]:
        return {
            "engine": surroundings.way,
            "transports": list(surroundings.transports),
            "types": self._contract.schemas,
            "namespaces": [
                {
                    "name": namespace.name,
                    "pattern": namespace.is_pattern,
                    "sent": [self._event_data(event) for event in namespace.sent],
                    "heard": [self._event_data(event) for event in namespace.heard],
                }
                for namespace in self._contract.namespaces
            ],
        }

    def _event_data(self, event: EventContract) -> dict[str, Any]:
        arguments = [*event.arguments, *([] if event.rest is None else [event.rest])]
        return {
            "name": event.name,
            "arguments": [
                {
                    "name": one.name,
                    "schema": one.schema,
                    "required": one.required,
                    "rest": one is event.rest,
                    "example": as_json([value] if one is event.rest else value),
                }
                for one, value in zip(arguments, self._values(event), strict=True)
            ],
            "answer": event.answer,
            "answers": as_json(self._answers(event)),
        }


def _notice(surroundings: Surroundings) -> str:
    """Return what is to be read where the events cannot be tried."""
    if surroundings.client is not None:
        return (
            '<p class="notice" id="notice" hidden></p>\n<noscript><p class="notice">Without JavaScript the events can be read here, '
            "but not tried.</p></noscript>\n"
        )
    return (
        '<p class="notice" id="notice">To try the events on this page, let the server serve the official client: '
        "<code>npm install socket.io-client</code>, then add <code>--client-bundle node_modules/socket.io-client/dist</code>, or in a "
        'program <code>Config(serve_client="node_modules/socket.io-client/dist")</code>.</p>\n'
    )


def _client(surroundings: Surroundings) -> str:
    if surroundings.client is None:
        return ""
    return f'<script src="{escape(surroundings.way + surroundings.client)}" defer></script>\n'


def _as_data(value: object) -> str:
    """Return JSON that may stand in a ``<script>``: nothing in it is markup."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _commented(values: Sequence[object], indent: str = "") -> str:
    return ", ".join(map(as_javascript, values)).replace("\n", f"\n{indent}// ")


def _notes(argument: Argument) -> Iterator[str]:
    """Yield what there is to say about a value that its type does not."""
    schema = argument.schema
    if schema.get("type") == "integer":
        yield "whole"
    for key, text in _BOUNDS.items():
        if key in schema and (key, schema[key]) != ("format", "binary"):
            yield text.format(schema[key])
    if not argument.required and schema.get("default") is not None:
        yield f"else {json.dumps(schema['default'], ensure_ascii=False)}"


def _prose(text: str) -> str:
    """Return a docstring as paragraphs; what is indented in it keeps its lines."""
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        if re.search(r"^[ \t]|^\s*[-*] ", paragraph, re.MULTILINE):
            paragraphs.append(f'<p class="lines">{_inline(paragraph)}</p>\n')
        elif paragraph:
            paragraphs.append(f"<p>{_inline(paragraph)}</p>\n")
    return "".join(paragraphs)


def _inline(text: str) -> str:
    return re.sub(r"``([^`]+)``|`([^`]+)`", lambda found: f"<code>{found[1] or found[2]}</code>", escape(text))
