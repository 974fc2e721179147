"""Rooms and the adapter's own bookkeeping; who hears a broadcast is in test_broadcast.py."""

from __future__ import annotations

import pytest

from tests.namespaces.standins import Standins
from trio_sio import Config, Limits
from trio_sio.namespaces.adapter import Target


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

    with pytest.raises(TypeError, match=r"Room 7 is not a string; to join several rooms write join\('a', 'b'\)"):
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
