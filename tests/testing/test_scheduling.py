"""The order of tasks can be repeated, and an error takes the place of a wait."""

from __future__ import annotations

import sys

import pytest
import trio
import trio.testing
from trio._core import _run

from trio_sio.testing.scheduling import interrupt, seeded


def order(seed: int) -> list[int]:
    """Return in which order twenty tasks come to their turn, again and again."""
    seen: list[int] = []

    async def run(number: int) -> None:
        for _ in range(5):
            seen.append(number)
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(run, number)

    with seeded(seed):
        trio.run(main)
    return seen


def test_a_seed_is_an_order() -> None:
    assert order(1) == order(1)
    assert order(1) != order(2)
    assert sorted(order(1)) == sorted(order(2))


def test_trio_is_as_before_afterwards() -> None:
    state = _run._r.getstate()
    order(1)
    assert _run._r.getstate() == state
    assert not _run._ALLOW_DETERMINISTIC_SCHEDULING or "hypothesis" in sys.modules


async def test_a_wait_raises_and_is_withdrawn() -> None:
    lock = trio.Lock()
    error = OSError("thrown")
    raised: list[BaseException] = []

    async def wait() -> None:
        try:
            await lock.acquire()
        except OSError as caught:
            raised.append(caught)

    await lock.acquire()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        (task,) = nursery.child_tasks
        assert interrupt(task, error)
        assert not interrupt(task, error)  # it is about to run
    lock.release()
    assert raised == [error]
    assert not lock.locked()


async def test_what_cannot_be_given_up_is_left_alone() -> None:
    async def wait() -> None:
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        (task,) = nursery.child_tasks
        assert not interrupt(task, OSError())
        trio.lowlevel.reschedule(task)


@pytest.mark.parametrize("version", ["0.30.0", "0.36.0", "1.0.0", "0.36.0+dev"])
async def test_another_trio(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio, "__version__", version)
    sentence = rf"knows them in versions 0\.31 to 0\.35; this is {version.replace('+', '.')}\. Install one of those, or a newer trio_sio\.$"
    with pytest.raises(RuntimeError, match=sentence), seeded(0):
        pass
    with pytest.raises(RuntimeError, match=sentence):
        interrupt(trio.lowlevel.current_task(), OSError())
