"""How events are written at a terminal: a name, then JSON values with blanks between them, as in ``say "hello" {"to": 1}``.

What a server sends is shown in the same notation, in which nothing is left that a terminal would take for a command.
"""

from __future__ import annotations

import base64
import datetime
import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, NoReturn

from ..client import Event

__all__ = ["MACHINE", "TERMINAL", "Notation", "Written", "describes", "format_event", "parse_event", "parse_json", "printable"]

_WORD: Final = re.compile(r"[^\s\"\[\]{}]+")
_BLANKS: Final = re.compile(r"\s*")
_BYTES_SHOWN: Final = 16

_EXAMPLE: Final = 'write an event as in: say "hello" {"to": 1}'


# What somebody types.


class Written(NamedTuple):
    """An event that somebody wrote.

    Attributes:
      text: As it was written.
      event: Its name.
      args: Its arguments.
      wants_ack: Whether there is a ``?`` behind the name.
    """

    text: str
    event: str
    args: tuple[object, ...]
    wants_ack: bool


def parse_event(text: str) -> Written:
    """Parse an event's name, bare or in quotes, an optional ``?``, and JSON values.

    Raises:
      ValueError: if it is something else; the message is a sentence that says how to write it.
    """
    text = text.strip()
    wants_ack = False
    if text.startswith('"'):
        event, end = _parse_value(text, 0)
        if text.startswith("?", end):
            wants_ack, end = True, end + 1
        assert isinstance(event, str)
    else:
        word = _WORD.match(text)
        if word is None:
            raise ValueError(f"There is no event's name in {text!r}; {_EXAMPLE}.")
        end = word.end()
        event = word[0].removesuffix("?")
        wants_ack = event != word[0]
        if not event:
            raise ValueError(f"There is no event's name in front of the '?'; {_EXAMPLE}.")
    args = []
    while end < len(text):
        start = _BLANKS.match(text, end).end()  # type: ignore[union-attr]  # it matches anything
        if start == end:
            raise ValueError(f"A blank is missing in front of {text[end:]!r:.60}; {_EXAMPLE}.")
        value, end = _parse_value(text, start)
        args.append(value)
    return Written(text, event, tuple(args), wants_ack)


def parse_json(text: str) -> object:
    """Parse one JSON value.

    Raises:
      ValueError: if it is none; the message is a sentence that says why.
    """
    text = text.strip()
    value, end = _parse_value(text, 0)
    if end < len(text):
        raise ValueError(f"There is more than one JSON value in {text!r:.60}.")
    return value


def _parse_value(text: str, start: int) -> tuple[object, int]:
    """Return the JSON value that begins at ``start``, and where it ends."""
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as exc:
        word = _WORD.match(text, start)
        if word is not None and exc.pos == start:
            raise ValueError(f"{word[0]!r:.60} is not JSON; write text in quotes: {_quote_for_terminal(word[0][:60])}.") from None
        raise ValueError(f"{text[start:]!r:.60} is not JSON: {exc.msg} (at character {exc.pos - start + 1}).") from None
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"{text[start:]!r:.60} is not JSON that can be sent: {exc}.") from None
    return value, end


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"there is no {name} in it")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)


def describes(written: Written, event: Event) -> bool:
    """Tell whether ``event`` has that name and begins with those arguments."""
    given = event.args[: len(written.args)]
    return event.name == written.event and _is_same(written.args, given)


def _is_same(one: object, other: object) -> bool:
    """Tell whether two values are the same in JSON, where ``1`` is ``1.0`` and not ``true``."""
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return False
        one, other = list(one.values()), [other[key] for key in one]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return False
        for part, counterpart in zip(one, other, strict=True):  # noqa: SIM110  # all() would use up two frames per level
            if not _is_same(part, counterpart):
                return False
        return True
    return isinstance(one, bool) == isinstance(other, bool) and one == other


# What a server sends.


def printable(text: str) -> str:
    """Return ``text`` with JSON's escapes for everything that a terminal does not show as a character of its own.

    Those are control characters, which could write into the user's window title or clipboard, and those that change the
    direction of the text around them.
    """
    return text if text.isprintable() else "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


class Notation(NamedTuple):
    """A way to write values as JSON.

    Attributes:
      quote: Writes a string.
      binary: Writes bytes, for which JSON has nothing.
    """

    quote: Callable[[str], str]
    binary: Callable[[bytes], str]

    def write(self, value: object) -> str:
        """Return ``value``, as it was received, as text."""
        parts: list[str] = []
        self._write(value, parts)
        return "".join(parts)

    def _write(self, value: object, parts: list[str]) -> None:
        # One frame per level, because a server may send hundreds of levels.
        if isinstance(value, str):
            parts.append(self.quote(value))
        elif isinstance(value, bytes):
            parts.append(self.binary(value))
        elif isinstance(value, dict):
            separator = "{"
            for key, member in value.items():
                parts.append(f"{separator}{self.quote(key)}: ")
                self._write(member, parts)
                separator = ", "
            parts.append("}" if value else "{}")
        elif isinstance(value, list | tuple):
            separator = "["
            for item in value:
                parts.append(separator)
                self._write(item, parts)
                separator = ", "
            parts.append("]" if value else "[]")
        elif isinstance(value, float) and not math.isfinite(value):
            parts.append("null")
        elif isinstance(value, datetime.datetime):
            parts.append(self.quote(value.isoformat()))
        else:
            parts.append(json.dumps(value))


def _quote_for_terminal(text: str) -> str:
    return printable(json.dumps(text, ensure_ascii=False))


def _dump(data: bytes) -> str:
    size = f"{len(data)} byte{'' if len(data) == 1 else 's'}"
    shown = data[:_BYTES_SHOWN].hex(" ")
    return f"<{size}{': ' if shown else ''}{shown}{' ...' if len(data) > _BYTES_SHOWN else ''}>"


def _base64(data: bytes) -> str:
    return f'{{"base64": "{base64.b64encode(data).decode()}"}}'


TERMINAL: Final = Notation(_quote_for_terminal, _dump)
"""For people."""

MACHINE: Final = Notation(json.dumps, _base64)
"""ASCII only, and always JSON: ``{"base64": "..."}`` stands for bytes."""


def format_event(name: str, args: Iterable[object] = ()) -> str:
    """Write an event for a terminal, as `parse_event` reads it; the name is in quotes where it has to be."""
    plain = _WORD.fullmatch(name) and name.isprintable() and not name.startswith("/") and not name.endswith("?")
    return " ".join([name if plain else _quote_for_terminal(name), *map(TERMINAL.write, args)])
