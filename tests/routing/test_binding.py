"""Arguments: what is filled in, what is converted, and what does not fit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Any, Literal, TypedDict

import msgspec
import pytest

from trio_sio.errors import BadMessage
from trio_sio.routing import Context
from trio_sio.routing.binding import Binding

SOCKET: Any = SimpleNamespace(id="sid", server=object())


@dataclass
class Point:
    n: int
    label: str = "here"


@dataclass
class Shape:
    points: list[Point]
    picture: bytes = b""


@dataclass
class Tree:
    children: list[Tree] = field(default_factory=list)


class Options(TypedDict):
    loud: bool


class Color(Enum):
    RED = "red"


class Record(msgspec.Struct):
    n: int


def bind(function: Callable[..., object], *args: object) -> list[Any]:
    return Binding(function, "C.handler", bound=False, event="e").bind(list(args), SOCKET, Context(SOCKET, "e", args))


def bind_as(annotation: Any, value: object) -> Any:
    def handler(value: Any) -> None: ...

    handler.__annotations__["value"] = annotation
    return bind(handler, value)[0]


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (str, "text"),
        (int, 3),
        (int, 2**80),
        (float, 1.5),
        (bool, True),
        (bytes, b"\xff\x00"),
        (dict, {"a": [1]}),
        (list, [1, "x"]),
        (Any, object()),
        (object, b"x"),
        (int | None, None),
        (str | None, "x"),
        (str | bytes, b"x"),
        (str | bytes, "x"),
        (int | float | str, 1.5),
    ],
)
def test_a_value_of_the_right_type_is_passed_as_it_is(annotation: Any, value: object) -> None:
    assert bind_as(annotation, value) is value


@pytest.mark.parametrize(
    ("annotation", "value", "result"),
    [
        (int, 3.0, 3),
        (int | None, 3.0, 3),
        (float, 3, 3.0),
        (list[int], [1, 2], [1, 2]),
        (tuple[int, str], [1, "x"], (1, "x")),
        (set[str], ["a", "a"], {"a"}),
        (dict[str, bytes], {"a": b"x"}, {"a": b"x"}),
        (dict[str, Any], {"a": {"b": None}}, {"a": {"b": None}}),
        (Point, {"n": 1}, Point(1)),
        (Point | None, {"n": 1}, Point(1)),
        (Point | None, None, None),
        (Shape, {"points": [{"n": 1}], "picture": b"\x89"}, Shape([Point(1)], b"\x89")),
        (Options, {"loud": True}, {"loud": True}),
        (Record, {"n": 1}, Record(1)),
        (Color, "red", Color.RED),
        (Literal["a", "b"], "b", "b"),
    ],
)
def test_a_value_is_converted(annotation: Any, value: object, result: object) -> None:
    converted = bind_as(annotation, value)
    assert converted == result
    assert type(converted) is type(result)


@pytest.mark.parametrize(
    ("annotation", "value", "message", "path"),
    [
        (int, "3", "Expected `int`, got `str`", "$[0]"),
        (int, 3.5, "Expected `int`, got `float`", "$[0]"),
        (int, float("inf"), "Expected `int`, got `float`", "$[0]"),
        (int, True, "Expected `int`, got `bool`", "$[0]"),
        (bool, 1, "Expected `bool`, got `int`", "$[0]"),
        (str, None, "Expected `str`, got `null`", "$[0]"),
        (str, b"x", "Expected `str`, got `bytes`", "$[0]"),
        (bytes, "aGVsbG8=", "Expected `bytes`, got `str`", "$[0]"),
        (str | bytes, 3, "Expected `str | bytes`, got `int`", "$[0]"),
        (list[int], [1, "x"], "Expected `int`, got `str`", "$[0][1]"),
        (Point, 3, "Expected `object`, got `int`", "$[0]"),
        (Point, {}, "Object missing required field `n`", "$[0]"),
        (Shape, {"points": [{"n": 1}, {"n": "x"}]}, "Expected `int`, got `str`", "$[0].points[1].n"),
        (Shape, {"points": [], "picture": "eA=="}, "Expected `bytes`, got `str`", "$[0].picture"),
        (dict[str, int], {"secret name": "x"}, "Expected `int`, got `str`", "$[0][...]"),
        (Literal["a"], "b", "Invalid enum value 'b'", "$[0]"),
    ],
)
def test_a_value_that_does_not_fit_names_its_place(annotation: Any, value: object, message: str, path: str) -> None:
    with pytest.raises(BadMessage) as caught:
        bind_as(annotation, value)
    assert (caught.value.message, caught.value.path) == (message, path)


def test_the_path_counts_the_arguments_of_the_message_not_the_parameters() -> None:
    def handler(ctx: Context, text: str, point: Point) -> None: ...

    with pytest.raises(BadMessage) as caught:
        bind(handler, "x", {"n": "y"})
    assert caught.value.path == "$[1].n"


def test_nesting_beyond_the_interpreter_is_a_bad_message() -> None:
    def handler(tree: Tree) -> None: ...

    value: dict[str, Any] = {}
    for _ in range(100_000):
        value = {"children": [value]}
    with pytest.raises(BadMessage, match="Nested too deeply") as caught:
        bind(handler, value)
    assert caught.value.path == "$[0]"
    # Freeing it recursively would be as deep.
    while value:
        value = value["children"].pop()


def test_parameters_without_annotation_take_anything() -> None:
    def handler(a, b):  # type: ignore[no-untyped-def]
        ...

    assert bind(handler, "x", None) == ["x", None]


def exactly(a: int, b: int) -> None: ...
def up_to(a: int, b: int = 7) -> None: ...
def any_number(a: int, *rest: int) -> None: ...
def nothing() -> None: ...
def at_most_one(a: int = 7) -> None: ...


@pytest.mark.parametrize(
    ("handler", "args", "result"),
    [
        (exactly, (1, 2), [1, 2]),
        (up_to, (1,), [1, 7]),
        (up_to, (1, 2), [1, 2]),
        (any_number, (1,), [1]),
        (any_number, (1, 2, 3.0), [1, 2, 3]),
        (nothing, (), []),
        (at_most_one, (), [7]),
    ],
)
def test_the_number_of_arguments_fits(handler: Callable[..., object], args: tuple[Any, ...], result: list[Any]) -> None:
    assert bind(handler, *args) == result


@pytest.mark.parametrize(
    ("handler", "args", "message"),
    [
        (exactly, (1,), "Event 'e' takes 2 arguments, but 1 was given"),
        (exactly, (), "Event 'e' takes 2 arguments, but none were given"),
        (up_to, (), "Event 'e' takes 1 to 2 arguments, but none were given"),
        (any_number, (), "Event 'e' takes at least 1 argument, but none were given"),
    ],
)
def test_too_few_arguments_are_a_bad_message(handler: Callable[..., object], args: tuple[Any, ...], message: str) -> None:
    with pytest.raises(BadMessage) as caught:
        bind(handler, *args)
    assert (caught.value.message, caught.value.path) == (message, "")


@pytest.mark.parametrize(
    ("handler", "args", "result"), [(exactly, (1, 2, 3), [1, 2]), (up_to, (1, 2, "x", "y"), [1, 2]), (nothing, (1,), [])]
)
def test_too_many_arguments_are_dropped_with_a_debug_line(
    handler: Callable[..., object], args: tuple[Any, ...], result: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "trio_sio.routing"):
        assert bind(handler, *args) == result
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert f"dropped {len(args) - len(result)} more" in record.getMessage()


def test_the_rest_is_converted_too() -> None:
    with pytest.raises(BadMessage) as caught:
        bind(any_number, 1, 2, "x")
    assert caught.value.path == "$[2]"


def test_a_default_is_the_applications_own_business() -> None:
    def handler(a: int, b: int = "unknown") -> None: ...  # type: ignore[assignment]

    assert bind(handler, 1) == [1, "unknown"]


def test_the_name_of_an_annotation_for_type_checkers_only_does_no_harm_where_it_is_not_needed() -> None:
    def handler(a: int) -> OnlyForTypeCheckers: ...  # type: ignore[name-defined]  # noqa: F821

    assert bind(handler, 3) == [3]
