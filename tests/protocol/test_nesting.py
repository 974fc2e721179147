"""Lists and dicts are counted in the text exactly as they would be in what is made of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_sio.protocol import nesting


def children(value: object) -> list[object] | None:
    return value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else None


def containers(value: object) -> int:
    inner = children(value)
    return 0 if inner is None else 1 + sum(map(containers, inner))


def levels(value: object) -> int:
    inner = children(value)
    return 0 if inner is None else 1 + max(map(levels, inner), default=0)


# What could be mistaken for a bracket or a quotation mark, and what it could be hidden behind.
STRINGS = st.text('[]{}"\\,:ux5bd', max_size=6)
VALUES = st.recursive(
    st.none() | st.integers() | STRINGS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(STRINGS, inner, max_size=5),
    max_leaves=60,
)


@pytest.mark.hostile("S31", "R10")
@given(VALUES, st.sampled_from([(",", ":"), (" ,\n", "\t: ")]), st.booleans())
@example(["\\", ["\\"]], (",", ":"), False)
@example(["\\\\", ['"'], '\\"[', {}], (",", ":"), False)
def test_counts_and_depth_are_those_of_the_value(value: object, separators: tuple[str, str], ascii_only: bool) -> None:
    bits = nesting.brackets(json.dumps(value, separators=separators, ensure_ascii=ascii_only).encode())
    assert nesting.count(bits) == containers(value)
    assert nesting.depth(bits) == levels(value)


@pytest.mark.parametrize("depth", [*range(1, 20), 255, 256, 257, 100_000])
@pytest.mark.parametrize("before", range(9))
def test_depth_is_exact_wherever_the_deepest_one_stands(depth: int, before: int) -> None:
    bits = nesting.brackets(b"[" + b"{}," * before + b"[" * depth + b"]" * depth + b",[]]")
    assert nesting.depth(bits) == depth + 1


@given(st.binary())
def test_of_anything_else_it_says_something(text: bytes) -> None:
    bits = nesting.brackets(text)
    assert 0 <= nesting.depth(bits) <= nesting.count(bits) <= len(text)
