"""What a session waits for: a ping, or that a large message comes on."""

from __future__ import annotations

import math

import trio
import trio.testing

from trio_sio.client.handshake import Handshake
from trio_sio.client.heartbeat import Heartbeat, Progress
from trio_sio.limits import PROGRESS

HANDSHAKE = Handshake("sid", (), ping_interval=25, ping_timeout=20, max_payload=1_000_000)


async def test_the_deadline(mock_clock: trio.testing.MockClock) -> None:
    heartbeat = Heartbeat(HANDSHAKE)
    assert heartbeat.scope.deadline == math.inf
    heartbeat.restart()
    assert heartbeat.scope.deadline == 45
    mock_clock.jump(10)
    heartbeat.prolong()
    assert heartbeat.scope.deadline == 45  # it is never nearer for it
    mock_clock.jump(30)
    heartbeat.prolong()
    assert heartbeat.scope.deadline == 60
    heartbeat.pause()
    heartbeat.prolong()
    assert heartbeat.scope.deadline == math.inf
    heartbeat.restart()
    assert heartbeat.scope.deadline == 85


def test_progress_is_told_once_for_so_many_bytes() -> None:
    told: list[int] = []
    size = 0
    progress = Progress()
    progress.add(PROGRESS)  # nobody listens yet
    progress.on_progress = lambda: told.append(size)
    for _ in range(3 * PROGRESS // 100 + 1):
        size += 100
        progress.add(100)
    assert told == [1_100, 2_100, 3_100]

    told.clear()
    progress.begin()
    for size in (PROGRESS - 1, 1, PROGRESS * 5, PROGRESS - 1):
        progress.add(size)
    assert told == [1, PROGRESS * 5]
    progress.begin()
    progress.add(PROGRESS - 1)
    assert told == [1, PROGRESS * 5]
