from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from trio_sio.concurrency.unwrapping import unwrapping


@asynccontextmanager
async def two_nurseries(background: BaseException | None = None) -> AsyncIterator[None]:
    async def fail(error: BaseException) -> None:
        raise error

    with unwrapping() as body:
        async with trio.open_nursery(), trio.open_nursery() as nursery:
            with body:
                if background is not None:
                    nursery.start_soon(fail, background)
                yield
                await trio.sleep_forever()


async def test_an_error_of_the_body_comes_out_as_it_was() -> None:
    error = KeyError("mine")

    with pytest.raises(KeyError) as raised:
        async with two_nurseries():
            raise error

    assert raised.value is error
    assert raised.value.__context__ is None


async def test_a_group_of_the_body_comes_out_as_it_was() -> None:
    error = ExceptionGroup("mine", [KeyError()])

    with pytest.RaisesGroup(KeyError) as raised:
        async with two_nurseries():
            raise error

    assert raised.value is error


async def test_an_error_of_a_background_task_comes_out_in_its_groups() -> None:
    with pytest.RaisesGroup(pytest.RaisesGroup(ValueError)):
        async with two_nurseries(background=ValueError()):
            pass


async def test_both_errors_come_out_together() -> None:
    with pytest.RaisesGroup(pytest.RaisesGroup(ValueError, KeyError)):
        async with two_nurseries(background=ValueError()):
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()
            raise KeyError


async def test_cancellation_passes() -> None:
    with trio.CancelScope() as scope:
        async with two_nurseries():
            scope.cancel()
            await trio.lowlevel.checkpoint()

    assert scope.cancelled_caught
