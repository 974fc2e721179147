"""Who comes back has missed nothing, or is a stranger; and who missed nothing is no stranger, however much was said to others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from tests.namespaces.recovering import Peer, Stage, open_stage
from trio_sio.namespaces.packet_log import PacketLog
from trio_sio.namespaces.session import SocketSession
from trio_sio.namespaces.target import Target
from trio_sio.protocol.frames import EncodedPacket

pytestmark = pytest.mark.hostile("R54")

ID = "the client's"
ROOMS = ("a", "b", ID)
KEYS = len(ROOMS) + 1  # everybody is one, too


# Against a model that keeps everything.


class Said(NamedTuple):
    """One event, as the model remembers it."""

    place: int
    time: float
    packet: EncodedPacket
    for_it: bool  # whether the client was meant
    for_its_rooms: bool  # or would have been, but for an exception


class Model:
    """One client and one log, and everything that was ever said."""

    def __init__(self, packets: int) -> None:
        self.log = PacketLog(packets=packets, bytes=10**9, age=10**9)
        self.session = SocketSession(ID, {}, 0, None)
        self.connection: Any = None
        self.rooms: set[str] = set()
        self.said: list[Said] = []
        self.on_its_way: list[Said] = []
        self.received = 0  # the place of the newest event that it has
        self.offset: str | None = None
        self.confirmed = trio.current_time()
        self.connect()

    def connect(self) -> None:
        self.connection = SimpleNamespace(confirmed=0.0)
        self.session.connect(self.connection, self.log.position)

    def emit(self, rooms: frozenset[str], excluded: frozenset[str]) -> None:
        target, offset = Target(rooms=rooms, excluded=excluded), self.log.next_offset
        packet = EncodedPacket(offset.encode())
        self.log.append(packet, target)
        mine = {*self.rooms, ID}
        meant = not rooms or bool(rooms & mine)
        said = Said(self.log.position, trio.current_time(), packet, meant and not excluded & mine, meant)
        self.said.append(said)
        if said.for_it:
            self.on_its_way.append(said)

    def receive(self, count: int) -> None:
        for said in self.on_its_way[:count]:
            self.received = said.place
            self.offset = said.packet.text.decode() if said.packet.text is not None else None
        del self.on_its_way[:count]

    def pong(self) -> None:
        """Everything that was sent before has arrived."""
        self.receive(len(self.on_its_way))
        self.confirmed = self.connection.confirmed = trio.current_time()

    def come_back(self, meanwhile: list[tuple[frozenset[str], frozenset[str]]], left: dict[str, float]) -> None:
        self.session.disconnect()
        for target in meanwhile:
            self.emit(*target)
        assert self.session.come_to(self.offset, self.log)
        missed = self.session.missed(self.log)
        expected = [said.packet for said in self.said if said.for_it and said.place > self.received]
        unknown = [said for said in self.said if self.received < said.place <= self.log.gone and said.time >= self.confirmed]
        if missed is not None:
            assert missed == expected
        else:
            assert self.log.gone > self.received
            # Refused in doubt only: something that has left the log was for a room of it, or for one that it left lately.
            recently = {room for room, time in left.items() if time >= self.confirmed}
            assert (
                self.log._most_packets < KEYS
                or any(said.for_its_rooms for said in unknown)
                or (recently and any(said.for_its_rooms is False for said in unknown))
            )
        # It stays the same session, so that what comes is right for one that has come back, too.
        self.on_its_way = [said for said in self.said if said.for_it and said.place > self.received]
        if missed is None:
            # A stranger begins anew.
            self.session = SocketSession(ID, {}, self.log.position, None)
            self.session.memberships.join(self.rooms, self.log.position)
            self.on_its_way, self.received, self.offset = [], self.log.position, None
            self.confirmed = trio.current_time()
            left.clear()
        self.connect()


rooms = st.frozensets(st.sampled_from(ROOMS), max_size=2)
others = st.frozensets(st.sampled_from(("c", "d")), max_size=1)
targets = st.one_of(st.tuples(rooms, others), st.tuples(st.just(frozenset({"c"})), st.just(frozenset[str]())), st.tuples(rooms, rooms))
steps = st.one_of(
    st.tuples(st.just("emit"), targets),
    st.tuples(st.just("emit to others"), st.integers(1, 12)),
    st.tuples(st.just("receive"), st.integers(1, 3)),
    st.tuples(st.just("pong"), st.none()),
    st.tuples(st.just("join"), st.sampled_from(("a", "b"))),
    st.tuples(st.just("leave"), st.sampled_from(("a", "b"))),
    st.tuples(st.just("wait"), st.none()),
    st.tuples(st.just("come back"), st.lists(targets, max_size=4)),
)


@given(st.sampled_from((1, 2, KEYS + 3, 30)), st.lists(steps, max_size=40))
def test_a_log_knows_who_has_missed_what_it_has_not_any_more(packets: int, script: list[tuple[str, Any]]) -> None:
    async def run() -> None:
        model, left = Model(packets), dict[str, float]()
        for step, value in [*script, ("come back", [])]:
            match step:
                case "emit":
                    model.emit(*value)
                case "emit to others":
                    for _ in range(value):
                        model.emit(frozenset({"c"}), frozenset())
                case "receive":
                    model.receive(value)
                case "pong":
                    model.pong()
                case "join":
                    model.rooms.add(value)
                    model.session.memberships.join([value], model.log.position)
                case "leave":
                    if value in model.rooms:
                        left[value] = trio.current_time()
                    model.rooms.discard(value)
                    model.session.memberships.leave([value], model.log)
                case "wait":
                    clock.jump(1)
                case _:
                    model.come_back(value, left)

    clock = trio.testing.MockClock()
    trio.run(run, clock=clock)


# On a server.


async def quiet(stage: Stage, room: str = "quiet") -> Peer:
    """Let a client come that is in one room, and then go."""
    peer = stage.peer()
    await peer.connect()
    await stage.socket.join(room)
    return peer


@pytest.mark.parametrize("away", [False, True])
async def test_who_was_not_spoken_to_comes_back_however_much_was_said_to_others(away: bool) -> None:
    async with open_stage(packets=5) as stage:
        peer = await quiet(stage)
        await stage.server.to("quiet").emit("before")
        assert await peer.heard() == [["before"]]
        if away:
            await peer.cut()
        for number in range(100):
            await stage.server.to("busy").emit("x", number)
        await stage.server.to("quiet").emit("after")
        await peer.cut()
        assert await peer.connect()
        assert await peer.heard() == [["after"]]
        assert len(stage.store().log) == 5


@pytest.mark.parametrize("target", ["quiet", "its id", "everybody"])
async def test_who_was_spoken_to_does_not(target: str) -> None:
    async with open_stage(packets=5) as stage:
        peer = await quiet(stage)
        await peer.cut()
        rooms = {"quiet": ["quiet"], "its id": [peer.id], "everybody": []}[target]
        await (stage.server.to("another", *rooms) if rooms else stage.server).emit("lost")
        for number in range(5):
            await stage.server.to("busy").emit("x", number)
        assert not await peer.connect()


@pytest.mark.parametrize("joined", [False, True])
async def test_what_was_said_in_a_room_before_one_joined_it_was_not_missed(joined: bool) -> None:
    async with open_stage(packets=5) as stage:
        peer = await quiet(stage)
        if joined:
            await stage.socket.join("late")
        await stage.server.to("late").emit("before")
        await stage.socket.join("late")
        for number in range(5):
            await stage.server.to("busy").emit("x", number)
        await peer.cut()
        assert await peer.connect() == (not joined)


async def test_as_many_rooms_are_known_as_events_are_kept() -> None:
    async with open_stage(packets=5) as stage:
        for excess in (0, 1):
            peer = await quiet(stage)
            await peer.cut()
            for number in range(10 + excess):
                await stage.server.to(f"busy {excess} {number}").emit("x")
            assert await peer.connect() == (not excess)
            await peer.leave()
            assert stage.store().log._last_gone == {}


@pytest.mark.parametrize("said", [False, True])
@pytest.mark.parametrize("forgotten", [False, True])
async def test_a_room_that_was_left_counts_as_long_as_one_was_in_it(said: bool, forgotten: bool) -> None:
    async with open_stage(packets=5) as stage:
        peer = await quiet(stage)
        socket = stage.socket
        await stage.server.to("busy" if not said else "quiet").emit("x")
        await socket.leave("quiet")
        for number in range(10):
            await stage.server.to("busy").emit("x", number)
        if forgotten:
            # What was said in these two has left the log, so that leaving them looks whether the first one can be forgotten.
            await socket.join("other")
            await stage.server.to("busy").emit("x")
            await socket.leave("other")
            assert socket._core.rooms.session is not None
            assert list(socket._core.rooms.session.memberships._former) == ["other"]
        await stage.server.to("quiet").emit("after it")
        for number in range(10):
            await stage.server.to("busy").emit("x", number)
        await peer.cut()
        # Whether the newest of a room was before one left it or after is not known any more, unless the room was forgotten before that.
        assert await peer.connect() == (not said and forgotten)


async def test_a_room_that_is_spoken_to_again_is_known_again() -> None:
    async with open_stage(packets=2) as stage:
        await quiet(stage, "keeps the log")
        await stage.server.to("first").emit("x")
        await stage.server.to("second").emit("x")
        peer = await quiet(stage)
        await peer.cut()
        for room in ("first", "third", "first", "first"):
            await stage.server.to(room).emit("x")
        assert await peer.connect()


async def test_what_is_too_old_may_have_been_for_anybody(autojump_clock: trio.testing.MockClock) -> None:
    log = PacketLog(packets=10, bytes=1_000, age=5)
    log.append(EncodedPacket(b""), Target(rooms=frozenset({"a"})))
    await trio.sleep(6)
    log.append(EncodedPacket(b""), Target(rooms=frozenset({"b"})))
    assert (log.gone, log.evicted) == (1, 0)
    assert log.last_gone("a") == log.last_gone("b") == log.last_gone(None) == (1, 0.0)
    log.clear()
    assert log.last_gone("a") == (2, 6.0)
