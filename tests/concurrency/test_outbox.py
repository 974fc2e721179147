"""The outbox: two bounds, one order, and nothing half done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from tests.concurrency.outboxes import make_outbox, sized
from trio_sio.concurrency.outbox import AGE_SAMPLES, SPARSE, Outbox
from trio_sio.engine.polling import take_payload
from trio_sio.errors import EncodeError
from trio_sio.protocol.frames import EncodedPacket


def full_outbox() -> tuple[Outbox[EncodedPacket], EncodedPacket]:
    outbox, first = make_outbox(packets=1), sized(1)
    assert outbox.offer(first)
    return outbox, first


@contextmanager
def blocks() -> Iterator[None]:
    with pytest.raises(trio.WouldBlock):
        yield


# The bounds: n passes, n+1 does not.


@pytest.mark.parametrize(("packets", "size", "each"), [(3, 100, 1), (100, 12, 4)], ids=["packets", "bytes"])
def test_the_last_that_fits_goes_in_and_the_next_does_not(packets: int, size: int, each: int) -> None:
    outbox = make_outbox(packets, size)

    assert [outbox.offer(sized(each)) for _ in range(4)] == [True, True, True, False]
    with blocks():
        outbox.send_nowait(sized(each))
    assert (len(outbox), outbox.bytes) == (3, 3 * each)


async def test_a_packet_as_large_as_the_outbox_fits_and_a_larger_one_never_does() -> None:
    outbox = make_outbox(size=10)

    await outbox.send(sized(10))
    with pytest.raises(EncodeError, match=r"11 bytes and an outbox holds 10: send it in parts, or raise Limits\.outbox_bytes"):
        await outbox.send(sized(11))
    with pytest.raises(EncodeError):
        outbox.send_nowait(sized(11))
    assert len(outbox) == 1


def test_the_engines_own_packets_pass_the_bounds() -> None:
    outbox, _ = full_outbox()

    outbox.put(sized(50))

    assert (len(outbox), outbox.bytes) == (2, 51)


# Taking out.


def test_packets_leave_in_order_and_in_parts() -> None:
    outbox = make_outbox(packets=5, size=100)
    packets = [sized(4) for _ in range(5)]
    for packet in packets:
        outbox.put(packet)

    assert outbox.take(8) == packets[:2]
    assert outbox.take(11) == packets[2:4]
    assert (len(outbox), outbox.bytes) == (1, 4)
    assert outbox.take(1) == packets[4:]  # at least one, or a large packet would never leave
    assert outbox.take(1) == []
    assert outbox.bytes == 0


def test_the_transport_is_told_once_each_time_the_outbox_stops_being_empty() -> None:
    outbox, told = make_outbox(), list[int]()
    outbox.notify = lambda: told.append(len(outbox))

    outbox.put(sized(5))
    outbox.put(sized(5))
    assert told == [1]
    outbox.take(5)
    outbox.put(sized(5))
    assert told == [1]  # it was not emptied, so it is still being taken from
    outbox.take(100)
    outbox.put(sized(5))
    assert told == [1, 1]


# Waiting for room.


async def test_senders_get_room_first_come_first_served() -> None:
    outbox, _ = full_outbox()
    packets = [sized(1) for _ in range(3)]
    async with trio.open_nursery() as nursery:
        for packet in packets:
            nursery.start_soon(outbox.send, packet)
            await trio.testing.wait_all_tasks_blocked()

        left = [outbox.take(1) for _ in range(4)]

    assert left[1:] == [[packet] for packet in packets]


async def test_a_small_packet_does_not_overtake_a_large_one_that_waits() -> None:
    outbox = make_outbox(packets=10, size=10)
    first, second, large, small = sized(4), sized(4), sized(9), sized(1)
    outbox.put(first)
    outbox.put(second)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.send, large)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(outbox.send, small)
        await trio.testing.wait_all_tasks_blocked()

        assert [outbox.take(1) for _ in range(4)] == [[first], [second], [large], [small]]


async def test_while_somebody_waits_everybody_else_sees_a_full_outbox() -> None:
    outbox = make_outbox(packets=10, size=10)
    outbox.put(sized(5))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.send, sized(6))
        await trio.testing.wait_all_tasks_blocked()

        assert not outbox.offer(sized(1))
        with blocks():
            outbox.send_nowait(sized(1))
        outbox.offer_volatile(sized(1))
        assert (len(outbox), outbox.dropped) == (1, 1)
        nursery.cancel_scope.cancel()

    assert outbox.offer(sized(1))


# Atomic cancellation: Cancelled means that nothing was queued, and the other way round.


async def test_a_send_that_is_cancelled_before_it_begins_queues_nothing() -> None:
    outbox = make_outbox()
    with trio.CancelScope() as scope:
        scope.cancel()
        await outbox.send(sized(1))

    assert scope.cancelled_caught
    assert len(outbox) == 0


async def test_a_send_that_is_cancelled_while_it_waits_queues_nothing() -> None:
    outbox, first = full_outbox()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.send, sized(2))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert outbox.take(100) == [first]
    assert outbox.take(100) == []


@pytest.mark.parametrize("full", [False, True], ids=["after it queued", "after it was moved in"])
async def test_a_cancellation_that_comes_too_late_is_not_raised(full: bool) -> None:
    outbox, packet, returned = make_outbox(packets=1), sized(2), list[bool]()
    scope = trio.CancelScope()

    async def send() -> None:
        with scope:
            await outbox.send(packet)
            returned.append(True)

    if full:
        outbox.put(sized(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        if full:
            await trio.testing.wait_all_tasks_blocked()
            outbox.take(1)
        else:
            outbox.notify = scope.cancel
        if full:
            scope.cancel()

    assert returned == [True]
    assert outbox.take(100) == [packet]


async def test_the_one_behind_a_cancelled_sender_is_served() -> None:
    outbox, _ = full_outbox()
    scope, behind = trio.CancelScope(), sized(1)

    async def send_cancelled() -> None:
        with scope:
            await outbox.send(sized(1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_cancelled)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(outbox.send, behind)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()

        outbox.take(100)
        assert outbox.take(100) == [behind]


# Volatile packets.


def test_volatile_packets_go_first_and_the_oldest_of_them_before_the_others() -> None:
    outbox = make_outbox(packets=4, size=100)
    lasting, old, new, last = sized(1), sized(1), sized(1), sized(1)
    outbox.offer_volatile(old)
    outbox.put(lasting)
    outbox.offer_volatile(new)
    outbox.put(last)

    more = sized(1)
    assert outbox.offer(more)

    assert outbox.dropped == 1
    assert outbox.take(100) == [lasting, new, last, more]


def test_not_all_volatile_packets_go_for_one_that_lasts() -> None:
    outbox = make_outbox(packets=10, size=10)
    kept, lasting = sized(3), sized(6)
    outbox.offer_volatile(sized(3))
    outbox.offer_volatile(kept)

    assert outbox.offer(lasting)
    assert (outbox.dropped, outbox.bytes) == (1, 9)
    assert outbox.take(100) == [kept, lasting]


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many places were looked at each time gaps were closed: what takes as long as the queue is."""
    counts, close_gaps = list[int](), Outbox._close_gaps

    def counted(self: Outbox[EncodedPacket]) -> None:
        counts.append(len(self._queue))
        close_gaps(self)

    monkeypatch.setattr(Outbox, "_close_gaps", counted)
    return counts


@pytest.mark.parametrize("volatile", [800, 80, 1])
@pytest.mark.parametrize(("packets", "size"), [(800, 10_000), (10_000, 800)], ids=["packets", "bytes"])
def test_room_is_made_in_constant_time(packets: int, size: int, volatile: int, moved: list[int]) -> None:
    outbox = make_outbox(packets, size)
    for _ in range(volatile):
        outbox.offer_volatile(sized(1))
    while len(outbox) < 800:
        outbox.put(sized(1))

    assert [outbox.offer(sized(1)) for _ in range(volatile + 1)] == [True] * volatile + [False]
    assert outbox.dropped == volatile
    assert sum(moved) <= 4 * volatile


@pytest.mark.parametrize("others", [0, 1, 700])
def test_a_key_moves_to_the_end_in_constant_time_and_the_queue_stays_as_long_as_it_is(others: int, moved: list[int]) -> None:
    outbox = make_outbox(packets=1000, size=10_000)
    outbox.offer_volatile(sized(1), "cursor")
    for _ in range(others):
        outbox.put(sized(1))
    for _ in range(5_000):
        outbox.offer_volatile(sized(1), "cursor")
        assert len(outbox._queue) <= 2 * len(outbox) + SPARSE

    assert (len(outbox), outbox.bytes, outbox.dropped) == (others + 1, others + 1, 5_000)
    assert sum(moved) <= 4 * 5_000
    assert len(outbox.take(10_000)) == others + 1


def test_nothing_is_remembered_of_volatile_packets_that_have_left() -> None:
    outbox = make_outbox(packets=100, size=100)
    for number in range(1_000):
        outbox.put(sized(1))
        outbox.offer_volatile(sized(1), number)
        outbox.take(1)  # never all of it
        if len(outbox) > 50:
            outbox.take(40)
        assert len(outbox._volatile or ()) + len(outbox._keys or ()) <= 2 * len(outbox)
    take_payload(outbox, 1_000)

    assert (outbox._volatile, outbox._keys) == (None, None)


def test_a_volatile_packet_that_does_not_fit_is_dropped_and_drives_nobody_out() -> None:
    outbox = make_outbox(packets=1)
    first = sized(1)
    outbox.offer_volatile(first)

    outbox.offer_volatile(sized(1))

    assert outbox.dropped == 1
    assert outbox.take(100) == [first]


def test_of_the_volatile_packets_of_a_key_only_the_newest_waits_and_it_has_the_newest_place() -> None:
    outbox = make_outbox(packets=10, size=100)
    other, newest, lasting = sized(1), sized(5), sized(1)
    outbox.offer_volatile(sized(2), "cursor")
    outbox.put(lasting)
    outbox.offer_volatile(other, "other")
    outbox.offer_volatile(newest, "cursor")

    assert (len(outbox), outbox.dropped, outbox.bytes) == (3, 1, 7)
    assert outbox.take(100) == [lasting, other, newest]
    after = sized(1)
    outbox.offer_volatile(after, "cursor")  # what it would replace has left
    assert outbox.take(100) == [after]


def test_a_polling_payload_has_no_gaps() -> None:
    outbox = make_outbox(packets=10, size=100)
    lasting, newest = sized(1), sized(1)
    outbox.offer_volatile(sized(1), "cursor")
    outbox.put(lasting)
    outbox.offer_volatile(sized(1), "cursor")
    outbox.offer_volatile(newest, "cursor")

    assert take_payload(outbox, 3) == [lasting, newest]


def test_in_a_full_outbox_the_newest_of_a_key_takes_the_room_of_the_one_before_it() -> None:
    outbox = make_outbox(packets=2, size=10)
    lasting, fits = sized(5), sized(5)
    outbox.offer_volatile(sized(3), "cursor")
    outbox.put(lasting)

    outbox.offer_volatile(fits, "cursor")
    outbox.offer_volatile(sized(6), "cursor")

    assert outbox.dropped == 2
    assert outbox.take(100) == [lasting, fits]


def test_the_places_of_keys_survive_taking_a_part() -> None:
    outbox = make_outbox(packets=10, size=100)
    lasting, newest = sized(1), sized(1)
    outbox.put(sized(1))
    outbox.put(lasting)
    outbox.offer_volatile(sized(1), "cursor")
    outbox.take(1)

    outbox.offer_volatile(newest, "cursor")

    assert outbox.take(100) == [lasting, newest]


# Age, in samples.


def test_a_packet_is_overdue_once_it_was_there_for_as_many_samples() -> None:
    outbox = make_outbox(packets=10)
    outbox.put(sized(1))

    assert [outbox.is_overdue() for _ in range(AGE_SAMPLES + 2)] == [False] * AGE_SAMPLES + [True] * 2
    outbox.take(100)
    assert not outbox.is_overdue()


@pytest.mark.parametrize("volatile", [False, True], ids=["taken", "taken behind volatile ones"])
def test_only_the_oldest_makes_it_overdue(volatile: bool) -> None:
    outbox = make_outbox(packets=100, size=100)
    if volatile:
        outbox.offer_volatile(sized(1))
    for _ in range(3 * AGE_SAMPLES):
        outbox.put(sized(1))
        assert not outbox.is_overdue()
        if len(outbox) == AGE_SAMPLES:
            outbox.take(1)


@pytest.mark.parametrize("idle", [False, True], ids=["busy", "with a pause"])
def test_an_outbox_that_is_emptied_between_samples_is_never_overdue(idle: bool) -> None:
    outbox = make_outbox()
    for number in range(3 * AGE_SAMPLES):
        outbox.put(sized(1))
        assert not outbox.is_overdue()
        outbox.take(100)
        if idle and number == AGE_SAMPLES:
            assert not outbox.is_overdue()


def test_what_arrives_does_not_hide_what_waits() -> None:
    outbox = make_outbox(packets=100, size=100)
    for _ in range(AGE_SAMPLES):
        outbox.put(sized(1))
        assert not outbox.is_overdue()

    assert outbox.is_overdue()
    outbox.take(3)
    assert [outbox.is_overdue() for _ in range(3)] == [False, False, True]  # the last came three samples after the first


def test_what_was_dropped_is_not_overdue_and_excuses_nothing_else() -> None:
    outbox = make_outbox(packets=4, size=100)
    outbox.offer_volatile(sized(1))
    outbox.is_overdue()
    outbox.put(sized(1))
    outbox.offer_volatile(sized(1))
    outbox.is_overdue()
    outbox.offer_volatile(sized(1))
    for _ in range(3):
        assert outbox.offer(sized(1))  # in place of a volatile packet each time, the oldest first
    outbox.is_overdue()
    outbox.is_overdue()

    assert not outbox.is_overdue()  # the first sample saw only a packet that was dropped
    assert outbox.is_overdue()  # the second saw the one that is the oldest now


def test_the_newest_of_a_key_is_as_old_as_it_is() -> None:
    outbox = make_outbox(packets=10, size=100)
    for _ in range(2 * AGE_SAMPLES):
        outbox.offer_volatile(sized(1), "cursor")
        assert not outbox.is_overdue()

    assert [outbox.is_overdue() for _ in range(AGE_SAMPLES)] == [False] * (AGE_SAMPLES - 1) + [True]


# What the client has asked for.


def test_as_many_answers_may_wait_as_packets_and_those_that_have_left_count_no_more() -> None:
    outbox = make_outbox(packets=3, size=100)
    for _ in range(4):  # the first one finds an empty outbox
        assert outbox.owe()
        outbox.put(sized(1))

    assert not outbox.owe()
    outbox.take(2)
    assert outbox.owe()


# Whose it is.


async def test_who_waits_is_dropped_with_its_owner_and_what_was_queued_before_stays() -> None:
    outbox, first = full_outbox()
    gone, stays, others = object(), object(), sized(1)
    outbox.put(last := sized(1))
    async with trio.open_nursery() as nursery:
        for owner, packet in ((gone, sized(1)), (stays, others), (gone, sized(1))):
            nursery.start_soon(outbox.send, packet, owner)
            await trio.testing.wait_all_tasks_blocked()

        outbox.dismiss(gone)
        await trio.testing.wait_all_tasks_blocked()

        assert len(nursery.child_tasks) == 1
        assert outbox.dropped == 2
        assert [outbox.take(1) for _ in range(4)] == [[first], [last], [others], []]


async def test_who_waited_behind_one_that_was_dismissed_has_room_at_once() -> None:
    outbox, gone = make_outbox(packets=10, size=10), object()
    outbox.put(first := sized(5))
    async with trio.open_nursery() as nursery:
        for owner, size in ((gone, 6), (None, 5)):
            nursery.start_soon(outbox.send, sized(size), owner)
            await trio.testing.wait_all_tasks_blocked()

        outbox.dismiss(gone)

    assert (len(outbox), outbox.take(1)) == (2, [first])


async def test_one_that_waits_for_another_owner_can_still_be_cancelled() -> None:
    outbox, first = full_outbox()
    gone = object()
    async with trio.open_nursery() as nursery:
        for owner in (None, gone):
            nursery.start_soon(outbox.send, sized(1), owner)
            await trio.testing.wait_all_tasks_blocked()
        outbox.dismiss(gone)
        nursery.cancel_scope.cancel()

    assert outbox.take(100) == [first]
    assert outbox.take(100) == []


# What nobody wants any more.


async def test_what_is_discarded_makes_room_and_what_comes_then_is_told() -> None:
    notified = 0

    def notify() -> None:
        nonlocal notified
        notified += 1

    outbox = make_outbox()
    outbox.notify = notify
    packets = [sized(size) for size in (1, 2, 1)]
    for packet in packets:
        outbox.put(packet)
    waits = sized(3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.send, waits)
        await trio.testing.wait_all_tasks_blocked()
        assert outbox.discard(lambda packet: packet.size == 1) == [packets[0], packets[2]]
        assert len(outbox) == 2
    assert (len(outbox), outbox.bytes, outbox.dropped, notified) == (2, 5, 2, 1)

    assert outbox.discard(lambda _: True) == [packets[1], waits]
    assert outbox.discard(lambda _: True) == []
    assert (len(outbox), outbox.bytes) == (0, 0)
    outbox.put(last := sized(1))
    assert (notified, outbox.take(100)) == (2, [last])


async def test_what_is_withdrawn_makes_room_and_what_comes_then_is_told() -> None:
    notified = 0

    def notify() -> None:
        nonlocal notified
        notified += 1

    outbox, first = full_outbox()
    assert outbox.take(100) == [first]
    outbox.notify = notify
    outbox.put(first)
    outbox.withdraw(sized(1))
    waits = sized(3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.send, waits)
        await trio.testing.wait_all_tasks_blocked()
        outbox.withdraw(first)
    assert (len(outbox), outbox.bytes, outbox.dropped) == (1, 3, 1)
    outbox.withdraw(waits)
    outbox.withdraw(waits)
    assert (len(outbox), outbox.bytes, outbox.dropped) == (0, 0, 2)
    before = notified
    outbox.put(last := sized(1))
    assert (notified, outbox.take(100)) == (before + 1, [last])


# The end.


async def test_closing_lets_waiting_senders_go_and_drops_what_they_had() -> None:
    outbox, first = full_outbox()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.send, sized(1))
        await trio.testing.wait_all_tasks_blocked()
        await outbox.aclose()

    assert outbox.dropped == 1
    assert outbox.take(100) == [first]  # it may still leave
    assert outbox.take(100) == []


async def test_sending_to_somebody_who_has_left_does_nothing() -> None:
    outbox, first = full_outbox()
    outbox.close()

    await outbox.send(sized(1))
    outbox.send_nowait(sized(1))
    outbox.offer_volatile(sized(1))
    outbox.put(sized(1))
    assert outbox.offer(sized(1))

    assert outbox.dropped == 5
    assert outbox.take(100) == [first]
