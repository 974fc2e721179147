from __future__ import annotations

import collections
import datetime
import enum
import math
import struct
import tracemalloc
import uuid
from datetime import UTC
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_sio.errors import DecodeError, EncodeError
from trio_sio.protocol.notepack import dumps, loads

LONE = "\ud800"

UNDEFINED = bytes.fromhex("d40000")


class Colour(enum.Enum):
    RED = "red"
    RAW = b"raw"


class Level(enum.IntEnum):
    LOW = 1


class Name(enum.StrEnum):
    ANN = "ann"


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Ratio(float):
    pass


class Blob(bytes):
    pass


Point = collections.namedtuple("Point", "x y")


def decode(payload: bytes, *, depth: int = 513, containers: int = 200_001, max_size: int = 1_000_000) -> Any:
    return loads(payload, depth, containers, max_size)[0]


def refuse(payload: bytes, *, depth: int = 513, containers: int = 200_001, max_size: int = 1_000_000) -> str:
    with pytest.raises(DecodeError) as refusal:
        loads(payload, depth, containers, max_size)
    assert len(str(refusal.value)) < 200
    return str(refusal.value)


def array(*items: bytes) -> bytes:
    return b"\xdd" + struct.pack(">I", len(items)) + b"".join(items)


# What leaves.


@pytest.mark.parametrize(
    ("value", "digits"),
    [
        (None, "c0"),
        (True, "c3"),
        (Number(5), "05"),
        (Ratio(1.5), "cb3ff8000000000000"),
        (Text("a"), "a161"),
        (Blob(b"a"), "c40161"),
        (bytearray(b"a"), "c40161"),
        pytest.param(memoryview(b"abc")[::2], "c4026163", id="memoryview"),  # whose repr is another in each process
        ([Colour.RED, Colour.RAW, Level.LOW, Name.ANN], "94a3726564c40372617701a3616e6e"),
        ({Text("a"): 1, Name.ANN: 2}, "82a16101a3616e6e02"),
        (Point(1, 2), "920102"),
        (collections.OrderedDict(a=1), "81a16101"),
        (uuid.UUID(int=1), "d924" + b"00000000-0000-0000-0000-000000000001".hex()),
        (math.inf, "cb7ff0000000000000"),
        (2**64 - 1, "cfffffffffffffffff"),
        (-(2**63), "d38000000000000000"),
        # Beyond 64 bits JavaScript would have floats, too.
        (2**64, "cb43f0000000000000"),
        (-(2**63) - 1, "cbc3e0000000000000"),
        (datetime.datetime(1970, 1, 1, tzinfo=UTC), "d7000000000000000000"),
        (datetime.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), "d700ffffffffffffffff"),
        (datetime.datetime(1970, 1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))), "d7000000000000000000"),
    ],
    ids=repr,
)
def test_values_in_the_form_in_which_they_leave(value: object, digits: str) -> None:
    assert dumps(value).hex() == digits


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        frozenset({1}),
        object(),
        {1: "a"},
        {None: "a"},
        {b"k": 1},
        {(1, 2): 1},
        1j,
        datetime.datetime(2026, 1, 1),
        datetime.date(2026, 1, 1),
        datetime.time(1),
        datetime.timedelta(1),
        range(3),
        iter([1]),
        10**5000,
        msgspec.Raw(b"\xc0"),
        msgspec.msgpack.Ext(0, b"x"),
        msgspec.UNSET,
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("company", [[], [LONE]], ids=["alone", "with a surrogate"])
def test_what_cannot_be_sent_is_refused(value: object, company: list[object]) -> None:
    with pytest.raises(EncodeError):
        dumps([*company, value])
    with pytest.raises(EncodeError):
        dumps({"deep": [*company, {"deeper": (value,)}]})


def test_the_refusal_says_what_to_send() -> None:
    with pytest.raises(EncodeError, match=r"A set cannot be sent; send None, bool"):
        dumps([{1}])
    with pytest.raises(EncodeError, match=r"The key 5 of a dict cannot be sent.*convert it with str\(\)"):
        dumps({5: 1})
    with pytest.raises(EncodeError, match=r"2026-01-01 00:00:00 cannot be sent.*datetime.now\(UTC\)"):
        dumps(datetime.datetime(2026, 1, 1))


def test_values_that_contain_themselves_are_refused() -> None:
    ring: list[Any] = [b"x"]
    ring.append(ring)
    loop: dict[str, Any] = {}
    loop["self"] = [loop]
    for value in (ring, loop):
        with pytest.raises(EncodeError, match="contains itself"):
            dumps(value)


@pytest.mark.parametrize("core", [None, LONE], ids=["plain", "surrogate"])
def test_what_may_come_in_may_go_out(core: object) -> None:
    value = core
    for _ in range(513):
        value = [value]
    assert dumps(value).startswith(b"\x91" * 513)
    for _ in range(100_000):
        value = [value]
    with pytest.raises(EncodeError, match="nested too deeply"):
        dumps(value)


@pytest.mark.hostile("S30")
def test_lone_surrogates_are_replaced() -> None:
    assert decode(dumps(["\ud800", "a\udfffb", {Text("\udc00"): ("\ud83d\ude00", "😀", b"x")}])) == [
        "\ufffd",
        "a\ufffdb",
        {"\ufffd": ["😀", "😀", b"x"]},
    ]


@pytest.mark.parametrize("wrap", [bytearray, lambda data: memoryview(bytearray(data))])
def test_bytes_are_snapshots(wrap: Any) -> None:
    buffer = wrap(b"abc")
    message = dumps([buffer])
    buffer[0] = 0
    assert decode(message) == [b"abc"]


# What arrives.


@pytest.mark.parametrize(
    ("digits", "value"),
    [
        ("d40000", None),
        ("81a161d40000", {"a": None}),
        ("c70100ff", b"\xff"),
        ("c70000", b""),
        ("c7080000000000000000ff", bytes(7) + b"\xff"),
        ("c8000200ffff", b"\xff\xff"),
        ("c90000000100ff", b"\xff"),
        ("d700000000000000007b", datetime.datetime(1970, 1, 1, 0, 0, 0, 123_000, tzinfo=UTC)),
        ("d700ffffffffffffffff", datetime.datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)),
        ("c400", b""),
        ("c5000161", b"a"),
        ("c60000000161", b"a"),
        ("d90161", "a"),
        ("da000161", "a"),
        ("db0000000161", "a"),
        ("dc000101", [1]),
        ("dd0000000101", [1]),
        ("de0001a16101", {"a": 1}),
        ("df00000001a16101", {"a": 1}),
        ("ca3fc00000", 1.5),
        ("e0", -32),
        ("d080", -128),
        ("cfffffffffffffffff", 2**64 - 1),
        ("a100", "\x00"),
        # The last one counts, as in JavaScript.
        ("82a16101a16102", {"a": 2}),
        ("81a95f5f70726f746f5f5f80", {"__proto__": {}}),
        ("cb8000000000000000", -0.0),
    ],
)
def test_values_in_the_form_in_which_they_arrive(digits: str, value: object) -> None:
    decoded = decode(bytes.fromhex(digits))
    assert decoded == value
    assert type(decoded) is type(value)
    assert decode(dumps(decoded)) == value
    # It ends where the next one begins.
    assert decode(array(bytes.fromhex(digits), b"\x05", bytes.fromhex(digits))) == [value, 5, value]


def test_nan_and_the_infinities_go_both_ways() -> None:
    nan, *others = decode(dumps([math.nan, math.inf, -math.inf]))
    assert math.isnan(nan)
    assert others == [math.inf, -math.inf]


def test_an_undefined_and_a_buffer_of_one_byte_are_told_apart() -> None:
    date, buffer = bytes.fromhex("d7000000000000000000"), bytes.fromhex("c708000000000000000000")
    assert decode(array(UNDEFINED, b"\xc7\x01\x00\x00", UNDEFINED)) == [None, b"\x00", None]
    assert decode(array(buffer, date, buffer)) == [bytes(8), datetime.datetime(1970, 1, 1, tzinfo=UTC), bytes(8)]


@pytest.mark.hostile("S22", "S23")
@pytest.mark.parametrize(
    "digits",
    [
        *("", "c1", "91c1", "0101", "c0c0", "90ff", "a1", "a261", "c402ff", "cb00", "ce000000", "92c0", "81", "81a161"),
        *("ddffffffff", "dfffffffff", "dbffffffff", "c6ffffffff", "c9ffffffff", "c9ffffffff00", "dc", "dcff", "dc0001", "de00", "d9", "c7"),
        *("a1ff", "a3eda080", "a2c080", "81a1ff01", "d901ff"),
    ],
)
def test_what_is_not_messagepack_is_refused(digits: str) -> None:
    refuse(bytes.fromhex(digits))


@pytest.mark.hostile("S22")
def test_a_message_is_one_value() -> None:
    for rest in (b"\xc0", b"\x00", bytes(100), b"\xc1"):
        assert "something follows" in refuse(b"\x91\x05" + rest)


@pytest.mark.parametrize(
    "digits",
    [
        *("d40100", "d4ff00", "d500aaaa", "d6ff00000000", "d600aaaaaaaa", "d7ff0000000000000000", "d70a0000000000000000"),
        *("d800" + "00" * 16, "c70101ff", "c701ffff", "c80001010f", "c900000001ffff", "c70cff" + "00" * 12),
    ],
)
def test_other_extensions_are_refused(digits: str) -> None:
    for message in (bytes.fromhex(digits), array(bytes.fromhex(digits))):
        assert "neither undefined nor a Date nor an ArrayBuffer" in refuse(message)


@pytest.mark.parametrize("milliseconds", [8_640_000_000_000_000, -8_640_000_000_000_000, 2**63 - 1, -(2**63), 253_402_300_800_000])
def test_dates_that_python_does_not_have_are_refused(milliseconds: int) -> None:
    assert "years 1 to 9999" in refuse(b"\xd7\x00" + struct.pack(">q", milliseconds))


# Keys that are integers, or floats, hash to what their sender likes: a dict of them costs quadratic time. So they have to be
# refused before there is a dict, which shows in what comes first: the key is an offence, and so is the end.
@pytest.mark.parametrize(
    "key", ["01", "e0", "cd0100", "cf0000000100000000", "cb3ff0000000000000", "c0", "c3", "c40161", "90", "80", "d40000"]
)
@pytest.mark.parametrize("around", ["81{}c0c1", "82a161c0{}c1", "df0000ffff{}", "9281a16182a162a0{}c1", "9181a16191de0001{}"])
def test_keys_are_strings_before_a_dict_is_made(key: str, around: str) -> None:
    assert refuse(bytes.fromhex(around.format(key))) == "A key of a map is not a string."


def test_keys_and_values_are_told_apart() -> None:
    message = bytes.fromhex("83a16101a16282a163c0a16480a16592de0001a1669000")
    assert decode(message) == {"a": 1, "b": {"c": None, "d": {}}, "e": [{"f": []}, 0]}


@pytest.mark.hostile("S31")
@pytest.mark.parametrize(
    "opening", [b"\x91", b"\x81\xa0", b"\xdd\x00\x00\x00\x01", b"\xdf\x00\x00\x00\x01\xa0", b"\x92\xc0", b"\x82\xa0\xc0\xa0"]
)
def test_depth_is_limited(opening: bytes) -> None:
    for depth in (1, 2, 7, 513):
        decode(opening * depth + b"\xc0", depth=depth)
        assert f"more than {depth} levels deep" in refuse(opening * (depth + 1) + b"\xc0", depth=depth)
    refuse(opening * 100_000)
    # Siblings are not depth.
    decode(array(*[b"\x91\x90"] * 100), depth=3)


def test_a_depth_that_the_interpreter_does_not_have_is_an_ordinary_refusal() -> None:
    assert "not valid MessagePack" in refuse(b"\x91" * 500_000 + b"\xc0", depth=1_000_000, containers=1_000_000, max_size=10_000_000)


@pytest.mark.hostile("S34")
@pytest.mark.parametrize(
    "item",
    [
        "90",
        "80",
        "91c0",
        "92c0c0",
        "81a0c0",
        "81a161c0",
        "9180",
        "81a090",
        "a26161",
        "c4026162",
        "cdffff",
        "d080",
        "d40000",
        "c70000",
        "a3e282ac",
    ],
)
@pytest.mark.slow
def test_memory_is_in_proportion(item: str) -> None:
    unit = bytes.fromhex(item)
    message = array(*[unit] * (100_000 // len(unit)))
    tracemalloc.start()
    try:
        value, size = loads(message, 10, 200_001, 10_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(value) == 100_000 // len(unit)
    # The dearest is a map of one member: 192 bytes, its place in the list included, for the 7 that it counts as.
    assert peak < 30 * size


def test_size_is_limited_as_it_counts() -> None:
    undefined = b"\xd4\x00\x00"
    message = array(b"\x90", b"\x80", b"\x81\xa0\xc0", b"\x83\xa0\xc0\xa1a\xc0\xa1b\xc0", b"\x05", undefined)
    size = len(message) + 2 + 2 + 4 + 4 + (4 + 2) + 8
    assert loads(message, 10, 10, size) == ([[], {}, {"": None}, {"": None, "a": None, "b": None}, 5, None], size)
    assert f"counts as more than {size - 1} bytes" in refuse(message, max_size=size - 1)


@pytest.mark.hostile("S34")
@pytest.mark.parametrize("item", ["90", "9105", "80", "81a005"])
def test_the_number_of_arrays_and_maps_is_limited(item: str) -> None:
    message = array(*[bytes.fromhex(item)] * 10)
    assert len(decode(message, containers=11)) == 10
    assert "more than 10 arrays and maps (Limits.containers)" in refuse(message, containers=10)


# Properties.

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(max_size=300)
    | st.datetimes(timezones=st.just(UTC)).map(lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)),
    lambda children: st.lists(children, max_size=20) | st.dictionaries(st.text(max_size=40), children, max_size=20),
    max_leaves=40,
)


@given(VALUES)
def test_what_is_encoded_is_decoded(value: object) -> None:
    message = dumps(value)
    decoded, size = loads(message, 513, 200_001, 1_000_000)
    assert decoded == value
    assert dumps(decoded) == message
    assert size >= len(message)


@given(st.text(st.characters() | st.characters(categories=["Cs"])))
def test_text_arrives_as_browsers_would_have_it(text: str) -> None:
    expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert decode(dumps(text)) == expected
    assert decode(dumps({text: [text]})) == {expected: [expected]}


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    message = bytearray(dumps(draw(VALUES)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(message)))
        message[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(message)


@given(st.binary() | mutated())
def test_anything_else_is_refused_as_the_library_does(message: bytes) -> None:
    try:
        value = decode(message)
    except DecodeError as exc:
        if "valid MessagePack" in str(exc) or "truncated" in str(exc):
            with pytest.raises((ValueError, OverflowError)):
                msgspec.msgpack.decode(message, ext_hook=_strict_extension)
        return
    dumps(value)


def _strict_extension(kind: int, data: memoryview) -> object:
    if kind == 0 and len(data) == 8:
        return datetime.datetime(1970, 1, 1, tzinfo=UTC) + datetime.timedelta(milliseconds=struct.unpack(">q", data)[0])
    return bytes(data)


@pytest.mark.parametrize(
    ("digits", "moment"),
    [
        ("d6ff00000001", datetime.datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
        ("d7ffbc1cbd006b0c1bf0", datetime.datetime(2026, 11, 29, 12, 34, 56, 789000, tzinfo=UTC)),
        ("c70cff3b8b87c0ffffffffffffffff", datetime.datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
    ],
)
def test_timestamps_of_the_next_version_are_read_where_they_may_come(digits: str, moment: datetime.datetime) -> None:
    payload = bytes.fromhex(digits)
    value, size = loads(payload, 1, 1, 100, timestamps=True)
    assert (value, size) == (moment, len(payload) + 8)
    assert "extension" in refuse(payload)
    for cut in range(1, len(payload)):
        with pytest.raises(DecodeError):
            loads(payload[:cut], 1, 1, 100, timestamps=True)
