"""What is shown of messages and data: bounded, and nothing that cannot be sent."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_sio.admin.cutting import MOST_SHOWN, cut
from trio_sio.protocol import json

anything: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.builds(object) | st.just(math),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.lists(inner).map(tuple) | st.sets(st.integers()),
)


class Point(msgspec.Struct):
    x: int
    y: list[int]


@dataclass
class Event:
    name: str
    at: datetime


@given(anything)
def test_whatever_it_is_can_be_sent(value: object) -> None:
    text, attachments = json.dumps([cut(value)])
    assert not attachments
    json.loads(text)


@pytest.mark.parametrize(
    "value",
    [
        "x" * 1_000_000,
        ["x" * 5_000] * 1_000,
        {f"key {number}" * 50: number for number in range(10_000)},
        list(range(1_000_000)),
        [[[[]] * 50] * 50] * 50,
        {"a" * 100_000: 1},
        b"x" * 1_000_000,
    ],
)
@pytest.mark.hostile("O20")
def test_what_is_large_is_cut(value: object) -> None:
    text, _ = json.dumps([cut(value)])
    # A number, a bracket or a short text takes as much room as one of eight characters.
    assert len(text) < 4 * MOST_SHOWN


def test_a_page_can_tell_that_something_was_cut() -> None:
    assert cut("x" * 3_000) == "x" * 1_024 + "… (3000 characters)"
    assert cut([1] * 10_000)[-1] == "… 10000 in all"
    assert cut(dict.fromkeys(range(10_000), 1))["…"] == "10000 in all"


@pytest.mark.hostile("O20")
def test_what_is_deep_ends_somewhere() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    assert str(cut(value)).count("[") < 20


def test_plain_data_stays_as_it_is() -> None:
    value = ["say", {"text": "hello", "n": [1, 2.5, None, True], "ü": "\ud800"}]
    assert cut(value) == value


def test_what_pages_cannot_show_is_named() -> None:
    assert cut([b"12345", bytearray(2), memoryview(b"123"), 10**40, object(), math]) == [
        "<5 bytes>",
        "<2 bytes>",
        "<3 bytes>",
        "<a number of 133 bits>",
        "<object>",
        "<module>",
    ]


def test_records_are_shown_by_their_fields() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    assert cut([Point(1, [2]), Event("x", at)]) == [{"x": 1, "y": [2]}, {"name": "x", "at": "2026-01-02T00:00:00Z"}]


def test_a_value_that_contains_itself_ends() -> None:
    value: list[Any] = []
    value.append(value)
    assert re.fullmatch(r"\[+'…'\]+", str(cut(value)))


class Odd:
    def __repr__(self) -> str:
        raise ValueError("not even this")


class Lazy(dict[str, int]):
    def items(self) -> Any:
        raise OSError("the database is closed")


class Word(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise LookupError


RELEASED = memoryview(b"x")
RELEASED.release()


@pytest.mark.hostile("O20")
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({Odd(): 1, "a": 2}, {"<Odd>": 1, "a": 2}),
        ([Lazy(a=1), 1], ["<Lazy>", 1]),
        ({"a": Word("x"), "b": 1}, {"a": "<Word>", "b": 1}),
        ([RELEASED, 1], ["<memoryview>", 1]),
    ],
)
def test_what_fails_as_it_is_looked_at_is_named_and_the_rest_is_shown(value: object, shown: object) -> None:
    assert cut(value) == shown
