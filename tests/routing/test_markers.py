"""The decorators: what they record, and that they do nothing else."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from trio_sio.errors import RouteError
from trio_sio.routing import Context, Next, broadcasts, emits, on_connection, on_disconnection, on_message
from trio_sio.routing.markers import Marks, marks_of


async def audit(ctx: Context, call_next: Next) -> object:
    return await call_next()


def test_hooks_work_bare_and_called() -> None:
    def bare() -> None: ...
    def called() -> None: ...

    assert on_connection(bare) is bare
    assert on_connection()(called) is called
    on_disconnection(bare)
    on_disconnection()(called)
    assert marks_of(bare) == marks_of(called)
    assert marks_of(bare).connection is not None
    assert marks_of(bare).disconnection


def test_one_function_may_be_everything_at_once() -> None:
    @on_connection(middleware=[audit])
    @on_message("a", "b", middleware=[audit], concurrent=True)
    @on_message("c", cancel_on_disconnect=False)
    @on_disconnection
    def handler() -> None: ...

    marks = marks_of(handler)
    assert marks.connection is not None
    assert marks.connection.middleware == (audit,)
    assert [(mark.events, mark.concurrent, mark.cancel_on_disconnect) for mark in marks.messages] == [
        (("a", "b"), True, True),
        (("c",), False, False),
    ]
    assert marks.disconnection


def test_replies_are_kept_from_top_to_bottom_wherever_they_stand() -> None:
    @emits("first")
    @on_message("x")
    @broadcasts("second", to=["a", "b"])
    @emits("third", to="room")
    def handler() -> None: ...

    assert [(reply.event, reply.rooms, reply.everyone) for reply in marks_of(handler).replies] == [
        ("first", None, False),
        ("second", ("a", "b"), True),
        ("third", ("room",), False),
    ]


def test_the_order_of_different_decorators_does_not_matter() -> None:
    decorators: list[Callable[..., Any]] = [on_message("x"), emits("y"), on_disconnection]

    def above() -> None: ...
    def below() -> None: ...

    for decorate in decorators:
        decorate(above)
    for decorate in reversed(decorators):
        decorate(below)
    assert marks_of(above) == marks_of(below)


def test_a_marked_function_is_still_the_same_function() -> None:
    def handler(a: int) -> int:
        return a

    marked = emits("y")(on_message("x")(handler))
    assert marked is handler
    assert marked(3) == 3
    assert list(inspect.signature(marked).parameters) == ["a"]


def test_marks_survive_other_decorators_and_do_not_flow_back() -> None:
    @on_message("x")
    def inner() -> None: ...

    @on_message("y")
    @functools.wraps(inner)
    def outer() -> None: ...

    assert [mark.events for mark in marks_of(outer).messages] == [("y",), ("x",)]
    assert [mark.events for mark in marks_of(inner).messages] == [("x",)]


def test_static_and_class_methods_can_be_marked_on_either_side() -> None:
    class Controller:
        @on_message("a")
        @staticmethod
        def outside() -> None: ...

        @staticmethod
        @on_message("b")
        def inside() -> None: ...

        @classmethod
        @on_message("c")
        def of_class(cls) -> None: ...

    events = [marks_of(inspect.getattr_static(Controller, name)).messages[0].events for name in ("outside", "inside", "of_class")]
    assert events == [("a",), ("b",), ("c",)]


def test_what_is_not_marked_has_empty_marks() -> None:
    assert marks_of(len) == Marks()
    assert not marks_of(None).handles
    assert not Marks(replies=marks_of(emits("x")(lambda: None)).replies).handles


@pytest.mark.parametrize("decorator", [on_message, emits, broadcasts])
def test_a_decorator_without_its_event_says_so_at_once(decorator: Callable[..., object]) -> None:
    def handler() -> None: ...

    with pytest.raises(RouteError, match="handler names no event"):
        decorator(handler)


def test_a_second_connection_mark_is_refused() -> None:
    with pytest.raises(RouteError, match="@on_connection twice"):

        @on_connection
        @on_connection(middleware=[audit])
        def handler() -> None: ...


@pytest.mark.parametrize("decorator", [lambda given: on_connection(middleware=given), lambda given: on_message("x", middleware=given)])
def test_middleware_is_a_list(decorator: Callable[[Any], object]) -> None:
    with pytest.raises(RouteError, match=r"write middleware=\[audit\]"):
        decorator(audit)
