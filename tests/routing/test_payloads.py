"""Typed payloads: what annotations may say about an argument, and where an error is said to be."""

from __future__ import annotations

import dataclasses
import logging
import subprocess
import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Annotated, Any, Generic, Literal, NotRequired, Required, TypedDict, TypeVar

import msgspec
import pydantic
import pytest
from msgspec import Meta
from pydantic import BaseModel, ConfigDict, Field

from trio_sio import BadMessage, Config, Route, RouteError, RoutingTable, emits, on_message
from trio_sio.routing import Context
from trio_sio.routing.binding import Binding
from trio_sio.testing import open_test_server

SOCKET: Any = SimpleNamespace(id="sid", server=object())
T = TypeVar("T")
NAME = {"first": "Ada"}


class Name(TypedDict):
    first: str
    last: NotRequired[str]


class Looks(TypedDict, total=False):
    colour: Required[Literal["red", "green"]]
    size: Annotated[int, Meta(ge=1, le=9)]


@dataclasses.dataclass
class Picture:
    data: bytes
    alt: str = ""


@dataclasses.dataclass
class Person:
    name: Name
    pictures: list[Picture] = dataclasses.field(default_factory=list)
    best_friend: Person | None = None


class Circle(msgspec.Struct, tag="circle"):
    radius: Annotated[float, Meta(gt=0)]


class Blob(msgspec.Struct, tag="blob"):
    data: bytes


class Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    long_name: int


@dataclasses.dataclass
class Box(Generic[T]):
    content: T


class Item(BaseModel):
    name: str = Field(min_length=1)
    count: int = Field(default=1, gt=0)
    picture: bytes = b""
    parts: dict[str, Item] = {}


class StrictItem(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    count: int


class Checked(BaseModel):
    text: str

    @pydantic.field_validator("text")
    @classmethod
    def must_be_clean(cls, text: str) -> str:
        if "dirty" in text:
            raise BadMessage("Mind your language", "$[0].text")
        return text


@dataclasses.dataclass
class Order:
    items: list[Item]


def bind_as(annotation: Any, *values: object) -> list[Any]:
    def handler(value: Any) -> None: ...

    handler.__annotations__["value"] = annotation
    return Binding(handler, "C.handler", bound=False, event="e").bind(list(values), SOCKET, Context(SOCKET, "e", values))


ANY_SHAPE = Circle | Blob


@pytest.mark.parametrize(
    ("annotation", "value", "result"),
    [
        (Name, {"first": "Ada"}, {"first": "Ada"}),
        (Looks, {"colour": "red", "size": 9, "unknown": 1}, {"colour": "red", "size": 9}),
        (Person, {"name": NAME, "pictures": [{"data": b"1"}]}, Person({"first": "Ada"}, [Picture(b"1")])),
        (Person, {"name": NAME, "best_friend": {"name": NAME}}, Person({"first": "Ada"}, [], Person({"first": "Ada"}))),
        (ANY_SHAPE, {"type": "blob", "data": b"x"}, Blob(b"x")),
        (ANY_SHAPE | None, None, None),
        (list[ANY_SHAPE], [{"type": "circle", "radius": 1}], [Circle(1.0)]),
        (dict[str, ANY_SHAPE], {"a": {"type": "blob", "data": b""}}, {"a": Blob(b"")}),
        (Picture | bytes, b"x", b"x"),
        (Picture | bytes, {"data": b"x"}, Picture(b"x")),
        (Picture | str | int, 3.0, 3),
        (Strict, {"longName": 1}, Strict(1)),
        (Literal[1, "a", None], "a", "a"),
        (Annotated[int, Meta(ge=1)] | None, 1, 1),
        (Annotated[int, Meta(ge=1, le=10)], 10.0, 10),
        (Annotated[str, Meta(pattern="^[a-z]+$", max_length=3)], "abc", "abc"),
        (Annotated[list[int], Meta(max_length=2)], [1, 2], [1, 2]),
        (tuple[int, bytes], [1, b"x"], (1, b"x")),
        (tuple[int, ...], [1, 2, 3], (1, 2, 3)),
        (Box[int], {"content": 1}, Box(1)),
        (bytearray, b"x", bytearray(b"x")),
        (datetime, "1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        (datetime, datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)),
        (
            Item,
            {"name": "a", "picture": b"\xff", "parts": {"b": {"name": "b"}}},
            Item(name="a", picture=b"\xff", parts={"b": Item(name="b")}),
        ),
        (Item | None, None, None),
        (list[Item], [{"name": "a"}], [Item(name="a")]),
        (Order, {"items": [{"name": "a"}]}, Order([Item(name="a")])),
        (Box[Item], {"content": {"name": "a"}}, Box(Item(name="a"))),
    ],
    ids=repr,
)
def test_a_value_becomes_what_the_annotation_says(annotation: Any, value: object, result: object) -> None:
    (converted,) = bind_as(annotation, value)
    assert converted == result
    assert type(converted) is type(result)


@pytest.mark.parametrize(
    ("annotation", "value", "message", "path"),
    [
        (Name, {"first": 1}, "Expected `str`, got `int`", "$[0].first"),
        (Name, {}, "Object missing required field `first`", "$[0]"),
        (Looks, {"colour": "blue"}, "Invalid enum value 'blue'", "$[0].colour"),
        (Looks, {"colour": "red", "size": 10}, "Expected `int` <= 9", "$[0].size"),
        (Annotated[int, Meta(ge=1)], -5.0, "Expected `int` >= 1", "$[0]"),
        (Annotated[int, Meta(le=10)] | None, 1e300, "Expected `int` <= 10", "$[0]"),
        (Annotated[int, Meta(multiple_of=2)], 3.0, "Expected `int` that's a multiple of 2", "$[0]"),
        (Person, {"name": NAME, "best_friend": {"name": {"first": 1}}}, "Expected `str`, got `int`", "$[0].best_friend.name.first"),
        (Person, {"name": NAME, "pictures": [{"data": "text"}]}, "Expected `bytes`, got `str`", "$[0].pictures[0].data"),
        (ANY_SHAPE, {"type": "square"}, "Invalid value 'square'", "$[0].type"),
        (ANY_SHAPE, {"type": "circle", "radius": 0}, "Expected `float` > 0.0", "$[0].radius"),
        (Picture | bytes, "x", "Expected `bytes | object`, got `str`", "$[0]"),
        (Annotated[str, Meta(max_length=3)], "abcd", "Expected `str` of length <= 3", "$[0]"),
        (Annotated[list[int], Meta(max_length=1)], [1, 2], "Expected `array` of length <= 1", "$[0]"),
        (tuple[int, bytes], [1], "Expected `array` of length 2, got 1", "$[0]"),
        (Box[int], {"content": "x"}, "Expected `int`, got `str`", "$[0].content"),
        (Item, {"name": ""}, "String should have at least 1 character", "$[0].name"),
        (Item, {"name": "a", "parts": {"b c": {"name": "b", "count": 0}}}, "Input should be greater than 0", "$[0].parts[...].count"),
        (Item, 3, "Input should be a valid dictionary or instance of Item", "$[0]"),
        (list[Item], [{"name": "a"}, {"name": 1}], "Input should be a valid string", "$[0][1].name"),
        (Order, {"items": [{"count": 1}]}, "Field required", "$[0].items[0].name"),
        (dict[str, Item], {"secret name": {}}, "Field required", "$[0][...].name"),
        (Item, {"name": "a", "parts": {f"p{n}": {} for n in range(100)}}, "Field required", "$[0].parts.p0.name"),
        (Item, {"name": "a", "parts": {f"p{n}": {} for n in range(101)}}, "101 validation errors", "$[0]"),
        (StrictItem, {"count": "1"}, "Input should be a valid integer", "$[0].count"),
        (StrictItem, {"count": 1, "x" * 81: 1}, "Extra inputs are not permitted", "$[0][...]"),
        (Checked, {"text": "dirty"}, "Mind your language", "$[0].text"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_an_error_names_its_place(annotation: Any, value: object, message: str, path: str) -> None:
    with pytest.raises(BadMessage) as caught:
        bind_as(annotation, value)
    assert (caught.value.message, caught.value.path) == (message, path)


def test_the_rest_may_be_typed_too() -> None:
    def handler(name: str, *shapes: ANY_SHAPE) -> None: ...

    binding = Binding(handler, "C.handler", bound=False, event="e")
    args = ["x", {"type": "blob", "data": b"1"}, {"type": "circle", "radius": 2}]
    assert binding.bind(list(args), SOCKET, None) == ["x", Blob(b"1"), Circle(2.0)]
    with pytest.raises(BadMessage) as caught:
        binding.bind([*args, {"type": "circle"}], SOCKET, None)
    assert (caught.value.message, caught.value.path) == ("Object missing required field `radius`", "$[3]")


class Stranger:
    pass


@pydantic.dataclasses.dataclass
class PydanticDataclass:
    count: int = Field(gt=0)


@dataclasses.dataclass
class TextOrBytes:
    data: str | bytes


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Stranger, r"'value' is annotated Stranger, but a message cannot be converted to Stranger; use built-in types"),
        (list[PydanticDataclass], r"a message cannot be converted to PydanticDataclass; .*pydantic\.BaseModel"),
        (dict[int, str], r"'value' is annotated dict\[int, str\], but the keys of an object are text; use str"),
        (list[dict[float, str]], "the keys of an object are text"),
        (TextOrBytes, r"'value' cannot be converted to TextOrBytes: .*`str \| bytes`"),
        (Person | Picture, "may not contain more than one dataclass"),
        (Item | str, "custom type may not contain any additional types"),
    ],
    ids=repr,
)
def test_what_can_never_fit_is_refused_when_the_table_is_built(annotation: Any, message: str) -> None:
    with pytest.raises(RouteError, match=message):
        bind_as(annotation, None)


def test_models_of_pydantic_1_are_refused_when_the_table_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    class OldBaseModel:
        """There is no `model_validate`."""

    class OldModel(OldBaseModel):
        pass

    monkeypatch.setitem(sys.modules, "pydantic", SimpleNamespace(BaseModel=OldBaseModel))
    with pytest.raises(RouteError, match=r"a message cannot be converted to .*OldModel"):
        bind_as(OldModel, {})


@dataclasses.dataclass
class Answer:
    picture: Picture
    item: Item
    shape: Circle
    name: Name


ANSWER = {
    "picture": {"data": b"\x00", "alt": ""},
    "item": {"name": "a", "count": 1, "picture": b"\xff", "parts": {}},
    "shape": {"type": "circle", "radius": 1.0},
    "name": {"first": "Ada"},
}


class Echo:
    @on_message("answer")
    @emits("answered")
    async def answer(self, answer: Answer) -> Answer:
        return answer

    @on_message("several")
    async def several(self, item: Item, shape: ANY_SHAPE) -> tuple[object, ...]:
        return [item], {"shape": shape}, None

    @on_message("unknown field")
    async def unknown_field(self, strict: Strict) -> None: ...


@pytest.mark.parametrize("parser", ["json", "msgpack"])
async def test_records_come_and_go_with_their_bytes(parser: Literal["json", "msgpack"]) -> None:
    async with open_test_server(RoutingTable(Route("/", Echo)), config=Config(parser=parser)) as server, server.strict_client() as client:
        assert await client.emit_with_ack("answer", ANSWER) == ANSWER
        await client.emit("answer", ANSWER)
        assert await client.once("answered") == (ANSWER,)
        item, shape = ANSWER["item"], ANSWER["shape"]
        assert await client.emit_with_ack("several", item, shape) == ([item], {"shape": shape}, None)


async def test_what_a_client_calls_its_fields_is_escaped_and_cut_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "trio_sio.routing"):
        async with open_test_server(RoutingTable(Route("/", Echo))) as server, server.strict_client() as client:
            await client.emit_with_ack("unknown field", {"longName": 1, f"evil\nERROR forged{'x' * 10_000}": 1})
    (record,) = (record for record in caplog.records if " refused event " in record.getMessage())
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < 500


def test_pydantic_is_imported_by_whoever_uses_it_only() -> None:
    program = "import sys, trio_sio, trio_sio.testing, trio_sio.client; sys.exit('pydantic' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
