"""The outbox against a model that is too simple to be wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.concurrency.outboxes import make_outbox, sized
from trio_sio.concurrency import outbox as outbox_module
from trio_sio.concurrency.outbox import AGE_SAMPLES, SPARSE
from trio_sio.protocol.frames import EncodedPacket


def is_sized(size: int, packet: EncodedPacket) -> bool:
    return packet.size == size


@dataclass(eq=False)
class Waiting:
    """One packet, and what the outbox should know about it."""

    packet: EncodedPacket
    volatile: bool = False
    key: str | None = None
    owner: str | None = None
    owed: bool = False
    samples: int = 0


@dataclass
class Model:
    """What the outbox should hold, in a list that is scanned for everything."""

    packets: int
    size: int
    queue: list[Waiting] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    dropped: int = 0
    closed: bool = False

    def fits(self, packet: EncodedPacket, without: Waiting | None = None) -> bool:
        queue = [entry.packet.size for entry in self.queue if entry is not without]
        return len(queue) < self.packets and sum(queue) + packet.size <= self.size

    def drop(self, entry: Waiting) -> None:
        self.queue.remove(entry)
        self.dropped += 1

    def offer(self, packet: EncodedPacket) -> bool:
        if self.closed:
            self.dropped += 1
            return True
        if self.waiting:
            return False
        while not self.fits(packet):
            oldest = next((entry for entry in self.queue if entry.volatile), None)
            if oldest is None:
                return False
            self.drop(oldest)
        self.queue.append(Waiting(packet))
        return True

    def offer_volatile(self, packet: EncodedPacket, key: str | None) -> None:
        same = next((entry for entry in self.queue if key is not None and entry.key == key), None)
        if self.closed or self.waiting or not self.fits(packet, without=same):
            self.dropped += 1
            return
        if same is not None:
            self.drop(same)
        self.queue.append(Waiting(packet, volatile=True, key=key))

    def answer(self, packet: EncodedPacket) -> bool:
        if self.closed:
            self.dropped += 1
            return True
        if self.queue and sum(entry.owed for entry in self.queue) >= self.packets:
            return False
        self.queue.append(Waiting(packet, owed=bool(self.queue)))
        return True

    def send(self, packet: EncodedPacket, owner: str) -> None:
        if not self.offer(packet):
            self.waiting.append(Waiting(packet, owner=owner))

    def dismiss(self, owner: str) -> list[EncodedPacket]:
        dismissed = [entry.packet for entry in self.waiting if entry.owner == owner]
        self.waiting = [entry for entry in self.waiting if entry.owner != owner]
        self.dropped += len(dismissed)
        if dismissed:
            self.admit()
        return dismissed

    def discard(self, size: int) -> list[EncodedPacket]:
        discarded = [entry.packet for entry in self.queue if entry.packet.size == size]
        self.queue = [entry for entry in self.queue if entry.packet.size != size]
        self.dropped += len(discarded)
        if discarded:
            self.admit()
        return discarded

    def withdraw(self, entry: Waiting) -> None:
        self.drop(entry)
        self.admit()

    def admit(self) -> None:
        while self.waiting and self.fits(self.waiting[0].packet):
            self.queue.append(Waiting(self.waiting.pop(0).packet))

    def take(self, size: int) -> list[EncodedPacket]:
        taken: list[EncodedPacket] = []
        while self.queue and (not taken or sum(packet.size for packet in taken) + self.queue[0].packet.size <= size):
            taken.append(self.queue.pop(0).packet)
        self.admit()
        return taken

    def sample(self) -> bool:
        overdue = any(entry.samples >= AGE_SAMPLES for entry in self.queue)
        for entry in self.queue:
            entry.samples += 1
        return overdue

    def close(self) -> None:
        self.closed = True
        self.dropped += len(self.waiting)
        self.waiting.clear()


sizes = st.integers(1, 4)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), sizes),
        st.tuples(st.just("volatile"), sizes, st.sampled_from([None, "a", "b"])),
        st.tuples(st.just("volatile"), sizes, st.just("a")),
        st.tuples(st.just("answer"), sizes),
        st.tuples(st.just("send"), sizes, st.sampled_from("xy")),
        st.tuples(st.just("dismiss"), st.sampled_from("xy")),
        st.tuples(st.just("discard"), sizes),
        st.tuples(st.just("withdraw"), st.integers(0, 3)),
        st.tuples(st.just("cancel"), st.integers(0, 3)),
        st.tuples(st.just("take"), st.integers(1, 12)),
        st.tuples(st.just("sample")),
    ),
    min_size=15,
    max_size=60,
)


@pytest.fixture(params=[0, SPARSE], ids=["gaps are closed soon", "gaps stay"])
def sparse(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "SPARSE", request.param)


@pytest.mark.usefixtures("sparse")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(packets=st.integers(3, 8), steps=operations, more=st.lists(st.just(("take", 3)), max_size=2))
async def test_it_does_what_a_naive_model_does(packets: int, steps: list[tuple[object, ...]], more: list[tuple[object, ...]]) -> None:
    outbox, model = make_outbox(packets, 20), Model(packets, 20)
    waiting: dict[EncodedPacket, trio.CancelScope] = {}

    async def send(packet: EncodedPacket, owner: str, scope: trio.CancelScope) -> None:
        with scope:
            await outbox.send(packet, owner)
        assert scope.cancelled_caught == (waiting.pop(packet, None) is None)

    async with trio.open_nursery() as nursery:
        for step in [*steps, ("close",), *steps[:5], *more]:
            match step:
                case ("offer", int(size)):
                    packet = sized(size)
                    assert outbox.offer(packet) == model.offer(packet)
                case ("volatile", int(size), (str() | None) as key):
                    packet = sized(size)
                    outbox.offer_volatile(packet, key)
                    model.offer_volatile(packet, key)
                case ("answer", int(size)):
                    packet = sized(size)
                    may = outbox.owe()
                    assert may == model.answer(packet)
                    if may:
                        outbox.put(packet)
                case ("send", int(size), str(owner)):
                    packet = sized(size)
                    waiting[packet] = trio.CancelScope()
                    nursery.start_soon(send, packet, owner, waiting[packet])
                    model.send(packet, owner)
                case ("dismiss", str(owner)):
                    assert outbox.dismiss(owner) == model.dismiss(owner)
                case ("discard", int(size)):
                    assert outbox.discard(partial(is_sized, size)) == model.discard(size)
                case ("withdraw", int(index)):
                    waits = index < len(model.queue)
                    outbox.withdraw(model.queue[index].packet if waits else sized(1))
                    if waits:
                        model.withdraw(model.queue[index])
                case ("cancel", int(index)) if index < len(model.waiting):
                    waiting.pop(model.waiting.pop(index).packet).cancel()
                case ("take", int(size)):
                    assert outbox.take(size) == model.take(size)
                case ("sample",):
                    assert outbox.is_overdue() == model.sample()
                case ("close",):
                    outbox.close()
                    model.close()
            await trio.testing.wait_all_tasks_blocked()
            assert list(waiting) == [entry.packet for entry in model.waiting]
            assert (len(outbox), outbox.bytes) == (len(model.queue), sum(entry.packet.size for entry in model.queue))
            assert outbox.dropped == model.dropped
        outbox.close()
        assert outbox.take(1_000) == [entry.packet for entry in model.queue]
