"""Who accepts: nobody has clearly more connections than another one, and nobody waits for one that does not come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from tests.workers.crew import Crew, open_crew
from trio_sio import Server
from trio_sio.config import generate_id
from trio_sio.testing.raw import RawWebSocket
from trio_sio.workers import board as boards
from trio_sio.workers import colleagues as module
from trio_sio.workers.board import State
from trio_sio.workers.ids import owner_of


@pytest.fixture
def crew() -> Iterator[Crew]:
    """Yield workers that serve nobody: only the numbers are of interest."""
    crew = Crew([Server() for _ in range(4)])
    for number in range(4):
        crew.board.enter(number, State.SERVING)
        crew.board.set_beat(number, 0, ready=True)
    yield crew
    crew.close()


@pytest.mark.parametrize(
    ("mine", "others", "share"),
    [
        (0, [0, 0, 0], 4),
        (3, [0, 5, 5], 1),
        (4, [0, 5, 5], 0),
        (250, [250, 250, 250], 12),
        (262, [250, 260, 260], 0),
        (0, [250, 250, 250], 64),
        (1_000, [1_000, 1_000, 990], 39),
    ],
)
async def test_a_worker_takes_as_many_as_leave_it_close_to_the_one_with_the_fewest(
    crew: Crew, mine: int, others: list[int], share: int
) -> None:
    crew.colleagues[0]._connections = mine
    for number, count in enumerate(others, 1):
        crew.board.set_connections(number, count)
    assert crew.colleagues[0]._share() == share
    if share > 0:
        assert await crew.colleagues[0].turn() == share


@pytest.mark.parametrize("state", [State.GONE, State.DRAINING])
async def test_nobody_leaves_anything_to_one_that_does_not_accept(crew: Crew, state: State) -> None:
    crew.colleagues[0]._connections = 100
    for number in (1, 2, 3):
        crew.board.enter(number, state)
    assert await crew.colleagues[0].turn() == module.ACCEPTS


async def test_one_that_starts_is_waited_for_but_not_for_ever(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    crew.colleagues[0]._connections = 100
    for number in (1, 2):
        crew.board.set_connections(number, 100)
    crew.board.enter(3, State.STARTING)
    assert crew.colleagues[0]._share() < 0
    then = boards.now() + 3_000
    monkeypatch.setattr(module, "now", lambda: then)
    for number in (1, 2):
        monkeypatch.setattr(boards, "now", lambda: then)
        crew.board.set_beat(number, 0, ready=True)
    assert crew.colleagues[0]._share() == 5


async def test_one_that_hangs_is_not_waited_for(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    crew.colleagues[0]._connections = 100
    then = boards.now() + 1_001
    monkeypatch.setattr(boards, "now", lambda: then)
    assert crew.colleagues[0]._share() == module.ACCEPTS


@pytest.mark.parametrize(("state", "seconds"), [(State.SERVING, 0.1), (State.STARTING, 0.5)])
async def test_what_the_others_do_not_take_is_taken_after_a_moment(
    crew: Crew, autojump_clock: trio.testing.MockClock, state: State, seconds: float
) -> None:
    crew.board.enter(3, state)
    crew.colleagues[0]._connections = 100
    before = trio.current_time()
    assert await crew.colleagues[0].turn() == 1
    assert seconds <= trio.current_time() - before + 1e-6 < seconds + 0.01


async def test_websockets_are_shared_by_all() -> None:
    async with open_crew(count=4, shared=True) as crew:

        async def open_some(count: int, sockets: list[RawWebSocket]) -> None:
            for _ in range(count):
                stream = await trio.open_tcp_stream("127.0.0.1", crew.ports[0])
                sockets.append(await RawWebSocket.open(stream, "/socket.io/?EIO=4&transport=websocket"))

        sockets = list[RawWebSocket]()
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(open_some, 20, sockets)
        counts = [server.engine.clients_count for server in crew.servers]
        assert sum(counts) == 400
        assert max(counts) <= 1.2 * min(counts), counts
        for socket in sockets:
            await trio.aclose_forcefully(socket.stream)


def test_random_ids_are_of_all_workers_alike() -> None:
    counts = Counter(owner_of(generate_id(), 4) for _ in range(10_000))
    assert set(counts) == {0, 1, 2, 3}
    assert max(counts.values()) < 1.15 * min(counts.values())
    assert owner_of("ä\ud800", 7) in range(7)


def test_an_id_is_of_the_same_worker_in_every_process() -> None:
    assert [owner_of(sid, 4) for sid in ("a", "b", "lv_VI97HAXpY6yYWAAAC")] == [3, 1, 3]
