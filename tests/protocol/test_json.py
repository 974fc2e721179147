from __future__ import annotations

import collections
import datetime
import enum
import json as stdlib
import math
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_sio.errors import EncodeError
from trio_sio.protocol.json import dumps, loads

# Not in this module's source as an escape inside bytes, so that each test says which side of the line it is on.
LONE = "\ud800"


class Colour(enum.Enum):
    RED = "red"
    RAW = b"raw"


class Level(enum.IntEnum):
    LOW = 1


class Name(enum.StrEnum):
    ANN = "ann"


class Text(str):
    __slots__ = ()


class Ratio(float):
    pass


Point = collections.namedtuple("Point", "x y")


# Each value is encoded twice: as it is, and next to a lone surrogate, which sends it through the standard library.
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, b"null"),
        (True, b"true"),
        (0, b"0"),
        (-(2**63), b"-9223372036854775808"),
        (2**64 - 1, b"18446744073709551615"),
        (2**64, b"18446744073709551616"),
        (-(2**63) - 1, b"-9223372036854775809"),
        (1.5, b"1.5"),
        (Ratio(1.5), b"1.5"),
        (math.nan, b"null"),
        (math.inf, b"null"),
        (-math.inf, b"null"),
        ('a"b\x1e\x00', b'"a\\"b\\u001e\\u0000"'),
        (Text("a"), b'"a"'),
        ({"a": 1, "b": [2, {"c": None}]}, b'{"a":1,"b":[2,{"c":null}]}'),
        ({Text("a"): 1, Name.ANN: 2}, b'{"a":1,"ann":2}'),
        ((1, 2), b"[1,2]"),
        (Point(1, 2), b"[1,2]"),
        (collections.OrderedDict(a=1), b'{"a":1}'),
        ([Colour.RED, Level.LOW, Name.ANN], b'["red",1,"ann"]'),
        (uuid.UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
    ],
    ids=repr,
)
def test_both_encoders_agree(value: object, text: bytes) -> None:
    assert dumps([value]) == (b"[" + text + b"]", [])
    assert dumps([LONE, value]) == (b'["\\ud800",' + text + b"]", [])


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        object(),
        {1: "a"},
        {None: "a"},
        {b"k": 1},
        {(1, 2): 1},
        1j,
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        datetime.date(2026, 1, 1),
        datetime.time(1),
        range(3),
        iter([1]),
        10**5000,
        {10**5000: 1},
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("company", [[], [b"bytes"], [LONE]], ids=["alone", "with bytes", "with a surrogate"])
def test_what_cannot_be_sent_is_refused(value: object, company: list[object]) -> None:
    with pytest.raises(EncodeError):
        dumps([*company, value])


def test_the_refusal_says_what_to_send() -> None:
    with pytest.raises(EncodeError, match=r"A set cannot be sent; send None, bool"):
        dumps([{1}])
    with pytest.raises(EncodeError, match=r"An object cannot be sent; send None, bool"):
        dumps([object()])
    with pytest.raises(EncodeError, match=r"The key 5 of a dict cannot be sent.*convert it with str\(\)"):
        dumps({5: 1})


def test_values_that_contain_themselves_are_refused() -> None:
    ring: list[Any] = [b"x"]
    ring.append(ring)
    loop: dict[str, Any] = {}
    loop["self"] = [loop]
    for value in (ring, loop):
        with pytest.raises(EncodeError, match="contains itself"):
            dumps(value)


def nested(depth: int, core: object = None) -> object:
    value = core
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("core", [None, b"x", LONE], ids=["plain", "bytes", "surrogate"])
def test_what_may_come_in_may_go_out(core: object) -> None:
    text, _ = dumps(nested(512, core))
    assert text.startswith(b"[" * 512)
    with pytest.raises(EncodeError, match="nested too deeply"):
        dumps(nested(100_000, core))


@pytest.mark.parametrize("company", [None, LONE], ids=["alone", "with a surrogate"])
def test_binary_parts_become_placeholders_in_order(company: str | None) -> None:
    text, attachments = dumps([company, b"a", {"x": bytearray(b"b"), "y": [memoryview(b"c"), b""]}, (b"a", Colour.RAW)])
    assert attachments == [b"a", b"b", b"c", b"", b"a", b"raw"]
    assert all(type(attachment) is bytes for attachment in attachments)
    holders = [f'{{"_placeholder":true,"num":{num}}}' for num in range(6)]
    head = "null" if company is None else '"\\ud800"'
    assert text.decode() == f'[{head},{holders[0]},{{"x":{holders[1]},"y":[{holders[2]},{holders[3]}]}},[{holders[4]},{holders[5]}]]'


@pytest.mark.parametrize("wrap", [bytearray, lambda data: memoryview(bytearray(data))])
def test_attachments_are_snapshots(wrap: Any) -> None:
    buffer = wrap(b"abc")
    _, attachments = dumps([buffer])
    buffer[0] = 0
    assert attachments == [b"abc"]


def test_a_strided_view_is_sent_as_its_items() -> None:
    assert dumps(memoryview(b"abcdef")[::2])[1] == [b"ace"]


@pytest.mark.hostile("S30")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"-0", 0),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'"\\u0000"', "\x00"),
        (b'"\\ud800"', "\ud800"),
        (b'"\\uDFff x"', "\udfff x"),
        (b'["\\ud83d\\ude00","\\ude00\\ud83d"]', ["😀", "\ude00\ud83d"]),
        (b'"\\\\ud800"', "\\ud800"),
    ],
)
def test_odd_values_come_in_and_go_out_again(text: bytes, value: object) -> None:
    assert loads(text) == value
    assert loads(dumps(value)[0]) == value


# Each text is decoded twice: as it is, and next to a lone surrogate, which sends it through the standard library.
@pytest.mark.hostile("S22", "S27", "S28", "S29")
@pytest.mark.parametrize(
    "text",
    [
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b"-1e999",
        b"9" * 400,
        b"9" * 5000,
        b"-" + b"9" * 5000,
        b"[1,]",
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"'a'",
        b'"a',
        b'"\x01"',
        b"{a:1}",
        b"[1]]",
        b"\xef\xbb\xbf1",
        b"\xff",
        b'"\xed\xa0\x80"',
        b"\xc2\xa01",
        b"",
    ],
)
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        loads(b"[" + text + b"," + text + b"]")
    with pytest.raises(ValueError):
        loads(b'["\\ud800",' + text + b"]")


@pytest.mark.hostile("S31")
@pytest.mark.parametrize("core", [b"", b'"\\ud800"'], ids=["plain", "surrogate"])
def test_deep_nesting_is_an_ordinary_error(core: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        loads(b"[" * 100_000 + core + b"]" * 100_000)


NUMBERS = st.from_regex(r"\A-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,30})?(e[+-]?[0-9]{1,2})?\Z").filter(str.isascii)
EDGES = st.sampled_from([2**53, 2**63, 2**64, 2**65, 10**19, 10**20, 10**100]).flatmap(
    lambda edge: st.builds(lambda sign, offset: str(sign * (edge + offset)), st.sampled_from([1, -1]), st.integers(-3000, 3000))
)


def as_javascript_has_it(number: Any) -> Any:
    return number if type(number) is float or -(2**63) <= number < 2**64 else float(number)


@pytest.mark.hostile("S28")
@given(NUMBERS | EDGES)
def test_both_decoders_read_numbers_alike(text: str) -> None:
    expected = as_javascript_has_it(stdlib.loads(text))
    fast = loads(text.encode())
    _, slow = loads(b'["\\ud800",' + text.encode() + b"]")
    assert fast == slow == expected
    assert type(fast) is type(slow) is type(expected)


ANY_TEXT = st.text(st.characters() | st.characters(categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(ANY_TEXT, children, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_encoded_is_decoded(value: object) -> None:
    text, attachments = dumps(value)
    assert loads(text) == value
    assert attachments == []
    # JSON.parse takes it too: no literal of Python's own, and nothing but UTF-8.
    assert stdlib.loads(text.decode()) == value


@given(st.binary() | st.text(alphabet='[]{}",:\\ud8019-.eE nulltrfas').map(str.encode))
def test_anything_else_is_a_value_error(text: bytes) -> None:
    try:
        value = loads(text)
    except ValueError:
        return
    assert loads(dumps(value)[0]) == value
