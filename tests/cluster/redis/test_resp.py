"""RESP 3, cut into pieces wherever, and what is none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_sio.cluster.redis.resp import ErrorReply, Push, RespError, RespReader, pack, pack_publish


def written(value: Any) -> bytes:
    match value:
        case None:
            return b"_\r\n"
        case bool():
            return b"#t\r\n" if value else b"#f\r\n"
        case int():
            return b":%d\r\n" % value
        case float():
            return b",%s\r\n" % repr(value).encode()
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(value), value)
        case ErrorReply():
            return b"-%s\r\n" % value.text.encode()
        case Push():
            return b">%d\r\n" % len(value) + b"".join(map(written, value))
        case _:
            return b"*%d\r\n" % len(value) + b"".join(map(written, value))


texts = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=40)
    | st.builds(ErrorReply, texts)
)
replies = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4), max_leaves=6)
values = replies | st.lists(scalars, min_size=1, max_size=4).map(Push)


def read(data: bytes, cuts: list[int], max_bytes: int = 1000) -> list[Any]:
    reader, start = RespReader(max_bytes), 0
    found: list[Any] = []
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        found += reader.feed(data[start:cut])
        start = cut
    return found


@given(st.lists(values, max_size=6), st.lists(st.integers(0), max_size=8))
def test_what_redis_says_is_read_wherever_it_is_cut(values: list[Any], cuts: list[int]) -> None:
    data = b"".join(map(written, values))
    found = read(data, cuts)
    assert found == values
    assert [type(one) for one in found] == [type(one) for one in values]


@given(st.lists(st.integers(0, 60), max_size=6), st.lists(st.integers(0), max_size=8))
def test_of_strings_that_are_too_large_nothing_is_kept(sizes: list[int], cuts: list[int]) -> None:
    values = [Push([b"message", b"c", b"x" * size]) for size in sizes]
    expected = [Push([b"message", b"c", b"x" * size if size <= 20 else None]) for size in sizes]
    assert read(b"".join(map(written, values)), cuts, max_bytes=20) == expected


def test_a_large_string_takes_no_memory() -> None:
    reader = RespReader(1000)
    assert list(reader.feed(b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$100000000\r\n")) == []
    for _ in range(1000):
        assert list(reader.feed(b"x" * 100_000)) == []
        assert len(reader._buffer) + sum(map(len, reader._chunks)) < 100
    assert list(reader.feed(b"\r\n:1\r\n")) == [[b"message", b"c", None], 1]


def test_nothing_stays_behind() -> None:
    """However much has gone through, and though no piece ends where a message does."""
    reader = RespReader(1000)
    message = written(Push([b"message", b"c", b"x" * 100]))
    stream = message * 1000
    count = sum(1 for start in range(0, len(stream), 997) for _ in reader.feed(stream[start : start + 997]))
    assert count == 1000
    assert len(reader._buffer) < len(message)


def test_maps_and_what_else_there_is() -> None:
    data = b"%1\r\n+proto\r\n:3\r\n=6\r\ntxt:ab\r\n(123\r\n$-1\r\n*-1\r\n~1\r\n:1\r\n,inf\r\n"
    assert read(data, []) == [[(b"proto", 3)], b"ab", 123, None, None, [1], float("inf")]


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\r\n",
        b"?1\r\n",
        b":one\r\n",
        b"$one\r\n",
        b"*one\r\n",
        b",one\r\n",
        b"$1\r\nab\r\n",
        b"*1\r\n" * 9 + b":1\r\n",
        b"*2000\r\n",
        b"+" + b"x" * 70_000,
    ],
)
def test_what_is_no_resp_is_told(data: bytes) -> None:
    with pytest.raises(RespError):
        read(data, [])


@given(st.binary(max_size=200), st.lists(st.integers(0), max_size=4))
def test_random_bytes_raise_nothing_else(data: bytes, cuts: list[int]) -> None:
    try:
        read(data, cuts)
    except RespError:
        return


def test_commands_are_packed() -> None:
    assert pack(b"PING") == b"*1\r\n$4\r\nPING\r\n"
    assert (
        pack_publish("é".encode(), b"\r\n")
        == pack(b"PUBLISH", "é".encode(), b"\r\n")
        == b"*3\r\n$7\r\nPUBLISH\r\n$2\r\n\xc3\xa9\r\n$2\r\n\r\n\r\n"
    )
    assert ErrorReply("NOPERM no").code == "NOPERM"
