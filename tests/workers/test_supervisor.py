"""The supervisor without processes: what becomes of those who wait for it, and of what the board says, when workers have ended."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import cast

import pytest
import trio
import trio.testing

from tests.workers import app
from tests.workers.crew import descriptors
from trio_sio.workers import Workers, WorkersFailed, serve, supervisor
from trio_sio.workers.board import State
from trio_sio.workers.channel import Channel, make_pair
from trio_sio.workers.slot import Slot


class Processes:
    """What runs in place of them: each begins to serve, and ends when that is wanted.

    Attributes:
      started: How many, by worker.
      fail: Why the next ones do not come to be.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started = [0, 0]
        self.fail = list[OSError]()
        self._ends = [trio.Event(), trio.Event()]

        async def run_process(workers: Workers, slot: Slot) -> str:
            return await self._run(workers, slot)

        monkeypatch.setattr(Workers, "_run_process", run_process)

    def end(self, number: int) -> None:
        """End what runs there."""
        self._ends[number].set()

    async def _run(self, workers: Workers, slot: Slot) -> str:
        slot.renew()
        slot.asked, slot.said = workers._stopping.is_set(), {}
        if self.fail:
            raise self.fail.pop()
        slot.said = {"drain_timeout": 1.0}
        self.started[slot.number] += 1
        self._ends[slot.number] = trio.Event()
        workers._board.enter(slot.number, State.SERVING)
        slot.ready.set()
        try:
            await self._ends[slot.number].wait()
        finally:
            workers._board.enter(slot.number, State.GONE)
        return "It is gone."


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    return Processes(monkeypatch)


@asynccontextmanager
async def running(scope: trio.CancelScope) -> AsyncIterator[Workers]:
    """Run two workers, until ``scope`` is cancelled, or as long as they do."""
    workers = Workers([], {}, 2, None, None)

    async def run(*, task_status: trio.TaskStatus[Workers]) -> None:
        with scope, suppress(WorkersFailed, ExceptionGroup):
            await workers.run(task_status)

    async with trio.open_nursery() as nursery:
        yield await nursery.start(run)
        nursery.cancel_scope.cancel()


def fail(processes: Processes, scope: trio.CancelScope) -> None:
    """Let a worker end as often as ends all."""
    processes.end(1)


def cancel(processes: Processes, scope: trio.CancelScope) -> None:
    """Let `serve` be cancelled."""
    scope.cancel()


End = Callable[[Processes, trio.CancelScope], None]
ENDS = pytest.mark.parametrize("end", [fail, cancel])


@ENDS
async def test_who_waits_for_another_process_is_told_that_all_have_ended(
    processes: Processes,
    end: End,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a task elsewhere, which does not fail when they do."""
    monkeypatch.setattr(supervisor, "MOST_CRASHES", 0)
    scope = trio.CancelScope()
    with trio.fail_after(60):
        async with running(scope) as workers, trio.open_nursery() as nursery:
            # Nobody has asked that process to end, as far as it knows, so it goes on.
            nursery.start_soon(workers.restart)
            await trio.testing.wait_all_tasks_blocked()
            end(processes, scope)


@ENDS
async def test_when_all_have_ended_there_is_nothing_to_do(
    processes: Processes,
    end: End,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signal may come just then."""
    monkeypatch.setattr(supervisor, "MOST_CRASHES", 0)
    scope = trio.CancelScope()
    with trio.fail_after(60):
        async with running(scope) as workers:
            end(processes, scope)
            await trio.testing.wait_all_tasks_blocked()
            await workers.drain()
            await workers.restart()
            assert (await workers.statistics()).workers == [None, None]
    assert processes.started == [1, 1]


async def test_a_drain_does_not_say_of_who_has_crashed_that_it_is_there(
    processes: Processes, autojump_clock: trio.testing.MockClock
) -> None:
    """Requests for its sessions would be handed to nobody; as it is, who holds them says that there is no such session."""
    async with running(trio.CancelScope()) as workers:
        for _ in range(2):
            processes.end(1)
            await trio.testing.wait_all_tasks_blocked()
        assert workers._board.state(1) is State.GONE  # until it is started again, in half a second
        processes.end(0)
        await workers.drain()
        assert workers._board.state(1) is State.GONE
    assert processes.started == [1, 2]


async def test_a_machine_without_room_for_a_process_is_given_time(
    processes: Processes, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The other workers live."""
    async with running(trio.CancelScope()) as workers:
        processes.fail = [BlockingIOError(errno.EAGAIN, "no room") for _ in range(3)]
        processes.end(1)
        await trio.sleep(4)
        assert workers._board.state(1) is State.SERVING
        await workers.drain()
        processes.end(0)
        processes.end(1)
    assert processes.started == [1, 2]
    assert f"Worker 1 has ended: It cannot be started: [Errno {errno.EAGAIN}] no room. It is started again in 1 seconds." in caplog.text


async def test_what_cannot_be_started_at_the_beginning_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def open_process(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "no room")

    monkeypatch.setattr(trio.lowlevel, "open_process", open_process)
    with pytest.RaisesGroup(pytest.RaisesExc(WorkersFailed, match="Worker 0 does not start: It cannot be started: .* no room")):
        await Workers([], {}, 1, None, None).run(trio.TASK_STATUS_IGNORED)


@pytest.mark.parametrize("room", [0, 1, 2])
async def test_nothing_is_kept_of_workers_for_which_there_is_no_room(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    pairs = iter([make_pair() for _ in range(room)])

    def make_another() -> tuple[socket.socket, socket.socket]:
        for pair in pairs:
            return pair
        raise OSError(errno.EMFILE, "no room")

    before = descriptors() - 2 * room
    monkeypatch.setattr(supervisor, "make_pair", make_another)
    with pytest.raises(OSError, match="no room"):
        await serve(app.quick, "127.0.0.1", 0, workers=3)
    assert descriptors() == before


class Process:
    """One that does nothing, until it is killed."""

    killed = False

    def kill(self) -> None:
        self.killed = True


@asynccontextmanager
async def introducing(full: int) -> AsyncIterator[tuple[Workers, list[Channel], Process]]:
    """Give two workers channels, of which one is full: nobody reads from it."""
    workers, process = Workers([], {}, 2, None, None), Process()
    with workers._owned:
        pairs = [make_pair() for _ in range(2)]
        channels = [Channel(here) for here, _ in pairs]
        for slot, channel in zip(workers._slots, channels, strict=True):
            slot.channel, slot.process = channel, cast("trio.Process", process)
        while channels[full].send({"do": "nothing"}):
            pass
        yield workers, channels, process
        for channel, (_, there) in zip(channels, pairs, strict=True):
            channel.close()
            there.close()


async def test_a_process_that_cannot_be_told_what_it_needs_is_ended() -> None:
    """It would wait for that, and whoever has started the workers with it."""
    async with introducing(full=1) as (workers, channels, process):
        before = descriptors()
        workers._introduce(workers._slots[1], cast("trio.Process", process), channels[1])
        assert process.killed
        assert workers._slots[1].refused.startswith("What it needs cannot be sent to it")
        assert descriptors() == before


async def test_a_link_that_a_worker_does_not_take_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Such as one that hangs: when it does no longer, it hears the others, but not the new one."""
    async with introducing(full=0) as (workers, channels, process):
        before = descriptors()
        workers._introduce(workers._slots[1], cast("trio.Process", process), channels[1])
        assert not process.killed
        assert descriptors() == before
    assert "Workers 0 and 1 do not hear each other, as 0 does not take the link" in caplog.text
