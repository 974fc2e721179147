"""Functions that an application hands in and that nobody awaits."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Generator, Iterator
from functools import partial
from typing import Any

import pytest

from trio_sio.concurrency.functions import fault_of_sync, is_yes, let_go, require_sync


async def later() -> None:
    """Say nothing."""


async def one_by_one() -> AsyncIterator[int]:
    yield 1


def one_by_one_at_once() -> Iterator[int]:
    yield 1


class Later:
    async def __call__(self) -> None:
        """Say nothing."""

    async def method(self) -> None:
        """Say nothing."""

    @classmethod
    async def of_class(cls) -> None:
        """Say nothing."""


class AtOnce:
    def __call__(self) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    "function",
    [later, partial(later), partial(partial(later)), Later(), partial(Later()), Later().method, Later.of_class, one_by_one],
    ids=["async", "partial", "partial twice", "object", "partial of an object", "method", "class method", "async generator"],
)
def test_what_is_async_is_seen_to_be(function: Any) -> None:
    fault = fault_of_sync(function)
    assert fault is not None
    assert fault.endswith(" is async")
    with pytest.raises(TypeError, match="on_something wants a function that is not async, but "):
        require_sync(function, "on_something")


def test_a_generator_function_would_do_nothing() -> None:
    with pytest.raises(TypeError, match="is a generator function"):
        require_sync(one_by_one_at_once, "on_something")


def test_what_is_no_function_is_none() -> None:
    assert fault_of_sync(5) == "5 is no function"
    with pytest.raises(TypeError, match="on_something wants a function, not 5"):
        require_sync(5, "on_something")


@pytest.mark.parametrize("function", [print, len, lambda: later(), AtOnce(), AtOnce, Later, dict, [].append, partial(print)])  # noqa: PLW0108  # not async itself
def test_all_others_may_be_called(function: Any) -> None:
    assert fault_of_sync(function) is None
    require_sync(function, "on_something")


def test_what_was_to_be_awaited_is_let_go_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    assert let_go(later())
    assert let_go(one_by_one())
    gc.collect()
    assert not recwarn.list
    assert not any(let_go(other) for other in (None, True, 5, "x", [later], later))


def test_a_coroutine_that_runs_is_left_to_who_runs_it() -> None:
    log = list[str]()

    class Step:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def run() -> None:
        try:
            await Step()
            log.append("went on")
        finally:
            log.append("ended")

    coroutine = run()
    coroutine.send(None)
    assert let_go(coroutine)
    assert not log
    with pytest.raises(StopIteration):
        coroutine.send(None)
    assert log == ["went on", "ended"]


def test_only_true_is_yes(caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder) -> None:
    assert is_yes(True, "it")
    assert not any(is_yes(answer, "it") for answer in (False, None, 0, ""))
    assert not caplog.records
    assert not any(is_yes(answer, "it") for answer in (1, "yes", later(), one_by_one()))
    gc.collect()
    assert not recwarn.list
    assert len(caplog.records) == 4
