"""A thousand WebSockets at real workers: nobody has many more than another one, also after one was replaced."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio

from tests.workers import app
from tests.workers.processes import BOUND, eventually, open_workers, url_of
from trio_sio.testing.raw import RawWebSocket
from trio_sio.workers import Workers

CLIENTS = 1_000
TARGET = "/socket.io/?EIO=4&transport=websocket"


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """Let this process have a descriptor for each client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2 * CLIENTS)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Crowd:
    """Clients that do nothing but to be there, and come back when they are cut off.

    How long a process takes to start is not the subject, and who comes back before it has finds only the others. So they wait until all
    workers are there.
    """

    def __init__(self, workers: Workers) -> None:
        self._port = int(url_of(workers).rpartition(":")[2])
        self._workers = workers
        self.there = 0

    def _all_serve(self) -> bool:
        return all(slot.ready.is_set() and not slot.asked for slot in self._workers._slots)

    async def stay(self) -> None:
        """Connect; when the connection ends, connect again after a while, as the official client does."""
        rng = iter(range(1, 1_000_000))
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", self._port)
                async with await RawWebSocket.open(stream, TARGET) as websocket:
                    self.there += 1
                    try:
                        while True:
                            if await websocket.receive() == "2":
                                await websocket.send("3")
                    finally:
                        self.there -= 1
            except Exception:
                await trio.sleep(0.5 + (id(rng) // 64 % 100 + next(rng) * 37 % 100) / 200)
                await eventually(self._all_serve)


@asynccontextmanager
async def open_crowd(workers: Workers) -> AsyncIterator[Crowd]:
    async with trio.open_nursery() as nursery:
        crowd = Crowd(workers)
        for number in range(CLIENTS):
            nursery.start_soon(crowd.stay)
            if number % 20 == 0:
                await trio.sleep(0.005)
        yield crowd
        nursery.cancel_scope.cancel()


async def shares(workers: Workers) -> list[int]:
    """Return how many clients each worker has, as soon as they have all."""
    while True:
        statistics = await workers.statistics()
        counts = [0 if one is None else sum(one.sessions.values()) for one in statistics.workers]
        if sum(counts) == CLIENTS and min(counts) > 0:
            return counts
        await trio.sleep(0.2)


@pytest.mark.slow
async def test_the_fullest_has_at_most_a_fifth_more_than_the_emptiest() -> None:
    async with open_workers(app.sharing, 4, bound=2 * BOUND) as workers, open_crowd(workers) as crowd:
        await eventually(lambda: crowd.there == CLIENTS)
        counts = await shares(workers)
        assert max(counts) <= 1.2 * min(counts), counts
        process = workers._slots[2].process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        await eventually(lambda: crowd.there < CLIENTS)
        await eventually(lambda: crowd.there == CLIENTS)
        counts = await shares(workers)
        assert max(counts) <= 1.2 * min(counts), counts
        await workers.restart()
        await eventually(lambda: crowd.there == CLIENTS)
        counts = await shares(workers)
        assert max(counts) <= 1.2 * min(counts), counts
