"""One connection to Redis, over a stream in memory."""

from __future__ import annotations

import itertools

import trio
import trio.testing

from trio_sio.cluster.redis.link import Link, Outgoing
from trio_sio.cluster.redis.resp import Push


async def test_a_flood_of_messages_leaves_turns_to_others(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    heard, turns, done = list[bytes](), [0], trio.Event()

    def take(push: Push) -> None:
        heard.append(push[2])
        if len(heard) == 60:
            done.set()
        autojump_clock.jump(0.002)  # so long it takes to deliver it

    async def watch() -> None:
        while True:
            await trio.lowlevel.checkpoint()
            turns.append(len(heard))

    link = Link(ours, Outgoing(10, 1000), on_push=take, on_refused=print, max_bytes=1000, ping_interval=100, answer_timeout=100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        nursery.start_soon(watch)
        await theirs.send_all(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n" * 60)
        await done.wait()
        turns.append(len(heard))
        nursery.cancel_scope.cancel()
    # Three at a time; and who comes first in a turn of the scheduler may come last in the one before.
    assert max(after - before for before, after in itertools.pairwise(turns)) <= 6
