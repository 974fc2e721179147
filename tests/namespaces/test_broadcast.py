"""Who hears a broadcast: the algebra of rooms, and what happens to those who do not listen."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from tests.namespaces.serving import Handler, open_namespaces
from tests.namespaces.standins import Standins
from trio_sio import BroadcastOperator, Config, EncodeError, Limits
from trio_sio.namespaces.broadcast import Broadcaster
from trio_sio.namespaces.target import EVERYBODY, PLAIN, Flags
from trio_sio.protocol.socketio import encode_event

MEMBERS, ROOMS = 5, ("a", "b", "c")

members = st.integers(0, MEMBERS - 1)
# A member's number stands for the room named by its id.
rooms = st.sampled_from(ROOMS) | members


# The algebra, against sets.


@given(
    joined=st.lists(st.sets(st.sampled_from(ROOMS)), min_size=MEMBERS, max_size=MEMBERS),
    start=st.none() | members,
    steps=st.lists(st.tuples(st.sampled_from(["to", "in_", "except_", "local"]), st.lists(rooms, max_size=3)), max_size=4),
)
def test_a_chain_of_operators_means_what_sets_say(
    joined: list[set[str]], start: int | None, steps: list[tuple[str, list[str | int]]]
) -> None:
    standins = Standins(MEMBERS)
    ids = [socket.id for socket in standins.sockets]
    for socket, wanted in zip(standins.sockets, joined, strict=True):
        socket.join_nowait(*wanted)

    def named(room: str | int) -> str:
        return room if isinstance(room, str) else ids[room]

    def population(room: str | int) -> set[int]:
        return {index for index in range(MEMBERS) if room == index or room in joined[index]}

    operator: Broadcaster = standins.namespace if start is None else standins.sockets[start]
    included, excluded, everybody = set[int](), set[int]() if start is None else {start}, True
    for step, mentioned in steps:
        if step == "local" or (step != "except_" and not mentioned):
            operator = operator.local
            continue
        operator = getattr(operator, step)(*map(named, mentioned))
        found = set[int]().union(*map(population, mentioned))
        if step == "except_":
            excluded |= found
        else:
            included |= found
            everybody = False
    operator = operator if isinstance(operator, BroadcastOperator) else operator.local
    operator.emit_nowait("x")

    expected = (set(range(MEMBERS)) if everybody else included) - excluded
    assert standins.received() == [1 if index in expected else 0 for index in range(MEMBERS)]  # each once


@given(steps=st.lists(st.tuples(members, st.booleans(), st.sets(st.sampled_from(ROOMS), min_size=1)), max_size=20), leaver=members)
def test_joining_and_leaving_keep_both_sides_in_step(steps: list[tuple[int, bool, set[str]]], leaver: int) -> None:
    standins, joined = Standins(MEMBERS), [set[str]() for _ in range(MEMBERS)]
    adapter = standins.adapter
    for member, joins, wanted in steps:
        socket = standins.sockets[member]
        if joins:
            socket.join_nowait(*wanted)
            joined[member] |= wanted
        else:
            adapter.remove(socket, wanted)
            joined[member] -= wanted
    standins.leave(leaver)
    joined[leaver] = set()

    for index, socket in enumerate(standins.sockets):
        if index != leaver:
            assert socket.rooms == {socket.id, *joined[index]}
    assert {room: len(found) for room, found in adapter._members.items()} == {
        room: count for room in ROOMS if (count := sum(room in rooms for rooms in joined))
    }
    assert len(adapter._rooms) == sum(map(bool, joined))


# The operators.


def test_operators_are_immutable() -> None:
    namespace = Standins(1).namespace
    base = namespace.to("a")
    base.to("b").except_("c").volatile("key").local.emit_nowait("x")

    assert base == namespace.to("a")
    assert base.target.rooms == {"a"}
    with pytest.raises(AttributeError):
        base.flags = Flags(key="other")  # type: ignore[misc]


@pytest.mark.parametrize("method", ["to", "in_", "except_"])
def test_a_list_of_rooms_is_not_a_room(method: str) -> None:
    with pytest.raises(TypeError, match=r"Room \['a', 'b'\] is not a string; to address several rooms write to\('a', 'b'\)"):
        getattr(Standins(1).namespace, method)(["a", "b"])


@pytest.mark.parametrize("method", ["to", "in_"])
def test_no_room_does_not_mean_everybody(method: str) -> None:
    friends: list[str] = []
    with pytest.raises(ValueError, match="without one everybody is addressed"):
        getattr(Standins(1).namespace, method)(*friends)
    with pytest.raises(ValueError, match="without one everybody is addressed"):
        getattr(Standins(1).namespace.except_(*friends), method)()


async def test_emitting_from_a_socket_leaves_it_out_and_from_the_server_does_not() -> None:
    handler = Handler()
    async with open_namespaces(handler) as server, server.strict_client() as first, server.strict_client() as second:
        socket = handler.sockets[0]
        await socket.broadcast.emit("broadcast")
        await socket.to(first.id, second.id).emit("to")
        await server.server.emit("server")  # type: ignore[union-attr]
        await socket.namespace.to(first.id).emit("direct")
        await trio.testing.wait_all_tasks_blocked()

        assert [event.name for event in first.pending] == ["server", "direct"]
        assert [event.name for event in second.pending] == ["broadcast", "to", "server"]


async def test_operators_manage_the_sockets_that_they_address() -> None:
    handler = Handler()
    async with open_namespaces(handler) as server, server.strict_client() as first, server.strict_client() as second:
        sockets, namespace = handler.sockets, handler.sockets[0].namespace
        await namespace.except_(first.id).sockets_join("a", "b")
        assert list(await namespace.to("a").fetch_sockets()) == [sockets[1]]
        await namespace.sockets_leave("a")
        assert sockets[1].rooms == {second.id, "b"}
        await namespace.to("b").disconnect_sockets()

        assert (await second.closed()).disconnected
        assert first.connected
        assert list(await namespace.fetch_sockets()) == [sockets[0]]


async def test_a_packet_that_fits_no_outbox_reaches_nobody() -> None:
    handler = Handler()
    async with open_namespaces(handler, Config(limits=Limits(outbox_bytes=100))) as server, server.strict_client() as client:
        fitting = 100 - len('42["x",""]')
        for size in (fitting, fitting + 1):
            if size > fitting:
                with pytest.raises(EncodeError, match="101 bytes, more than any outbox holds"):
                    await handler.socket.namespace.emit("x", "y" * size)
            else:
                await handler.socket.namespace.emit("x", "y" * size)
        await trio.testing.wait_all_tasks_blocked()

        assert [event.args for event in client.pending] == [("y" * fitting,)]
        assert handler.reasons == []


# Slow consumers.


def test_a_full_outbox_ends_that_connection_once_everybody_else_was_served() -> None:
    standins = Standins(3, Config(limits=Limits(outbox_packets=2)))
    standins.fill(1)

    standins.namespace.emit_nowait("x")

    assert standins.received() == [1, 0, 1]
    assert standins.ended == [(1, "slow consumer", [1, 1])]


def test_a_full_outbox_drops_where_that_is_wanted() -> None:
    standins = Standins(3, Config(slow_consumer="drop", limits=Limits(outbox_packets=2)))
    standins.fill(1)

    standins.namespace.emit_nowait("x")

    assert standins.received() == [1, 0, 1]
    assert standins.ended == []
    assert standins.sockets[1].outbox.dropped == 1


def test_what_has_an_ack_id_is_not_dropped_even_there() -> None:
    standins = Standins(3, Config(slow_consumer="drop", limits=Limits(outbox_packets=2)))
    standins.fill(1)

    standins.adapter.send(encode_event("/", ["x"], 7), EVERYBODY, PLAIN)

    assert standins.received() == [1, 0, 1]
    assert standins.ended == [(1, "slow consumer", [1, 1])]
    assert standins.sockets[1].outbox.dropped == 0


def test_volatile_packets_end_nobody_and_make_room_for_others() -> None:
    standins = Standins(2, Config(limits=Limits(outbox_packets=2)))
    for number in range(3):
        standins.namespace.volatile().emit_nowait("volatile", number)
    standins.namespace.emit_nowait("x")
    standins.namespace.emit_nowait("y")

    assert standins.texts(0) == standins.texts(1) == [b'42["x"]', b'42["y"]']
    assert standins.ended == []


def test_of_the_volatile_packets_of_a_key_only_the_newest_waits() -> None:
    standins = Standins(1)
    cursor = standins.namespace.volatile(key="cursor:7")
    for number in range(3):
        cursor.emit_nowait("cursor", number)
    standins.sockets[0].volatile(key="other").emit_nowait("other")

    assert standins.texts(0) == [b'42["cursor",2]', b'42["other"]']


async def test_a_slow_consumer_is_disconnected_and_the_others_go_on() -> None:
    handler = Handler()
    async with (
        open_namespaces(handler, Config(limits=Limits(outbox_packets=10))) as server,
        server.strict_client() as quick,
        await server.websocket() as slow,
    ):
        await slow.receive()
        await slow.send("40")
        await slow.receive()
        for number in range(20):
            await trio.testing.wait_all_tasks_blocked()
            if number == 5:
                # From here on its wire takes nothing.
                handler.sockets[1].outbox.notify = lambda: None
            await server.server.emit("x", number)  # type: ignore[union-attr]
        await trio.testing.wait_all_tasks_blocked()

        assert handler.reasons == ["slow consumer"]
        assert [event.args for event in quick.pending] == [(number,) for number in range(20)]
