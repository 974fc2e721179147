"""What must hold however long it goes on: nothing is left of hand-overs, nobody notices another worker's end.

``make soak-workers`` lets it go on for longer.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import pytest
import trio

from tests.conftest import SOAK
from tests.workers import app
from tests.workers.crew import ENGINE
from tests.workers.processes import BOUND, eventually, open_workers, url_of
from trio_sio import ClientSocket, Disconnected, open_client
from trio_sio.client import Connected, Reconnection
from trio_sio.config import TransportName
from trio_sio.testing.raw import RawHttp
from trio_sio.workers import Workers
from trio_sio.workers.ids import owner_of

pytestmark = pytest.mark.slow

HANDOVERS: Final = 10_000 if SOAK else 1_000
AT_MOST: Final = 20 * BOUND if SOAK else 80.0  # seconds, on a busy machine

CLIENTS: Final = 9
TRANSPORTS: Final[list[TransportName]] = ["websocket", "polling"]
POLL: Final = f"{ENGINE}&transport=polling"
SOON: Final = Reconnection(delay=0.1, delay_max=0.5)


def pids(workers: Workers) -> list[int]:
    return [slot.process.pid for slot in workers._slots if slot.process is not None]


def descriptors(workers: Workers) -> list[int]:
    """Return how many each worker has open."""
    return [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids(workers)]


async def connect(workers: Workers) -> RawHttp:
    return RawHttp(await trio.open_tcp_stream("127.0.0.1", int(url_of(workers).rpartition(":")[2])))


async def open_sessions(workers: Workers) -> list[str]:
    """Open a session by polling at each of two workers."""
    found: dict[int, str] = {}
    while len(found) < 2:
        async with await connect(workers) as client:
            response = await client.request("GET", POLL)
        sid = response.body.decode().partition('"sid":"')[2].partition('"')[0]
        found[owner_of(sid, 2)] = sid
    return [found[0], found[1]]


async def test_nothing_is_left_of_many_hand_overs() -> None:
    async with open_workers(app.patient, 2, bound=AT_MOST) as workers:
        sids = await open_sessions(workers)

        async def ask(count: int) -> None:
            async with await connect(workers) as client:
                for number in range(count):
                    # For one and for the other in turn, so the connection goes with each request.
                    response = await client.request("POST", f"{POLL}&sid={sids[number % 2]}", body="3")
                    assert response.body == b"ok"

        await ask(10)
        await trio.sleep(0.2)
        before = descriptors(workers)
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(ask, HANDOVERS // 4)
        await eventually(lambda: descriptors(workers) == before)


class Listener:
    """A client that never stops asking, and notes what it hears.

    Attributes:
      heard: The numbers that were said, by the id of the socket that heard them.
      joined: How often it has joined.
      home: Number and process of the worker at which it was first.
      there: Set as soon as that is known.
    """

    def __init__(self) -> None:
        self.heard = defaultdict[str, list[int]](list)
        self.joined = 0
        self.home = [0, 0]
        self.there = trio.Event()

    async def stay(self, url: str, transport: TransportName) -> None:
        """Ask until cancelled."""
        async with open_client(url, transports=[transport], reconnection=SOON) as client, trio.open_nursery() as nursery:
            client.on("said", lambda number, *_: self.heard[client.id].append(number))
            await nursery.start(self._watch, client)
            self.home = await client.emit_with_ack("who")
            self.there.set()
            for number in itertools.count():
                with suppress(Disconnected):
                    assert await client.emit_with_ack("echo", number, b"x", timeout=10) == (number, b"x")
                await trio.sleep(0.05)

    async def _watch(self, client: ClientSocket, task_status: trio.TaskStatus[None]) -> None:
        async with client.states() as states:
            task_status.started()
            async for state in states:
                if isinstance(state, Connected):
                    self.joined += 1

    @property
    def missed(self) -> list[int]:
        """What it has not heard of what was said between the first and the last that it has, each time that it was there."""
        return [number for heard in self.heard.values() for number in sorted({*range(heard[0], max(heard) + 1)} - set(heard))]


async def speak(url: str, said: list[int]) -> None:
    """Say one number after the other to all, each until it is taken."""
    async with open_client(url, transports=["websocket"], reconnection=SOON) as client:
        while True:
            with suppress(Disconnected):
                await client.emit_with_ack("say", len(said), timeout=10)
                said.append(len(said))
            await trio.sleep(0.02)


@asynccontextmanager
async def open_listeners(workers: Workers) -> AsyncIterator[list[Listener]]:
    """Have clients that are under way all the time, and hear one number after the other; all have heard the last one in the end."""
    url, listeners, said = url_of(workers), [Listener() for _ in range(CLIENTS)], list[int]()
    async with trio.open_nursery() as nursery:
        for number, listener in enumerate(listeners):
            nursery.start_soon(listener.stay, url, TRANSPORTS[number % 2])
        for listener in listeners:
            await listener.there.wait()
        nursery.start_soon(speak, url, said)
        yield listeners
        await trio.sleep(0.5)
        end = len(said)
        await eventually(lambda: all(listener.heard and max(list(listener.heard.values())[-1]) > end for listener in listeners))
        nursery.cancel_scope.cancel()


@pytest.mark.hostile("K11")
async def test_only_its_own_clients_notice_that_a_worker_is_killed() -> None:
    async with open_workers(app.recovering, 3) as workers, open_listeners(workers) as listeners:
        theirs = [listener for listener in listeners if listener.home[0] == 1]
        others = [listener for listener in listeners if listener.home[0] != 1]
        assert theirs
        os.kill(pids(workers)[1], signal.SIGKILL)
        await eventually(lambda: all(listener.joined > 1 for listener in theirs))
    assert [listener.joined for listener in theirs] == [2] * len(theirs)
    assert [(listener.joined, len(listener.heard), listener.missed) for listener in others] == [(1, 1, [])] * len(others)
