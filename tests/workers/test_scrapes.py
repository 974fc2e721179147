"""Workers ask each other for their metrics, and do without those that do not answer."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing

from tests.workers.crew import Crew, open_crew
from trio_sio.workers.board import State
from trio_sio.workers.scrapes import Scrapes

Tell = Callable[[int], Awaitable[bytes]]


async def at_once(number: int) -> bytes:
    await trio.lowlevel.checkpoint()
    return b"told %d\n" % number + b"# a line that makes it long\n" * 100_000


@asynccontextmanager
async def asking(tell: Tell = at_once) -> AsyncIterator[tuple[Crew, list[Scrapes]]]:
    """Run three workers that ask each other."""
    async with open_crew(count=3) as crew, trio.open_nursery() as nursery:
        scrapes = []
        for number, colleagues in enumerate(crew.colleagues):

            async def tell_this(number: int = number) -> bytes:
                return await tell(number)

            one = Scrapes(number, crew.board, colleagues._postboxes, tell_this)
            colleagues.on_question = partial(one.answer_soon, nursery)
            scrapes.append(one)
        yield crew, scrapes
        nursery.cancel_scope.cancel()


async def told(scrapes: Scrapes) -> dict[int, str]:
    return {number: text.splitlines()[0] for number, text in (await scrapes.ask_all()).items()}


async def test_each_tells_the_one_that_is_asked() -> None:
    async with asking() as (crew, scrapes):
        assert await told(scrapes[0]) == {1: "told 1", 2: "told 2"}
        assert await told(scrapes[2]) == {0: "told 0", 1: "told 1"}
        crew.enter(1, State.DRAINING)
        assert await told(scrapes[0]) == {1: "told 1", 2: "told 2"}
        crew.enter(1, State.STARTING)
        assert await told(scrapes[0]) == {2: "told 2"}
        assert [crew.board.connections(number) for number in range(3)] == [0, 0, 0]  # who asks is no client


@pytest.mark.hostile("O11")
async def test_one_that_hangs_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_sio.workers.scrapes._PATIENCE", 0.5)

    async def tell(number: int) -> bytes:
        if number == 1:
            await trio.sleep_forever()
        return await at_once(number)

    async with asking(tell) as (_, scrapes):
        assert await told(scrapes[0]) == {2: "told 2"}


@pytest.mark.hostile("O11")
async def test_one_whose_figures_cannot_be_had_is_missing_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """A registry may have collectors of the application's."""

    async def tell(number: int) -> bytes:
        if number == 1:
            raise ZeroDivisionError("of a collector")
        return await at_once(number)

    async with asking(tell) as (_, scrapes):
        for _ in range(2):
            assert await told(scrapes[0]) == {2: "told 2"}
        assert await told(scrapes[1]) == {0: "told 0", 2: "told 2"}
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING][:1]
    assert record.exc_info is not None
    assert "The metrics of this worker cannot be told" in record.getMessage()


@pytest.mark.hostile("O11")
async def test_who_has_no_descriptors_left_knows_of_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async with asking() as (_, scrapes):
        with monkeypatch.context() as patch:
            patch.setattr("trio_sio.workers.scrapes.socket.socketpair", full)
            assert await told(scrapes[0]) == {}
        assert await told(scrapes[0]) == {1: "told 1", 2: "told 2"}


async def test_so_is_one_that_ends_in_the_middle_of_it() -> None:
    async with asking() as (crew, scrapes):

        def half(sock: socket.socket) -> None:
            with sock:
                sock.send(b"told 1\n")

        crew.colleagues[1].on_question = half
        assert await told(scrapes[0]) == {2: "told 2"}


async def test_so_is_one_that_knows_of_no_metrics() -> None:
    async with open_crew(count=2) as crew:
        assert await told(Scrapes(0, crew.board, crew.colleagues[0]._postboxes, trio.sleep_forever)) == {}


async def test_one_that_tells_too_much_is_not_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_sio.workers.scrapes._LARGEST", 1_000_000)
    async with asking() as (_, scrapes):
        assert await told(scrapes[0]) == {}


async def test_who_asks_no_longer_leaves_nothing_behind() -> None:
    async with asking() as (_, scrapes):
        await told(scrapes[0])
        descriptors = len(os.listdir("/proc/self/fd"))
        for delay in range(20):
            with trio.move_on_after(delay / 2_000):
                await scrapes[0].ask_all()
        assert await told(scrapes[0]) == {1: "told 1", 2: "told 2"}
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert len(os.listdir("/proc/self/fd")) == descriptors
