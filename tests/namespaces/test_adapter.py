"""Rooms and the adapter's own bookkeeping; who hears a broadcast is in test_broadcast.py."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

from tests.namespaces.standins import Standins
from trio_sio import Config, Limits
from trio_sio.namespaces.adapter import InMemoryAdapter, Target
from trio_sio.namespaces.socket import Socket


def test_the_room_named_by_ones_id_goes_without_saying() -> None:
    standins = Standins(2)
    first, second = standins.sockets

    assert list(standins.adapter.members(Target(rooms=frozenset({first.id})))) == [first]
    assert list(standins.adapter.members(Target(excluded=frozenset({first.id})))) == [second]
    assert standins.adapter._members == {}  # and takes no memory
    first.join_nowait(first.id)
    standins.adapter.remove(first, [first.id])
    assert first.rooms == {first.id}


def test_the_private_room_of_another_socket_cannot_be_joined() -> None:
    standins = Standins(2)
    first, second = standins.sockets

    with pytest.raises(ValueError, match="is the id of another socket: its private room cannot be joined"):
        first.join_nowait("a", second.id)
    assert first.rooms == {first.id}


def test_a_private_room_is_that_of_its_socket_whoever_was_there_before() -> None:
    standins = Standins(2)
    taken = "the id that somebody will have"
    standins.sockets[0].join_nowait(taken)
    late = standins.sockets[1]
    del standins.namespace.connected[late.id]
    late.id = taken
    standins.namespace.connected[taken] = late

    assert list(standins.adapter.members(Target(rooms=frozenset({taken})))) == [late]


def test_a_room_is_a_string() -> None:
    (socket,) = Standins(1).sockets

    with pytest.raises(TypeError, match=r"Room 7 is not a string; convert it with str\(\)."):
        socket.join_nowait("a", 7)  # type: ignore[arg-type]
    assert socket.rooms == {socket.id}


def test_the_last_allowed_room_is_joined_and_the_next_is_not() -> None:
    standins = Standins(1, Config(limits=Limits(rooms_per_socket=2)))
    (socket,) = standins.sockets
    socket.join_nowait("a", "b")
    socket.join_nowait("a", "b", socket.id)

    with pytest.raises(ValueError, match=r"in more than 2 rooms \(Limits.rooms_per_socket\)"):
        socket.join_nowait("b", "c")
    assert socket.rooms == {socket.id, "a", "b"}


def test_a_socket_that_has_left_joins_nothing_and_remembers_where_it_was() -> None:
    standins = Standins(1)
    (socket,) = standins.sockets
    socket.join_nowait("a")
    standins.leave(0)

    socket.join_nowait("b")
    standins.adapter.remove(socket, ["a"])

    assert socket.rooms == {socket.id, "a"}
    assert (standins.adapter._members, standins.adapter._rooms, standins.namespace.sockets) == ({}, {}, {})


# Several at once: whom it fails with does not keep it from the others.


def four() -> Standins:
    """Four sockets that may be in two rooms; the second and the third are."""
    standins = Standins(4, Config(limits=Limits(rooms_per_socket=2)))
    for socket in standins.sockets[1:3]:
        socket.join_nowait("a", "b")
    return standins


async def test_whoever_is_in_too_many_rooms_does_not_keep_the_others_from_joining(caplog: pytest.LogCaptureFixture) -> None:
    standins = four()

    await standins.namespace.sockets_join("a", "c")

    assert [socket.rooms - {socket.id} for socket in standins.sockets] == [{"a", "c"}, {"a", "b"}, {"a", "b"}, {"a", "c"}]
    (record,) = caplog.records
    assert re.search("2 of 4 sockets could not join, such as .*: The socket would be in more than 2 rooms", record.getMessage())
    assert record.exc_info is None


@pytest.mark.parametrize("method", ["sockets_join", "sockets_leave"])
async def test_what_is_no_room_raises_where_it_is_used(method: str) -> None:
    standins = four()

    with pytest.raises(TypeError, match=r"Room \['a'\] is not a string"):
        await getattr(standins.namespace, method)(["a"])


async def test_nobody_joins_the_private_room_of_another_socket() -> None:
    standins = four()
    first, *others = standins.sockets

    with pytest.raises(ValueError, match="is the id of another socket"):
        await standins.namespace.sockets_join("c", first.id)

    assert first.rooms == {first.id}
    await standins.namespace.in_(first.id).sockets_join("c", first.id)
    assert first.rooms == {first.id, "c"}
    assert all("c" not in socket.rooms for socket in others)


class Failing(InMemoryAdapter):
    """Fails for one socket."""

    victim: Socket | None = None

    def remove(self, socket: Socket, rooms: Iterable[str]) -> None:
        """Fail, or do it."""
        if socket is self.victim:
            raise LookupError("planted")
        super().remove(socket, rooms)


async def test_an_adapter_that_fails_for_one_socket_does_not_keep_the_others_in_a_room(caplog: pytest.LogCaptureFixture) -> None:
    standins = Standins(3, adapter=Failing)
    for socket in standins.sockets:
        socket.join_nowait("a")
    assert isinstance(standins.adapter, Failing)
    standins.adapter.victim = standins.sockets[0]

    await standins.namespace.sockets_leave("a")

    assert [socket.rooms - {socket.id} for socket in standins.sockets] == [{"a"}, set(), set()]
    (record,) = caplog.records
    assert re.search("1 of 3 sockets could not leave, such as .*: planted", record.getMessage())
    assert record.exc_info


async def test_one_socket_that_cannot_be_disconnected_does_not_keep_the_others(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    standins = Standins(3)
    ended = list[Socket]()

    def disconnect(socket: Socket, *, close: bool, reason: str | None) -> None:
        if socket is standins.sockets[1]:
            raise LookupError("planted")
        ended.append(socket)

    monkeypatch.setattr(Socket, "disconnect_nowait", disconnect)
    await standins.namespace.disconnect_sockets()

    assert ended == [standins.sockets[0], standins.sockets[2]]
    assert "1 of 3 sockets could not be disconnected" in caplog.text


@pytest.mark.parametrize("volatile", [False, True])
async def test_a_member_that_cannot_be_sent_to_does_not_keep_a_broadcast_from_the_others(
    volatile: bool, caplog: pytest.LogCaptureFixture
) -> None:
    standins = Standins(3)

    def fail() -> None:
        raise LookupError("planted")

    standins.sockets[1].outbox.notify = fail
    namespace = standins.namespace
    await (namespace.volatile() if volatile else namespace).emit("x")

    assert [standins.texts(number) for number in (0, 2)] == [[b'42["x"]']] * 2
    assert [(number, reason) for number, reason, _ in standins.ended] == [(1, "forced close")]
    assert "A broadcast failed for" in caplog.text
