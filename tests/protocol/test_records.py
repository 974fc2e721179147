"""Values with named fields leave as objects, whatever the parser is, in the form that comes back as the same value."""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, Field

from trio_sio.errors import EncodeError
from trio_sio.protocol import json, notepack

LONE = "\ud800"  # sends the value next to it through the standard library
WHEN = datetime(2026, 1, 2, tzinfo=UTC)


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: float = 0.5


class Struct(msgspec.Struct, rename="camel", omit_defaults=True):
    long_name: int
    left_out: int = 0


class Model(BaseModel):
    size: int = Field(alias="theSize")
    inner: list[Model] = []


@dataclass
class Everything:
    point: Point = field(default_factory=lambda: Point(1))
    struct: Struct = field(default_factory=lambda: Struct(2))
    model: Model = field(default_factory=lambda: Model(theSize=3, inner=[Model(theSize=4)]))
    colour: Colour = Colour.RED
    when: datetime = WHEN
    tags: set[str] = field(default_factory=lambda: {"a"})
    amount: Decimal = Decimal("1.50")
    id: uuid.UUID = field(default_factory=lambda: uuid.UUID(int=1))


PLAIN_EVERYTHING = {
    "point": {"x": 1, "y": 0.5},
    "struct": {"longName": 2},
    "model": {"theSize": 3, "inner": [{"theSize": 4, "inner": []}]},
    "colour": "red",
    "when": "2026-01-02T00:00:00Z",
    "tags": ["a"],
    "amount": "1.50",
    "id": "00000000-0000-0000-0000-000000000001",
}


@dataclass
class Picture:
    name: str
    data: bytes | bytearray
    thumbnails: list[bytes] = field(default_factory=list)


class PictureModel(BaseModel):
    data: bytes


@dataclass
class Ring:
    next: Any = None


@pytest.mark.parametrize(
    ("record", "plain"),
    [
        (Point(1), {"x": 1, "y": 0.5}),
        (Struct(1), {"longName": 1}),
        (Model(theSize=1), {"theSize": 1, "inner": []}),
        ([{"deep": (Point(1),)}], [{"deep": [{"x": 1, "y": 0.5}]}]),
        (Everything(), PLAIN_EVERYTHING),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_record_is_sent_as_an_object(record: object, plain: object) -> None:
    assert json.dumps([record]) == json.dumps([plain])
    assert json.dumps([LONE, record]) == json.dumps([LONE, plain])
    assert notepack.dumps([record]) == notepack.dumps([plain])


def test_bytes_in_records_are_attachments() -> None:
    pictures = [Picture("a", b"1", [b"2"]), PictureModel(data=b"\xff"), {"last": Picture("b", bytearray(b"4"))}]
    text, attachments = json.dumps(pictures)
    assert text.count(b'"_placeholder":true') == 4
    assert attachments == [b"1", b"2", b"\xff", b"4"]
    assert json.dumps([LONE, *pictures])[1] == attachments
    plain = [{"name": "a", "data": b"1", "thumbnails": [b"2"]}, {"data": b"\xff"}, {"last": {"name": "b", "data": b"4", "thumbnails": []}}]
    assert notepack.dumps(pictures) == notepack.dumps(plain)


def test_the_fields_of_a_dataclass_are_what_is_sent_and_nothing_else() -> None:
    @dataclass
    class Line:
        _article: str
        count: int = 1

    class Holder(msgspec.Struct):
        line: Line

    # msgspec leaves the default to the class.
    line = msgspec.convert({"_article": "a"}, Line)
    line.secret = "x"  # type: ignore[attr-defined]
    expected = {"_article": "a", "count": 1}
    assert json.loads(json.dumps([line, Holder(line), {"deep": [line]}])[0]) == [expected, {"line": expected}, {"deep": [expected]}]


def test_an_attrs_class_is_a_record() -> None:
    class Attrs:
        __attrs_attrs__ = (SimpleNamespace(name="x"),)
        x = 1

    assert json.dumps([Attrs()]) == json.dumps([{"x": 1}])


def test_a_struct_that_is_an_array_is_sent_as_one() -> None:
    class Row(msgspec.Struct, array_like=True):
        x: int
        data: bytes

    assert json.dumps([Row(1, b"2")]) == json.dumps([[1, b"2"]])


def test_what_was_sent_comes_back_as_the_same_value() -> None:
    @dataclass
    class Same:
        point: Point
        colour: Colour
        when: datetime
        tags: set[str]
        amount: Decimal

    value = Same(Point(1), Colour.RED, WHEN, {"a", "b"}, Decimal("1.50"))
    assert msgspec.convert(json.loads(json.dumps(value)[0]), Same) == value
    assert msgspec.convert(notepack.loads(notepack.dumps(value), 10, 100, 1_000)[0], Same) == value


@pytest.mark.parametrize("dumps", [json.dumps, notepack.dumps], ids=["json", "notepack"])
def test_a_field_that_cannot_be_sent_is_named_with_its_record(dumps: Any) -> None:
    with pytest.raises(EncodeError, match=r"A Ring cannot be sent: a socket in it is neither plain nor a record"):
        dumps([Ring(type("socket", (), {})())])


@dataclass
class UnsetDataclass:
    x: int = field(init=False)


class UnsetStruct(msgspec.Struct):
    x: int

    def __post_init__(self) -> None:
        del self.x


@pytest.mark.parametrize("dumps", [json.dumps, notepack.dumps], ids=["json", "notepack"])
@pytest.mark.parametrize("record", [UnsetDataclass(), UnsetStruct(1)], ids=["dataclass", "Struct"])
def test_a_field_that_was_never_set_is_named_with_its_record(dumps: Any, record: object) -> None:
    with pytest.raises(EncodeError, match=rf"An? {type(record).__name__} cannot be sent: .*'x'"):
        dumps([record])


@pytest.mark.parametrize("dumps", [json.dumps, notepack.dumps], ids=["json", "notepack"])
def test_keys_are_text_in_records_as_everywhere(dumps: Any) -> None:
    with pytest.raises(EncodeError, match="The key 1 of a dict cannot be sent"):
        dumps([Ring({1: "one"})])


@pytest.mark.parametrize("dumps", [json.dumps, notepack.dumps], ids=["json", "notepack"])
def test_a_record_that_contains_itself_is_refused(dumps: Any) -> None:
    ring = Ring()
    ring.next = Ring([ring])
    with pytest.raises(EncodeError, match="contains itself"):
        dumps([ring])


@pytest.mark.parametrize("dumps", [json.dumps, notepack.dumps], ids=["json", "notepack"])
@pytest.mark.parametrize("cls", [Point, Struct, Model])
def test_a_class_is_no_record(dumps: Any, cls: type) -> None:
    with pytest.raises(EncodeError):
        dumps([cls])
