"""How events are typed and shown: what is typed is parsed or explained, and nothing that a server sends commands a terminal."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_sio.cli.notation import MACHINE, TERMINAL, Written, describes, format_event, parse_event, parse_json, printable
from trio_sio.client import Event

DEPTH = 512  # of what the decoder lets pass

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)


def nested(levels: int) -> tuple[object, object]:
    one: object = 1
    other: object = 1
    for _ in range(levels):
        one, other = [one], {"a": other}
    return one, other


@pytest.mark.parametrize(
    ("text", "event", "args", "wants_ack"),
    [
        ("say", "say", (), False),
        ("say?", "say", (), True),
        ('  say "a b" {"json": 1}\t[2, 3] null \n', "say", ("a b", {"json": 1}, [2, 3], None), False),
        ("say? -1.5e3 true", "say", (-1500.0, True), True),
        ('"two words" 1', "two words", (1,), False),
        ('"really?"', "really?", (), False),
        ('"really?"? 1', "really?", (1,), True),
        ('"/quit"', "/quit", (), False),
        ('""', "", (), False),
        ("room:é.joined-1", "room:é.joined-1", (), False),
        ("big 123456789012345678901234567890", "big", (123456789012345678901234567890,), False),
    ],
)
def test_an_event_is_parsed(text: str, event: str, args: tuple[object, ...], wants_ack: bool) -> None:
    assert parse_event(text) == Written(text.strip(), event, args, wants_ack)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("say hello", "'hello' is not JSON; write text in quotes: \"hello\"."),
        ("say \x1b[2J", "'\\x1b' is not JSON; write text in quotes: \"\\u001b\"."),
        ("say {a: 1}", "'{a: 1}' is not JSON: Expecting property name enclosed in double quotes (at character 2)."),
        ('say "open', "'\"open' is not JSON: Unterminated string starting at (at character 1)."),
        ("say NaN", "'NaN' is not JSON that can be sent: there is no NaN in it."),
        ("say -Infinity", "'-Infinity' is not JSON that can be sent: there is no -Infinity in it."),
        ("say " + "[" * 100_000, "is not JSON that can be sent: "),
        ("say " + "1" * 5_000, "is not JSON that can be sent: "),
        ("say 1,2", 'A blank is missing in front of \',2\'; write an event as in: say "hello" {"to": 1}.'),
        ('say"x"', "A blank is missing in front of '\"x\"'; "),
        ('{"a": 1}', "There is no event's name in '{\"a\": 1}'; "),
        ("", "There is no event's name in ''; "),
        ("?", "There is no event's name in front of the '?'; "),
        ('"open', "'\"open' is not JSON: "),
    ],
)
def test_what_is_no_event_is_explained(text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as info:
        parse_event(text)
    assert sentence in str(info.value)
    assert len(str(info.value)) < 250
    assert str(info.value).endswith(".")


def test_one_json_value() -> None:
    assert parse_json(' {"token": "secret"} ') == {"token": "secret"}
    with pytest.raises(ValueError, match="more than one JSON value"):
        parse_json("1 2")
    with pytest.raises(ValueError, match="'token' is not JSON"):
        parse_json("token")


@given(name=st.text(), args=st.lists(JSON, max_size=3))
def test_what_is_shown_can_be_typed(name: str, args: list[Any]) -> None:
    shown = format_event(name, args)
    assert shown.isprintable()
    assert not shown.startswith("/")
    assert parse_event(shown)[1:] == (name, tuple(args), False)
    assert describes(parse_event(shown), Event(name, tuple(args)))


@given(text=st.text())
def test_nothing_commands_a_terminal(text: str) -> None:
    assert printable(text).isprintable()
    assert TERMINAL.write({text: [text]}).isprintable()
    assert MACHINE.write({text: [text]}).isascii()
    assert json.loads(MACHINE.write({text: [text]})) == {text: [text]}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("\x1b]0;title\x07\r\n\x9b31m\x7f", r'"\u001b]0;title\u0007\r\n\u009b31m\u007f"'),
        ("\u202eright to left\u2069", r'"\u202eright to left\u2069"'),
        ("\ud800 \U000e0041", r'"\ud800 \udb40\udc41"'),
        ("Grüße, 日本 🎉", '"Grüße, 日本 🎉"'),
        (b"\x01\x02\xff", "<3 bytes: 01 02 ff>"),
        (b"\x07", "<1 byte: 07>"),
        (b"", "<0 bytes>"),
        (bytes(1000), "<1000 bytes: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 ...>"),
        ({"a": [b"\x00", {}, []], "\x1b": None}, r'{"a": [<1 byte: 00>, {}, []], "\u001b": null}'),
        ([math.nan, math.inf, 1.5, True, -1], "[null, null, 1.5, true, -1]"),
        (datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC), '"2026-11-23T00:00:00+00:00"'),
    ],
)
def test_values_are_shown(value: object, shown: str) -> None:
    assert TERMINAL.write(value) == shown


def test_machines_get_json() -> None:
    assert json.loads(MACHINE.write({"a": b"\x01\xff", "b": (math.nan, "é")})) == {"a": {"base64": "Af8="}, "b": [None, "é"]}


def test_deep_values_are_shown_and_compared() -> None:
    args = nested(DEPTH)
    assert json.loads(MACHINE.write(args[0])) == args[0]
    assert describes(Written("", "deep", args, False), Event("deep", args))


@pytest.mark.parametrize(
    ("written", "args", "expected"),
    [
        ("said", (1, 2), True),
        ("said 1", (1, 2), True),
        ("said 1 2", (1, 2), True),
        ("said 1 2 3", (1, 2), False),
        ("said 2", (1, 2), False),
        ("other", (1, 2), False),
        ("said 1", (1.0,), True),
        ("said 1", (True,), False),
        ("said false", (0,), False),
        ("said null", (None,), True),
        ("said null", (0,), False),
        ('said {"a": [1, {"b": 2}]}', ({"a": [1, {"b": 2}]},), True),
        ('said {"a": [1, {"b": true}]}', ({"a": [1, {"b": 1}]},), False),
        ('said {"a": 1}', ({"a": 1, "b": 2},), False),
        ("said [1]", ([1, 2],), False),
        ('said "x"', (b"x",), False),
    ],
)
def test_an_event_is_described(written: str, args: tuple[object, ...], expected: bool) -> None:
    assert describes(parse_event(written), Event("said", args)) is expected
