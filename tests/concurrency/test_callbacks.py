"""Functions that are told what happened."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from trio_sio.concurrency.callbacks import Callbacks


def test_they_are_called_in_the_order_in_which_they_were_added() -> None:
    heard = list[tuple[str, int]]()
    callbacks: Callbacks[[int]] = Callbacks("on_something")
    assert not callbacks

    @callbacks
    def first(n: int) -> None:
        heard.append(("first", n))

    second = callbacks(lambda n: heard.append(("second", n)))
    assert callbacks
    callbacks.fire(1)
    callbacks.remove(first)
    callbacks.fire(2)
    callbacks.remove()
    callbacks.fire(3)

    assert heard == [("first", 1), ("second", 1), ("second", 2)]
    assert not callbacks
    assert callable(second)


def test_one_that_raises_does_not_keep_the_others_from_it(caplog: pytest.LogCaptureFixture) -> None:
    heard = list[int]()
    callbacks: Callbacks[[int]] = Callbacks("on_something")

    @callbacks
    def fail(n: int) -> None:
        raise LookupError("a mistake of the application")

    callbacks(heard.append)
    callbacks.fire(1)

    assert heard == [1]
    assert caplog.messages == ["A function that was given to on_something failed."]
    assert "a mistake of the application" in caplog.text


class Wrapped:
    def __init__(self, function: Any) -> None:
        self._function = function

    async def __call__(self) -> None:
        await self._function()


@pytest.mark.parametrize("make", [partial, Wrapped], ids=["partial", "object"])
def test_none_that_is_async_in_disguise_is_added(make: Callable[[object], Any]) -> None:
    async def later() -> None:
        """Say nothing."""

    callbacks: Callbacks[[]] = Callbacks("on_something")
    with pytest.raises(TypeError, match="on_something wants a function that is not async, but "):
        callbacks(make(later))
    assert not callbacks


def test_one_that_hands_out_a_coroutine_is_logged_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    async def later(n: int) -> None:
        """Say nothing."""

    heard = list[int]()
    callbacks: Callbacks[[int]] = Callbacks("on_something")
    callbacks(lambda n: later(n + 1))
    callbacks(heard.append)
    callbacks.fire(1)
    gc.collect()

    assert heard == [1]
    assert caplog.messages == ["A function that was given to on_something has done nothing: what it returned would have to be awaited."]
    assert not recwarn.list


def test_one_may_forget_itself_and_add_others_meanwhile() -> None:
    heard = list[str]()
    callbacks: Callbacks[[]] = Callbacks("on_something")

    @callbacks
    def once() -> None:
        heard.append("once")
        callbacks.remove(once)
        callbacks(lambda: heard.append("next time"))

    callbacks(lambda: heard.append("after it"))
    callbacks.fire()
    assert heard == ["once", "after it"]
    callbacks.fire()
    assert heard[2:] == ["after it", "next time"]
