"""The flusher: whoever was marked is flushed soon, once, and one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing

from trio_sio.engine import flusher as flusher_module
from trio_sio.engine.flusher import Flusher


class Output:
    def __init__(self, flush: Callable[[], object]) -> None:
        self._flush = flush

    def flush(self) -> None:
        self._flush()


@asynccontextmanager
async def open_flusher() -> AsyncIterator[Flusher]:
    flusher = Flusher()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flusher.run)
        await trio.testing.wait_all_tasks_blocked()
        yield flusher
        nursery.cancel_scope.cancel()


async def test_what_is_marked_is_flushed_in_order_and_not_at_once() -> None:
    async with open_flusher() as flusher:
        flushed = list[str]()
        flusher.mark(Output(lambda: flushed.append("a")))
        flusher.mark(Output(lambda: flushed.append("b")))
        assert flushed == []
        await trio.testing.wait_all_tasks_blocked()

        assert flushed == ["a", "b"]


async def test_what_is_marked_during_a_flush_is_flushed_in_the_next() -> None:
    async with open_flusher() as flusher:
        flushed = list[int]()

        def flush() -> None:
            flushed.append(len(flushed))
            if len(flushed) < 5:
                flusher.mark(output)

        output = Output(flush)
        flusher.mark(output)
        await trio.testing.wait_all_tasks_blocked()

        assert flushed == [0, 1, 2, 3, 4]


async def test_one_that_raises_is_logged_and_the_next_is_flushed(caplog: pytest.LogCaptureFixture) -> None:
    async with open_flusher() as flusher:
        flushed = list[str]()
        flusher.mark(Output(lambda: list[int]().remove(1)))
        flusher.mark(Output(lambda: flushed.append("b")))
        await trio.testing.wait_all_tasks_blocked()

        assert flushed == ["b"]
    assert "the others go on" in caplog.text


async def test_a_large_batch_gives_other_tasks_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flusher_module, "CONNECTIONS_PER_TURN", 2)
    turns = list[str]()

    async def other() -> None:
        while True:
            turns.append("-")
            await trio.lowlevel.checkpoint()

    async with open_flusher() as flusher, trio.open_nursery() as nursery:
        for _ in range(20):
            flusher.mark(Output(lambda: turns.append("x")))
        nursery.start_soon(other)
        for _ in range(60):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()

    assert turns.count("x") == 20
    # Two of each turn; Trio runs tasks in any order, so the other one may come first in one turn and last in the next.
    assert "x" * 5 not in "".join(turns)


async def test_endless_work_can_be_cancelled() -> None:
    flusher = Flusher()
    output = Output(lambda: flusher.mark(output))
    flusher.mark(output)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flusher.run)
            for _ in range(3):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("answers", "ahead"), [(1, True), (2, True), (3, False)])
async def test_a_few_do_not_wait_behind_a_broadcast_to_many(answers: int, ahead: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flusher_module, "CONNECTIONS_PER_TURN", 2)
    monkeypatch.setattr(flusher_module, "FEW", 2)
    async with open_flusher() as flusher:
        flushed, begun = list[str](), trio.Event()
        flusher.mark(Output(begun.set))
        for number in range(20):
            flusher.mark(Output(partial(flushed.append, f"broadcast {number}")))
        await begun.wait()
        for number in range(answers):
            flusher.mark(Output(partial(flushed.append, f"answer {number}")))
        await trio.testing.wait_all_tasks_blocked()

    assert len(flushed) == 20 + answers
    assert (flushed.index(f"answer {answers - 1}") < 19) is ahead
    assert [name for name in flushed if name.startswith("broadcast")] == [f"broadcast {number}" for number in range(20)]
