"""What is counted of a message that is not complete."""

from __future__ import annotations

from trio_sio.client.stream import Progress
from trio_sio.limits import PROGRESS


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
