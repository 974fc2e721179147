"""Functions that are told what happened."""

from __future__ import annotations

import pytest

from trio_sio.engine.callbacks import Callbacks


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
