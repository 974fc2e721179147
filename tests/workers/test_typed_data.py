"""`socket.data` of a type goes from process to process."""

from __future__ import annotations

import pytest

from tests.workers import app
from tests.workers.processes import open_workers, url_of
from trio_sio import ClientSocket, open_client
from trio_sio.client.reconnection import Reconnection
from trio_sio.client.states import Connected, Lost

pytestmark = pytest.mark.slow

CUTS = 100  # half of which lead elsewhere, more or less


async def visit(client: ClientSocket) -> tuple[int, bool, int]:
    worker, recovered, count = await client.emit_with_ack("visit", "Ann", timeout=10)
    return worker, recovered, count


async def cut(client: ClientSocket) -> None:
    """Let the connection break, and wait until there is another one."""
    async with client.states() as states:
        await client.emit("cut")
        is_lost = False
        async for state in states:
            is_lost |= isinstance(state, Lost)
            if is_lost and isinstance(state, Connected):
                break


async def test_it_goes_to_other_workers_and_to_those_that_take_their_places() -> None:
    async with (
        open_workers(app.typed) as workers,
        open_client(url_of(workers), transports=["websocket"], reconnection=Reconnection(delay=0.05, delay_max=0.5)) as client,
    ):
        await client.emit_with_ack("visit", "Ann")
        count, places = 1, list[int]()
        while len(set(places)) < 2 or len(places) < 6:
            assert count < CUTS
            await cut(client)
            worker, recovered, times = await visit(client)
            count += 1
            assert (recovered, times) == (True, count)
            places.append(worker)
        for _ in range(2):
            await workers.restart()
            worker, recovered, times = await visit(client)
            count += 1
            assert (recovered, times) == (True, count)


async def test_a_session_in_a_namespace_by_pattern_is_there_when_all_workers_were_replaced() -> None:
    """Its client is away meanwhile, and nobody else is in that namespace, so each worker begins to use it for that session."""
    later = Reconnection(delay=6, delay_max=6, jitter=0)
    async with (
        open_workers(app.typed) as workers,
        open_client(url_of(workers), namespace="/room-1", transports=["websocket"], reconnection=later) as client,
    ):
        assert (await visit(client))[1:] == (False, 1)
        async with client.states() as states:
            await client.emit("cut")
            async for state in states:
                if isinstance(state, Lost):
                    break
        await workers.restart()
        assert (await client.emit_with_ack("visit", "Ann", timeout=30))[1:] == (True, 2)
