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
