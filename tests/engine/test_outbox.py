"""The outbox: two bounds, one order, and nothing half done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from trio_sio.config import Limits
from trio_sio.engine.outbox import AGE_SAMPLES, Outbox
from trio_sio.errors import EncodeError
from trio_sio.protocol.frames import EncodedPacket


def sized(size: int) -> EncodedPacket:
    return EncodedPacket(b"x" * size)


def make_outbox(packets: int = 3, size: int = 10) -> Outbox:
    return Outbox(Limits(outbox_packets=packets, outbox_bytes=size))


def full_outbox() -> tuple[Outbox, EncodedPacket]:
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


@pytest.mark.parametrize("volatile", [800, 80, 1])
@pytest.mark.parametrize(("packets", "size"), [(800, 10_000), (10_000, 800)], ids=["packets", "bytes"])
def test_room_is_made_for_many_at_once(packets: int, size: int, volatile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox, counts = make_outbox(packets, size), list[int]()
    keep = Outbox._keep

    def counted(self: Outbox, positions: Sequence[int]) -> None:
        counts.append(len(positions))
        keep(self, positions)

    monkeypatch.setattr(Outbox, "_keep", counted)
    for _ in range(volatile):
        outbox.offer_volatile(sized(1))
    while len(outbox) < 800:
        outbox.put(sized(1))

    assert [outbox.offer(sized(1)) for _ in range(volatile + 1)] == [True] * volatile + [False]
    # The price of each is the length of the queue.
    assert counts == [800 - min(100, volatile)] * -(-volatile // 100)
    assert outbox.dropped == volatile


def test_a_volatile_packet_that_does_not_fit_is_dropped_and_drives_nobody_out() -> None:
    outbox = make_outbox(packets=1)
    first = sized(1)
    outbox.offer_volatile(first)

    outbox.offer_volatile(sized(1))

    assert outbox.dropped == 1
    assert outbox.take(100) == [first]


def test_of_the_volatile_packets_of_a_key_only_the_newest_waits_and_it_keeps_the_place() -> None:
    outbox = make_outbox(packets=10, size=100)
    other, newest, lasting = sized(1), sized(5), sized(1)
    outbox.offer_volatile(sized(2), "cursor")
    outbox.put(lasting)
    outbox.offer_volatile(other, "other")
    outbox.offer_volatile(newest, "cursor")

    assert (outbox.dropped, outbox.bytes) == (1, 7)
    assert outbox.take(100) == [newest, lasting, other]
    after = sized(1)
    outbox.offer_volatile(after, "cursor")  # what it would replace has left
    assert outbox.take(100) == [after]


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


# Against a model that is too simple to be wrong.


@dataclass
class Model:
    """What the outbox should hold: ``(packet, volatile, key)`` in a list that is scanned for everything."""

    packets: int
    size: int
    queue: list[tuple[EncodedPacket, bool, str | None]] = field(default_factory=list)
    waiting: list[EncodedPacket] = field(default_factory=list)
    dropped: int = 0
    closed: bool = False

    def fits(self, packet: EncodedPacket) -> bool:
        return len(self.queue) < self.packets and sum(entry[0].size for entry in self.queue) + packet.size <= self.size

    def offer(self, packet: EncodedPacket) -> bool:
        if self.closed:
            self.dropped += 1
            return True
        if self.waiting:
            return False
        while not self.fits(packet):
            oldest = next((entry for entry in self.queue if entry[1]), None)
            if oldest is None:
                return False
            self.queue.remove(oldest)
            self.dropped += 1
        self.queue.append((packet, False, None))
        return True

    def offer_volatile(self, packet: EncodedPacket, key: str | None) -> None:
        same = [index for index, entry in enumerate(self.queue) if key is not None and entry[2] == key]
        if self.closed or self.waiting or not self.fits(packet):
            self.dropped += 1
        elif same:
            self.queue[same[0]] = (packet, True, key)
            self.dropped += 1
        else:
            self.queue.append((packet, True, key))

    def send(self, packet: EncodedPacket) -> None:
        if not self.offer(packet):
            self.waiting.append(packet)

    def take(self, size: int) -> list[EncodedPacket]:
        taken: list[EncodedPacket] = []
        while self.queue and (not taken or sum(packet.size for packet in taken) + self.queue[0][0].size <= size):
            taken.append(self.queue.pop(0)[0])
        while self.waiting and self.fits(self.waiting[0]):
            self.queue.append((self.waiting.pop(0), False, None))
        return taken

    def close(self) -> None:
        self.closed = True
        self.dropped += len(self.waiting)
        self.waiting.clear()


sizes = st.integers(1, 10)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), sizes),
        st.tuples(st.just("volatile"), sizes, st.sampled_from([None, "a", "b"])),
        st.tuples(st.just("send"), sizes),
        st.tuples(st.just("cancel"), st.integers(0, 3)),
        st.tuples(st.just("take"), st.integers(1, 12)),
        st.tuples(st.just("close")),
    ),
    max_size=30,
)


@given(packets=st.integers(1, 4), steps=operations)
async def test_it_does_what_a_naive_model_does(packets: int, steps: list[tuple[object, ...]]) -> None:
    outbox, model = make_outbox(packets, 10), Model(packets, 10)
    waiting: dict[EncodedPacket, trio.CancelScope] = {}

    async def send(packet: EncodedPacket, scope: trio.CancelScope) -> None:
        with scope:
            await outbox.send(packet)
        assert scope.cancelled_caught == (waiting.pop(packet, None) is None)

    async with trio.open_nursery() as nursery:
        for step in steps:
            match step:
                case ("offer", int(size)):
                    packet = sized(size)
                    assert outbox.offer(packet) == model.offer(packet)
                case ("volatile", int(size), (str() | None) as key):
                    packet = sized(size)
                    outbox.offer_volatile(packet, key)
                    model.offer_volatile(packet, key)
                case ("send", int(size)):
                    packet = sized(size)
                    waiting[packet] = trio.CancelScope()
                    nursery.start_soon(send, packet, waiting[packet])
                    model.send(packet)
                case ("cancel", int(index)) if index < len(model.waiting):
                    waiting.pop(model.waiting.pop(index)).cancel()
                case ("take", int(size)):
                    assert outbox.take(size) == model.take(size)
                case ("close",):
                    outbox.close()
                    model.close()
            await trio.testing.wait_all_tasks_blocked()
            assert list(waiting) == model.waiting
            assert (len(outbox), outbox.bytes) == (len(model.queue), sum(entry[0].size for entry in model.queue))
            assert outbox.dropped == model.dropped
        outbox.close()
