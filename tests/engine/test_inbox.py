"""When reading stops, when it goes on, and when it is over."""

from __future__ import annotations

from typing import cast

import pytest

from trio_sio.config import Config
from trio_sio.engine.connection import Connection
from trio_sio.engine.inbox import WHILE_AWAITED, Inbox
from trio_sio.errors import InboxOverflow
from trio_sio.limits import Limits


class Reader:
    """What an inbox sees of a connection."""

    def __init__(self, events: int, memory: int) -> None:
        self.config = Config(limits=Limits(inbox_events=events, inbox_bytes=memory))
        self._accepting = True
        self.changes = 0

    def accepting(self) -> bool:
        return self._accepting

    def accept(self, accepting: bool) -> None:
        assert accepting is not self._accepting, "told twice"
        self._accepting = accepting
        self.changes += 1


def made(events: int = 1_000_000, memory: int = 1_000_000) -> tuple[Inbox, Reader]:
    reader = Reader(events, memory)
    return Inbox(cast("Connection", reader)), reader


async def test_reading_stops_at_so_many_events_and_goes_on_at_half_of_them() -> None:
    inbox, reader = made(events=4)
    for accepting in (True, True, True, False, False):
        inbox.queued(1)
        assert reader.accepting() is accepting
    for accepting in (False, False, True, True, True):
        inbox.taken(1)
        assert reader.accepting() is accepting
    assert (inbox.events, inbox.bytes, reader.changes) == (0, 0, 2)


async def test_reading_stops_at_so_many_bytes_and_goes_on_at_half_of_them() -> None:
    inbox, reader = made(memory=100)
    for memory, accepting in ((99, True), (1, False), (1_000, False)):
        inbox.queued(memory)
        assert reader.accepting() is accepting
    inbox.queued(50)
    for memory, accepting in ((1_000, False), (99, False), (1, True)):
        inbox.taken(memory)
        assert reader.accepting() is accepting


async def test_both_have_to_be_half_free() -> None:
    inbox, reader = made(events=4, memory=100)
    for memory in (20, 30, 1, 1):
        inbox.queued(memory)
    assert not reader.accepting()
    inbox.taken(1)
    inbox.taken(1)
    assert reader.accepting()

    inbox, reader = made(events=4, memory=100)
    for memory in (60, 40):
        inbox.queued(memory)
    inbox.taken(40)
    assert not reader.accepting()
    inbox.taken(60)
    assert reader.accepting()


async def test_nobody_who_is_only_fast_is_disconnected() -> None:
    inbox, reader = made(events=2, memory=100)
    for _ in range(100):  # a door may have received them before it was told to stop
        inbox.queued(1_000)
    assert not reader.accepting()


@pytest.mark.parametrize(("memory", "most"), [(1, 4 * WHILE_AWAITED), (50, 2 * WHILE_AWAITED)], ids=["events", "bytes"])
async def test_while_the_client_is_awaited_there_is_more_room_and_then_an_end(memory: int, most: int) -> None:
    inbox, reader = made(events=4, memory=100)
    inbox.awaiting(1)
    for _ in range(most):
        inbox.queued(memory)
    assert reader.accepting()
    with pytest.raises(InboxOverflow, match="while a handler waits for the client"):
        inbox.queued(memory)


async def test_the_last_that_found_room_may_be_larger_than_it() -> None:
    inbox, reader = made(memory=100)
    inbox.awaiting(1)
    inbox.queued(WHILE_AWAITED * 100 - 1)
    inbox.queued(100_000)
    assert reader.accepting()
    with pytest.raises(InboxOverflow):
        inbox.queued(1)


async def test_reading_goes_on_as_long_as_somebody_waits() -> None:
    inbox, reader = made(events=2)
    for _ in range(3):
        inbox.queued(1)
    seen = [reader.accepting()]
    for change in (1, 1, -1, -1, 1):
        inbox.awaiting(change)
        seen.append(reader.accepting())
    for _ in range(3):
        inbox.taken(1)
    inbox.awaiting(-1)
    assert seen == [False, True, True, True, False, True]
    assert reader.accepting()


async def test_half_a_packet_counts_and_alone_stops_nothing() -> None:
    inbox, reader = made(memory=100)
    inbox.part_arrived(500)
    assert reader.accepting()
    inbox.queued(1)
    assert not reader.accepting()
    inbox.taken(1)  # nothing else would ever make room
    assert reader.accepting()
    inbox.queued(1)
    inbox.part_arrived(-500)
    inbox.queued(500)
    assert (inbox.events, inbox.bytes) == (2, 501)


async def test_half_a_packet_behind_others_stops_reading_or_is_too_much() -> None:
    inbox, reader = made(memory=100)
    inbox.queued(1)
    inbox.part_arrived(99)
    assert not reader.accepting()
    inbox.awaiting(1)
    inbox.part_arrived(400)
    with pytest.raises(InboxOverflow):
        inbox.part_arrived(1)


async def test_reading_can_be_stopped_for_another_reason() -> None:
    inbox, reader = made(events=2)
    inbox.hold(True)
    assert not reader.accepting()
    inbox.queued(1)
    inbox.queued(1)
    inbox.hold(False)
    assert not reader.accepting()
    inbox.hold(True)
    inbox.taken(1)
    inbox.taken(1)
    assert not reader.accepting()
    inbox.awaiting(1)
    assert reader.accepting()
    inbox.awaiting(-1)
    assert not reader.accepting()
    inbox.hold(False)
    assert reader.accepting()
